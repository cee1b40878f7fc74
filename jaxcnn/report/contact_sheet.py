"""A contact sheet: many small images on one page."""

from collections.abc import Iterable, Mapping
import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from jaxcnn.report import letters, overlay

_COLUMNS = 8
_SIDE = 112  # pixels; side of the square that each image is fitted into
_GAP = 12
_LINE = 14  # pixels; height of a line of the caption
_INK, _PAPER, _SHADE, _WARNING = "#222222", "#ffffff", "#e8e8e8", "#c62828"


@dataclasses.dataclass(frozen=True)
class Cell:
    """An image of a contact sheet.

    Attributes:
        pixels: uint8 [H, W, C] with 1 (grey) or 3 (RGB) channels.
        caption: Text below the image, cut to its width.
        warning: Text below the caption, in red, with a red frame around the image.
            Empty: no warning and no frame.
        mask: Class of each pixel, which is drawn over the image, integers [H, W]; -1
            for none. None: nothing is drawn over it.
    """

    pixels: np.ndarray
    caption: str
    warning: str = ""
    mask: np.ndarray | None = None


def write(
    path: Path, title: str, cells: Iterable[Cell], classes: Mapping[int, str]
) -> None:
    """Writes a PNG with the images in rows; small ones are enlarged by an integer.

    Args:
        path: The file.
        title: Title of the page.
        cells: The images.
        classes: Number in the masks -> name; those that are seen are in a key below.
    """
    cells = list(cells)
    rows = -(-len(cells) // _COLUMNS)
    columns = min(_COLUMNS, max(len(cells), 4))  # room for the title
    across, down = _SIDE + _GAP, _SIDE + 2 * _LINE + _GAP
    top = 3 * _LINE
    page = Image.new("RGB", (columns * across + _GAP, top + rows * down), _PAPER)
    draw = ImageDraw.Draw(page)
    title = letters.drawable(title)
    draw.text((_GAP, _GAP), title, _INK, letters.font(16, title))
    seen: set[int] = set()
    for i, cell in enumerate(cells):
        row, column = divmod(i, _COLUMNS)
        x, y = _GAP + column * across, top + row * down
        small = fit(cell.pixels, _SIDE)
        if cell.mask is not None:
            small = overlay.painted(small, cell.mask)
            seen |= {*np.unique(cell.mask).tolist()}
        draw.rectangle((x, y, x + _SIDE - 1, y + _SIDE - 1), _SHADE)
        page.paste(
            small, (x + (_SIDE - small.width) // 2, y + (_SIDE - small.height) // 2)
        )
        if cell.warning:
            frame = (x - 3, y - 3, x + _SIDE + 2, y + _SIDE + 2)
            draw.rectangle(frame, outline=_WARNING, width=2)
        lines = ((cell.caption, _INK), (cell.warning, _WARNING))
        for line, (text, colour) in enumerate(lines):
            place = (x, y + _SIDE + 2 + line * _LINE)
            shown = _cut(text)
            draw.text(place, shown, colour, letters.font(11, shown))
    key = {number: name for number, name in classes.items() if number in seen}
    (overlay.with_key(page, key) if key else page).save(path)


def as_image(pixels: np.ndarray) -> Image.Image:
    """An image of Pillow of uint8 [H, W, C], with 1 (grey) or 3 (RGB) channels."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def fit(pixels: np.ndarray, side: int) -> Image.Image:
    """Resizes an image to fit a square of `side` pixels, keeping its aspect ratio."""
    image = as_image(pixels)
    factor = side // max(image.size)
    if factor >= 1:
        return ImageOps.scale(image, factor, Image.Resampling.NEAREST).convert("RGB")
    image.thumbnail((side, side))
    return image.convert("RGB")


def _cut(text: str) -> str:
    """Cuts a text to the width of an image, keeping its end, where a path differs."""
    text = letters.drawable(text[-_SIDE:])  # of no letter is narrower than a pixel
    length = letters.font(11, text).getlength
    if length(text) <= _SIDE:
        return text
    while text and length(f"…{text}") > _SIDE:
        text = text[1:]
    return f"…{text}"
