"""Decodes image files; used for folders, TFDS and prediction.

JPEG, PNG, WebP, BMP, GIF and TIFF are recognised by their content, not by their names,
and decoded by Pillow, of whose other decoders none is reached. Training, evaluation and
prediction see the same pixels:
  * The EXIF orientation is applied; only the first of several frames is used; colour
    profiles are ignored.
  * Transparency, whether an alpha channel, in a palette or a single transparent colour,
    is composited over white.
  * Palettes are converted to their colours, 1-bit images to 0 and 255. CMYK is
    converted to RGB by Pillow's (255 - c) * (255 - k) / 255; in JPEG files it is
    assumed to be inverted, as Adobe writes it.
  * 16-bit grey is scaled to round(v / 257); Pillow's own conversion would clip it at
    255. If it has a transparent grey level, that is ignored. For other 16-bit images
    Pillow keeps the high byte. 32-bit grey must be 0 to 255, and floats are refused:
    nothing says what is black and white in them. These are the rules of to_uint8, which
    arrays follow as well.
  * A grey image converted to RGB has three equal channels. A colour image converted to
    grey becomes its ITU-R 601 luma, 0.299 R + 0.587 G + 0.114 B.

A JPEG file can be decoded at 1/2, 1/4 or 1/8 of its size in much less time: libjpeg
then computes fewer pixels per block, from its lower frequencies. Training does so if
data.scaled_decoding is set; evaluation and prediction never do.

The size that the header states is checked before anything is decoded.

Another version of Pillow or of its libjpeg may decode to different bits, so a run
records decoder().
"""

from collections.abc import Iterator
import contextlib
import errno
import io
import math
import os
import stat
from typing import Any

import numpy as np
import PIL
from PIL import ExifTags, Image, ImageOps, features

from jaxcnn.config import DataConfig
from jaxcnn.data.examples import BadImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
# Upper or lower case.
EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
MAX_PIXELS = DataConfig.max_pixels
MOST_PIXELS = 2 * 89_478_485  # of Pillow, which refuses a larger image as a bomb

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

_MOST_METADATA_BYTES = 1 << 26  # of a file besides its pixels
_TAKEN = (
    "bool, uint8 (0 to 255), uint16 (0 to 65535) and other integers from 0 to 255 are "
    "taken"
)

Box = tuple[float, float, float, float]  # left, top, right, bottom


def decode(
    source: bytes | str | os.PathLike,
    channels: int,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Decodes an image file to uint8 [H, W, channels].

    Args:
        source: Path of the file, or its content as bytes.
        channels: Channels of the result: 1 grey, 3 RGB.
        name: Name of the image in error messages. None: its path.
        max_pixels: Number of pixels above which it is not decoded.

    Raises:
        BadImageError: It is no regular file or no image in one of FORMATS, is damaged,
            truncated or too large, or its pixels are of a kind without a rule.
    """
    return Encoded(source, channels, name, max_pixels).pixels()


class Encoded:
    """An image file of known size that can be decoded once, completely or in part.

    Attributes:
        shape: Shape (H, W, channels) of the full image, with the EXIF orientation
            applied.
        dtype: Dtype of its pixels.
        orientation: The EXIF orientation, 1 to 8; 1 where the file states none.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self,
        source: bytes | str | os.PathLike,
        channels: int,
        name: str | None = None,
        max_pixels: int = MAX_PIXELS,
    ):
        """Reads the file and decodes only its header; see decode for the arguments."""
        if channels not in (1, 3):
            raise ValueError(
                f"channels is {channels}; 1 (grey) and 3 (RGB) are possible."
            )
        self._name = name or _name_of(source)
        with _bad_image(self._name, max_pixels):
            self._image = _opened(source, max_pixels)
            width, height = self._image.size
            exif = self._image.getexif()
            self.orientation = exif.get(ExifTags.Base.Orientation, 1)
        # Pillow swaps the sides of a TIFF file itself.
        if self.orientation in _TURNED and self._image.format != "TIFF":
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
            reverse = self.orientation in _REVERSED[axis]
            whole = self.shape[axis] / scale
            before = pixels.shape[axis] - whole if reverse else 0.0
            spans.append((before + start / scale, before + (start + length) / scale))
        (top, bottom), (left, right) = spans
        y, x = math.floor(top), math.floor(left)
        pixels = pixels[y : math.ceil(bottom), x : math.ceil(right)]
        return pixels, (left - x, top - y, right - x, bottom - y)


def stored(
    source: bytes | str | os.PathLike,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """An image file with the numbers that it stores, such as indices into a palette.

    The EXIF orientation is applied; nothing else is converted. See decode for the
    arguments and errors.
    """
    with _bad_image(name or _name_of(source), max_pixels):
        image = _opened(source, max_pixels)
        kind = image.format
        image = ImageOps.exif_transpose(image)  # this decodes the image
        image.format = kind
        return image


def _name_of(source: bytes | str | os.PathLike) -> str:
    return "image" if isinstance(source, bytes) else os.fsdecode(os.fspath(source))


def _opened(source: bytes | str | os.PathLike, max_pixels: int) -> Image.Image:
    """The image of a file whose header alone is decoded, of an allowed size."""
    if not isinstance(source, bytes):
        source = _read(source, max_pixels)
    image = Image.open(io.BytesIO(source), formats=FORMATS)
    _check_size(*image.size, max_pixels)
    return image


def decoded(example: dict[str, Any]) -> dict[str, Any]:
    """Returns the example with its image decoded if it is an Encoded."""
    image = example["image"]
    if isinstance(image, Encoded):
        return example | {"image": image.pixels()}
    return example


def _read(path: str | os.PathLike, max_pixels: int) -> bytes:
    """The content of a regular file that is not larger than an image can be."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("not a regular file")
    with open(path, "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        most = 8 * max_pixels + _MOST_METADATA_BYTES  # 8: RGBA of 16 bits
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        if status.st_size > most:
            raise ValueError(
                f"{status.st_size:,} bytes; at most {most:,} are read with "
                f"data.max_pixels={max_pixels}"
            )
        return file.read()


def _without_waiting(path: str, flags: int) -> int:
    """Opens a file; a pipe that took its place after the check is not waited for."""
    return os.open(path, flags | os.O_NONBLOCK)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height == 0:
        raise ValueError(f"{width} x {height} pixels: it has none")
    if width * height > max_pixels:
        raise ValueError(
            f"{width} x {height} pixels are more than data.max_pixels={max_pixels}"
        )


@contextlib.contextmanager
def _bad_image(where: str, max_pixels: int = MAX_PIXELS) -> Iterator[None]:
    """Turns every exception in this context into a BadImageError.

    But an image is not bad because the system lacks descriptors or memory.
    """
    try:
        yield
        return
    except PIL.UnidentifiedImageError:  # Pillow's text has a memory address
        why = "no JPEG, PNG, WebP, BMP, GIF or TIFF image"
    except Image.DecompressionBombError:  # over twice Image.MAX_IMAGE_PIXELS
        why = f"more pixels than data.max_pixels={max_pixels} and Pillow allow"
    except Exception as error:  # damaged files raise almost any type in Pillow
        number, text = getattr(error, "errno", None), getattr(error, "strerror", None)
        if number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise
        why = " ".join((text or str(error) or type(error).__name__).split())
    raise BadImageError(f"{where}: {why}") from None


def from_pillow(
    image: Image.Image, channels: int, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """An image of Pillow as uint8 [H, W, channels]; BadImageError as in decode."""
    with _bad_image("image", max_pixels):
        _check_size(*image.size, max_pixels)
        return to_pixels(image, channels)


def to_pixels(image: Image.Image, channels: int) -> np.ndarray:
    """Converts an image of any mode to uint8 [H, W, channels], see the module."""
    image = ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":  # of other than 8 bits
        values = np.asarray(image)
        if image.mode.startswith("I;16"):
            values = values.astype(np.uint16)  # from either byte order
        image = Image.fromarray(to_uint8(values))
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


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Grey levels or colours of any dtype whose black and white are known, as uint8.

    uint8 stays, bool becomes 0 and 255, and uint16 becomes round(v / 257). Other
    integers are grey levels of 8 bits, so they must be 0 to 255.

    Raises:
        ValueError: Floats, other integers out of range, or no numbers.
    """
    if not pixels.dtype.isnative:
        pixels = pixels.astype(pixels.dtype.newbyteorder("="))
    kind = pixels.dtype.kind
    if pixels.dtype == np.uint8:
        return pixels
    if kind == "b":
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if kind not in "iuf" or pixels.size == 0:
        raise ValueError(f"its dtype is {pixels.dtype}; {_TAKEN}")
    low, high = pixels.min(), pixels.max()
    if kind == "f" or low < 0 or high > 255:
        raise ValueError(
            f"it is {pixels.dtype} with values from {low:g} to {high:g}; {_TAKEN}"
        )
    return pixels.astype(np.uint8)


def decoder() -> str:
    """Names and versions of the decoders: 'Pillow 13.0.0, libjpeg-turbo 3.1.2'."""
    if features.check("libjpeg_turbo"):
        jpeg = f"libjpeg-turbo {features.version('libjpeg_turbo')}"
    else:
        jpeg = f"libjpeg {features.version('jpg')}"
    return f"Pillow {PIL.__version__}, {jpeg}"
