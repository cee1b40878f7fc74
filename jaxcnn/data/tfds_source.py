"""Datasets prepared by TensorFlow Datasets (TFDS), read without TensorFlow.

TFDS must have prepared them for random access, in the array_record format (its default
is tfrecord). They are read only from data.dir; nothing is downloaded. Image files are
decoded by data/images.py, like those of other sources, not by TFDS.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import hashlib
import json
import pathlib
from typing import Any

import numpy as np

from jaxcnn.config import DataConfig
from jaxcnn.data import arrays, images, splits
from jaxcnn.data.examples import Dataset, Examples, fields_used, make_dataset
from jaxcnn.errors import UserError
from jaxcnn.targets import classes

# Names of the TFDS split for each of our splits, unless a TfdsSet says otherwise.
NAMES = {
    "train": ("train",),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
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
                class label each.
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
        image_key, label_key = image_and_label(info)
        targets = classes(info.features[label_key].names)
        channels = config.channels
        if channels is None:
            channels = 1 if info.features[image_key].shape[-1] == 1 else 3
        if channels not in images.STATISTICS:
            raise UserError(
                f"Config field data.channels is {channels}; it must be 1 (grey) or 3 "
                "(RGB)."
            )
        examples: dict[str, Examples] = {}
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
                Parser(info.features, image_key, label_key),
                Parser(info.features, label_key),
                channels,
                f"{path}:{split}",
                config.max_pixels,
            )
        mean, std = images.STATISTICS[channels]
        by = "label" if self.stratify else None
        return make_dataset(
            splits.complete(examples, targets, config, stratify_by=by),
            made_with=fields_used(
                config, "max_pixels", validation="validation" not in examples
            ),
            targets=targets,
            channels=channels,
            mean=mean,
            std=std,
            fingerprint=_fingerprint(info),
            decoder=images.decoder(),
        )

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
        parse: Parser of a record's image (a file or pixels) and label.
        parse_label: Parser of a record's label only.
        channels: Channels of the returned images: 1 grey, 3 RGB.
        where: Name of the split in error messages.
        max_pixels: Number of pixels above which an image is not decoded.
    """

    source: Sequence[bytes]
    parse: Parser
    parse_label: Parser
    channels: int
    where: str
    max_pixels: int = images.MAX_PIXELS

    def column(self, target: str) -> np.ndarray:
        return {"label": self._labels}[target]

    @functools.cached_property
    def _labels(self) -> np.ndarray:
        """int32 [N]. Reads every record, but decodes no image."""
        labels = [self.parse_label(self.source[i])[0] for i in range(len(self))]
        return np.array(labels, np.int32)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return images.decoded(self.encoded(index))

    def encoded(self, index: int) -> dict[str, Any]:
        """Returns an example before decoding, see examples.encoded."""
        image, label = self.parse(self.source[index])
        if isinstance(image, bytes):
            where = f"{self.where}[{index}]"
            image = images.Encoded(image, self.channels, where, self.max_pixels)
        else:
            image = arrays.with_channels(image[None], self.channels)[0]
        return {"image": image, "label": int(label)}


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


def _fingerprint(info: Any) -> str:
    """SHA-256 of name, config, version, bytes of each split and examples per file."""
    splits_there = {
        name: [int(split.num_bytes), list(split.shard_lengths)]
        for name, split in sorted(info.splits.items())
    }
    text = json.dumps([info.full_name, splits_there])
    return hashlib.sha256(text.encode()).hexdigest()
