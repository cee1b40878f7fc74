"""Draws a task's answers on images."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxcnn.report import contact_sheet, letters

if TYPE_CHECKING:
    from jaxcnn.tasks.parts import Caption, Mark, Picture

_SIDE = 512  # pixels; side of the square that an image is fitted into
_MARGIN, _LINE = 6, 20  # pixels
_INK, _PAPER = "#222222", "#ffffff"
_MAX_NAME = 60  # letters of a file name; each has at most four bytes, of 255


def draw(pixels: np.ndarray, marks: Sequence["Mark"]) -> Image.Image:
    """Draws marks on an image; small images are enlarged by an integer factor.

    Args:
        pixels: The image, uint8 [H, W, C], with 1 (grey) or 3 (RGB) channels.
        marks: The marks, in the order in which they are drawn.
    """
    picture = contact_sheet.fit(pixels, _SIDE)
    for mark in marks:
        picture = _DRAWERS[mark.kind](picture, mark)
    return picture


def write(folder: Path, name: str, pixels: np.ndarray, marks: Sequence["Mark"]) -> None:
    """Writes an image with its marks on it, and each picture among them on its own, of
    its own size, into a folder of the picture's name.

    Args:
        folder: Folder of the files.
        name: Name of the files, see file_names.
        pixels: The image, see draw.
        marks: The marks.
    """
    draw(pixels, marks).save(folder / name)
    for mark in marks:
        if mark.kind == "picture":
            (folder / mark.name).mkdir(exist_ok=True)
            contact_sheet.as_image(mark.pixels).save(folder / mark.name / name)


def _beside(picture: Image.Image, mark: "Picture") -> Image.Image:
    """Adds an image at the right of a picture."""
    other = contact_sheet.fit(mark.pixels, _SIDE)
    width = picture.width + _MARGIN + other.width
    page = Image.new("RGB", (width, max(picture.height, other.height)), _PAPER)
    page.paste(picture)
    page.paste(other, (picture.width + _MARGIN, 0))
    return page


def _caption(picture: Image.Image, mark: "Caption") -> Image.Image:
    """Adds the text below a picture, in as many lines as it needs."""
    text = letters.drawable(mark.text)
    font = letters.font(14, text)
    width = max(picture.width, min(round(font.getlength(text)) + 2 * _MARGIN, _SIDE))
    lines = _lines(text, font, width - 2 * _MARGIN)
    page = Image.new("RGB", (width, picture.height + _LINE * len(lines)), _PAPER)
    page.paste(picture)
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        draw.text((_MARGIN, picture.height + number * _LINE), line, _INK, font)
    return page


def _lines(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """A text cut into lines that are no wider than `width` pixels."""
    lengths = {letter: font.getlength(letter) for letter in set(text)}
    lines, length = [""], 0.0
    for letter in text:
        length += lengths[letter]
        if lines[-1] and length > width:
            lines.append("")
            length = lengths[letter]
        lines[-1] += letter
    return lines


_DRAWERS: Mapping[str, Callable[..., Image.Image]] = {
    "caption": _caption,
    "picture": _beside,
}


def file_names(images: Sequence[str]) -> list[str]:
    """PNG names after the images' names; the second image of a name gets "_2"."""
    names, seen = [], set()
    for image in images:
        name = stem = Path(image).stem[-_MAX_NAME:]
        number = 1
        while name.casefold() in seen:
            number += 1
            name = f"{stem}_{number}"
        seen.add(name.casefold())
        names.append(f"{name}.png")
    return names
