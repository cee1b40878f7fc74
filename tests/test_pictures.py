"""Images with what was predicted of them."""

import numpy as np
from PIL import Image
import pytest

from jaxcnn.report import pictures
from jaxcnn.tasks import Classification
from jaxcnn.tasks.parts import Caption


@pytest.mark.parametrize("channels", [1, 3])
def test_a_caption_stands_below_an_image_that_is_enlarged_by_an_integer(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, channels), np.uint8)
    one = np.asarray(pictures.draw(pixels, [Caption("5 0.9876")]))
    height, width = 8 * 64, 6 * 64  # 512 = 8 * 64
    expected = np.broadcast_to(pixels, (8, 6, 3)).repeat(64, axis=0).repeat(64, axis=1)
    np.testing.assert_array_equal(one[:height, :width], expected)
    below = one[height:]
    assert below.shape == (20, width, 3)
    assert below.min() < 80  # ink
    assert (below == 255).mean() > 0.8  # paper
    two = np.asarray(pictures.draw(pixels, [Caption("5 0.9876"), Caption("3 0.0124")]))
    np.testing.assert_array_equal(two[: len(one)], one)
    assert len(two) == height + 40


def test_a_caption_that_is_longer_than_the_image_is_wide_is_not_cut():
    pixels = np.zeros((100, 10, 3), np.uint8)
    wide = pictures.draw(pixels, [Caption("a long name " * 10)])
    assert wide.width > 500
    assert np.asarray(wide)[500:, -100:].min() < 80


def test_a_classification_marks_its_most_likely_classes():
    answer = {"classes": [{"class": "cat", "probability": 0.75}]}
    assert Classification(("cat", "dog")).marks(answer) == [Caption("cat 0.7500")]


def test_no_two_images_have_a_picture_of_the_same_name():
    images = ["a/1.png", "b/1.jpg", "1_2.png", "A/1.PNG", "two.words.png"]
    expected = ["1.png", "1_2.png", "1_2_2.png", "1_3.png", "two.words.png"]
    assert pictures.file_names(images) == expected


def test_a_picture_is_as_large_as_a_screen_shows():
    picture = pictures.draw(np.zeros((3000, 1500, 3), np.uint8), [])
    assert isinstance(picture, Image.Image)
    assert picture.size == (256, 512)
