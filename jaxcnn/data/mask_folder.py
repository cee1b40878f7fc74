"""A folder of images with masks: `folder:PATH` that has images/ and masks/.

    PATH/images/1.jpg, PATH/masks/1.png, ...                    split by data.split_seed
    PATH/train/images/1.jpg, PATH/train/masks/1.png, PATH/val/...       split already
    PATH/images/train/1.jpg, PATH/masks/train/1.png, PATH/images/val/...     the same

Split folders are called as in folder.py. A mask has the path and name of its image, up
to the suffix. PATH/classes.txt names the classes and may say what their levels or
colours are, see mask_coding.py; without it, all masks are read to find the classes.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import os

from jaxcnn.config import DataConfig
from jaxcnn.data import mask_coding, masks
from jaxcnn.data.examples import Dataset, Examples
from jaxcnn.data.folder import Listing, find_images, split_of
from jaxcnn.errors import UserError

_KINDS = ("images", "masks")


@dataclasses.dataclass(frozen=True)
class _Pairs:
    """The images and masks of a split.

    Attributes:
        files: Path of each image.
        masks: Path of each mask.
    """

    files: Sequence[str]
    masks: Sequence[str]


def has_masks(path: str) -> bool:
    """Whether a folder is laid out as the module docstring says."""
    inside = Listing().subfolders(path)
    if _is_pair(inside):
        return True
    return any(
        _is_pair(Listing().subfolders(os.path.join(path, name)))
        for name in inside
        if split_of(name) == "train"
    )


def _is_pair(names: Sequence[str]) -> bool:
    return set(_KINDS) <= set(names)


def load(path: str, config: DataConfig) -> Dataset:
    """Loads the images and masks below a folder and splits them.

    Raises:
        UserError: The folder does not have a layout of the module docstring, an image
            has no mask or a mask no image, two files have one name, or the classes are
            not known.
    """
    pairs = _pairs(path)
    files = [mask for of_split in pairs.values() for mask in of_split.masks]
    coding, remarks = mask_coding.coding_in(path, files, config)
    whole = {
        split: masks.listed(
            of_split.files,
            _names(path, of_split.files),
            masks.MaskFiles(of_split.masks, coding, config.max_pixels),
            config,
        )
        for split, of_split in pairs.items()
    }
    about = masks.about(coding, whole)
    is_whole = "all" in whole
    parts: dict[str, Examples] = {"train": whole["all"]} if is_whole else {**whole}
    return masks.dataset(
        parts,
        coding.names,
        config,
        missing=("test", "validation") if is_whole else ("validation",),
        about=about,
        remarks=remarks,
    )


def _names(root: str, paths: Sequence[str]) -> list[str]:
    start = len(os.path.join(root, ""))
    return [path[start:].replace(os.sep, "/") for path in paths]


def _pairs(path: str) -> dict[str, _Pairs]:
    """Split -> its images and masks; {"all": ...} where there are no splits."""
    inside = Listing().subfolders(path)
    if _is_pair(inside):
        folders = [os.path.join(path, kind) for kind in _KINDS]
        of_images, of_masks = (_splits_in(folder) for folder in folders)
        if not of_images and not of_masks:
            return {"all": _paired(*folders)}
        if of_images.keys() != of_masks.keys():
            raise UserError(
                f"{folders[0]!r} has the splits {', '.join(of_images) or 'none'}, and "
                f"{folders[1]!r} {', '.join(of_masks) or 'none'}; they must be alike."
            )
        pairs = {s: (of_images[s], of_masks[s]) for s in of_images}
    else:
        pairs = {}
        for split, folder in _splits_in(path).items():
            names = Listing().subfolders(folder)
            if not _is_pair(names):
                raise UserError(
                    f"Folder {folder!r} of the {split} split has "
                    f"{', '.join(names) or 'no sub-folders'}; images/ and masks/ are "
                    "needed."
                )
            pairs[split] = tuple(os.path.join(folder, kind) for kind in _KINDS)
    if "train" not in pairs:
        raise UserError(
            f"Folder {path!r} has no images with masks to train on: images/ and "
            "masks/, or the same in train/, are needed."
        )
    return {split: _paired(*folders) for split, folders in pairs.items()}


def _splits_in(path: str) -> dict[str, str]:
    """Split -> its folder in a folder; {} where none is called like a split.

    Raises:
        UserError: Two folders are of one split, or others stand beside splits.
    """
    names = Listing().subfolders(path)
    named = {name: split_of(name) for name in names}
    if not any(named.values()):
        return {}
    found: dict[str, str] = {}
    for name, split in named.items():
        if split is None:
            raise UserError(
                f"Folder {path!r} has {', '.join(names)}; {name} is no split, which "
                "all of them must be, or none."
            )
        if split in found:
            raise UserError(
                f"Folder {path!r} has {os.path.basename(found[split])} and {name}; one "
                f"folder for the {split} split is allowed."
            )
        found[split] = os.path.join(path, name)
    return found


def _paired(image_folder: str, mask_folder: str) -> _Pairs:
    """The images of a folder and their masks in another."""
    files, found = _by_stem(image_folder, "images"), _by_stem(mask_folder, "masks")
    without = sorted(files.keys() - found.keys())
    if without:
        number = f"{len(without)} image{'s have' if len(without) > 1 else ' has'}"
        raise UserError(
            f"{number} no mask: for {files[without[0]]!r} there is no "
            f"{os.path.join(mask_folder, without[0])}.png (or another suffix)."
        )
    extra = sorted(found.keys() - files.keys())
    if extra:
        number = f"{len(extra)} mask{'s have' if len(extra) > 1 else ' has'}"
        raise UserError(f"{number} no image in {image_folder!r}: {found[extra[0]]!r}.")
    stems = sorted(files)
    return _Pairs([files[s] for s in stems], [found[s] for s in stems])


def _by_stem(path: str, what: str) -> Mapping[str, str]:
    """Path of each file, relative to a folder and without its suffix -> the file."""
    files: dict[str, str] = {}
    for file in find_images([path])[0]:
        stem = os.path.splitext(os.path.relpath(file, path))[0]
        other = files.setdefault(stem, file)
        if other != file:
            raise UserError(
                f"{other!r} and {file!r} are two {what} of one name; the suffix alone "
                "does not tell them apart."
            )
    return files
