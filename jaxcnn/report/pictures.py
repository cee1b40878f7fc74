"""Draws a task's answers on images."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from jaxcnn.report import contact_sheet

if TYPE_CHECKING:
    from jaxcnn.tasks.parts import Caption, Mark

_SIDE = 512  # pixels; side of the square that an image is fitted into
_MARGIN, _LINE = 6, 20  # pixels
_INK, _PAPER = "#222222", "#ffffff"


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


def _caption(picture: Image.Image, mark: "Caption") -> Image.Image:
    """Adds a line of text below a picture, and widens it if the text needs it."""
    font = contact_sheet.font(14)
    width = max(picture.width, round(font.getlength(mark.text)) + 2 * _MARGIN)
    page = Image.new("RGB", (width, picture.height + _LINE), _PAPER)
    page.paste(picture)
    ImageDraw.Draw(page).text((_MARGIN, picture.height), mark.text, _INK, font)
    return page


_DRAWERS: Mapping[str, Callable[..., Image.Image]] = {"caption": _caption}


def file_names(images: Sequence[str]) -> list[str]:
    """PNG names after the images' names; the second image of a name gets "_2"."""
    names, seen = [], set()
    for image in images:
        name = stem = Path(image).stem
        number = 1
        while name.casefold() in seen:
            number += 1
            name = f"{stem}_{number}"
        seen.add(name.casefold())
        names.append(f"{name}.png")
    return names
