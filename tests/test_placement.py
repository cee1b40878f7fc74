"""Targets that move with their image on the host, against torchvision and by hand.

What torchvision's v2 transforms make of the same mask, boxes and points was stored by
reference/make_geometry_reference.py.
"""

import pathlib

import numpy as np
from PIL import Image
import pytest

from jaxcnn.data import transforms
from jaxcnn.data.placement import Placement, move_points, place, place_mask
from jaxcnn.data.transforms import TRANSFORMS
from jaxcnn.errors import UserError
from jaxcnn.targets import Target, to_batch
from tests.reference.geometry_cases import FIXED, WINDOWS, example

REFERENCE = dict(np.load(pathlib.Path(__file__).parent / "reference/geometry.npz"))
TARGETS = {
    "mask": Target("mask", "uint8"),
    "boxes": Target("boxes", "float32", (9, 4), ragged=True),
    "number": Target("label", "int32", (9,), ragged=True, names=("a", "b"), of="boxes"),
    "points": Target("points", "float32", (6, 2)),
}


def with_numbers():
    arrays = example()
    pixels = arrays["image"].astype(np.uint8)
    return arrays | {"image": pixels, "number": np.arange(len(arrays["boxes"]))}


@pytest.mark.parametrize("name", [*FIXED, *WINDOWS])
def test_targets_move_as_torchvision_moves_them(name):
    if name in FIXED:
        row = TRANSFORMS[name.partition("_wide")[0].partition("_shrunk")[0]]
        found = transforms.apply(row, with_numbers(), TARGETS, FIXED[name], None)
    else:
        window, size = WINDOWS[name]
        placement = Placement(window, size, (0, 0), size)
        found = place(with_numbers(), TARGETS, placement)
    seen = REFERENCE[f"{name}/seen"]
    np.testing.assert_array_equal(found["mask"], REFERENCE[f"{name}/mask"])
    assert found["image"].shape[:2] == found["mask"].shape
    np.testing.assert_allclose(
        found["boxes"], REFERENCE[f"{name}/boxes"][seen], atol=1e-5
    )
    np.testing.assert_array_equal(found["number"], np.flatnonzero(seen))
    np.testing.assert_allclose(found["points"], REFERENCE[f"{name}/points"], atol=1e-5)
    assert found["boxes"].dtype == found["points"].dtype == np.float32


def test_some_boxes_of_the_reference_are_dropped():
    assert not all(REFERENCE[f"{name}/seen"].all() for name in WINDOWS)


# Not 21 columns of 14: some of their centres are on the edge of a pixel.
@pytest.mark.parametrize("size", [(3, 4), (9, 20), (10, 14)])
def test_a_mask_is_resized_as_by_pillow_to_the_nearest_pixel(size):
    mask = np.random.default_rng(0).integers(0, 256, (10, 14), np.uint8)
    placement = TRANSFORMS["resize"].place(mask.shape, size, None)
    expected = Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST)
    np.testing.assert_array_equal(place_mask(mask, placement), expected)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("size", [(12, 20), (20, 12), (9, 9)])
@pytest.mark.parametrize("shape", [(40, 30), (17, 60), (8, 8)])
def test_a_rectangle_stays_where_its_box_is(name, size, shape):
    # In the image, in the mask and as a box: one placement moves all three.
    height, width = shape
    box = np.array([height // 4, width // 4, height // 4 * 3, width // 4 * 3])
    mask = np.zeros(shape, np.uint8)
    mask[box[0] : box[2], box[1] : box[3]] = 255
    targets = {"mask": TARGETS["mask"], "boxes": Target("boxes", "float32", (4,))}
    given = {"image": mask[..., None], "mask": mask, "boxes": box}
    row = TRANSFORMS[name]
    found = transforms.apply(row, given, targets, size, np.random.default_rng(1))
    assert found["image"].shape == (*size, 1)
    assert found["mask"].shape == size
    top, left, bottom, right = found["boxes"]
    rows, columns = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    inside = ((top <= rows) & (rows < bottom))[:, None] & (
        (left <= columns) & (columns < right)
    )
    # Where a side is on the centre of a pixel, a rounding decides.
    y, x = rows[:, None], columns
    sure = np.minimum(abs(y - top), abs(y - bottom)) > 1e-4
    sure = sure & (np.minimum(abs(x - left), abs(x - right)) > 1e-4)
    np.testing.assert_array_equal((found["mask"] > 0)[sure], inside[sure])
    # Of the image more than half of a pixel is the rectangle's, or less than half,
    # where it is not enlarged or shrunk by a filter that looks further.
    clear = (found["image"][..., 0] > 250) | (found["image"][..., 0] < 5)
    np.testing.assert_array_equal(
        (found["image"][..., 0] > 128)[sure & clear], inside[sure & clear]
    )
    assert (sure & clear).mean() > 0.3


@pytest.mark.parametrize("name", [n for n, row in TRANSFORMS.items() if row.random])
def test_an_image_as_a_target_moves_as_the_image(name):
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    targets = {
        "bytes": Target("image", "uint8", (3,)),
        "floats": Target("image", "float32", (3,)),
    }
    given = {"image": image, "bytes": image, "floats": image.astype(np.float32)}
    rng = np.random.default_rng(3)
    found = transforms.apply(TRANSFORMS[name], given, targets, (9, 16), rng)
    np.testing.assert_array_equal(found["bytes"], found["image"])
    # Pillow rounds after the columns and after the rows.
    np.testing.assert_allclose(found["floats"], found["image"], atol=1.01)
    assert found["floats"].dtype == np.float32


def test_what_is_outside_gets_the_value_that_its_target_says():
    given = {
        "image": np.ones((2, 2, 1), np.uint8),
        "mask": np.ones((2, 2), np.int32),
        "depth": np.ones((2, 2, 1), np.float32),
    }
    targets = {
        "mask": Target("mask", "int32", fill=-1),
        "depth": Target("image", "float32", (1,), fill=0.5),
    }
    found = transforms.apply(TRANSFORMS["pad"], given, targets, (2, 4), None)
    np.testing.assert_array_equal(found["image"][..., 0], [[0, 1, 1, 0]] * 2)
    np.testing.assert_array_equal(found["mask"], [[-1, 1, 1, -1]] * 2)
    np.testing.assert_array_equal(found["depth"][..., 0], [[0.5, 1, 1, 0.5]] * 2)


def test_a_point_outside_keeps_its_place_there_and_a_box_that_must_stay_is_empty():
    placement = Placement((2, 2, 4, 4), (8, 8), (0, 0), (8, 8))
    # Twice as large, from (2, 2) on.
    found = move_points(np.array([[1.0, 2.0], [6.5, 3.0]]), placement)
    np.testing.assert_array_equal(found, [[-2.0, 0.0], [9.0, 2.0]])
    given = {"image": np.zeros((9, 9, 1), np.uint8), "box": np.array([0, 0, 1, 5.0])}
    targets = {"box": Target("boxes", "float32", (4,))}
    found = place(given, targets, placement)
    np.testing.assert_array_equal(found["box"], [0, 0, 0, 6])


def test_what_belongs_to_a_box_is_dropped_with_it_and_the_rest_stays():
    given = {
        "image": np.zeros((4, 4, 1), np.uint8),
        "boxes": np.array([[0, 0, 4, 2], [0, 2, 4, 4], [0, 0, 4, 4]], float),
        "label": np.array([5, 6, 7]),
        "joints": np.arange(12.0).reshape(3, 2, 2),
        "text": np.array([1, 2]),
    }
    targets = {
        "label": Target(
            "label", "int32", (8,), ragged=True, names=("a", "b"), of="boxes"
        ),
        "boxes": Target("boxes", "float32", (8, 4), ragged=True),
        "joints": Target("points", "float32", (8, 2, 2), ragged=True, of="boxes"),
        "text": Target("text", "int32", (8,), ragged=True),
    }
    right_half = Placement((0, 2, 4, 2), (4, 2), (0, 0), (4, 2))
    found = place(given, targets, right_half)
    np.testing.assert_array_equal(found["boxes"], [[0, 0, 4, 2], [0, 0, 4, 2]])
    np.testing.assert_array_equal(found["label"], [6, 7])
    np.testing.assert_array_equal(found["joints"], given["joints"][1:] - [0, 2])
    np.testing.assert_array_equal(found["text"], [1, 2])


def test_a_mask_of_another_size_than_its_image_is_refused():
    given = {"image": np.zeros((4, 6, 1), np.uint8), "mask": np.zeros((4, 5), np.uint8)}
    text = r"'mask' of an example has 4 x 5 pixels and its image 4 x 6; they must be eq"
    with pytest.raises(UserError, match=text):
        transforms.apply(
            TRANSFORMS["resize"], given, {"mask": TARGETS["mask"]}, 4, None
        )


@pytest.mark.parametrize(
    ("shape", "size", "resized"),
    [
        # 7 of 8 and 14 of 16: the smallest that covers 8 x 16 in the image's own ratio.
        ((10, 10), (7, 14), (16, 16)),
        ((10, 40), (7, 14), (8, 32)),
        ((30, 10), (14, 7), (24, 8)),
        ((10, 15), (14, 7), (16, 24)),
    ],
)
@pytest.mark.parametrize("name", ["center_crop", "random_crop"])
def test_crops_of_a_rectangle_cover_it(name, shape, size, resized):
    placement = TRANSFORMS[name].place(shape, size, np.random.default_rng(0))
    assert placement.resized == resized
    for origin, side, length in zip(placement.origin, resized, size, strict=True):
        assert length - side <= origin <= 0


def test_a_random_scale_crop_keeps_the_shape_of_its_canvas():
    rng, heights = np.random.default_rng(0), set()
    for _ in range(300):
        placement = TRANSFORMS["random_scale_crop"].place((32, 16), (28, 14), rng)
        height, width = placement.resized
        assert abs(height - 2 * width) <= 1
        heights.add(height)
    # 28 of 32 to 64.
    assert min(heights) == 32
    assert max(heights) == 64


def test_an_image_shrunk_by_pad_lies_within_a_canvas_of_any_shape():
    placement = TRANSFORMS["pad"].place((50, 100), (40, 20), None)
    assert placement == Placement((0, 0, 50, 100), (10, 20), (15, 0), (40, 20))


def test_numbers_beyond_a_byte_are_resized_and_rounded():
    depth = np.array([[[1000], [3003]]], np.uint16)  # one row of two pixels
    given = {"image": np.zeros((1, 2, 1), np.uint8), "depth": depth}
    targets = {"depth": Target("image", "uint16", (1,))}
    found = transforms.apply(TRANSFORMS["resize"], given, targets, (1, 1), None)
    np.testing.assert_array_equal(found["depth"], [[[2002]]])  # of 2001.5
    assert found["depth"].dtype == np.uint16


def test_an_example_without_boxes_passes():
    given = {"image": np.zeros((4, 6, 1), np.uint8), "boxes": [], "number": []}
    targets = {name: TARGETS[name] for name in ("boxes", "number")}
    found = transforms.apply(TRANSFORMS["resize"], given, targets, 3, None)
    assert found["boxes"].shape == (0, 4)
    batch = to_batch(targets, found)
    assert batch["boxes"].shape == (9, 4)
    assert not batch["boxes_mask"].any()
