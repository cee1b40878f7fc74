"""Files to pixels: the one decoder of folders, TFDS and prediction.

JPEG, PNG, WebP and BMP are told apart by their content, not by their names, and decoded
by Pillow. Training, evaluation and prediction see the same pixels:
  * The EXIF orientation is applied; of several frames the first is taken; colour
    profiles are ignored.
  * Alpha, as a channel, in a palette or as one transparent colour, is composited over
    white.
  * Palettes become their colours, one bit becomes 0 and 255. CMYK becomes RGB by
    Pillow's (255 - c) * (255 - k) / 255; that of JPEG files is taken as Adobe writes
    it, inverted.
  * 16-bit grey is scaled, round(v / 257); Pillow's own conversion would clip it at 255.
    Its transparent grey level, if it has one, is ignored. Of other 16-bit images
    Pillow keeps the high byte.
  * Three channels of a grey image are equal. One channel of a colour image is its luma
    by ITU-R 601, 0.299 R + 0.587 G + 0.114 B.

A JPEG file can be decoded at 1/2, 1/4 or 1/8 of its size, in much less time: libjpeg
then computes fewer pixels of each block, from its lower frequencies. Training does so
where data.scaled_decoding says it; evaluation and prediction never do.

Another version of Pillow or of its libjpeg may give other bits, so a run records
decoder().
"""

from collections.abc import Iterator
import contextlib
import io
import math
import os
from typing import Any

import numpy as np
import PIL
from PIL import ExifTags, Image, ImageOps, features

from jaxcnn.data.examples import BadImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".webp")  # in any case, for folders

SCALES = (8, 4, 2, 1)  # one over each, a JPEG can be decoded at; Pillow's draft
# EXIF orientations that swap rows and columns, and those with which the stored image's
# last pixels come first from top to bottom, and from left to right (EXIF 2.3, tag 274).
_TURNED = (5, 6, 7, 8)
_REVERSED = ((3, 4, 7, 8), (2, 3, 6, 7))

Box = tuple[float, float, float, float]  # left, top, right, bottom


def decode(
    source: bytes | str | os.PathLike, channels: int, name: str | None = None
) -> np.ndarray:
    """An image file as uint8 [H, W, channels].

    Args:
        source: The path of a file, or the bytes of one.
        channels: 1 for grey, 3 for RGB.
        name: What an error calls the image; None: its path.

    Raises:
        BadImageError: It is no image of FORMATS, broken, truncated, or of more pixels
            than Pillow reads (179 million, its guard against decompression bombs).
    """
    return Encoded(source, channels, name).pixels()


class Encoded:
    """An image file of known size, to be decoded once, whole or as far as needed.

    Attributes:
        shape: (H, W, channels) of all pixels, with the EXIF orientation applied.
    """

    def __init__(
        self, source: bytes | str | os.PathLike, channels: int, name: str | None = None
    ):
        """Reads the file but decodes its header only; see decode for the rest."""
        if channels not in (1, 3):
            raise ValueError(
                f"channels is {channels}; 1 (grey) and 3 (RGB) are possible."
            )
        self._name = name or (
            "image" if isinstance(source, bytes) else os.fsdecode(os.fspath(source))
        )
        with _bad_image(self._name):
            if not isinstance(source, bytes):
                with open(source, "rb") as file:
                    source = file.read()
            self._image = Image.open(io.BytesIO(source), formats=FORMATS)
            exif = self._image.getexif()
            self._orientation = exif.get(ExifTags.Base.Orientation, 1)
        width, height = self._image.size
        if self._orientation in _TURNED:
            width, height = height, width
        self.shape = (height, width, channels)

    def pixels(self) -> np.ndarray:
        """uint8 [H, W, channels]. Raises BadImageError as decode."""
        with _bad_image(self._name):
            return to_pixels(self._image, self.shape[2])

    def window(
        self, top: int, left: int, height: int, width: int, size: tuple[int, int]
    ) -> tuple[np.ndarray, Box]:
        """The pixels of a window that is to be resized.

        A JPEG is decoded at the smallest of SCALES at which the window is at least as
        high and as wide as it will be, any other file at full size.

        Args:
            top: First row of the window, in all pixels.
            left: First column of the window.
            height: Rows of the window.
            width: Columns of the window.
            size: Height and width that the window will be resized to.

        Returns:
            uint8 [h, w, channels], those pixels that touch the window, and its place
            in them, which need not begin or end with a pixel.

        Raises:
            BadImageError: As decode.
        """
        shrink = min(height // size[0], width // size[1])
        scale = max((s for s in SCALES if s <= shrink), default=1)
        if scale > 1:
            stored = self._image.size
            scaled = self._image.draft(None, (stored[0] // scale, stored[1] // scale))
            scale = 1 if scaled is None else scale  # None: no JPEG
        pixels = self.pixels()
        spans = []
        for axis, (start, length) in enumerate([(top, height), (left, width)]):
            # The last pixel of a side that scale does not divide stands for fewer than
            # scale, as if the image went on; turned round, it begins there.
            reverse = self._orientation in _REVERSED[axis]
            whole = self.shape[axis] / scale
            before = pixels.shape[axis] - whole if reverse else 0.0
            spans.append((before + start / scale, before + (start + length) / scale))
        (top, bottom), (left, right) = spans
        y, x = math.floor(top), math.floor(left)
        pixels = pixels[y : math.ceil(bottom), x : math.ceil(right)]
        return pixels, (left - x, top - y, right - x, bottom - y)


def decoded(example: dict[str, Any]) -> dict[str, Any]:
    """An example with its image decoded, if it is an Encoded."""
    image = example["image"]
    if isinstance(image, Encoded):
        return example | {"image": image.pixels()}
    return example


@contextlib.contextmanager
def _bad_image(where: str) -> Iterator[None]:
    """Whatever goes wrong inside is a BadImageError."""
    try:
        yield
        return
    except PIL.UnidentifiedImageError:
        why = "no JPEG, PNG, WebP or BMP image"  # Pillow's text has a memory address
    except Exception as error:  # broken files raise nearly any type in Pillow
        text = error.strerror if isinstance(error, OSError) else None
        why = " ".join((text or str(error) or type(error).__name__).split())
    raise BadImageError(f"{where}: {why}") from None


def to_pixels(image: Image.Image, channels: int) -> np.ndarray:
    """An image of any mode as uint8 [H, W, channels], as the module says."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16-bit grey
        wide = np.asarray(image).astype(np.int64)
        image = Image.fromarray(((wide + 128) // 257).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    mode = {1: "L", 3: "RGB"}[channels]
    if image.mode != mode:  # else convert would copy
        image = image.convert(mode)
    return np.asarray(image).reshape(image.height, image.width, channels)


def decoder() -> str:
    """Name and version of what decodes, as 'Pillow 13.0.0, libjpeg-turbo 3.1.2'."""
    if features.check("libjpeg_turbo"):
        jpeg = f"libjpeg-turbo {features.version('libjpeg_turbo')}"
    else:
        jpeg = f"libjpeg {features.version('jpg')}"
    return f"Pillow {PIL.__version__}, {jpeg}"
