"""Datasets prepared by TensorFlow Datasets (TFDS), read without TensorFlow.

TFDS must have prepared them for random access, in the array_record format (its default
is tfrecord). They are read only from data.dir; nothing is downloaded. Image files are
decoded by data/images.py, like those of other sources, not by TFDS.

With data.target_kind=mask, the target is the only feature that is an image of one
channel (or integers [H, W] or [H, W, 1]), such as "segmentation_mask" of Oxford-IIIT
Pet. The meaning of its levels is that of a file classes.txt in data.dir/NAME, see
mask_coding.py; or else the names of a LabeledImage feature; or of MASKS here; or else
the levels that the records hold, all of which are then read.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import hashlib
import json
import pathlib
from typing import Any

import numpy as np
from PIL import Image

from jaxcnn.config import DataConfig
from jaxcnn.data import arrays, images, mask_coding, masks, splits
from jaxcnn.data.examples import Dataset, Unread, fields_used, make_dataset
from jaxcnn.errors import UserError, require
from jaxcnn.targets import classes

# Names of the TFDS split for each of our splits, unless a TfdsSet says otherwise.
NAMES = {
    "train": ("train",),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}

# Levels of the masks of data sets that do not say them.
MASKS = {
    # "1: Foreground 2: Background 3: Not classified", README of its annotations,
    # https://www.robots.ox.ac.uk/~vgg/data/pets/
    "oxford_iiit_pet": mask_coding.Coding(
        ("background", "pet"), {2: 0, 1: 1, 3: None}, source="Oxford-IIIT Pet"
    ),
}


@dataclasses.dataclass(frozen=True)
class TfdsSet:
    """A TFDS dataset; call it with a config to get the Dataset.

    Attributes:
        name: NAME or NAME/CONFIG in TFDS. NAME is enough if only one config is
            prepared.
        parts: TFDS split to use for "train", "validation" and "test". None: those
            listed in NAMES.
        stratify: Whether a validation split that is cut from the training split keeps
            the class proportions. This reads the training split once for its labels.
    """

    name: str
    parts: Mapping[str, str] | None = None
    stratify: bool = True

    def __call__(self, config: DataConfig) -> Dataset:
        """Opens the dataset; images are read and decoded later, one by one.

        Raises:
            UserError: The dataset is not prepared in config.dir, or not for random
                access; a split is missing; or its examples are not images with one
                class label, or one mask, each.
        """
        path = prepared_folder(self.name, config.dir)
        if path is None:
            raise UserError(
                f"TFDS has prepared no {self.name!r} in data.dir {config.dir!r}; where "
                f"TensorFlow is installed, `tfds build {self.name} "
                f"--file_format=array_record --data_dir={config.dir}` does it."
            )
        _check_format(path)
        # Imported only when needed, since it takes half a second.
        import tensorflow_datasets as tfds

        builder = tfds.builder_from_directory(path)
        info = builder.info
        with_masks = config.target_kind == "mask"
        rule = "'label' or 'mask' for a data set of TFDS"
        holds = with_masks or config.target_kind == "label"
        require(holds, "data.target_kind", config.target_kind, rule)
        find = image_and_mask if with_masks else image_and_label
        image_key, target_key = find(info)
        channels = config.channels
        if channels is None:
            channels = 1 if info.features[image_key].shape[-1] == 1 else 3
        if channels not in images.STATISTICS:
            raise UserError(
                f"Config field data.channels is {channels}; it must be 1 (grey) or 3 "
                "(RGB)."
            )
        examples: dict[str, TfdsExamples] = {}
        for part, split in self._parts(list(info.splits)).items():
            source = builder.as_data_source(
                split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
            )
            for file in info.splits[split].filepaths:
                if not file.exists():
                    raise UserError(f"TFDS data set {self.name!r} lacks {file}.")
            if len(source) == 0:
                raise UserError(f"TFDS data set {self.name!r}: split {split} is empty.")
            examples[part] = TfdsExamples(
                source,
                Parser(info.features, image_key, target_key),
                Parser(info.features, target_key),
                channels,
                f"{path}:{split}",
                config.max_pixels,
            )
        mean, std = images.STATISTICS[channels]
        by, remarks, about = "label" if self.stratify else None, [], ""
        if with_masks:
            coding, remarks = self._coding(info.features[target_key], examples, config)
            examples = {
                part: dataclasses.replace(of_part, coding=coding)
                for part, of_part in examples.items()
            }
            targets, by, about = {"mask": coding.target}, None, repr(coding)
        else:
            targets = classes(info.features[target_key].names)
        return make_dataset(
            splits.complete(examples, targets, config, stratify_by=by),
            made_with=fields_used(
                config,
                *("max_pixels", "target_kind"),
                validation="validation" not in examples,
            ),
            remarks=remarks,
            targets=targets,
            channels=channels,
            mean=mean,
            std=std,
            fingerprint=_fingerprint(info, about),
            decoder=images.decoder(),
        )

    def _coding(
        self,
        feature: Any,
        examples: Mapping[str, "TfdsExamples"],
        config: DataConfig,
    ) -> tuple[mask_coding.Coding, list[str]]:
        """(the meaning of the masks' levels, remarks), see the module docstring."""
        name = self.name.split("/")[0]
        file = pathlib.Path(config.dir, name, mask_coding.CLASSES_FILE)
        coding = mask_coding.read_coding(str(file))
        if coding is None and (getattr(feature, "num_classes", None) or 0) > 1:
            coding = mask_coding.Coding(
                tuple(feature.names), source=f"TFDS data set {name}"
            )
        coding = coding or MASKS.get(name)
        if coding is not None:
            return coding, []
        places = [(part, i) for part in examples.values() for i in range(len(part))]
        coding = mask_coding.found_coding(
            len(places),
            lambda number: places[number][0].stored_mask(places[number][1]),
            config.num_threads,
        )
        number, classes_found = len(places), len(coding.names)
        return coding, [
            f"{number:,} masks were read to find {classes_found} classes; {file} would "
            "name them."
        ]

    def _parts(self, there: Sequence[str]) -> dict[str, str]:
        """Returns our split -> TFDS split, for the splits that exist."""
        parts = self.parts
        if parts is None:
            found = {
                part: [name for name in names if name in there]
                for part, names in NAMES.items()
            }
            parts = {"train": "train"}
            parts |= {part: names[0] for part, names in found.items() if names}
        missing = [split for split in parts.values() if split not in there]
        if missing:
            raise UserError(
                f"TFDS data set {self.name!r} has no split {missing[0]!r}; it has "
                f"{', '.join(there)}."
            )
        return dict(parts)


class Parser:
    """Parses only the given features from the bytes of a record."""

    def __init__(self, features: Any, *keys: str):
        import tensorflow_datasets as tfds

        self.features = tfds.features.FeaturesDict({key: features[key] for key in keys})
        self.keys = keys
        self.decoders = {
            key: tfds.decode.SkipDecoding()
            for key in keys
            if isinstance(features[key], tfds.features.Image)
        }

    def __call__(self, record: bytes) -> list[Any]:
        found = self.features.deserialize_example_np(record, decoders=self.decoders)
        return [found[key] for key in self.keys]


@dataclasses.dataclass(eq=False)
class TfdsExamples:
    """One split of a prepared dataset.

    Attributes:
        source: Random access to the records as bytes, provided by TFDS.
        parse: Parser of a record's image (a file or pixels) and target.
        parse_target: Parser of a record's target only.
        channels: Channels of the returned images: 1 grey, 3 RGB.
        where: Name of the split in error messages.
        max_pixels: Number of pixels above which an image is not decoded.
        coding: Meaning of the levels of a mask; None: the target is a label.
    """

    source: Sequence[bytes]
    parse: Parser
    parse_target: Parser
    channels: int
    where: str
    max_pixels: int = images.MAX_PIXELS
    coding: mask_coding.Coding | None = None

    def column(self, target: str) -> np.ndarray | Unread:
        if self.coding is None:
            return {"label": self._labels}[target]
        return Unread(lambda i: self.encoded(i)[target], np.arange(len(self)))

    @functools.cached_property
    def _labels(self) -> np.ndarray:
        """int32 [N]. Reads every record, but decodes no image."""
        labels = [self.parse_target(self.source[i])[0] for i in range(len(self))]
        return np.array(labels, np.int32)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return images.decoded(self.encoded(index))

    def encoded(self, index: int) -> dict[str, Any]:
        """Returns an example before decoding, see examples.encoded."""
        image, target = self.parse(self.source[index])
        if isinstance(image, bytes):
            where = f"{self.where}[{index}]"
            image = images.Encoded(image, self.channels, where, self.max_pixels)
        else:
            image = arrays.with_channels(image[None], self.channels)[0]
        if self.coding is None:
            return {"image": image, "label": int(target)}
        stored, where = self._stored_mask(target, index)
        return {"image": image, "mask": masks.fitted(stored, self.coding, image, where)}

    def stored_mask(self, index: int) -> tuple[Image.Image, str]:
        """(the mask of a record as images.stored reads it, its name in errors)."""
        return self._stored_mask(self.parse_target(self.source[index])[0], index)

    def _stored_mask(self, mask: Any, index: int) -> tuple[Image.Image, str]:
        where = f"{self.where}[{index}] (mask)"
        if isinstance(mask, bytes):
            return images.stored(mask, where, self.max_pixels), where
        levels = np.asarray(mask).reshape(np.shape(mask)[:2])
        dtype = np.uint8 if levels.dtype in (np.uint8, bool) else np.int32
        return Image.fromarray(levels.astype(dtype)), where


def prepared_folder(name: str, data_dir: str) -> pathlib.Path | None:
    """Finds the newest version, data_dir/NAME[/CONFIG]/VERSION; None if there is none.

    TFDS's own search would load its code for the dataset, which may use TensorFlow.

    Raises:
        UserError: The dataset has several configs, and the name does not choose one.
    """
    root = pathlib.Path(data_dir, *name.split("/"))
    found = _versions(root)
    if not found and root.is_dir():
        configs = {p.name: _versions(p) for p in sorted(root.iterdir()) if p.is_dir()}
        configs = {config: paths for config, paths in configs.items() if paths}
        if len(configs) > 1:
            raise UserError(
                f"TFDS data set {name!r} is prepared in several configs; name one: "
                f"{', '.join(f'tfds:{name}/{config}' for config in configs)}."
            )
        found = [path for paths in configs.values() for path in paths]
    return found[-1] if found else None


def _versions(root: pathlib.Path) -> list[pathlib.Path]:
    """Returns the prepared versions in a folder, in numerical order."""
    found = [path.parent for path in root.glob("*.*.*/dataset_info.json")]
    numbers = {path: path.name.split(".") for path in found}
    found = [p for p in found if all(number.isdecimal() for number in numbers[p])]
    return sorted(found, key=lambda path: [int(number) for number in numbers[path]])


def _check_format(path: pathlib.Path) -> None:
    """Raises UserError unless the data has array_record files."""
    about = json.loads((path / "dataset_info.json").read_text())
    formats = [about.get("fileFormat"), *about.get("alternativeFileFormats", [])]
    if "array_record" not in formats:
        # With more than one worker, TFDS 4.9.10 converts in a thread and hides errors.
        raise UserError(
            f"{path} holds {formats[0]} files, which cannot be read at random without "
            "TensorFlow. Convert them once, in another environment with "
            "`pip install tensorflow-datasets tensorflow apache-beam array_record`, by "
            f"`tfds convert_format --dataset_version_dir={path} "
            "--out_file_format=array_record --num_workers=1`."
        )


def image_and_label(info: Any) -> tuple[str, str]:
    """Returns the keys of the image and the label in a tfds.core.DatasetInfo.

    They are its supervised_keys (Oxford-IIIT Pet has a second image and a second
    label) or, if it has none, the only features of their kind.

    Raises:
        UserError: There is no image or no label, or more than one.
    """
    import tensorflow_datasets as tfds

    features = dict(sorted(info.features.items()))  # their order differs by process
    image_keys = [
        key
        for key, feature in features.items()
        if len(feature.shape or ()) == 3
        and feature.np_dtype == np.uint8
        and type(feature) in (tfds.features.Image, tfds.features.Tensor)
    ]
    label_keys = [
        key
        for key, feature in features.items()
        if isinstance(feature, tfds.features.ClassLabel)
    ]
    match info.supervised_keys:
        case (image, label) if image in image_keys and label in label_keys:
            return image, label
    for kind, found in (("image", image_keys), ("class label", label_keys)):
        if len(found) != 1:
            raise UserError(
                f"TFDS data set {info.full_name!r} must have one {kind} a record, has "
                f"{', '.join(found) or 'none'} among {', '.join(features)}."
            )
    return image_keys[0], label_keys[0]


def image_and_mask(info: Any) -> tuple[str, str]:
    """Returns the keys of the image and its mask in a tfds.core.DatasetInfo.

    Raises:
        UserError: There is no image or no mask, or more than one.
    """
    import tensorflow_datasets as tfds

    features = dict(sorted(info.features.items()))
    image_types = (tfds.features.Image, tfds.features.LabeledImage)
    supervised = (info.supervised_keys or (None,))[0]
    of_images, of_masks = [], []
    for key, feature in features.items():
        shape = tuple(feature.shape or ())
        if len(shape) == 3 and shape[-1] == 3 and feature.np_dtype == np.uint8:
            if type(feature) in (tfds.features.Image, tfds.features.Tensor):
                of_images.append(key)
        elif key == supervised:
            of_images.append(key)
        elif type(feature) in image_types and shape[-1] == 1:
            of_masks.append(key)
        elif type(feature) is tfds.features.Tensor:
            is_flat = len(shape) == 2 or (len(shape) == 3 and shape[-1] == 1)
            if is_flat and np.dtype(feature.np_dtype).kind in "biu":
                of_masks.append(key)
    if supervised in of_images:
        of_images = [supervised]
    for kind, found in (("image", of_images), ("mask", of_masks)):
        if len(found) != 1:
            raise UserError(
                f"TFDS data set {info.full_name!r} must have one {kind} a record for "
                f"data.target_kind=mask, has {', '.join(found) or 'none'} among "
                f"{', '.join(features)}."
            )
    return of_images[0], of_masks[0]


def _fingerprint(info: Any, about: str) -> str:
    """SHA-256 of name, config, version, bytes of each split and examples per file, and
    of a text about the meaning of masks."""
    splits_there = {
        name: [int(split.num_bytes), list(split.shard_lengths)]
        for name, split in sorted(info.splits.items())
    }
    text = json.dumps([info.full_name, splits_there, *([about] if about else [])])
    return hashlib.sha256(text.encode()).hexdigest()
