"""Data sets in memory: statistics, channels, fingerprint and refusals."""

import numpy as np
import pytest

from jaxcnn.config import DataConfig
from jaxcnn.data import arrays


def parts(channels=3, num=20, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (num, 4, 5, channels), np.uint8)
    return {"train": (images, np.arange(num) % 2)}


def test_mean_and_std_are_those_of_what_is_left_to_train_on():
    dataset = arrays.of_classes("toy", "ab", parts(), DataConfig())
    pixels = dataset.splits["train"].images / 255.0
    np.testing.assert_allclose(dataset.info.mean, pixels.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(dataset.info.std, pixels.std((0, 1, 2)), rtol=1e-12)


def test_rgb_becomes_luma_of_itu_r_601():
    # 0.299 R + 0.587 G + 0.114 B
    images = parts()["train"][0]
    grey = arrays.with_channels(images, 1)
    luma = images @ np.array([0.299, 0.587, 0.114])
    assert grey.shape == (20, 4, 5, 1)
    np.testing.assert_allclose(grey[..., 0], luma, atol=0.51)


def test_grey_becomes_three_equal_channels():
    images = parts(channels=1)["train"][0]
    whole = {"train": (images, np.arange(20) % 2)}
    rgb = arrays.of_classes("toy", "ab", whole, DataConfig(channels=3))
    assert rgb.info.channels == 3
    for channel in range(3):
        found = np.concatenate([rgb.splits[p].images for p in ("train", "validation")])
        assert sorted(found[..., channel].tobytes()) == sorted(images.tobytes())


def test_one_other_pixel_or_label_is_another_fingerprint():
    def fingerprint(change=lambda images, labels: None):
        whole = parts()
        change(*whole["train"])
        return arrays.of_classes("toy", "ab", whole, DataConfig()).info.fingerprint

    def pixel(images, labels):
        images[3, 2, 1, 0] ^= 1

    def label(images, labels):
        labels[3] = 0

    assert fingerprint() == fingerprint()
    assert len({fingerprint(), fingerprint(pixel), fingerprint(label)}) == 3


def test_a_label_out_of_range_is_refused():
    whole = parts()
    whole["train"][1][7] = 2
    with pytest.raises(ValueError, match="Example 7 of the train split: label 2 is"):
        arrays.of_classes("toy", "ab", whole, DataConfig())


def test_two_channels_and_an_empty_split_are_refused():
    with pytest.raises(ValueError, match=r"data.channels is 2; it must be 1 .* or 3"):
        arrays.of_classes("toy", "ab", parts(), DataConfig(channels=2))
    empty = {"test": (np.zeros((0, 4, 5, 3), np.uint8), np.zeros(0, int))}
    with pytest.raises(ValueError, match="'toy': the test split has no images"):
        arrays.of_classes("toy", "ab", parts() | empty, DataConfig())
