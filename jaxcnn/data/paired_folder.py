"""Folders in which each image has files of the same name beside it.

    PATH/images/1.jpg, PATH/KIND/1.png, ...                     split by data.split_seed
    PATH/train/images/1.jpg, PATH/train/KIND/1.png, PATH/val/...        split already
    PATH/images/train/1.jpg, PATH/KIND/train/1.png, PATH/images/val/...      the same

KIND is masks, for example. Split folders are called as in folder.py. Files that belong
together have the same path and name below the folder of their kind, up to the suffix,
which is their stem.
"""

from collections.abc import Iterable, Mapping, Sequence
import os

from jaxcnn.data.folder import Listing, find_images, split_of
from jaxcnn.errors import UserError


def has(path: str, kinds: Sequence[str]) -> bool:
    """Whether a folder has sub-folders of all these kinds, or one for training has."""
    inside = Listing().subfolders(path)
    if set(kinds) <= set(inside):
        return True
    return any(
        set(kinds) <= set(Listing().subfolders(os.path.join(path, name)))
        for name in inside
        if split_of(name) == "train"
    )


def splits(path: str, kinds: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Split -> its folder of each kind; {"all": ...} where there are no splits.

    Raises:
        UserError: The folder does not have a layout of the module docstring.
    """
    needed = f"{', '.join(f'{kind}/' for kind in kinds[:-1])} and {kinds[-1]}/"
    inside = Listing().subfolders(path)
    if set(kinds) <= set(inside):
        folders = [os.path.join(path, kind) for kind in kinds]
        found = [_splits_in(folder) for folder in folders]
        if not any(found):
            return {"all": tuple(folders)}
        for folder, of_kind in zip(folders[1:], found[1:], strict=True):
            if of_kind.keys() != found[0].keys():
                raise UserError(
                    f"{folders[0]!r} has the splits {', '.join(found[0]) or 'none'}, "
                    f"and {folder!r} {', '.join(of_kind) or 'none'}; they must be "
                    "alike."
                )
        result = {split: tuple(f[split] for f in found) for split in found[0]}
    else:
        result = {}
        for split, folder in _splits_in(path).items():
            names = Listing().subfolders(folder)
            if not set(kinds) <= set(names):
                raise UserError(
                    f"Folder {folder!r} of the {split} split has "
                    f"{', '.join(names) or 'no sub-folders'}; {needed} are needed."
                )
            result[split] = tuple(os.path.join(folder, kind) for kind in kinds)
    if "train" not in result:
        raise UserError(
            f"Folder {path!r} has no images with {' and '.join(kinds[1:])} to train "
            f"on: {needed}, or the same in train/, are needed."
        )
    return result


def _splits_in(path: str) -> dict[str, str]:
    """Split -> its folder in a folder; {} where none is called like a split.

    Raises:
        UserError: Two folders are of one split, or others stand beside splits.
    """
    inside = Listing().subfolders(path)
    named = {name: split_of(name) for name in inside}
    if not any(named.values()):
        return {}
    found: dict[str, str] = {}
    for name, split in named.items():
        if split is None:
            raise UserError(
                f"Folder {path!r} has {', '.join(inside)}; {name} is no split, which "
                "all of them must be, or none."
            )
        if split in found:
            raise UserError(
                f"Folder {path!r} has {os.path.basename(found[split])} and {name}; one "
                f"folder for the {split} split is allowed."
            )
        found[split] = os.path.join(path, name)
    return found


def names(root: str, paths: Sequence[str]) -> list[str]:
    """The paths relative to a folder, with / between their parts."""
    start = len(os.path.join(root, ""))
    return [path[start:].replace(os.sep, "/") for path in paths]


def images_by_stem(path: str, what: str) -> dict[str, str]:
    """Stem -> its image file, for all below a folder; see by_stem."""
    return by_stem(path, find_images([path])[0], what)


def by_stem(path: str, files: Iterable[str], what: str) -> dict[str, str]:
    """Stem -> its file.

    Args:
        path: Folder of the kind.
        files: The files, at any depth below it.
        what: Their name in the plural, for errors.

    Raises:
        UserError: Two files have one stem.
    """
    found: dict[str, str] = {}
    for file in files:
        stem = os.path.splitext(os.path.relpath(file, path))[0]
        other = found.setdefault(stem, file)
        if other != file:
            raise UserError(
                f"{other!r} and {file!r} are two {what} of one name; the suffix alone "
                "does not tell them apart."
            )
    return found


def check(
    images: Mapping[str, str],
    found: Mapping[str, str],
    folders: tuple[str, str],
    what: str,
    suffix: str,
) -> None:
    """Raises UserError unless each image has a file beside it, and each such an image.

    Args:
        images: Stem -> image.
        found: Stem -> file beside it.
        folders: That of the images and that of the files beside them.
        what: Their name in the singular, for errors.
        suffix: End of their names, for errors.
    """
    without = sorted(images.keys() - found.keys())
    if without:
        number = f"{len(without)} image{'s have' if len(without) > 1 else ' has'}"
        raise UserError(
            f"{number} no {what}: for {images[without[0]]!r} there is no "
            f"{os.path.join(folders[1], without[0])}{suffix}."
        )
    extra = sorted(found.keys() - images.keys())
    if extra:
        number = f"{len(extra)} {what}{'s have' if len(extra) > 1 else ' has'}"
        raise UserError(f"{number} no image in {folders[0]!r}: {found[extra[0]]!r}.")
