"""Draws a task's answers on images."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxcnn.report import contact_sheet, letters, overlay, palette
from jaxcnn.report.overlay import INK, LINE, MARGIN, PAPER

if TYPE_CHECKING:
    from jaxcnn.tasks.parts import Caption, Mark, Picture, Regions

    Drawn = tuple[np.ndarray, Sequence[Mark]]  # an image and what is drawn on it

_SIDE = 512  # pixels; side of the square that an image is fitted into
_TILE = 192  # pixels; the same in a gallery
_MAX_NAME = 60  # letters of a file name; each has at most four bytes, of 255


def draw(pixels: np.ndarray, marks: Sequence["Mark"], side: int = _SIDE) -> Image.Image:
    """Draws marks on an image; small images are enlarged by an integer factor.

    Args:
        pixels: The image, uint8 [H, W, C], with 1 (grey) or 3 (RGB) channels.
        marks: The marks, in the order in which they are drawn.
        side: Side of the square that the image is fitted into, pixels.
    """
    picture = contact_sheet.fit(pixels, side)
    for mark in marks:
        picture = _DRAWERS[mark.kind](picture, mark, side)
    return picture


def write_gallery(path: Path, rows: Sequence[Sequence["Drawn"]]) -> None:
    """Writes a PNG with a row for each example.

    Args:
        path: The file.
        rows: Images with their marks, from left to right.
    """
    drawn = [[draw(*item, side=_TILE) for item in row] for row in rows]
    widths = [max(tile.width for tile in column) for column in zip(*drawn, strict=True)]
    heights = [max(tile.height for tile in row) for row in drawn]
    lefts = np.cumsum([MARGIN, *(width + MARGIN for width in widths)]).tolist()
    tops = np.cumsum([MARGIN, *(height + MARGIN for height in heights)]).tolist()
    page = Image.new("RGB", (lefts[-1], tops[-1]), PAPER)
    for top, row in zip(tops, drawn, strict=False):
        for left, tile in zip(lefts, row, strict=False):
            page.paste(tile, (left, top))
    page.save(path)


def _beside(picture: Image.Image, mark: "Picture", side: int) -> Image.Image:
    """Adds an image at the right of a picture."""
    other = contact_sheet.fit(mark.pixels, side)
    width = picture.width + MARGIN + other.width
    page = Image.new("RGB", (width, max(picture.height, other.height)), PAPER)
    page.paste(picture)
    page.paste(other, (picture.width + MARGIN, 0))
    return page


def _caption(picture: Image.Image, mark: "Caption", side: int) -> Image.Image:
    """Adds the text below a picture, in as many lines as it needs."""
    text = letters.drawable(mark.text)
    font = letters.font(14, text)
    width = max(picture.width, min(round(font.getlength(text)) + 2 * MARGIN, side))
    lines = _lines(text, font, width - 2 * MARGIN)
    page = Image.new("RGB", (width, picture.height + LINE * len(lines)), PAPER)
    page.paste(picture)
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        draw.text((MARGIN, picture.height + number * LINE), line, INK, font)
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


def _regions(picture: Image.Image, mark: "Regions", side: int) -> Image.Image:
    """Lays the colours of the classes over a picture, and adds a key below it."""
    return overlay.with_key(overlay.painted(picture, mark.mask), mark.key)


_DRAWERS: Mapping[str, Callable[..., Image.Image]] = {
    "caption": _caption,
    "picture": _beside,
    "regions": _regions,
}


def _mask_file(mark: "Regions") -> Image.Image:
    """The numbers of the classes as a PNG holds them: up to 256 as a palette image of
    the colours of the overlay, more as 16 bits."""
    mask = np.asarray(mark.mask)
    if mask.max(initial=0) > 255:
        return Image.fromarray(mask.astype(np.uint16))
    image = Image.fromarray(mask.astype(np.uint8))
    image.putpalette(palette.colours(256).tobytes())
    return image


def _picture_file(mark: "Picture") -> Image.Image:
    """The image itself, of its own size."""
    return contact_sheet.as_image(mark.pixels)


# Kind of a mark -> (folder of the files that are written beside the pictures, function
# that makes one).
_FILES: Mapping[str, tuple[str, Callable[..., Image.Image]]] = {
    "picture": ("restored", _picture_file),
    "regions": ("masks", _mask_file),
}


def are_per_pixel(marks: Sequence["Mark"]) -> bool:
    """Whether a mark says something of each pixel of the network's input."""
    return any(mark.kind in _FILES for mark in marks)


def write(
    folder: Path, name: str, pixels: np.ndarray, marks: Sequence["Mark"]
) -> list[Path]:
    """Writes an image with its marks as folder/name, and what a mark says of each pixel
    into a folder below, such as folder/masks/name; returns the paths.

    Args:
        folder: Folder of the files.
        name: Name of the files, see file_names.
        pixels: The image, see draw.
        marks: The marks.
    """
    paths = [folder / name]
    draw(pixels, marks).save(paths[0])
    for mark in marks:
        if mark.kind in _FILES:
            below, make = _FILES[mark.kind]
            (folder / below).mkdir(exist_ok=True)
            paths.append(folder / below / name)
            make(mark).save(paths[-1])
    return paths


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
