"""The data sets by name: DATASETS, and what data.name may be besides."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import time
from typing import Any

from jaxcnn import names
from jaxcnn.config import DATA_PREFIXES, DataConfig
from jaxcnn.data import (
    cifar,
    cityscapes,
    coco,
    embedded,
    folder,
    glyph_crops,
    glyph_scenes,
    glyphs,
    mnist,
    road,
    shapes,
    table,
    text_lines,
    voc,
)
from jaxcnn.data.examples import Dataset
from jaxcnn.data.tfds_source import TfdsSet, prepared_folder
from jaxcnn.errors import UserError, require, unknown

Source = Callable[[DataConfig], Dataset]

SLOW_SECONDS = 2.0  # a run says how long its data took where it was more


def _original(
    name: str,
    read: Callable[[DataConfig], Dataset | None],
    files: Sequence[str],
    config: DataConfig,
) -> Dataset:
    """A data set from its original files or, where they are not, from TFDS."""
    dataset = read(config)
    if dataset is not None:
        return dataset
    if prepared_folder(name, config.dir) is None:
        raise UserError(
            f"Dataset {name!r} is not in data.dir {config.dir!r}: put "
            f"{' or '.join(files)} into {config.dir}/{name}, or let TFDS prepare it "
            f"(`tfds build {name} --file_format=array_record --data_dir={config.dir}`, "
            "where TensorFlow is installed)."
        )
    return TfdsSet(name)(config)


def _mnist(name: str, class_names: Sequence[str]) -> Source:
    files = ", ".join(f"{file}.gz" for pair in mnist.FILES.values() for file in pair)
    read = functools.partial(mnist.load, name, class_names)
    return functools.partial(_original, name, read, [files])


def _cifar(name: str) -> Source:
    files = [version.archive for version in cifar.VERSIONS[name]]
    return functools.partial(
        _original, name, functools.partial(cifar.load, name), files
    )


# A row is a function of the config. Of TFDS's data sets, those need one whose splits
# are not called train, validation and test, or that are large.
DATASETS: Mapping[str, Source] = {
    "digits": embedded.digits,
    "glyphs": glyphs.matplotlib_fonts,
    "text_lines": text_lines.matplotlib_fonts,
    "shapes": shapes.multi_label,
    "disc": shapes.disc,
    "glyph_scenes": glyph_scenes.load,
    "glyph_crops": glyph_crops.load,
    "road": road.load,
    "mnist": _mnist("mnist", mnist.DIGITS),
    "fashion_mnist": _mnist("fashion_mnist", mnist.CLOTHES),
    "cifar10": _cifar("cifar10"),
    "cifar100": _cifar("cifar100"),
    # The labelled validation images are what the field reports on, so they test and
    # select nothing. Labels of 1.28 million files are not read for the cut.
    "imagenet2012": TfdsSet(
        "imagenet2012", {"train": "train", "test": "validation"}, stratify=False
    ),
    "imagenette": TfdsSet("imagenette", {"train": "train", "test": "validation"}),
    "oxford_flowers102": TfdsSet("oxford_flowers102"),
    "oxford_iiit_pet": TfdsSet("oxford_iiit_pet"),
}

# data.name is PREFIX:REST, for each of config.DATA_PREFIXES. They come before a module
# of that name.
PREFIXES: Mapping[str, Callable[[str, DataConfig], Dataset]] = {
    "tfds": lambda name, config: _tfds(name)(config),
    "folder": folder.load,
    "csv": table.load,
    "glyphs": glyphs.folder_of_fonts,
    "voc": voc.load,
    "cityscapes": cityscapes.load,
    "coco": coco.load,
}


# Which kinds of data sets read a field of DataConfig; all read the others. Kinds are
# PREFIXES, "files" (DATASETS from original files in data.dir) and "fixed" (other
# DATASETS); data sets of TFDS in DATASETS are of kind "tfds". Data sets of your own may
# read any field. Dataset.made_with says which cuts were read.
_OF_FILES = ("folder", "csv", "tfds", "files", "voc", "cityscapes", "coco")
READ_BY: Mapping[str, tuple[str, ...]] = {
    "dir": ("tfds", "files"),
    "target_kind": ("csv", "folder", "tfds"),
    "target_columns": ("csv",),
    "scaled_decoding": _OF_FILES,
    "max_pixels": _OF_FILES,
}
_CUTS = ("validation_fraction", "test_fraction", "split_seed")
# Of these, a value that nothing reads is a mistake; of others it is remarked on.
_REFUSED = ("target_kind", "target_columns")
_FIXED = (
    *("digits", "glyphs", "text_lines", "shapes", "disc", "glyph_scenes"),
    *("glyph_crops", "road"),
)


def _kind(name: str) -> str | None:
    """The kind of a data set, see READ_BY; None for one of a user's own."""
    prefix, colon, rest = name.partition(":")
    if colon and rest:
        return prefix if prefix in PREFIXES else None
    if name not in DATASETS:
        return None
    if isinstance(DATASETS[name], TfdsSet):
        return "tfds"
    return "fixed" if name in _FIXED else "files"


def reads(name: str, field: str) -> bool:
    """Whether the data set of that name reads a field of DataConfig that is no cut."""
    kind = _kind(name)
    return kind is None or field not in READ_BY or kind in READ_BY[field]


def _without_effect(dataset: Dataset, config: DataConfig) -> Dataset:
    """The data set with a remark on each field that was changed and that it ignores.

    Raises:
        UserError: Such a field says what is learned.
    """
    default, remarks = DataConfig(), []
    cuts = [] if _kind(config.name) is None else _CUTS
    for field in [*READ_BY, *cuts]:
        value = getattr(config, field)
        read = (
            field in dataset.made_with if field in _CUTS else reads(config.name, field)
        )
        if read or value == getattr(default, field):
            continue
        if field in _REFUSED:
            rule = (
                f"{getattr(default, field)!r} for {config.name}, which does not read it"
            )
            require(False, f"data.{field}", value, rule)
        why = "is not read by" if field in READ_BY else "cuts nothing off"
        remarks.append(f"Warning: data.{field}={value!r} {why} {config.name}.")
    return dataclasses.replace(dataset, remarks=(*dataset.remarks, *remarks))


def _tfds(name: str) -> TfdsSet:
    """The data set of TFDS, with the splits of its row in DATASETS if it has one."""
    row = DATASETS.get(name.split("/")[0])
    if not isinstance(row, TfdsSet):
        return TfdsSet(name)
    return TfdsSet(name, row.parts, row.stratify)


def load(config: DataConfig) -> Dataset:
    """The data set config.name, split into train, validation and often test.

    Raises:
        UserError: The name is unknown, or the data is missing or broken.
    """
    begin = time.perf_counter()
    dataset = _without_effect(_load(config), config)
    seconds = time.perf_counter() - begin
    if seconds < SLOW_SECONDS:
        return dataset
    number = sum(dataset.info.num_examples.values())
    remark = f"Loading {config.name}, {number:,} examples, took {seconds:.1f} s."
    return dataclasses.replace(dataset, remarks=(*dataset.remarks, remark))


def _load(config: DataConfig) -> Dataset:
    prefix, colon, rest = config.name.partition(":")
    if colon and rest and prefix in PREFIXES:
        return PREFIXES[prefix](rest, config)
    is_name = config.name in DATASETS or config.name == names.GIVEN
    if not is_name and not names.is_import(config.name):
        prefixed = [f"{prefix}:{rest}" for prefix, rest in DATA_PREFIXES.items()]
        raise unknown("dataset", config.name, [*DATASETS, *prefixed])
    dataset = names.resolve(config.name, DATASETS, "dataset")
    return checked(dataset, f"data.name={config.name!r}", config)


def checked(dataset: Any, what: str, config: DataConfig) -> Dataset:
    """The data set that is given, or that a function of the config gives.

    Args:
        dataset: A Dataset, or a function that is called with the config and gives one.
        what: Name of its origin in error messages.
        config: Data settings of the run.

    Raises:
        UserError: It is no Dataset, or one that no run can train on.
    """
    if callable(dataset):
        dataset = dataset(config)
    if not isinstance(dataset, Dataset):
        raise UserError(
            f"{what} gives a {type(dataset).__name__}; it must be a jaxcnn.Dataset, or "
            "a function of the DataConfig that gives one. What can only be iterated "
            "cannot be resumed exactly: Dataset.from_arrays takes arrays, and "
            "Dataset.from_examples anything with a length and an index."
        )
    for split in ("train", "validation"):
        if split not in dataset.splits:
            raise UserError(
                f"{what} has no split {split!r}; it has "
                f"{', '.join(dataset.splits) or 'none'}, and a run needs train and "
                "validation."
            )
    lengths = {split: len(part) for split, part in dataset.splits.items()}
    for split, number in lengths.items():
        if number == 0:
            raise UserError(f"{what}: the {split} split is empty.")
    rule = f"the lengths of its splits, {lengths}"
    stated = dict(dataset.info.num_examples)
    require(stated == lengths, f"{what}: info.num_examples", stated, rule)
    if config.groups is not None and "groups" not in dataset.made_with:
        rule = "None for a data set that does not say in made_with that it reads it"
        require(False, "data.groups", config.groups, rule)
    return dataset
