"""Transforms against Pillow, torchvision's documented rules and hand-made cases."""

import math

import numpy as np
from PIL import Image
import pytest
from scipy import stats

from jaxcnn.data import transforms
from jaxcnn.data.transforms import TRANSFORMS

DETERMINISTIC = [name for name, row in TRANSFORMS.items() if not row.random]


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (height, width, channels), np.uint8)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(7, 50), (50, 7), (1, 1), (300, 200), (32, 32)])
def test_every_transform_gives_a_square_of_uint8(name, channels, shape):
    rng = np.random.default_rng(0)
    result = TRANSFORMS[name].apply(noise(*shape, channels), 32, rng)
    assert (result.shape, result.dtype) == ((32, 32, channels), np.uint8)


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_of_the_right_size_comes_back_unchanged(name, channels):
    image = noise(28, 28, channels)
    np.testing.assert_array_equal(TRANSFORMS[name].apply(image, 28, None), image)


def test_resize_is_pillows_bilinear_which_antialiases():
    image = noise(64, 48)
    expected = Image.fromarray(image).resize((16, 16), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(TRANSFORMS["resize"].apply(image, 16, None), expected)
    # One white pixel in 8x8 shrunk to 2x2: without antialiasing it would vanish or
    # fill a pixel; the triangle of support 4 around 1.5 gives it 2.5 of 16 an axis
    # in the pixel it is in, of which the border cuts the sum to 14.
    point = np.zeros((8, 8, 1), np.uint8)
    point[0, 0] = 255
    weights = 1 - np.abs(np.arange(6) + 0.5 - 2) / 4
    corner = 255 * (weights[0] / weights.sum()) ** 2
    assert abs(TRANSFORMS["resize"].apply(point, 2, None)[0, 0, 0] - corner) <= 1


@pytest.mark.parametrize(
    ("shape", "resized", "top_left"),
    [
        # torchvision: Resize(256) makes the shorter side 256 and the longer
        # int(256 * longer / shorter); CenterCrop(224) starts at
        # round((side - 224) / 2), to the even number at a half.
        ((375, 500), (256, 341), (16, 58)),  # 341.33; (341 - 224) / 2 = 58.5
        ((500, 375), (341, 256), (58, 16)),
        ((333, 500), (256, 384), (16, 80)),  # 384.38
        ((256, 256), (256, 256), (16, 16)),
        ((300, 500), (256, 426), (16, 101)),  # 426.67, not rounded up
    ],
)
def test_center_crop_has_the_sizes_of_torchvision(shape, resized, top_left):
    image = noise(*shape)
    whole = Image.fromarray(image).resize(resized[::-1], Image.Resampling.BILINEAR)
    top, left = top_left
    expected = np.asarray(whole)[top : top + 224, left : left + 224]
    result = TRANSFORMS["center_crop"].apply(image, 224, None)
    np.testing.assert_array_equal(result, expected)


def test_pad_centres_on_black_and_shrinks_only_what_is_larger():
    image = noise(4, 7) | 1
    result = TRANSFORMS["pad"].apply(image, 10, None)
    np.testing.assert_array_equal(result[3:7, 1:8], image)
    assert np.count_nonzero(result) == image.size
    wide = np.full((50, 100, 1), 255, np.uint8)
    result = TRANSFORMS["pad"].apply(wide, 20, None)  # 100 -> 20, so 50 -> 10
    np.testing.assert_array_equal(result[5:15], 255)
    assert result.sum() == 255 * 10 * 20


def test_random_windows_have_the_areas_and_aspect_ratios_of_the_formula():
    # Area uniform in 0.08 to 1 and log aspect ratio uniform in log 3/4 to log 4/3,
    # given that the window fits: the same draws by rejection, from SciPy.
    rng = np.random.default_rng(0)
    height = width = 2000
    windows = np.array(
        [transforms.random_window(height, width, rng) for _ in range(4000)]
    )
    area = windows[:, 2] * windows[:, 3] / (height * width)
    log_aspect = np.log(windows[:, 3] / windows[:, 2])
    true_area = stats.uniform(0.08, 0.92).rvs(20_000, random_state=1)
    bound = math.log(4 / 3)
    true_log_aspect = stats.uniform(-bound, 2 * bound).rvs(20_000, random_state=2)
    fits = true_area * np.exp(np.abs(true_log_aspect)) <= 1
    assert stats.ks_2samp(area, true_area[fits]).pvalue > 0.01
    assert stats.ks_2samp(log_aspect, true_log_aspect[fits]).pvalue > 0.01
    # The place is uniform over all places where the window fits.
    place = windows[:, 0] / (height - windows[:, 2]).clip(1)
    assert stats.kstest(place[area < 0.5], "uniform").pvalue > 0.01
    assert (windows[:, 0] + windows[:, 2] <= height).all()
    assert (windows[:, 1] + windows[:, 3] <= width).all()


@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ((10, 1000), (0, 493, 10, 13)),  # width 10 * 4/3 = 13.3, (1000 - 13) // 2
        ((1000, 10), (493, 0, 13, 10)),
    ],
)
def test_where_no_window_fits_the_central_one_is_taken(shape, window):
    # Every window has at least 0.08 * 10000 pixels and so a side of at least 24.
    rng = np.random.default_rng(0)
    assert transforms.random_window(*shape, rng) == window


def test_random_resized_crop_resizes_its_window_only():
    image = noise(60, 80)
    top, left, h, w = transforms.random_window(60, 80, np.random.default_rng(3))
    window = Image.fromarray(image[top : top + h, left : left + w])
    expected = window.resize((32, 32), Image.Resampling.BILINEAR)
    result = TRANSFORMS["random_resized_crop"].apply(
        image, 32, np.random.default_rng(3)
    )
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("shape", [(14, 14), (28, 42), (9, 7)])
def test_a_random_crop_is_any_window_of_the_resized_image(shape):
    # 14 of 16, as 224 of 256.
    image, rng = noise(*shape, 1), np.random.default_rng(0)
    shorter = min(shape)
    height, width = (16 * side // shorter for side in shape)
    resized = Image.fromarray(image[..., 0]).resize((width, height), Image.BILINEAR)
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(resized), (14, 14))
    seen = set()
    for _ in range(300):
        crop = TRANSFORMS["random_crop"].apply(image, 14, rng)[..., 0]
        found = np.argwhere((windows == crop).all(axis=(2, 3)))
        assert len(found) == 1
        seen.add(tuple(found[0].tolist()))
    assert len(seen) == (height - 13) * (width - 13)


def test_a_random_scale_crop_shows_the_image_at_one_to_two_times_the_size():
    ramp = np.tile(np.arange(256, dtype=np.uint8)[:, None, None], (1, 320, 1))
    rng = np.random.default_rng(0)
    sides = []
    for _ in range(500):
        crop = TRANSFORMS["random_scale_crop"].apply(ramp, 56, rng)
        rise = (int(crop[50, 0, 0]) - int(crop[5, 0, 0])) / 45  # grey levels a pixel
        sides.append(256 / rise)
    # 64 to 128 for 56, as 256 to 512 for 224.
    assert stats.kstest(sides, stats.uniform(64, 64).cdf).pvalue > 0.01
