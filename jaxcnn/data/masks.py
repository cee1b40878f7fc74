"""Images with a mask for each: a class for each pixel.

The mask of an image is a file (see mask_coding.py for what its pixels mean), or what a
source makes of something else, such as polygons.

An image whose EXIF orientation turns it is turned as it is decoded, and its mask with
it: a mask of the size that the image has when it is turned belongs to the turned image
(labelling tools show it so), a mask of the size that is stored in the file is turned
like the image. Where both sizes are equal (squares, upside-down or mirrored images),
the mask is taken to belong to the image as it is seen. A mask that has an orientation
of its own is turned by that.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import hashlib
import os
from typing import Any

import numpy as np
from PIL import Image

from jaxcnn.config import DataConfig
from jaxcnn.data import groups, images, splits
from jaxcnn.data.examples import (
    Dataset,
    Examples,
    Unread,
    fields_used,
    make_dataset,
)
from jaxcnn.data.files import FileExamples, size_of
from jaxcnn.data.images import Encoded
from jaxcnn.data.mask_coding import Coding, Mask
from jaxcnn.errors import UserError, require
from jaxcnn.targets import masks as mask_target

# EXIF orientations that swap the sides -> what Pillow's exif_transpose does.
_TURNS = {
    5: lambda mask: mask.T,
    6: lambda mask: np.rot90(mask, -1),
    7: lambda mask: np.rot90(mask, 2).T,
    8: np.rot90,
}


def decode(
    source: bytes | str,
    coding: Coding,
    image: Any,
    name: str,
    max_pixels: int = images.MAX_PIXELS,
) -> Mask:
    """The mask of an image, [H, W] as high and wide as it.

    Args:
        source: Path of the mask file, or its content.
        coding: Meaning of its numbers.
        image: The Encoded image, or its pixels, [H, W, C].
        name: Name of the mask in errors.
        max_pixels: Number of pixels above which it is not decoded.

    Raises:
        BadImageError: The file cannot be decoded.
        UserError: The file is no mask, has another size than the image, or a pixel of
            no class.
    """
    return fitted(images.stored(source, name, max_pixels), coding, image, name)


def fitted(stored: Image.Image, coding: Coding, image: Any, name: str) -> Mask:
    """The mask of an image from a mask that images.stored has read, see decode."""
    width, height = stored.size
    turn = turn_of((height, width), image, name)  # before the pixels are looked at
    return turn(coding.classes_of(stored, name))


def turn_of(
    size: tuple[int, int], image: Any, name: str
) -> Callable[[np.ndarray], np.ndarray]:
    """What turns a mask of that height and width as its image was; see the module.

    Raises:
        UserError: They have different sizes.
    """
    shape = image.shape[:2]
    if size == shape:
        return lambda mask: mask
    turn = _TURNS.get(image.orientation) if isinstance(image, Encoded) else None
    if turn is not None and size[::-1] == shape:
        return lambda mask: np.ascontiguousarray(turn(mask))
    raise UserError(
        f"{name}: this mask has {size[1]} x {size[0]} pixels and its image {shape[1]} "
        f"x {shape[0]}; they must be equal."
    )


@dataclasses.dataclass(frozen=True)
class MaskFiles:
    """A mask file for each image; called with its index and the image.

    Attributes:
        paths: Path of each mask.
        coding: Meaning of their numbers.
        max_pixels: Number of pixels above which a mask is not decoded.
    """

    paths: Sequence[str]
    coding: Coding
    max_pixels: int = images.MAX_PIXELS

    def __call__(self, index: int, image: Encoded) -> Mask:
        path = self.paths[index]
        return decode(path, self.coding, image, path, self.max_pixels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskedImages(FileExamples):
    """Image files with a mask for each.

    Attributes:
        masks: Function of the index of an image and of the Encoded image, which gives
            its mask.
    """

    masks: Callable[[int, Encoded], Mask]

    def column(self, target: str) -> np.ndarray | Unread:
        if target != "mask":
            return super().column(target)
        return Unread(lambda i: self.encoded(i)["mask"], np.arange(len(self)))

    def encoded(self, index: int) -> dict[str, Any]:
        example = super().encoded(index)
        return example | {"mask": self.masks(index, example["image"])}

    @property
    def other_paths(self) -> Sequence[str]:
        """Files that are read besides the images."""
        return getattr(self.masks, "paths", ())


def dataset(
    parts: Mapping[str, Examples],
    names: Sequence[str],
    config: DataConfig,
    *,
    missing: Sequence[str],
    about: str,
    made_with: Sequence[str] = (),
    remarks: Sequence[str] = (),
) -> Dataset:
    """The Dataset of MaskedImages, or of Subsets of such.

    Args:
        parts: Split -> its examples.
        names: Names of the classes.
        config: Gives the cuts.
        missing: Splits that are cut off train, see splits.complete.
        about: Text that changes when the examples do.
        made_with: Fields of config, besides max_pixels, that the parts depend on.
        remarks: Messages for the log of a run.

    Raises:
        UserError: There are fewer than two classes, or a cut is not possible.
    """
    rule = "at least two"
    require(len(names) > 1, "The classes of the masks", tuple(names), rule)
    targets, channels = mask_target(names), channels_of(config)
    mean, std = images.STATISTICS[channels]
    digest = hashlib.sha256(f"{about} {groups.digest(config.groups)}".encode())
    return make_dataset(
        splits.complete(parts, targets, config, stratify_by=None, missing=missing),
        targets=targets,
        channels=channels,
        mean=mean,
        std=std,
        fingerprint=digest.hexdigest(),
        made_with=fields_used(
            config,
            *("max_pixels", *made_with),
            validation="validation" in missing and "validation" not in parts,
            test="test" in missing and "test" not in parts,
        ),
        decoder=images.decoder(),
        remarks=remarks,
    )


def channels_of(config: DataConfig) -> int:
    """Channels of the images of files: those of the config, or 3."""
    channels = 3 if config.channels is None else config.channels
    rule = "1 (grey) or 3 (RGB)"
    require(channels in images.STATISTICS, "data.channels", channels, rule)
    return channels


def listed(
    files: Sequence[str], names: Sequence[str], masks: Any, config: DataConfig
) -> MaskedImages:
    """MaskedImages of files with these names, whose sizes are read.

    Raises:
        UserError: Two images have the same name.
    """
    seen: dict[str, str] = {}
    for file, name in zip(files, names, strict=True):
        if seen.setdefault(name, file) != file:
            raise UserError(f"{file} and {seen[name]} are called the same.")
    sizes = np.array([size_of(file) for file in files], np.int64)
    channels = channels_of(config)
    return MaskedImages(
        files, {}, channels, names, sizes, config.max_pixels, masks=masks
    )


def check_files(files: Sequence[str], mask_files: Sequence[str], where: str) -> None:
    """Raises UserError unless each image and each mask is a file.

    Args:
        files: Path of each image.
        mask_files: Path of each mask.
        where: Name of the list or folder that has them, for errors.
    """
    for what, paths in (("image", files), ("mask", mask_files)):
        missing = [path for path in paths if not os.path.isfile(path)]
        if missing:
            raise UserError(
                f"{where}: {len(missing)} of {len(paths)} {what}s are missing, such as "
                f"{missing[0]!r}."
            )


def about(coding: Coding, parts: Mapping[str, MaskedImages]) -> str:
    """The coding, and for every file its split, name and size, for a fingerprint."""
    lines = [repr(coding)]
    for split, examples in parts.items():
        for name, size, mask in zip(
            examples.example_names,
            examples.file_sizes.tolist(),
            examples.masks.paths,
            strict=True,
        ):
            lines.append(f"{split}\t{name}\t{size}\t{size_of(mask)}")
    return "\n".join(lines)
