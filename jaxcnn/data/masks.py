"""Mask files: a class for each pixel of an image.

Grey and palette files (PNG, BMP, GIF, TIFF) hold a level a pixel, the grey level or the
index into the palette. It is the class, and 255 is void: no class. RGB files need a
table of colours. Files that lose detail (JPEG, WebP) are refused: their levels are
mixtures of classes. Files of 1 bit have the levels 0 and 1, or 0 and 255 where 1 is no
class.

A file classes.txt names the classes, one a line, from class 0 on; lines that are empty
or begin with # are left out:

    NAME                the level is the number of the line
    NAME = LEVEL        another level, such as object = 255
    NAME RED GREEN BLUE the colour in RGB files; in grey and palette files the level is
                        the number of the line
    void = LEVEL, void RED GREEN BLUE   any number of levels or colours without a class

All classes are of one of these forms. With it, level 255 is void unless it is a class,
and so is the colour (224, 224, 192), the border in the palette of PASCAL VOC. If all
colours are grey, grey files go by them, too, so that 0 and 255 can be two classes. The
colours of a palette must not contradict the table. Without classes.txt, the classes are
the levels that the mask files hold.

An image whose EXIF orientation turns it is turned as it is decoded, and its mask with
it: a mask of the size that the image has when it is turned belongs to the turned image
(labelling tools show it so), a mask of the size that is stored in the file is turned
like the image. Where both sizes are equal (squares, upside-down or mirrored images),
the mask is taken to belong to the image as it is seen. A mask that has an orientation
of its own is turned by that.
"""

from collections.abc import Callable, Mapping, Sequence
import concurrent.futures
import dataclasses
import functools
import hashlib
import os
import re
from typing import Any

import numpy as np
from PIL import Image

from jaxcnn.config import DataConfig
from jaxcnn.data import groups, images, splits
from jaxcnn.data.examples import (
    BadImageError,
    Dataset,
    Examples,
    Unread,
    fields_used,
    make_dataset,
)
from jaxcnn.data.files import FileExamples, size_of
from jaxcnn.data.images import Encoded
from jaxcnn.errors import UserError, require
from jaxcnn.targets import VOID, Target
from jaxcnn.targets import masks as mask_target

CLASSES_FILE = "classes.txt"
VOC_BORDER = (224, 224, 192)  # colour of index 255 in the palette of PASCAL VOC
_LOSSY = ("JPEG", "WEBP")
_NONE = -1  # a level without a meaning
_MANY_LEVELS = 32  # more of them, with gaps between, are hardly those of classes
# EXIF orientations that swap the sides -> what Pillow's exif_transpose does.
_TURNS = {
    5: lambda mask: mask.T,
    6: lambda mask: np.rot90(mask, -1),
    7: lambda mask: np.rot90(mask, 2).T,
    8: np.rot90,
}

Colour = tuple[int, int, int]
Mask = np.ndarray  # [H, W], classes and void


@dataclasses.dataclass(frozen=True)
class Coding:
    """The meaning of the numbers in mask files.

    Attributes:
        names: Names of the classes.
        levels: Grey level or palette index -> class; None: the level is the class. In
            both tables None stands for void.
        colours: Colour -> class, for RGB files; {}: such files are refused.
        source: Name of what says so, for errors.
    """

    names: tuple[str, ...]
    levels: Mapping[int, int | None] | None = None
    colours: Mapping[Colour, int | None] = dataclasses.field(default_factory=dict)
    source: str = CLASSES_FILE

    @functools.cached_property
    def target(self) -> Target:
        """The target of the masks."""
        return mask_target(self.names)["mask"]

    def classes_of(self, image: Image.Image, where: str) -> Mask:
        """The classes in a mask file as images.stored reads it; UserError, see decode.

        Args:
            image: The file.
            where: Its name in errors.
        """
        pixels = pixels_of(image, where)
        if pixels.ndim == 3:
            return self._of_colours(pixels, where)
        if image.mode == "P" and self.colours:
            self._check_palette(image, pixels, where)
        is_grey = image.mode in ("1", "L") and self._greys is not None
        table = self._greys if is_grey else self._levels
        if image.mode == "1" and table[1] == _NONE:
            pixels = pixels * np.uint8(255)
        return self._looked_up(pixels, table, where)

    @functools.cached_property
    def _greys(self) -> np.ndarray | None:
        """The table of levels of grey files where all colours are grey."""
        given = {c: k for c, k in self.colours.items() if k is not None}
        if self.levels is not None or not given:
            return None
        if any(len(set(colour)) > 1 for colour in given):
            return None
        levels = {c[0]: k for c, k in self.colours.items() if len(set(c)) == 1}
        return self._table(levels)

    @functools.cached_property
    def _levels(self) -> np.ndarray:
        levels = self.levels
        return self._table(
            dict(enumerate(range(len(self.names)))) if levels is None else levels
        )

    def _table(self, levels: Mapping[int, int | None]) -> np.ndarray:
        """int32 [256] or more: level -> class, void or _NONE."""
        void = int(self.target.fill)
        levels = {void: None} | dict(levels)
        table = np.full(max(256, *(level + 1 for level in levels)), _NONE, np.int32)
        for level, number in levels.items():
            table[level] = void if number is None else number
        return table

    def _looked_up(self, pixels: np.ndarray, table: np.ndarray, where: str) -> Mask:
        dtype = np.dtype(self.target.dtype)
        if pixels.dtype == np.uint8:
            levels = levels_in(pixels)
            if (table[levels] == _NONE).any():
                self._refuse(pixels, table[pixels] == _NONE, where)
            if dtype == np.uint8 and (table[levels] == levels).all():
                return pixels
            return np.take(table.astype(dtype), pixels)  # twice as fast as an index
        inside = (pixels >= 0) & (pixels < len(table))
        found = np.where(inside, table[np.where(inside, pixels, 0)], _NONE)
        if (found == _NONE).any():
            self._refuse(pixels, found == _NONE, where)
        return found.astype(dtype)

    def _refuse(self, pixels: np.ndarray, wrong: np.ndarray, where: str) -> None:
        row, column = np.argwhere(wrong)[0]
        value = pixels[row, column]
        if self.levels is None and self._greys is None:
            problem = self.target.pixel_problem(row, column, value)
            raise UserError(f"{where}: its {problem}.")
        raise UserError(
            f"{where}: its mask is {value} at row {row}, column {column}, which is no "
            f"class in {self.source}."
        )

    def _of_colours(self, pixels: np.ndarray, where: str) -> Mask:
        if not self.colours:
            raise UserError(
                f"{where}: this mask is RGB, and {self.source} does not give the "
                f"colours of the classes. In {CLASSES_FILE} write one line NAME RED "
                "GREEN BLUE for each class, such as: sky 70 130 180."
            )
        keys, classes = self._keys
        flat = _packed(pixels).reshape(-1)
        # A search for each run of equal pixels, which are long in a mask.
        starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
        place = np.minimum(np.searchsorted(keys, flat[starts]), len(keys) - 1)
        wrong = keys[place] != flat[starts]
        if wrong.any():
            row, column = divmod(int(starts[wrong][0]), pixels.shape[1])
            raise UserError(
                f"{where}: the colour of the mask is "
                f"{tuple(pixels[row, column].tolist())} at row {row}, column {column}, "
                f"which is no class in {self.source}."
            )
        lengths = np.diff(starts, append=len(flat))
        return np.repeat(classes[place], lengths).reshape(pixels.shape[:2])

    @functools.cached_property
    def _keys(self) -> tuple[np.ndarray, np.ndarray]:
        """(packed colours in ascending order, the class or void of each)."""
        void = int(self.target.fill)
        colours = {VOC_BORDER: None} | dict(self.colours)
        keys = _packed(np.array(list(colours), np.uint8))
        classes = np.array([void if k is None else k for k in colours.values()])
        order = np.argsort(keys)
        return keys[order], classes[order].astype(self.target.dtype)

    def _check_palette(
        self, image: Image.Image, pixels: np.ndarray, where: str
    ) -> None:
        """Raises UserError where a palette gives a class the colour of another."""
        palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        number_of = {c: k for c, k in self.colours.items() if k is not None}
        for level in levels_in(pixels).tolist():
            if level >= min(len(palette), len(self.names)):
                continue
            colour = tuple(palette[level].tolist())
            other = number_of.get(colour, level)
            if other != level:
                raise UserError(
                    f"{where}: index {level} of its palette has the colour {colour}, "
                    f"which {self.source} gives to {self.names[other]!r}; the index of "
                    f"that class must be {other}, or the file RGB."
                )


def _packed(colours: np.ndarray) -> np.ndarray:
    """uint8 [..., 3] -> int32 [...]."""
    red, green, blue = np.moveaxis(colours, -1, 0)
    return (red.astype(np.int32) * 256 + green) * 256 + blue


def levels_in(pixels: np.ndarray) -> np.ndarray:
    """The different values in uint8 pixels, in ascending order."""
    return np.flatnonzero(Image.fromarray(pixels).histogram())


def pixels_of(image: Image.Image, where: str) -> np.ndarray:
    """The levels [H, W] or colours uint8 [H, W, 3] in a file that images.stored reads.

    Raises:
        UserError: The file is of a format or kind that holds no classes.
    """
    if image.format in _LOSSY:
        raise UserError(
            f"{where}: this mask is a {image.format} file, whose pixels are not stored "
            "exactly; masks must be PNG, BMP, GIF or TIFF."
        )
    if image.mode == "RGBA" and image.getextrema()[3] == (255, 255):
        image = image.convert("RGB")  # nothing is transparent
    if image.mode in ("L", "P", "RGB"):
        return np.asarray(image)
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)
    if image.mode == "I" or image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.int32)
    raise UserError(
        f"{where}: this mask is of kind {image.mode!r}; it must be grey, of a palette, "
        "or RGB without transparency."
    )


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


# The classes.


def read_coding(path: str) -> Coding | None:
    """The Coding that a file classes.txt says; None where there is no such file.

    Raises:
        UserError: A line is not of a form of the module docstring.
    """
    if not os.path.isfile(path):
        return None
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from error
    names: list[str] = []
    levels: dict[int, int | None] = {}
    colours: dict[Colour, int | None] = {}
    forms = set()
    for number, line in enumerate(lines, start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        where = f"{path}, line {number}"
        name, form, key = _parsed(line, where)
        is_void = name == "void" and key is not None
        if not is_void:
            forms.add(form)
            if name in names:
                raise UserError(f"{where}: there are two classes {name!r}.")
            names.append(name)
        if key is None:
            continue
        table = levels if form == "level" else colours
        if key in table:
            raise UserError(f"{where}: {line!r} has the {form} of another line.")
        table[key] = None if is_void else len(names) - 1
    if len(forms) > 1:
        raise UserError(
            f"{path}: all classes must be given alike, as NAME, NAME = LEVEL or NAME "
            "RED GREEN BLUE."
        )
    if len(names) < 2:
        found = f"one class, {names[0]!r}" if names else "no class"
        raise UserError(f"{path} has {found}; at least two are needed.")
    has_levels = forms == {"level"}
    if levels and not has_levels:  # of void alone: the others are the line numbers
        levels = {k: k for k in range(len(names))} | levels
        has_levels = True
    return Coding(tuple(names), levels if has_levels else None, colours, path)


def _parsed(line: str, where: str) -> tuple[str, str, int | Colour | None]:
    """(name, form of the line, level or colour) of a line of classes.txt."""
    if "=" in line:
        name, _, level = (part.strip() for part in line.rpartition("="))
        holds = level.isdecimal() and int(level) <= 65535 and name
        rule = "NAME = LEVEL, a whole number from 0 to 65535"
        require(holds, where, line, rule)
        return name, "level", int(level)
    match = re.fullmatch(r"(.*\S)\s+(\d+)[\s,]+(\d+)[\s,]+(\d+)", line)
    if match is None:
        return line, "name", None
    colour = tuple(int(part) for part in match.groups()[1:])
    rule = "NAME RED GREEN BLUE, each from 0 to 255"
    require(max(colour) <= 255, where, line, rule)
    return match[1], "colour", colour


def coding_in(
    folder: str, files: Sequence[str], config: DataConfig
) -> tuple[Coding, list[str]]:
    """(the Coding of mask files, remarks), from classes.txt or from the masks.

    Args:
        folder: Folder that may have a file classes.txt.
        files: The masks, all of which are read if it has none.
        config: Limits and threads of reading.
    """
    coding = read_coding(os.path.join(folder, CLASSES_FILE))
    if coding is not None:
        return coding, []

    def read(index: int) -> tuple[Image.Image, str]:
        return images.stored(files[index], None, config.max_pixels), files[index]

    coding = found_coding(len(files), read, config.num_threads)
    return coding, [
        f"{len(files):,} masks were read to find {len(coding.names)} classes; "
        f"{os.path.join(folder, CLASSES_FILE)} would name them."
    ]


def found_coding(
    number: int, read: Callable[[int], tuple[Image.Image, str]], num_threads: int
) -> Coding:
    """The Coding whose classes are the levels of mask files, which are all read.

    Args:
        number: Number of the files.
        read: Function that reads a file, as images.stored does, and gives its name.
        num_threads: Number of threads that read.

    Raises:
        UserError: A file cannot be decoded, is RGB or no mask, or the levels are not
            0 to K - 1.
    """

    def levels_of(index: int) -> tuple[list[int], str]:
        try:
            image, where = read(index)
            pixels = pixels_of(image, where)
        except BadImageError as error:
            raise UserError(
                f"{error}. Without {CLASSES_FILE} every mask must be readable, since "
                "the masks say which classes there are."
            ) from error
        if pixels.ndim == 3:
            Coding(("", " "), source=CLASSES_FILE)._of_colours(pixels, where)
        is_small = pixels.dtype == np.uint8
        return (levels_in(pixels) if is_small else np.unique(pixels)).tolist(), where

    first: dict[int, str] = {}  # level -> the first mask that holds it
    with concurrent.futures.ThreadPoolExecutor(max(1, num_threads)) as threads:
        for levels, where in threads.map(levels_of, range(number)):
            for level in levels:
                first.setdefault(level, where)
    found = sorted(first)
    is_small = not found or found[-1] <= VOID
    classes = [level for level in found if level != VOID or not is_small]
    if classes != [*range(len(classes))] or len(classes) < 2:
        raise UserError(_no_classes(first, classes))
    return Coding(tuple(f"class {level}" for level in classes), source="the masks")


def _no_classes(first: Mapping[int, str], classes: Sequence[int]) -> str:
    """Why the levels of masks are not those of classes, and what can be done.

    Args:
        first: Level -> the first mask that holds it.
        classes: The levels that are not void, in order.
    """
    without = f"Without {CLASSES_FILE}"
    found = sorted(first)
    if not found:
        return "There is no mask."
    if len(found) == 1:
        what = f"{VOID} stands for no class" if not classes else "that is one class"
        return (
            f"All pixels of all masks are {found[0]}. {without}, {what}; at least two "
            "classes are needed."
        )
    if found == [0, VOID]:
        return (
            f"The masks hold the levels 0 and {VOID}, as {first[VOID]} does. "
            f"{without}, {VOID} stands for no class, so there is one class, 0. If "
            f"{VOID} is a class, {CLASSES_FILE} must say so, in two lines such as: "
            f"background = 0 and: object = {VOID}."
        )
    wrong = next(level for k, level in enumerate(classes) if level != k)
    shown = ", ".join(map(str, found[:10])) + (", ..." if len(found) > 10 else "")
    smooth = (
        " So many are those of a photo, or of a mask that was resized with smoothing."
        if len(found) > _MANY_LEVELS
        else ""
    )
    return (
        f"{first[wrong]} holds the level {wrong}, and the masks hold {shown}.{smooth} "
        f"{without} they must be 0 to K - 1 for K classes, and {VOID} for pixels "
        f"without a class. {CLASSES_FILE} names each class with its level, in lines "
        f"such as: object = {wrong}."
    )
