"""Decodes image files; used for folders, TFDS and prediction.

JPEG, PNG, WebP and BMP are recognised by their content, not by their names, and decoded
by Pillow. Training, evaluation and prediction see the same pixels:
  * The EXIF orientation is applied; only the first of several frames is used; colour
    profiles are ignored.
  * Transparency, whether an alpha channel, in a palette or a single transparent colour,
    is composited over white.
  * Palettes are converted to their colours, 1-bit images to 0 and 255. CMYK is
    converted to RGB by Pillow's (255 - c) * (255 - k) / 255; in JPEG files it is
    assumed to be inverted, as Adobe writes it.
  * 16-bit grey is scaled to round(v / 257); Pillow's own conversion would clip it at
    255. If it has a transparent grey level, that is ignored. For other 16-bit images
    Pillow keeps the high byte.
  * A grey image converted to RGB has three equal channels. A colour image converted to
    grey becomes its ITU-R 601 luma, 0.299 R + 0.587 G + 0.114 B.

A JPEG file can be decoded at 1/2, 1/4 or 1/8 of its size in much less time: libjpeg
then computes fewer pixels per block, from its lower frequencies. Training does so if
data.scaled_decoding is set; evaluation and prediction never do.

Another version of Pillow or of its libjpeg may decode to different bits, so a run
records decoder().
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
EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".webp")  # upper or lower case

# Mean and standard deviation of ImageNet's training images, as in torchvision and timm.
# For grey: the luma of the means, and of the standard deviations, which is exact if the
# three channels are perfectly correlated.
STATISTICS = {
    1: ((0.459,), (0.226,)),
    3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}

SCALES = (8, 4, 2, 1)  # a JPEG can be decoded at 1 / scale; Pillow's draft
# EXIF orientations that swap rows and columns, and those that reverse the stored image
# vertically and horizontally (EXIF 2.3, tag 274).
_TURNED = (5, 6, 7, 8)
_REVERSED = ((3, 4, 7, 8), (2, 3, 6, 7))

Box = tuple[float, float, float, float]  # left, top, right, bottom


def decode(
    source: bytes | str | os.PathLike, channels: int, name: str | None = None
) -> np.ndarray:
    """Decodes an image file to uint8 [H, W, channels].

    Args:
        source: Path of the file, or its content as bytes.
        channels: Channels of the result: 1 grey, 3 RGB.
        name: Name of the image in error messages. None: its path.

    Raises:
        BadImageError: It is not an image in one of FORMATS, is damaged or truncated, or
            has more pixels than Pillow allows (179 million, its protection against
            decompression bombs).
    """
    return Encoded(source, channels, name).pixels()


class Encoded:
    """An image file of known size that can be decoded once, completely or in part.

    Attributes:
        shape: Shape (H, W, channels) of the full image, with the EXIF orientation
            applied.
        dtype: Dtype of its pixels.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self, source: bytes | str | os.PathLike, channels: int, name: str | None = None
    ):
        """Reads the file and decodes only its header; see decode for the arguments."""
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
        """Decodes the image: uint8 [H, W, channels]. May raise BadImageError."""
        with _bad_image(self._name):
            return to_pixels(self._image, self.shape[2])

    def window(
        self, top: int, left: int, height: int, width: int, size: tuple[int, int]
    ) -> tuple[np.ndarray, Box]:
        """Decodes a window that will be resized.

        A JPEG is decoded at the smallest size at which the window is still at least as
        high and wide as after resizing, any other file at full size.

        Args:
            top: First row of the window, in pixels of the full image.
            left: First column of the window.
            height: Number of rows.
            width: Number of columns.
            size: Height and width that the window will be resized to.

        Returns:
            The decoded pixels that the window touches, uint8 [h, w, channels], and the
            position of the window in them, which may be fractional.

        Raises:
            BadImageError: The image cannot be decoded, see decode.
        """
        shrink = min(height // size[0], width // size[1])
        scale = max((s for s in SCALES if s <= shrink), default=1)
        if scale > 1:
            stored = self._image.size
            scaled = self._image.draft(None, (stored[0] // scale, stored[1] // scale))
            scale = 1 if scaled is None else scale  # None: not a JPEG
        pixels = self.pixels()
        spans = []
        for axis, (start, length) in enumerate([(top, height), (left, width)]):
            # If scale does not divide a side, the last decoded pixel is only partly in
            # the image. In a reversed image it comes first.
            reverse = self._orientation in _REVERSED[axis]
            whole = self.shape[axis] / scale
            before = pixels.shape[axis] - whole if reverse else 0.0
            spans.append((before + start / scale, before + (start + length) / scale))
        (top, bottom), (left, right) = spans
        y, x = math.floor(top), math.floor(left)
        pixels = pixels[y : math.ceil(bottom), x : math.ceil(right)]
        return pixels, (left - x, top - y, right - x, bottom - y)


def decoded(example: dict[str, Any]) -> dict[str, Any]:
    """Returns the example with its image decoded if it is an Encoded."""
    image = example["image"]
    if isinstance(image, Encoded):
        return example | {"image": image.pixels()}
    return example


@contextlib.contextmanager
def _bad_image(where: str) -> Iterator[None]:
    """Turns every exception in this context into a BadImageError."""
    try:
        yield
        return
    except PIL.UnidentifiedImageError:
        why = "no JPEG, PNG, WebP or BMP image"  # Pillow's text has a memory address
    except Exception as error:  # damaged files raise almost any type in Pillow
        text = error.strerror if isinstance(error, OSError) else None
        why = " ".join((text or str(error) or type(error).__name__).split())
    raise BadImageError(f"{where}: {why}") from None


def to_pixels(image: Image.Image, channels: int) -> np.ndarray:
    """Converts an image of any mode to uint8 [H, W, channels], see the module."""
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
    if image.mode != mode:  # otherwise convert would copy
        image = image.convert(mode)
    return np.asarray(image).reshape(image.height, image.width, channels)


def decoder() -> str:
    """Names and versions of the decoders: 'Pillow 13.0.0, libjpeg-turbo 3.1.2'."""
    if features.check("libjpeg_turbo"):
        jpeg = f"libjpeg-turbo {features.version('libjpeg_turbo')}"
    else:
        jpeg = f"libjpeg {features.version('jpg')}"
    return f"Pillow {PIL.__version__}, {jpeg}"
