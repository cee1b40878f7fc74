"""A folder of images: `folder:PATH`, with one subfolder per class.

    PATH/cat/1.jpg, PATH/dog/a/2.png, ...                      split by data.split_seed
    PATH/train/cat/1.jpg, ..., PATH/val/..., PATH/test/...     split already

val may also be called valid or validation. Without it, the validation split is cut from
train; without train/, the test split is cut first. Image files are found by extension
(images.EXTENSIONS) at any depth below their class; names that start with a dot are
ignored. Classes and files are sorted by name, so that the order does not depend on the
file system.
"""

from collections.abc import Mapping, Sequence
import hashlib
import os

import numpy as np

from jaxcnn.config import DataConfig
from jaxcnn.data import images, splits
from jaxcnn.data.examples import Dataset, Examples, fields_used, make_dataset
from jaxcnn.data.files import FileExamples
from jaxcnn.errors import UserError
from jaxcnn.targets import Targets, classes

SPLIT_FOLDERS = {
    "train": ("train",),
    "validation": ("val", "valid", "validation"),
    "test": ("test",),
}


def load(path: str, config: DataConfig) -> Dataset:
    """Loads the images below a folder and splits them.

    Raises:
        UserError: The folder does not have a layout of the module docstring, a class is
            empty or too small to be split, or the splits have different classes.
    """
    if not os.path.isdir(path):
        raise UserError(f"There is no folder {path!r} of images.")
    channels = 3 if config.channels is None else config.channels
    if channels not in images.STATISTICS:
        raise UserError(
            f"Config field data.channels is {channels}; of a folder's images it can be "
            "1 (grey), 3 (RGB) or None (RGB)."
        )
    files = {
        split: _class_files(os.path.normpath(os.path.join(path, folder)), split)
        for split, folder in _split_folders(path).items()
    }
    class_names = list(next(iter(files.values())))
    for split, found in files.items():
        _check_classes(split, list(found), class_names)

    whole = {split: _examples(found, channels) for split, found in files.items()}
    mean, std = images.STATISTICS[channels]
    targets = classes(class_names)
    return make_dataset(
        _complete(whole, targets, config),
        targets=targets,
        channels=channels,
        mean=mean,
        std=std,
        fingerprint=_fingerprint(path, whole),
        made_with=fields_used(
            config, validation="validation" not in whole, test="all" in whole
        ),
        decoder=images.decoder(),
    )


def _folders(path: str) -> list[str]:
    """Names of the subfolders, sorted, without hidden ones."""
    with os.scandir(path) as entries:
        return sorted(e.name for e in entries if e.is_dir() and e.name[0] != ".")


def _files(path: str) -> list[str]:
    """Paths of the image files at any depth, sorted, without hidden ones."""
    found = []
    for folder, subfolders, names in os.walk(path, followlinks=True):
        subfolders[:] = [name for name in subfolders if name[0] != "."]
        found += [
            os.path.join(folder, name)
            for name in names
            if name[0] != "." and name.lower().endswith(images.EXTENSIONS)
        ]
    return sorted(found)


def find_images(paths: Sequence[str]) -> list[str]:
    """Returns the given files, and the image files at any depth in the given folders.

    Raises:
        UserError: A path does not exist, or a folder has no images.
    """
    found = []
    for path in paths:
        if not os.path.exists(path):
            raise UserError(f"There is no file or folder {path!r}.")
        inside = _files(path) if os.path.isdir(path) else [path]
        if not inside:
            raise UserError(
                f"Folder {path!r} has no images; files that end in "
                f"{', '.join(images.EXTENSIONS)} are read."
            )
        found += inside
    return found


def _split_folders(path: str) -> dict[str, str]:
    """Returns split -> its folder; {"all": "."} if train/ has no class folders."""
    folders = _folders(path)
    splits_there = {
        split: [name for name in names if name in folders]
        for split, names in SPLIT_FOLDERS.items()
    }
    others = set(folders).difference(*splits_there.values())
    if not splits_there["train"] or not _folders(os.path.join(path, "train")):
        if folders and not others:
            raise UserError(
                f"Folder {path!r} has {', '.join(folders)} but no training classes: "
                "train/ with one sub-folder per class is missing."
            )
        return {"all": "."}
    for split, names in splits_there.items():
        if len(names) > 1:
            raise UserError(
                f"Folder {path!r} has {' and '.join(names)}; one folder for the "
                f"{split} split is allowed."
            )
    for name in sorted(others):
        if _files(os.path.join(path, name)):
            raise UserError(
                f"Folder {path!r} has train/ and images in {name}/, which is no split; "
                "allowed: train, val (valid, validation), test."
            )
    return {split: names[0] for split, names in splits_there.items() if names}


def _class_files(path: str, split: str) -> dict[str, list[str]]:
    """Returns class -> paths of its images, both sorted."""
    whose = "" if split == "all" else f" of the {split} split"
    files = {name: _files(os.path.join(path, name)) for name in _folders(path)}
    if not files:
        raise UserError(
            f"Folder {path!r}{whose} has no sub-folders; one for each class is needed."
        )
    empty = [name for name, paths in files.items() if not paths]
    if empty:
        raise UserError(
            f"Class {empty[0]!r}{whose} has no images in {path!r}; files that end in "
            f"{', '.join(images.EXTENSIONS)} are read."
        )
    return files


def _check_classes(split: str, found: list[str], expected: list[str]) -> None:
    """Raises UserError unless a split has the same classes as the training split."""
    if len(expected) < 2:
        raise UserError(
            f"There is one class, {expected[0]!r}; at least two are needed, each in a "
            "sub-folder of its own."
        )
    if found != expected:
        extra = sorted(set(found) - set(expected)) or "none"
        missing = sorted(set(expected) - set(found)) or "none"
        raise UserError(
            f"The classes of the {split} split differ from those of training: missing "
            f"{missing}, not in training {extra}."
        )


def _examples(files: Mapping[str, list[str]], channels: int) -> FileExamples:
    counts = [len(paths) for paths in files.values()]
    labels = np.repeat(np.arange(len(files), dtype=np.int32), counts)
    return FileExamples(sum(files.values(), []), {"label": labels}, channels)


def _complete(
    whole: Mapping[str, FileExamples], targets: Targets, config: DataConfig
) -> dict[str, Examples]:
    """Train, validation and, unless there is only train/ and val/, test."""
    if "all" not in whole:
        return splits.complete(whole, targets, config, stratify_by="label")
    counts = np.bincount(whole["all"].column("label"))
    smallest, count = int(counts.argmin()), int(counts.min())
    if count < 3:
        raise UserError(
            f"Class {targets['label'].names[smallest]!r} is too small to be cut into "
            f"train, validation and test: it has {count}, three are needed. Add "
            "images, or make folders train/, val/ and test/."
        )
    return splits.complete(
        {"train": whole["all"]},
        targets,
        config,
        stratify_by="label",
        missing=("test", "validation"),
    )


def _fingerprint(path: str, whole: Mapping[str, FileExamples]) -> str:
    """SHA-256 of split, label, size in bytes and relative path of every file."""
    digest = hashlib.sha256()
    for split, examples in whole.items():
        for file, label in zip(examples.paths, examples.column("label"), strict=True):
            name = os.path.relpath(file, path).replace(os.sep, "/")
            line = f"{split}\t{label}\t{os.path.getsize(file)}\t{name}\n"
            digest.update(os.fsencode(line))
    return digest.hexdigest()
