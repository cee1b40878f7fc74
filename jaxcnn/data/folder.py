"""A folder of images: `folder:PATH`, with one subfolder per class.

(A folder with images/ and masks/ is read by mask_folder.py, one with images/ and
fixations/ by fixation_folder.py.)

    PATH/cat/1.jpg, PATH/dog/a/2.png, ...                      split by data.split_seed
    PATH/train/cat/1.jpg, ..., PATH/val/..., PATH/test/...     split already

Split folders may have other names, see SPLIT_NAMES, in upper or lower case. Without a
validation folder, the validation split is cut from train; without train/, the test
split is cut, too. Image files are found by extension (images.EXTENSIONS) at any depth
below their class; names that start with a dot are ignored. Classes and files are sorted
by name, so that the order does not depend on the file system.

With data.target_kind=none the images have no classes, for tasks that need none:

    PATH/1.jpg, PATH/holiday/2.jpg, ...                        split by data.split_seed
    PATH/train/1.jpg, ..., PATH/val/..., PATH/test/...         split already

Symbolic links are followed, but each real folder is read once, as a class or split
folder rather than as a folder below another, and none above PATH. Of what is called
like an image, only regular files are: a pipe, a socket or a device is never opened. A
link that leads nowhere is an unreadable image.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
import dataclasses
import hashlib
import os
from pathlib import Path
import re

import numpy as np

from jaxcnn.config import DataConfig
from jaxcnn.data import groups, images, splits
from jaxcnn.data.examples import Dataset, Examples, fields_used, make_dataset
from jaxcnn.data.files import FileExamples, size_of
from jaxcnn.errors import UserError, require
from jaxcnn.targets import Targets, classes, only_label

SPLIT_NAMES = {
    "train": ("train", "training", "trn"),
    "validation": ("val", "valid", "validation", "dev", "development"),
    "test": ("test", "testing", "tst", "eval", "evaluation", "holdout"),
}
# Words that stand beside the name of a split, as in train_set, test-images or val2017.
_BESIDE = re.compile(r"(data)?sets?|data|images?|imgs?|split|folder|part")


def load(path: str, config: DataConfig) -> Dataset:
    """Loads the images below a folder and splits them.

    Raises:
        UserError: The folder does not have a layout of the module docstring, a class is
            empty or too small to be split, or the splits have different classes.
    """
    if not os.path.isdir(path):
        raise UserError(f"There is no folder {path!r} of images.")
    # They use the functions below.
    from jaxcnn.data import fixation_folder, mask_folder, paired_folder

    for kind, module in (("mask", mask_folder), ("fixations", fixation_folder)):
        implied = config.target_kind != "none" and paired_folder.has(path, module.KINDS)
        if config.target_kind == kind or implied:
            return module.load(path, config)
    rule = (
        "'label' for a folder per class, 'mask' for one with images/ and masks/, "
        "'fixations' for one with images/ and fixations/ or maps/, or 'none' for "
        "images without classes"
    )
    holds = config.target_kind in ("label", "none")
    require(holds, "data.target_kind", config.target_kind, rule)
    channels = 3 if config.channels is None else config.channels
    if channels not in images.STATISTICS:
        raise UserError(
            f"Config field data.channels is {channels}; of a folder's images it can be "
            "1 (grey), 3 (RGB) or None (RGB)."
        )
    listing = Listing()
    if config.target_kind == "none":
        files, targets = _without_classes(path, listing), {}
    else:
        split_folders = _split_folders(path, listing)
        files = listing.class_files(path, split_folders)
        class_names = list(next(iter(files.values())))
        for split, found in files.items():
            _check_classes(split, list(found), class_names)
        targets = classes(class_names)

    whole = {
        split: _examples(path, found, channels, config.max_pixels, targets)
        for split, found in files.items()
    }
    mean, std = images.STATISTICS[channels]
    return make_dataset(
        _complete(whole, targets, config),
        targets=targets,
        channels=channels,
        mean=mean,
        std=std,
        fingerprint=_fingerprint(whole, config),
        made_with=fields_used(
            config,
            *("target_kind", "max_pixels"),
            validation="validation" not in whole,
            test="all" in whole,
        ),
        decoder=images.decoder(),
    )


# Listing.


@dataclasses.dataclass
class Listing:
    """Lists folders, each real one once.

    Attributes:
        places: (device, inode) of each folder that was listed or will be -> its path.
    """

    places: dict[tuple[int, int], str] = dataclasses.field(default_factory=dict)

    def subfolders(self, path: str) -> list[str]:
        """Names of the subfolders, sorted, without hidden ones."""
        return sorted(name for name, kind in _entries(path) if kind == "folder")

    def files(self, path: str) -> list[str]:
        """Paths of the image files at any depth, sorted, without hidden ones."""
        found, waiting = [], [path]
        while waiting:
            where = waiting.pop()
            for name, kind in _entries(where):
                inside = os.path.join(where, name)
                if kind == "folder":
                    if self.claim(inside) is None:
                        waiting.append(inside)
                elif kind in ("file", "missing") and is_image(name):
                    found.append(inside)
        return sorted(found)

    def claim(self, path: str) -> str | None:
        """None for the first path of a real folder, and the first path for others."""
        try:
            status = os.stat(path)
        except OSError as error:
            raise _unreadable(path, error) from error
        first = self.places.setdefault((status.st_dev, status.st_ino), path)
        return None if first is path else first

    def claim_root(self, path: str) -> None:
        """Claims a folder and those above it, so that links to them lead nowhere."""
        self.claim(path)
        for above in Path(os.path.realpath(path)).parents:
            self.claim(str(above))

    def class_files(
        self, root: str, split_folders: Mapping[str, str]
    ) -> dict[str, dict[str, list[str]]]:
        """Split -> class -> paths of its images, all sorted."""
        self.claim_root(root)
        folders: dict[str, dict[str, str]] = {}
        for split, name in split_folders.items():
            folder = root if name == "." else os.path.join(root, name)
            names = self.subfolders(folder)
            folders[split] = {c: os.path.join(folder, c) for c in names}
            for part in ([] if name == "." else [folder], folders[split].values()):
                for inside in part:
                    first = self.claim(inside)
                    if first is not None:
                        raise UserError(
                            f"{inside!r} and {first!r} are the same folder; each class "
                            "and split must have a folder of its own."
                        )
            if not names:
                raise UserError(
                    f"Folder {folder!r}{_whose(split)} has no sub-folders; one for "
                    "each class is needed (data.target_kind=none takes images without "
                    "classes)."
                )
        return {
            split: self._of_classes(split, paths) for split, paths in folders.items()
        }

    def _of_classes(self, split: str, paths: Mapping[str, str]) -> dict[str, list[str]]:
        files = {name: self.files(path) for name, path in paths.items()}
        empty = [name for name, found in files.items() if not found]
        if empty:
            raise UserError(
                f"Class {empty[0]!r}{_whose(split)} has no images in "
                f"{paths[empty[0]]!r}; files that end in "
                f"{', '.join(images.EXTENSIONS)} are read."
            )
        return files


def _whose(split: str) -> str:
    return "" if split == "all" else f" of the {split} split"


def _entries(path: str) -> Iterator[tuple[str, str]]:
    """Yields (name, kind) of what is in a folder, without hidden names.

    The kind is "folder", "file", "missing" for a link that leads nowhere, or "special",
    such as a pipe.
    """
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name[0] != ".":
                    yield entry.name, _kind(entry)
    except OSError as error:
        raise _unreadable(path, error) from error


def _kind(entry: os.DirEntry) -> str:
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        exists = not entry.is_symlink() or os.path.exists(entry.path)
    except OSError:  # a link to itself
        exists = False
    return "special" if exists else "missing"


def _unreadable(path: str, error: OSError) -> UserError:
    return UserError(f"Folder {path!r} cannot be read: {error.strerror}.")


def is_image(name: str) -> bool:
    """Whether a file is called like an image."""
    return name.lower().endswith(images.EXTENSIONS)


def find_images(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """The given files and the image files at any depth in the given folders.

    Returns:
        Paths of the images, and of what is in the folders besides: files of other
        types, pipes and the like.

    Raises:
        UserError: A path does not exist, or a folder has no images.
    """
    found, others = [], []
    for path in paths:
        if not os.path.lexists(path):
            raise UserError(f"There is no file or folder {path!r}.")
        if not os.path.isdir(path):
            found.append(path)
            continue
        listing = Listing()
        listing.claim_root(path)
        inside = listing.files(path)
        if not inside:
            raise UserError(
                f"Folder {path!r} has no images; files that end in "
                f"{', '.join(images.EXTENSIONS)} are read."
            )
        found += inside
        others += other_files(path, set(inside))
    return found, others


def other_files(path: str, known: Set[str]) -> list[str]:
    """Paths below a folder that are no folders and not among those known, sorted."""
    listing, waiting, others = Listing(), [path], []
    listing.claim_root(path)
    while waiting:
        where = waiting.pop()
        for name, kind in _entries(where):
            inside = os.path.join(where, name)
            if kind != "folder":
                others += [] if inside in known else [inside]
            elif listing.claim(inside) is None:
                waiting.append(inside)
    return sorted(others)


# Layout.


def split_of(name: str) -> str | None:
    """The split that a folder of this name holds; None: it is no name of a split."""
    split, others = _split_and_others(name)
    return None if others else split


def _split_and_others(name: str) -> tuple[str | None, tuple[str, ...]]:
    """The split that a word of a name says, and its other words, as "seg" in seg_train.

    The split is None where no word, or more than one, is that of a split.
    """
    words = [w for w in re.split(r"[^a-z]+", name.casefold()) if w]
    words = [re.sub(r"(?<=.)(data|images?|sets?)$", "", word) for word in words]
    words = [word for word in words if not _BESIDE.fullmatch(word)]
    found = [
        (s, word) for s, names in SPLIT_NAMES.items() for word in words if word in names
    ]
    if len(found) != 1:
        return None, tuple(words)
    split, word = found[0]
    return split, tuple(other for other in words if other != word)


def _split_folders(path: str, listing: Listing) -> dict[str, str]:
    """Returns split -> its folder; {"all": "."} where the folders are classes.

    A folder called like a split is a class if there are other folders, none of which is
    called like another split or has the same sub-folders.

    Raises:
        UserError: It is not clear which folders are splits and which are classes.
    """
    folders = listing.subfolders(path)
    named: dict[str, list[str]] = {split: [] for split in SPLIT_NAMES}
    for name in folders:
        if split_of(name) is not None:
            named[split_of(name)].append(name)
    others = [name for name in folders if split_of(name) is None]
    inside = {
        name: listing.subfolders(os.path.join(path, name))
        for name in sum(named.values(), [])
    }
    if not any(inside[name] for name in named["train"]):
        shared = any(
            set(inside[name]) & set(listing.subfolders(os.path.join(path, other)))
            for name in inside
            if inside[name]
            for other in folders
            if other != name
        )
        several = sum(bool(names) for names in named.values()) > 1
        if (inside and not others) or several or shared:
            raise UserError(
                f"Folder {path!r} has {', '.join(inside)} but no training classes: "
                "train/ with one sub-folder per class is missing."
            )
        _refuse_pairs(path, folders)
        for name in folders:
            below = listing.subfolders(os.path.join(path, name))
            found = [folder for folder in below if split_of(folder) is not None]
            if len({split_of(folder) for folder in found}) > 1:
                raise UserError(
                    f"Folder {os.path.join(path, name)!r} has {', '.join(found)}; "
                    "splits must be above the classes, as in train/cat, not cat/train."
                )
        return {"all": "."}
    for split, names in named.items():
        if len(names) > 1:
            raise UserError(
                f"Folder {path!r} has {' and '.join(names)}; one folder for the "
                f"{split} split is allowed."
            )
    for name in others:
        if Listing().files(os.path.join(path, name)):
            allowed = "; ".join(", ".join(names) for names in SPLIT_NAMES.values())
            raise UserError(
                f"Folder {path!r} has {named['train'][0]}/ and images in {name}/, "
                f"which is no split; allowed: {allowed}."
            )
    return {split: names[0] for split, names in named.items() if names}


def _without_classes(path: str, listing: Listing) -> dict[str, dict[str, list[str]]]:
    """Split -> {"": paths of its images}; "all" where no folder is called train.

    Raises:
        UserError: There are no images, or some that belong to no split.
    """
    listing.claim_root(path)
    names = {name: split_of(name) for name in listing.subfolders(path)}
    if "train" not in names.values():
        folders = {"all": [path]}
    else:
        folders = {split: [] for split in SPLIT_NAMES}
        for name, split in names.items():
            inside = os.path.join(path, name)
            if split is not None:
                folders[split].append(inside)
            elif Listing().files(inside):
                raise UserError(
                    f"Folder {path!r} has a folder for training, and images in "
                    f"{name}/, which is no split."
                )
    found = {
        split: {"": sorted(sum(map(listing.files, paths), []))}
        for split, paths in folders.items()
        if paths
    }
    for split, files in found.items():
        if not files[""]:
            raise UserError(
                f"Folder {folders[split][0]!r}{_whose(split)} has no images; files "
                f"that end in {', '.join(images.EXTENSIONS)} are read."
            )
    return found


def _refuse_pairs(path: str, folders: Sequence[str]) -> None:
    """Raises UserError for folders such as seg_train and seg_test, which are splits."""
    seen: dict[tuple[str, ...], tuple[str, str]] = {}
    for name in folders:
        split, others = _split_and_others(name)
        if split is None:
            continue
        first, first_split = seen.setdefault(others, (name, split))
        if first_split != split:
            raise UserError(
                f"Folder {path!r} has {first} and {name}, which are called like splits "
                f"rather than classes; call them {first_split} and {split}."
            )


def _check_classes(split: str, found: list[str], expected: list[str]) -> None:
    """Raises UserError unless a split has the same classes as the training split."""
    if len(expected) < 2:
        hint = " Images with masks need masks/ beside images/."
        raise UserError(
            f"There is one class, {expected[0]!r}; at least two are needed, each in a "
            f"sub-folder of its own.{hint if expected[0] == 'images' else ''}"
        )
    if found != expected:
        extra = sorted(set(found) - set(expected)) or "none"
        missing = sorted(set(expected) - set(found)) or "none"
        raise UserError(
            f"The classes of the {split} split differ from those of training: missing "
            f"{missing}, not in training {extra}."
        )


def _examples(
    root: str,
    files: Mapping[str, list[str]],
    channels: int,
    max_pixels: int,
    targets: Targets,
) -> FileExamples:
    counts = [len(paths) for paths in files.values()]
    labels = np.repeat(np.arange(len(files), dtype=np.int32), counts)
    paths = [path for found in files.values() for path in found]
    start = len(os.path.join(root, ""))
    return FileExamples(
        paths,
        {"label": labels} if targets else {},
        channels,
        example_names=[path[start:].replace(os.sep, "/") for path in paths],
        file_sizes=np.array([size_of(path) for path in paths], np.int64),
        max_pixels=max_pixels,
    )


def _complete(
    whole: Mapping[str, FileExamples], targets: Targets, config: DataConfig
) -> dict[str, Examples]:
    """Train, validation and, unless there is only train/ and val/, test."""
    by = only_label(targets)
    if "all" not in whole:
        return splits.complete(whole, targets, config, stratify_by=by)
    return splits.complete(
        {"train": whole["all"]},
        targets,
        config,
        stratify_by=by,
        missing=("test", "validation"),
    )


def _fingerprint(whole: Mapping[str, FileExamples], config: DataConfig) -> str:
    """SHA-256 of split, label, size in bytes and name of every file, and of groups."""
    digest = hashlib.sha256(f"by name {groups.digest(config.groups)}".encode())
    for split, examples in whole.items():
        sizes = examples.file_sizes.tolist()
        labels = examples.targets.get("label", np.zeros(len(sizes), np.int32)).tolist()
        for name, label, size in zip(
            examples.example_names, labels, sizes, strict=True
        ):
            digest.update(os.fsencode(f"{split}\t{label}\t{size}\t{name}\n"))
    return digest.hexdigest()
