"""The decoder against Pillow's documented behaviour and cases computed by hand."""

import io
import math
import struct
import warnings
import zlib

import numpy as np
import PIL
from PIL import Image, ImageOps, features
import pytest

from jaxcnn.data import images
from jaxcnn.data.examples import BadImageError
from jaxcnn.data.transforms import TRANSFORMS, random_window


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


def test_arrays_of_either_byte_order_are_the_same_image():
    values = np.array([[0, 129, 256, 65535]], np.uint16)
    for array in (values, values // 257):
        expected = images.to_uint8(array)
        np.testing.assert_array_equal(images.to_uint8(array.astype(">u2")), expected)
        np.testing.assert_array_equal(images.to_uint8(array.astype("<u2")), expected)


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


ICO = encoded(Image.new("L", (16, 16)), "ICO")
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"


@pytest.mark.parametrize("data", [b"", b"hello", ICO, EPS])
def test_what_is_no_image_is_refused_by_the_name_given(data):
    with pytest.raises(
        BadImageError, match="^record 3: no JPEG, PNG, WebP, BMP, GIF or"
    ):
        images.decode(data, 3, "record 3")


def test_a_missing_file_is_a_bad_image(tmp_path):
    with pytest.raises(BadImageError, match=r"none\.png: No such file"):
        images.decode(tmp_path / "none.png", 3)


def test_a_decompression_bomb_is_a_bad_image():
    row = bytes(3)
    bomb = bytearray(png(1, 8, 2, row))
    bomb[16:24] = struct.pack(">II", 20_000, 20_000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    with pytest.raises(BadImageError, match="bomb: more pixels than data.max_pixels"):
        images.decode(bytes(bomb), 3, "bomb")


def test_a_warning_that_is_an_error_is_a_bad_image(photo, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24 * 36 - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadImageError, match="photo: Image size .864 pixels"):
            images.decode(encoded(photo), 3, "photo")


# Decoding at a smaller scale.


def smooth(height: int, width: int) -> Image.Image:
    """Three slow waves, which look the same at any scale."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 25), np.sin(y / 25), np.cos((x + y) / 35)]
    return Image.fromarray(np.uint8(128 + 100 * np.stack(waves, axis=-1)))


# Of an image of 100 x 150 the window of 64 x 80 at (10, 30). At 1/8 it is 8 x 10 pixels
# and begins at (10 / 8, 30 / 8) = (1.25, 3.75), in pixel (1, 3) therefore.
@pytest.mark.parametrize(
    ("size", "scale", "rows", "columns", "box"),
    [
        ((1, 1), 8, (1, 10), (3, 14), (0.75, 0.25, 10.75, 8.25)),  # there is no 1/16
        ((8, 10), 8, (1, 10), (3, 14), (0.75, 0.25, 10.75, 8.25)),
        ((8, 11), 4, (2, 19), (7, 28), (0.5, 0.5, 20.5, 16.5)),  # 80 / 8 is below 11
        ((9, 10), 4, (2, 19), (7, 28), (0.5, 0.5, 20.5, 16.5)),
        ((32, 32), 2, (5, 37), (15, 55), (0, 0, 40, 32)),
        ((33, 32), 1, (10, 74), (30, 110), (0, 0, 80, 64)),
        ((224, 224), 1, (10, 74), (30, 110), (0, 0, 80, 64)),
    ],
)
def test_a_window_is_pillows_draft_at_the_smallest_scale_that_is_large_enough(
    size, scale, rows, columns, box
):
    data = encoded(smooth(100, 150), "JPEG", quality=90)
    draft = Image.open(io.BytesIO(data))
    draft.draft(None, (150 // scale, 100 // scale))
    assert draft.size == (-(-150 // scale), -(-100 // scale))
    expected = np.asarray(draft)[slice(*rows), slice(*columns)]
    pixels, place = images.Encoded(data, 3).window(10, 30, 64, 80, size)
    np.testing.assert_array_equal(pixels, expected)
    assert place == box


@pytest.mark.parametrize(
    "transform",
    # A patch is shown as it is, so none is decoded at a smaller scale.
    [n for n, row in TRANSFORMS.items() if row.random and n != "random_patch"],
)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_scaled_file_shows_the_window_of_the_whole_in_every_orientation(
    orientation, transform
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    # 8 divides neither side: 145 are 18.1, 211 are 26.4.
    data = encoded(smooth(145, 211), "JPEG", quality=95, exif=exif)
    whole = images.decode(data, 3)
    apply = TRANSFORMS[transform].apply
    differences = []
    for seed in range(8):
        file = images.Encoded(data, 3)
        assert file.shape == whole.shape
        expected = apply(whole, 12, np.random.default_rng(seed)).astype(int)
        found = apply(file, 12, np.random.default_rng(seed))
        differences.append(np.abs(found - expected).mean())
    # Half a pixel too far at 1/8 would be four of the whole, some 7 grey levels.
    assert max(differences) < 1.5
    assert max(differences) > 0  # it was decoded at a smaller scale


def test_a_scaled_file_is_pillows_draft_crop_and_resize():
    data = encoded(smooth(300, 400), "JPEG")
    rng = np.random.default_rng(1)
    found = TRANSFORMS["random_resized_crop"].apply(images.Encoded(data, 3), 20, rng)
    top, left, height, width = random_window(300, 400, np.random.default_rng(1))
    scale = max(s for s in (1, 2, 4, 8) if min(height, width) >= 20 * s)
    assert scale > 1
    draft = Image.open(io.BytesIO(data))
    draft.draft("RGB", (400 // scale, 300 // scale))
    sides = (left, top, left + width, top + height)
    left, top, right, bottom = (side / scale for side in sides)
    x, y = math.floor(left), math.floor(top)
    crop = draft.crop((x, y, math.ceil(right), math.ceil(bottom)))
    box = (left - x, top - y, right - x, bottom - y)
    expected = crop.resize((20, 20), Image.Resampling.BILINEAR, box)
    np.testing.assert_array_equal(found, np.asarray(expected))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_every_kind_of_jpeg_is_decoded_at_a_smaller_scale(mode, channels, progressive):
    image = smooth(64, 96).convert(mode)
    data = encoded(image, "JPEG", progressive=progressive)
    draft = Image.open(io.BytesIO(data))
    draft.draft(None, (24, 16))
    expected = draft if mode == "L" else draft.convert("RGB")
    expected = np.asarray(expected.convert({1: "L", 3: "RGB"}[channels]))
    pixels, _ = images.Encoded(data, channels).window(0, 0, 64, 96, (16, 16))
    np.testing.assert_array_equal(pixels, expected.reshape(16, 24, channels))


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP"])
def test_other_files_are_decoded_in_full(format):
    image = smooth(64, 96).convert("RGB" if format == "WEBP" else "P")
    data = encoded(image, format)
    pixels, box = images.Encoded(data, 3).window(8, 16, 32, 48, (2, 2))
    expected = images.decode(data, 3)[8:40, 16:64]
    np.testing.assert_array_equal(pixels, expected)
    assert box == (0, 0, 48, 32)


def test_a_truncated_file_is_found_when_its_window_is_decoded():
    data = encoded(smooth(300, 400), "JPEG")
    file = images.Encoded(data[: len(data) * 2 // 3], 3, "record 3")
    with pytest.raises(BadImageError, match="^record 3: .*truncated"):
        file.window(0, 0, 300, 400, (8, 8))


def test_the_decoder_is_named_with_its_versions():
    assert f"Pillow {PIL.__version__}, libjpeg" in images.decoder()
    if features.check("libjpeg_turbo"):
        assert images.decoder().endswith(features.version("libjpeg_turbo"))
