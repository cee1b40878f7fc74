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

Another version of Pillow or of its libjpeg may give other bits, so a run records
decoder().
"""

import io
import os

import numpy as np
import PIL
from PIL import Image, ImageOps, features

from jaxcnn.data.examples import BadImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".webp")  # in any case, for folders


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
    if channels not in (1, 3):
        raise ValueError(f"channels is {channels}; 1 (grey) and 3 (RGB) are possible.")
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with Image.open(file, formats=FORMATS) as image:
            return _pixels(ImageOps.exif_transpose(image), channels)
    except PIL.UnidentifiedImageError:
        why = "no JPEG, PNG, WebP or BMP image"  # Pillow's text has a memory address
    except Exception as error:  # broken files raise nearly any type in Pillow
        text = error.strerror if isinstance(error, OSError) else None
        why = " ".join((text or str(error) or type(error).__name__).split())
    where = name or (
        "image" if isinstance(source, bytes) else os.fsdecode(os.fspath(source))
    )
    raise BadImageError(f"{where}: {why}")


def _pixels(image: Image.Image, channels: int) -> np.ndarray:
    """An image of any mode as uint8 [H, W, channels]."""
    if image.mode.startswith("I"):  # 16-bit grey
        wide = np.asarray(image).astype(np.int64)
        image = Image.fromarray(((wide + 128) // 257).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    elif image.mode != "L":
        image = image.convert("RGB")
    image = image.convert({1: "L", 3: "RGB"}[channels])
    return np.asarray(image).reshape(image.height, image.width, channels)


def decoder() -> str:
    """Name and version of what decodes, as 'Pillow 13.0.0, libjpeg-turbo 3.1.2'."""
    if features.check("libjpeg_turbo"):
        jpeg = f"libjpeg-turbo {features.version('libjpeg_turbo')}"
    else:
        jpeg = f"libjpeg {features.version('jpg')}"
    return f"Pillow {PIL.__version__}, {jpeg}"
