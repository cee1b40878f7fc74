"""A class for each pixel as colours over an image, with a key.

Class 0, often the background, is black in the palette: it is not painted, so that the
image is seen there, and has an empty square in the key. Where it meets another class,
it has an outline like all others. Pixels without a class, of a negative number, are
painted white.
"""

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw

from jaxcnn.report import letters, palette

INK, PAPER = "#222222", "#ffffff"
MARGIN, LINE = 6, 20  # pixels
_OPACITY = 0.55  # of the colour of a region; the image shows through
_SWATCH = 12  # pixels; side of a square of colour in a key
_WHITE = (255, 255, 255)


def _colours(largest: int) -> np.ndarray:
    """The colours of the numbers up to the largest, uint8 [..., 3]; white is the last
    one, which is that of -1."""
    return np.concatenate([palette.colours(max(largest, 0) + 1), [_WHITE]])


def painted(picture: Image.Image, mask: np.ndarray) -> Image.Image:
    """The picture with the colours of the classes over it.

    Each region has an outline in its full colour, at the resolution of the picture.

    Args:
        picture: An RGB image.
        mask: Number of the class of each pixel, integers [H, W], for the whole image;
            -1 for none.
    """
    numbers = Image.fromarray(np.asarray(mask, np.int32))
    numbers = np.asarray(numbers.resize(picture.size, Image.Resampling.NEAREST))
    is_edge = np.zeros(numbers.shape, bool)
    is_edge[:-1] |= numbers[:-1] != numbers[1:]
    is_edge[:, :-1] |= numbers[:, :-1] != numbers[:, 1:]
    opacity = np.where(is_edge, 1.0, np.where(numbers == 0, 0.0, _OPACITY))[..., None]
    colours = _colours(int(numbers.max()))[numbers]  # [H, W, 3]
    mixed = (1 - opacity) * np.asarray(picture) + opacity * colours
    return Image.fromarray(np.uint8(np.round(mixed)))


def with_key(picture: Image.Image, key: Mapping[int, str]) -> Image.Image:
    """Adds squares of the colours of classes, each with its text, in rows below.

    Args:
        picture: An RGB image.
        key: Number of a class, or -1 -> its text.
    """
    texts = {number: letters.drawable(text) for number, text in key.items()}
    if 0 in texts:
        texts[0] += " (not painted)"
    font = letters.font(14, "".join(texts.values()))
    left = _SWATCH + 2 * MARGIN  # of the text of an entry
    widths = {n: left + round(font.getlength(t)) + MARGIN for n, t in texts.items()}
    width = max(picture.width, *widths.values(), 1)
    places, x, y = {}, 0, picture.height
    for number, length in widths.items():
        if x and x + length > width:
            x, y = 0, y + LINE
        places[number] = x, y
        x += length
    page = Image.new("RGB", (width, y + LINE), PAPER)
    page.paste(picture)
    draw, colours = ImageDraw.Draw(page), _colours(max(key, default=0))
    for number, (x, y) in places.items():
        top = y + (LINE - _SWATCH) // 2
        corners = (x + MARGIN, top, x + MARGIN + _SWATCH - 1, top + _SWATCH - 1)
        fill = PAPER if number == 0 else tuple(colours[number].tolist())
        draw.rectangle(corners, fill=fill, outline=INK)
        draw.text((x + left, y), texts[number], INK, font)
    return page
