"""Bad images are one line each, unusual ones are read, and none takes much memory."""

import io
import json
import pathlib
import subprocess
import sys

import numpy as np
from PIL import Image, ImageOps
import pytest

from jaxcnn.config import DataConfig
from jaxcnn.data import datasets, images, transforms
from jaxcnn.data import placement as placing
from jaxcnn.data.examples import BadImageError
from jaxcnn.data.placement import Placement
from tests.faults import bad_images
from tests.faults.bad_images import encoded, photo

ROOT = pathlib.Path(__file__).parents[2]
CASES = [*bad_images.damaged(), *bad_images.hostile()]


@pytest.fixture(scope="module")
def decoded(tmp_path_factory):
    """Name of each file -> what another process says of it, and the folder."""
    folder = tmp_path_factory.mktemp("files")
    for name, content, _ in CASES:
        (folder / name).write_bytes(content)
    bad_images.special(folder)
    command = [sys.executable, "-m", "tests.faults.bad_images", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    rows = map(json.loads, done.stdout.splitlines())
    return {row["name"]: row for row in rows}, folder


def test_there_are_sixty_kinds_of_bad_images(decoded):
    found, _ = decoded
    assert len(found) == len(CASES) + 5
    assert sum(bad for _, _, bad in CASES) + 5 >= 60


@pytest.mark.parametrize(("name", "bad"), [(name, bad) for name, _, bad in CASES])
def test_a_bad_image_is_one_line_that_names_the_file(decoded, name, bad):
    found, folder = decoded
    row = found[name]
    assert row["problem"] is not None or not bad
    if row["problem"] is not None:
        start = f"{folder / name}: "
        assert row["problem"].startswith(start)
        assert len(row["problem"]) > len(start) + 5
        assert row["problem"].isprintable()
    assert row["seconds"] < 5
    assert row["mib"] < 100


@pytest.mark.parametrize("name", ["pipe.jpg", "device.png", "folder.png"])
def test_what_is_no_regular_file_is_not_opened(decoded, name):
    assert decoded[0][name]["problem"].endswith("not a regular file")


def test_an_image_is_not_bad_because_too_many_files_are_open(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(photo(), "PNG"))
    code = (
        "import os, resource; from jaxcnn.data import images\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "held = [os.dup(0) for _ in range(64 - len(os.listdir('/proc/self/fd')) + 1)]\n"
        f"images.decode({str(path)!r}, 3, None)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True)
    assert b"OSError: [Errno 24] Too many open files" in done.stderr


def test_the_header_is_compared_with_max_pixels(tmp_path):
    path = tmp_path / "a.png"
    photo(size=(30, 20)).save(path)
    assert images.decode(path, 3, max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(BadImageError, match="30 x 20 pixels .* data.max_pixels=599"):
        images.decode(path, 3, max_pixels=599)
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        for i in range(5):
            photo(size=(30, 20)).save(tmp_path / name / f"{i}.png")
    config = DataConfig(name=f"folder:{tmp_path}", max_pixels=599)
    with pytest.raises(BadImageError, match="are more than data.max_pixels=599"):
        datasets.load(config).splits["train"][0]
    with pytest.raises(BadImageError, match="pixels are more than data.max_pixels=9"):
        images.from_pillow(photo(), 3, max_pixels=9)


def test_a_file_that_is_larger_than_an_image_can_be_is_not_read(tmp_path):
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.write(encoded(photo(), "PNG"))
        file.truncate(1 << 40)  # a sparse file
    with pytest.raises(BadImageError, match="1,099,511,627,776 bytes; at most 707,10"):
        images.decode(path, 3)


def tiff_of_two() -> bytes:
    return encoded(
        photo(), "TIFF", save_all=True, append_images=[Image.new("L", (9, 9))]
    )


def rotated(orientation: int) -> Image.Image:
    file = io.BytesIO(encoded(photo(), "TIFF", tiffinfo={274: orientation}))
    return ImageOps.exif_transpose(Image.open(file))


FRAMES = {"save_all": True, "append_images": [Image.new("RGB", (48, 32), "red")] * 2}
# Content -> the image that it shows; exact where the format keeps every bit.
UNUSUAL = {
    "animated_png": (encoded(photo(), "PNG", **FRAMES), photo()),
    "animated_webp": (encoded(photo(), "WEBP", lossless=True, **FRAMES), photo()),
    "animated_gif": (encoded(photo("P"), "GIF", **FRAMES), photo("P")),
    "tiff_of_two_pages": (tiff_of_two(), photo()),
    "trailing_bytes": (encoded(photo(), "PNG") + bytes(9999), photo()),
    "large_icc": (encoded(photo(), "PNG", icc_profile=bytes(900_000)), photo()),
    "one_bit": (encoded(photo("1"), "TIFF", compression="group4"), photo("1")),
    "lzw": (encoded(photo(), "TIFF", compression="tiff_lzw"), photo()),
    "deflate": (encoded(photo(), "TIFF", compression="tiff_adobe_deflate"), photo()),
    "grey_bmp": (encoded(photo("L"), "BMP"), photo("L")),
    **{
        f"tiff_turned_{i}": (encoded(photo(), "TIFF", tiffinfo={274: i}), rotated(i))
        for i in range(1, 9)
    },
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_images_are_read(name):
    content, expected = UNUSUAL[name]
    file = images.Encoded(content, 3, name)
    assert file.shape == (expected.height, expected.width, 3)
    np.testing.assert_array_equal(file.pixels(), np.asarray(expected.convert("RGB")))


def test_a_transparent_palette_is_white_in_a_gif_and_16_bits_are_scaled_in_a_tiff():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    for format in ("GIF", "PNG"):
        content = encoded(image, format, transparency=0)
        expected = [[[255] * 3, [40, 50, 60]]]
        np.testing.assert_array_equal(images.decode(content, 3), expected)
    values = np.array([[0, 128, 129, 32768, 65535]], np.uint16)
    for order in "<>":
        mode = {"<": "I;16", ">": "I;16B"}[order]
        size, raw = (5, 1), values.astype(f"{order}u2").tobytes()
        content = encoded(Image.frombytes(mode, size, raw), "TIFF")
        found = images.decode(content, 1)[0, :, 0]
        np.testing.assert_array_equal(found, np.rint(values[0] / 257))


# Shapes.


@pytest.mark.parametrize("shape", [(1, 60_000), (60_000, 1), (3, 5_000)])
@pytest.mark.parametrize("name", transforms.TRANSFORMS)
def test_no_transform_needs_much_memory_whatever_the_shape(monkeypatch, name, shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    resize, sizes = Image.Image.resize, []

    def noted(self, size, *arguments):
        sizes.append(size[0] * size[1])
        return resize(self, size, *arguments)

    monkeypatch.setattr(Image.Image, "resize", noted)
    row = transforms.find(name)
    for source in (image, images.Encoded(encoded(Image.fromarray(image), "PNG"), 3)):
        if isinstance(source, np.ndarray) or row.random:
            found = row.apply(source, 224, np.random.default_rng(1))
            assert found.shape == (224, 224, 3)
    transforms.resize_and_crop(image, 224, 0.875, "bicubic")
    assert sizes
    assert max(sizes) <= 8 * (shape[0] * shape[1] + 224**2)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_visible_part_of_a_strip_is_that_of_the_whole(monkeypatch, interpolation):
    image = np.random.default_rng(0).integers(0, 256, (9, 400, 3), np.uint8)
    mask = image[..., 0]
    # Of 400 x 9 pixels, resized to 32 x 1422, columns 600 to 631 are shown.
    placement = Placement((0, 0, 9, 400), (32, 1422), (0, -600), (32, 32))
    whole = Image.fromarray(image).resize(
        (1422, 32), placing.INTERPOLATIONS[interpolation]
    )
    expected = np.asarray(whole)[:, 600:632].astype(int)
    for large in (100, 8):  # computed in full; in part
        monkeypatch.setattr(placing, "_LARGE", large)
        found = placing.place_image(image, placement, interpolation=interpolation)
        # Pillow's weights have 22 bits, so a rare pixel is rounded the other way.
        assert np.abs(found - expected).max() <= (large == 8)
    nearest = np.asarray(
        Image.fromarray(mask).resize((1422, 32), Image.Resampling.NEAREST)
    )
    found = placing.place_mask(mask, placement)
    np.testing.assert_array_equal(found, nearest[:, 600:632])
