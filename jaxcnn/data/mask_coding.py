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
"""

from collections.abc import Callable, Mapping, Sequence
import concurrent.futures
import dataclasses
import functools
import os
import re

import numpy as np
from PIL import Image

from jaxcnn.config import DataConfig
from jaxcnn.data import images
from jaxcnn.data.examples import BadImageError
from jaxcnn.errors import UserError, require
from jaxcnn.targets import VOID, Target
from jaxcnn.targets import masks as mask_target

CLASSES_FILE = "classes.txt"
VOC_BORDER = (224, 224, 192)  # colour of index 255 in the palette of PASCAL VOC
_LOSSY = ("JPEG", "WEBP")
_NONE = -1  # a level without a meaning
_MANY_LEVELS = 32  # more of them, with gaps between, are hardly those of classes

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
        """The classes in a mask file as images.stored reads it.

        Args:
            image: The file.
            where: Its name in errors.

        Raises:
            UserError: The file is no mask, or has a pixel of no class.
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
