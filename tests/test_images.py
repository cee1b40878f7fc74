"""The decoder against Pillow's documented behaviour and cases computed by hand."""

import io
import struct
import warnings
import zlib

import numpy as np
import PIL
from PIL import Image, ImageOps, features
import pytest

from jaxcnn.data import images
from jaxcnn.data.examples import BadImageError


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png(width: int, bits: int, colour_type: int, row: bytes) -> bytes:
    """A PNG file of one row, by the specification (https://www.w3.org/TR/png-3/)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, 1, bits, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" + row))
        + chunk(b"IEND", b"")
    )


@pytest.fixture
def photo() -> Image.Image:
    ramp = np.linspace(0, 255, 24 * 36 * 3).reshape(24, 36, 3)
    return Image.fromarray(ramp.astype(np.uint8))


@pytest.mark.parametrize("format", images.FORMATS)
def test_rgb_pixels_are_those_of_pillow(photo, format):
    data = encoded(photo, format)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(images.decode(data, 3), expected)


def test_a_path_and_its_bytes_decode_alike_whatever_the_extension(photo, tmp_path):
    path = tmp_path / "a.jpg"  # as one "JPEG" of ImageNet, which is a PNG
    path.write_bytes(encoded(photo, "PNG"))
    np.testing.assert_array_equal(images.decode(path, 3), np.asarray(photo))
    np.testing.assert_array_equal(images.decode(path.read_bytes(), 3), photo)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(photo, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(images.decode(data, 3), np.asarray(expected))
    # EXIF 2.3, tag 274: 6 is a camera turned so that row 0 is the right-hand side.
    if orientation == 6:
        turned = np.rot90(np.asarray(photo), k=-1)
        np.testing.assert_array_equal(images.decode(data, 3), turned)


def test_grey_is_the_luma_of_itu_r_601():
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 100, 50]]])
    luma = np.rint(colours @ [0.299, 0.587, 0.114])
    data = encoded(Image.fromarray(colours.astype(np.uint8)))
    np.testing.assert_array_equal(images.decode(data, 1)[..., 0], luma)


def test_three_channels_of_grey_are_equal():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    decoded = images.decode(encoded(Image.fromarray(grey)), 3)
    np.testing.assert_array_equal(decoded, np.stack([grey] * 3, axis=-1))


def test_one_bit_is_black_and_white():
    decoded = images.decode(png(4, 1, 0, bytes([0b01100000])), 1)
    np.testing.assert_array_equal(decoded[0, :, 0], [0, 255, 255, 0])


def test_16_bit_grey_is_scaled_and_not_clipped():
    values = np.array([0, 128, 129, 255, 256, 1000, 32768, 65278, 65535])
    data = png(len(values), 16, 0, values.astype(">u2").tobytes())
    expected = np.rint(values * 255 / 65535)
    np.testing.assert_array_equal(images.decode(data, 1)[0, :, 0], expected)


def test_alpha_is_composited_over_white():
    rgba = np.array([[[0, 0, 0, 0], [200, 100, 0, 255], [0, 100, 200, 51]]], np.uint8)
    data = encoded(Image.fromarray(rgba))
    alpha = rgba[..., 3:] / 255
    expected = rgba[..., :3] * alpha + 255 * (1 - alpha)  # Porter and Duff, "over"
    assert np.abs(images.decode(data, 3) - expected).max() <= 1
    grey_alpha = encoded(Image.new("LA", (1, 1), (100, 51)))
    assert abs(int(images.decode(grey_alpha, 1)[0, 0, 0]) - (20 + 204)) <= 1


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_alpha_of_every_format(format):
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    data = encoded(image, format, lossless=True)
    np.testing.assert_array_equal(images.decode(data, 3), 255)


def test_palettes_give_their_colours_and_transparent_entries_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    np.testing.assert_array_equal(
        images.decode(encoded(image), 3), [[[10, 20, 30], [40, 50, 60]]]
    )
    np.testing.assert_array_equal(
        images.decode(encoded(image, transparency=0), 3), [[[255] * 3, [40, 50, 60]]]
    )
    np.testing.assert_array_equal(  # BMP has palettes, too
        images.decode(encoded(image, "BMP"), 3), [[[10, 20, 30], [40, 50, 60]]]
    )


def test_a_transparent_colour_is_white():
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (4, 5, 6))
    data = encoded(image, transparency=(1, 2, 3))
    np.testing.assert_array_equal(images.decode(data, 3), [[[255] * 3, [4, 5, 6]]])


def test_cmyk_becomes_rgb_also_as_adobe_writes_it():
    # Pillow writes CMYK JPEG as Adobe does: inverted, with an Adobe marker.
    data = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100)
    assert b"Adobe" in data
    assert np.abs(images.decode(data, 3) - np.array([255.0, 0, 0])).max() <= 2
    # Pillow (JpegImagePlugin: "assume adobe conventions") inverts without it as well.
    start = data.index(b"\xff\xee")
    length = struct.unpack(">H", data[start + 2 : start + 4])[0]
    plain = data[:start] + data[start + 2 + length :]
    np.testing.assert_array_equal(images.decode(plain, 3), images.decode(data, 3))


@pytest.mark.parametrize("format", images.FORMATS)
def test_a_truncated_file_is_one_line_with_its_path(photo, format, tmp_path):
    path = tmp_path / "half.png"
    data = encoded(photo, format)
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(BadImageError, match=r"half\.png: \w.+") as caught:
        images.decode(path, 3)
    assert "\n" not in str(caught.value)


GIF = encoded(Image.new("L", (4, 4)), "GIF")


@pytest.mark.parametrize("data", [b"", b"hello", GIF])
def test_what_is_no_image_is_refused_by_the_name_given(data):
    with pytest.raises(BadImageError, match="^record 3: no JPEG, PNG, WebP or BMP"):
        images.decode(data, 3, "record 3")


def test_a_missing_file_is_a_bad_image(tmp_path):
    with pytest.raises(BadImageError, match=r"none\.png: No such file"):
        images.decode(tmp_path / "none.png", 3)


def test_a_decompression_bomb_is_a_bad_image():
    row = bytes(3)
    bomb = bytearray(png(1, 8, 2, row))
    bomb[16:24] = struct.pack(">II", 20_000, 20_000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    with pytest.raises(BadImageError, match="bomb: Image size .400000000 pixels"):
        images.decode(bytes(bomb), 3, "bomb")


def test_a_warning_that_is_an_error_is_a_bad_image(photo, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24 * 36 - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadImageError, match="photo: Image size .864 pixels"):
            images.decode(encoded(photo), 3, "photo")


def test_the_decoder_is_named_with_its_versions():
    assert f"Pillow {PIL.__version__}, libjpeg" in images.decoder()
    if features.check("libjpeg_turbo"):
        assert images.decoder().endswith(features.version("libjpeg_turbo"))
