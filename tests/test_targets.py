"""Targets: their shapes in a batch, and what is refused."""

import numpy as np
import pytest

from jaxcnn import targets
from jaxcnn.errors import UserError
from jaxcnn.targets import Target

BOXES = Target("boxes", "float32", (3, 4), ragged=True)
NAMES = tuple("abcdefghi")
OF_BOXES = Target("label", "int32", (3,), ragged=True, names=NAMES, of="boxes")


def test_a_batch_has_an_array_for_each_target_and_one_mask_for_what_belongs_together():
    known = {
        "label": Target("label", "int32", names=NAMES),
        "mask": Target("mask", "uint8"),
        "depth": Target("image", "float32", (1,)),
        "boxes": BOXES,
        "number": OF_BOXES,
    }
    example = {
        "label": 3,
        "mask": np.ones((5, 6)),
        "depth": np.ones((5, 6, 1)),
        "boxes": [[0, 0, 1, 2], [1, 1, 2, 2]],
        "number": [7, 8],
        "file": "not a target",
    }
    shapes = targets.batch_shapes(known, 5, 6)
    arrays = targets.to_batch(known, example)
    assert shapes == {name: (x.shape, x.dtype) for name, x in arrays.items()}
    np.testing.assert_array_equal(arrays["boxes_mask"], [True, True, False])
    np.testing.assert_array_equal(arrays["boxes"][2], [0, 0, 0, 0])
    np.testing.assert_array_equal(arrays["number"], [7, 8, 0])
    assert set(arrays) == {*known, "boxes_mask"}


@pytest.mark.parametrize(
    ("known", "example", "text"),
    [
        ({"boxes": BOXES}, {"boxes": np.zeros((4, 4))}, "4 items in target 'boxes'; a"),
        (
            {"boxes": BOXES, "number": OF_BOXES},
            {"boxes": np.zeros((2, 4)), "number": [1]},
            "1 items in target 'number' and 2 in 'boxes', which they belong to.",
        ),
        (
            {"label": Target("label", "int32", names=NAMES)},
            {"label": [1, 2]},
            r"'label' of an example has shape \(2,\); it must be \(\).",
        ),
        (
            {"depth": Target("image", "float32", (1,))},
            {"depth": np.zeros((4, 5))},
            r"'depth' of an example has shape \(4, 5\); it must be \(H, W\) \+ \(1,\).",
        ),
    ],
)
def test_an_example_that_does_not_fit_is_refused(known, example, text):
    with pytest.raises(UserError, match=text):
        targets.to_batch(known, example)


@pytest.mark.parametrize(
    ("choices", "text"),
    [
        ({"kind": "box"}, "kind must be one of .*, not 'box'"),
        ({"shape": (3,)}, r"shape must be \(..., 4\) of kind 'boxes', not \(3,\)"),
        ({"dtype": "int32"}, "dtype must be a float of kind 'boxes', not 'int32'"),
        ({"kind": "mask", "shape": ()}, "integer or bool of kind 'mask', not 'float32"),
        ({"kind": "image", "ragged": True}, "ragged must be False of kind 'image', wh"),
        ({"kind": "value", "shape": (), "ragged": True}, "of at least one axis for a"),
        (
            {"of": "boxes"},
            "of must be None for a target that is not ragged, not 'boxes",
        ),
        (
            {"shape": [9, 4]},
            r"shape must be a tuple of positive integers, not \[9, 4\]",
        ),
        ({"dtype": "float23"}, "dtype must be bool, integer or float, not 'float23'"),
        ({"names": "cat"}, "names must be a tuple of texts, not 'cat'"),
        ({"names": (1, 2)}, r"names must be a tuple of texts, not \(1, 2\)"),
        ({"kind": "label", "dtype": "int32"}, "names must be one for each class of"),
        (
            {"kind": "label", "dtype": "float32", "names": ("a",)},
            "dtype must be an integer up to 0 of kind 'label', not 'float32'",
        ),
        (
            {"kind": "labels", "dtype": "uint8", "shape": (3,), "names": ("a", "b")},
            r"'labels' must be \(2,\), with an axis of its 2 names, not \(3,\)",
        ),
        (
            {"kind": "labels", "dtype": "uint8", "shape": (3,)},
            r"'labels' must be \(0,\), .*, not \(3,\)",
        ),
        (
            {"kind": "mask", "dtype": "uint8", "shape": (), "fill": -1},
            "fill must be a value of dtype 'uint8', not -1",
        ),
        (
            {"kind": "image", "dtype": "int32", "shape": (1,), "fill": 0.5},
            "fill must be a value of dtype 'int32', not 0.5",
        ),
        ({"fill": 1.0}, "fill must be 0 of kind 'boxes', which has no outside, not 1"),
    ],
)
def test_a_target_that_cannot_be_is_refused(choices, text):
    boxes = {"kind": "boxes", "dtype": "float32", "shape": (4,)}
    Target(**boxes)
    with pytest.raises(UserError, match=text):
        Target(**boxes | choices)


@pytest.mark.parametrize(
    ("known", "text"),
    [
        ({"number": OF_BOXES}, "'number' must be the name of a ragged target that"),
        (
            {"number": OF_BOXES, "boxes": Target("boxes", "float32", (4,))},
            "of in target 'number' must be the name of a ragged target .*, not 'boxes'",
        ),
        (
            {"number": OF_BOXES, "boxes": Target("boxes", "float32", (5, 4), True)},
            "The first axis of target 'number' must be 5, like that of 'boxes', not 3",
        ),
    ],
)
def test_an_owner_that_cannot_be_is_refused(known, text):
    targets.check_targets({"number": OF_BOXES, "boxes": BOXES})
    with pytest.raises(UserError, match=text):
        targets.check_targets(known)


@pytest.mark.parametrize(
    "name", ["image", "weight", "other", "other_share", "boxes_mask"]
)
def test_a_name_that_another_array_of_a_batch_has_is_refused(name):
    value = Target("value", "float32", (1,))
    targets.check_targets({"boxes": BOXES, "value": value})
    with pytest.raises(UserError, match=f"of a target must be other .*, not '{name}'"):
        targets.check_targets({"boxes": BOXES, name: value})


@pytest.mark.parametrize(
    ("target", "good", "bad", "text"),
    [
        (
            Target("value", "int32", (1,)),
            np.array([[1], [0]]),
            np.array([[1.0], [0.9]]),
            "Example 0 of the train split: its value is of dtype float64, which does",
        ),
        (
            Target("mask", "uint8"),
            np.array([[[0, 255]]]),
            np.array([[[0, 256]]]),
            "0 of the train split: its mask is 256; uint8 holds 0 to 255",
        ),
        (
            Target("labels", "uint8", (2, 2), ragged=True, names=("a", "b")),
            [[[0, 1], [1, 1]], []],
            [[[0, 1]], [[1, 2], [0, 1]]],
            "Example 1 of the train split: 'b' is 2; it must be 0 or 1",
        ),
        (
            Target("label", "int32", names=("a", "b")),
            [0, 1],
            [0, 2],
            "1 of the train split: label 2 is out of range; with 2 classes it must be ",
        ),
        (
            Target("label", "int32", (4,), ragged=True, names=("a", "b")),
            [[0, 1], [], [1]],
            [[0, 1], [], [1, -1]],
            "Example 2 of the train split: label -1 is out of range",
        ),
        (
            Target("value", "float32"),
            np.array([0.5, 1.0]),
            np.array([0.5, np.nan]),
            "Example 1 of the train split: its value is nan",
        ),
        (
            Target("boxes", "float32", (4,)),
            np.array([[0.0, 1, 2, 1]]),
            np.array([[3.0, 1, 2, 1]]),
            r"0 of the train split: box \(3, 1, 2, 1\) is not \(y1, x1, y2, x2\): y1",
        ),
    ],
)
def test_a_number_that_is_not_allowed_is_refused(target, good, bad, text):
    target.check(good, "train")
    with pytest.raises(UserError, match=text):
        target.check(bad, "train")


def test_a_mask_of_classes_is_checked_pixel_by_pixel():
    mask = targets.masks(("sky", "sea"))["mask"]
    assert (mask.dtype, mask.fill) == ("uint8", 255)
    many = targets.masks([str(i) for i in range(256)])["mask"]
    assert (many.dtype, many.fill) == ("uint16", 65535)
    good = np.array([[[0, 1], [255, 1]]])
    mask.check(good, "train")
    for value in (2, 254, -1, 300):
        values = np.concatenate([good, good])
        values[1, 1, 0] = value
        text = (
            f"Example 1 of the train split: its mask is {value} at row 1, column 0; "
            "with 2 classes it must be 0 to 1, or 255 where there is no class."
        )
        with pytest.raises(UserError, match=f"^{text}$"):
            mask.check(values, "train")
    Target("mask", "uint8").check(np.array([[[7]]]), "train")  # of no classes


def test_a_mask_whose_fill_is_a_class_has_no_void_label():
    mask = Target("mask", "uint8", names=("a", "b"))
    mask.check(np.array([[[0, 1]]]), "train")
    with pytest.raises(UserError, match="with 2 classes it must be 0 to 1.$"):
        mask.check(np.array([[[0, 255]]]), "train")
    with pytest.raises(UserError, match="dtype must be an integer up to 1 of kind 'ma"):
        Target("mask", "bool", names=("a", "b"))
