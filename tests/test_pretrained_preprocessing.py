"""Preprocessing against torchvision's: its pixels, and the metadata of its weights.

Both are made by reference/make_preprocessing_reference.py.
"""

import json
import pathlib

import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.data import transforms
from jaxcnn.models.variant import Variant
from jaxcnn.pretrained import preprocessing
from jaxcnn.pretrained.preprocessing import Preprocessing
from tests.reference.generated_image import CASES, generated

FOLDER = pathlib.Path(__file__).parent / "reference"
WEIGHTS = json.loads((FOLDER / "preprocessing.json").read_text())
with np.load(FOLDER / "preprocessing.npz") as _file:
    PIXELS = dict(_file)


@pytest.mark.parametrize("name", CASES)
def test_pixels_are_those_of_torchvision_within_one_grey_level(name):
    shape, resized, size, interpolation = CASES[name]
    image = generated(shape).reshape(*shape[:2], -1)
    ours = transforms.resize_and_crop(image, size, size / resized, interpolation)
    assert ours.shape == (size, size, image.shape[2])
    theirs = PIXELS[name]
    ours = ours[::5, ::5].reshape(theirs.shape).astype(int)
    assert np.abs(ours - theirs).max() <= 1
    assert theirs.std() > 20  # there is something to see


def expected(row, sha256):
    name = row["model"]
    variant = models.MODELS.get(name) or Variant(None, "", row["image_size"])
    return preprocessing.expected("torchvision", name, variant, 3, sha256)


@pytest.mark.parametrize("row", WEIGHTS, ids=lambda r: f"{r['model']}-{r['weights']}")
def test_each_of_torchvision_s_weights_gets_its_preprocessing(row):
    found = expected(row, row["hash"] + 56 * "0")
    mean, std = row["mean"], row["std"]
    if row["transform_input"]:  # the network itself goes on to [-1, 1]
        mean = std = [0.5] * 3
    assert round(found.image_size / found.crop_ratio) == row["resized"]
    assert (found.image_size, found.interpolation, found.order) == (
        row["image_size"],
        row["interpolation"],
        "RGB",
    )
    np.testing.assert_allclose((found.mean, found.std), (mean, std))


def test_a_file_that_is_not_known_is_taken_for_the_first_weights():
    rows = {(row["model"], row["weights"]): row for row in WEIGHTS}
    unknown = expected(rows["resnet50", "IMAGENET1K_V2"], 64 * "0")
    assert round(224 / unknown.crop_ratio) == 256


def test_caffe_s_preprocessing_is_that_of_keras():
    # keras/src/applications/imagenet_utils.py: RGB to BGR, less 103.939, 116.779,
    # 123.68, and no scaling.
    found = preprocessing.expected("keras", "vgg16", Variant(None, ""), 3, "")
    assert found.order == "BGR"
    np.testing.assert_allclose(
        (np.array([10.0, 20.0, 30.0]) / 255 - found.mean) / found.std,
        [10 - 103.939, 20 - 116.779, 30 - 123.68],
    )


@pytest.mark.parametrize(
    "change",
    [
        {"image_size": 0},
        {"image_size": "224"},
        {"crop_ratio": 1.1},
        {"crop_ratio": float("nan")},
        {"interpolation": "nearest"},
        {"mean": (0.5,)},
        {"std": (0.5, 0.5, 0.0)},
        {"order": "GRB"},
    ],
)
def test_preprocessing_that_is_not_possible_is_refused(change):
    fields = {"image_size": 224, "crop_ratio": 0.875, "interpolation": "bilinear"}
    fields |= {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    Preprocessing(**fields)
    with pytest.raises(ValueError, match=r"^preprocessing\.\w+ must be .*, not .*\.$"):
        Preprocessing(**(fields | change))
