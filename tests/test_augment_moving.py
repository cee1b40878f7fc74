"""Targets that move with their image on the device, against torchvision and by hand.

What torchvision's v2 transforms make of the same mask, boxes and points was stored by
reference/make_geometry_reference.py.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import augment
from jaxcnn.augment import geometry
from jaxcnn.config import AugmentConfig
from jaxcnn.errors import UserError
from jaxcnn.targets import Target
from tests.reference.geometry_cases import AFFINE, CROPS, PADDING, SHAPE, example

REFERENCE = dict(np.load(pathlib.Path(__file__).parent / "reference/geometry.npz"))
NAMES = ["flip", *(f"crop{i}" for i in range(len(CROPS)))]
NAMES += [f"affine{i}" for i in range(len(AFFINE))]
TARGETS = {
    "depth": Target("image", "float32", (1,)),
    "mask": Target("mask", "uint8"),
    "boxes": Target("boxes", "float32", (8, 4), ragged=True),
    "number": Target("label", "int32", (8,), ragged=True, names=("a", "b"), of="boxes"),
    "points": Target("points", "float32", (6, 2)),
    "label": Target("label", "int32", names=("a", "b")),
}


def keys(count, step=3):
    return augment.example_keys(jax.random.key(0), step, jnp.arange(count))


def repeated(array, count):
    return np.repeat(np.asarray(array)[None], count, axis=0)


def affine_map(numbers, size=SHAPE):
    shift, rotation, scale, shear = numbers
    return geometry.inverse_map(
        size,
        shift=jnp.array(shift),
        rotation_degrees=rotation,
        scale=scale,
        shear_degrees=shear,
    )


@functools.cache
def moved():
    """The example moved as each of NAMES says."""
    flip = geometry.flip_map(keys(1), 1.0, size=SHAPE)
    maps = [jax.tree.map(lambda x: x[0], flip)]
    maps += [(jnp.eye(2), jnp.array(start, float) - PADDING) for start in CROPS]
    maps += [affine_map(numbers) for numbers in AFFINE]
    maps = jax.tree.map(lambda *x: jnp.stack(x), *maps)
    arrays = example()
    arrays |= {
        "depth": arrays["image"],
        "number": np.arange(8),
        "boxes_mask": np.ones(8, bool),
        "label": 3,
    }
    batch = {name: repeated(x, len(NAMES)) for name, x in arrays.items()}
    move = functools.partial(
        augment.move_targets, targets=TARGETS, sample=geometry.warp
    )
    found = jax.tree.map(np.asarray, jax.jit(move)(batch, maps=maps))
    for name, array in found.items():
        assert array.dtype == jnp.asarray(batch[name]).dtype
    np.testing.assert_array_equal(found["label"], 3)
    np.testing.assert_array_equal(found["image"], batch["image"])
    return found


@pytest.mark.parametrize("name", NAMES)
def test_targets_move_as_torchvision_moves_them(name):
    found = {key: x[NAMES.index(name)] for key, x in moved().items()}
    expected = {
        key: REFERENCE[f"{name}/{key}"] for key in ("mask", "boxes", "seen", "points")
    }
    np.testing.assert_array_equal(found["mask"], expected["mask"])
    seen = expected["seen"]
    np.testing.assert_array_equal(found["boxes_mask"], seen)
    np.testing.assert_allclose(
        found["boxes"], np.where(seen[:, None], expected["boxes"], 0), atol=2e-5
    )
    np.testing.assert_array_equal(found["number"], np.where(seen, np.arange(8), 0))
    points = expected["points"]
    if name == "flip":
        # Its points have the centre of the first pixel at 0 and ours at 0.5, which its
        # other operations agree with: there x becomes W - 1 - x, here W - x.
        points = points + [0.0, 1.0]
    np.testing.assert_allclose(found["points"], points, atol=2e-5)


@pytest.mark.parametrize("index", range(len(AFFINE)))
def test_an_image_as_a_target_is_warped_as_by_torchvision(index):
    found = moved()["depth"][NAMES.index(f"affine{index}")]
    np.testing.assert_allclose(found, REFERENCE[f"affine{index}/image"], atol=5e-3)


ALL = {
    "flip": 0.5,
    "crop_padding_pixels": 3,
    "shift_pixels": 2.0,
    "rotation_degrees": 20.0,
    "scale": 0.2,
    "shear_degrees": 10.0,
}


def augmented(batch, targets, **choices):
    """With images in [0, 255]."""

    @jax.jit
    def run(batch):
        count = len(batch["image"])
        config = AugmentConfig(**choices)
        augment.check(config, batch["image"].shape[-1], targets)
        mean, std = (0.0,) * 3, (1 / 255,) * 3
        return augment.augment_batch(batch, keys(count), config, mean, std, targets)

    return jax.tree.map(np.asarray, run(batch))


def images(count, size, channels=3):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, *size, channels), np.uint8)


@pytest.mark.slow
def test_an_image_that_is_a_target_moves_as_the_image():
    pixels = images(12, (9, 13))
    targets = {
        "floats": Target("image", "float32", (3,)),
        "bytes": Target("image", "uint8", (3,)),
    }
    batch = {"image": pixels, "floats": pixels.astype(np.float32), "bytes": pixels}
    found = augmented(batch, targets, **ALL)
    np.testing.assert_allclose(found["floats"], found["image"], atol=1e-2)
    np.testing.assert_allclose(found["bytes"], found["image"], atol=0.51)
    exact = augmented(batch, targets, flip=0.5, crop_padding_pixels=3)
    np.testing.assert_array_equal(exact["bytes"], exact["image"].round())


@pytest.mark.parametrize("choices", [{"randaugment": 1}, {"trivialaugment": True}])
def test_the_operations_of_a_policy_that_move_pixels_move_targets(choices):
    count = 60
    pixels = repeated(images(1, (16, 20))[0], count)
    batch = {"image": pixels, "same": pixels}
    found = augmented(batch, {"same": Target("image", "uint8", (3,))}, **choices)
    as_image = (found["same"] == found["image"].round()).all(axis=(1, 2, 3))
    as_before = (found["same"] == pixels).all(axis=(1, 2, 3))
    # 5 of 14 operations move pixels, 8 change colours and one does nothing.
    assert (as_image | as_before).all()
    assert (as_image & ~as_before).sum() > 10
    assert (as_before & ~as_image).sum() > 10


@pytest.mark.slow
def test_a_policy_of_two_operations_moves_targets_twice():
    # A white square on black, which no operation at this strength darkens by half.
    count, size = 60, (32, 32)
    square = np.zeros(size, np.uint8)
    square[6:20, 10:25] = 1
    pixels = repeated(150 * square[..., None], count)
    batch = {"image": pixels, "mask": repeated(square, count)}
    found = augmented(batch, {"mask": Target("mask", "uint8")}, randaugment=2)
    alike = (found["mask"] == (found["image"][..., 0] > 75)).all(axis=(1, 2))
    # Only AutoContrast or Equalize and then Solarize make it black, one in a hundred.
    assert alike.mean() > 0.9
    assert (found["mask"] != square).any(axis=(1, 2)).mean() > 0.4


def rectangles(count, size):
    """A box in each example, its sides 5 pixels or more, and its mask."""
    rng = np.random.default_rng(1)
    corners = np.sort(rng.integers(0, np.array(size) - 4, (count, 2, 2)), axis=1)
    corners[:, 1] += 5
    masks = np.zeros((count, *size), np.uint8)
    for mask, ((top, left), (bottom, right)) in zip(masks, corners, strict=True):
        mask[top:bottom, left:right] = 1
    return corners.reshape(-1, 1, 4).astype(np.float32), masks


@pytest.mark.parametrize(
    ("choices", "pixels"),
    [
        ({"flip": 0.5, "crop_padding_pixels": 8}, 0),
        (ALL | {"crop_padding_pixels": 0}, 2.0),
    ],
)
def test_a_mask_that_fills_a_box_moves_as_the_box(choices, pixels):
    count, size = 100, (20, 28)
    boxes, masks = rectangles(count, size)
    targets = {
        "mask": Target("mask", "uint8"),
        "boxes": Target("boxes", "float32", (1, 4), ragged=True),
        "corners": Target("points", "float32", (4, 2)),
    }
    corners = np.stack([boxes[:, 0][:, [y, x]] for y in (0, 2) for x in (1, 3)], axis=1)
    batch = {
        "image": np.zeros((count, *size, 1), np.uint8),
        "mask": masks,
        "boxes": boxes,
        "boxes_mask": np.ones((count, 1), bool),
        "corners": corners,
    }
    found = augmented(batch, targets, **choices)
    assert not np.array_equal(found["mask"], masks)
    seen = found["mask"].any(axis=(1, 2))
    kept = found["boxes_mask"][:, 0]
    assert not (seen & ~kept).any()
    whole = seen  # of one that is turned and cut off the box is around its corners
    if pixels:
        low, high = np.split(found["boxes"][:, 0], 2, axis=1)
        whole = seen & (low > 0).all(axis=1) & (high < size).all(axis=1)
        assert whole.sum() > 20
    for mask, box in zip(found["mask"][whole], found["boxes"][whole, 0], strict=True):
        rows = np.flatnonzero(mask.any(axis=1))
        columns = np.flatnonzero(mask.any(axis=0))
        around = [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
        # A corner that is turned has less than the middle of a pixel at its tip.
        np.testing.assert_allclose(box, around, atol=pixels)
    if not pixels:
        np.testing.assert_array_equal(seen, kept)
        assert not seen.all()
        # The box is around its own corners, clipped.
        low, high = found["corners"].min(axis=1), found["corners"].max(axis=1)
        expected = np.clip(np.concatenate([low, high], axis=1), 0, [*size, *size])
        np.testing.assert_array_equal(found["boxes"][kept, 0], expected[kept])


@pytest.mark.slow
def test_what_belongs_to_a_box_is_dropped_with_it_and_filling_stays_filling():
    # Of an image 4 high and 6 wide the right half comes to lie at the left.
    shift = (jnp.eye(2)[None], jnp.array([[0.0, 3.0]]))
    joints = np.arange(16.0, dtype=np.float32).reshape(1, 4, 2, 2)
    joints[:, 3] = 0
    batch = {
        "image": np.zeros((1, 4, 6, 1), np.uint8),
        "boxes": np.array([[[0, 0, 4, 3], [1, 2, 3, 5], [0, 3, 4, 6], [0] * 4]], "f"),
        "boxes_mask": np.array([[True, True, True, False]]),
        "number": np.array([[5, 6, 7, 0]]),
        "joints": joints,
        "text": np.array([[1, 0]]),
        "text_mask": np.array([[True, False]]),
        "one": np.array([[0, 0, 4, 3]], "f"),
    }
    targets = {
        "boxes": Target("boxes", "float32", (4, 4), ragged=True),
        "number": Target(
            "label", "int32", (4,), ragged=True, names=("a", "b"), of="boxes"
        ),
        "joints": Target("points", "float32", (4, 2, 2), ragged=True, of="boxes"),
        "text": Target("text", "int32", (2,), ragged=True),
        "one": Target("boxes", "float32", (4,)),
    }
    found = augment.move_targets(batch, targets, shift)
    np.testing.assert_array_equal(found["boxes_mask"], [[False, True, True, False]])
    np.testing.assert_array_equal(
        found["boxes"], [[[0] * 4, [1, 0, 3, 2], [0, 0, 4, 3], [0] * 4]]
    )
    np.testing.assert_array_equal(found["number"], [[0, 6, 7, 0]])
    expected = joints - np.array([0, 3], "f")
    expected[:, [0, 3]] = 0
    np.testing.assert_array_equal(found["joints"], expected)
    for name in ("text", "text_mask", "image"):
        np.testing.assert_array_equal(found[name], batch[name])
    np.testing.assert_array_equal(found["one"], [[0, 0, 4, 0]])  # empty, and there


def test_what_is_outside_gets_the_value_that_its_target_says():
    down = (jnp.eye(2)[None], jnp.array([[-1.0, 0.0]]))
    batch = {
        "image": np.zeros((1, 2, 2, 1), np.uint8),
        "mask": np.ones((1, 2, 2), np.int32),
        "classes": np.array([[[0, 254], [255, 7]]], np.uint8),
        "depth": np.ones((1, 2, 2, 1), np.float32),
    }
    targets = {
        "mask": Target("mask", "int32", fill=-1),
        "classes": Target("mask", "uint8", fill=255),  # the void label of masks
        "depth": Target("image", "float32", (1,), fill=0.5),
    }
    found = augment.move_targets(batch, targets, down, geometry.warp)
    np.testing.assert_array_equal(found["mask"], [[[-1, -1], [1, 1]]])
    np.testing.assert_array_equal(found["classes"], [[[255, 255], [0, 254]]])
    assert found["classes"].dtype == np.uint8
    np.testing.assert_array_equal(found["depth"][..., 0], [[[0.5, 0.5], [1, 1]]])


@pytest.mark.slow
def test_what_changes_colours_or_erases_leaves_targets_alone():
    pixels = images(4, (8, 9))
    batch = {"image": pixels, "mask": pixels[..., 0]}
    targets = {"mask": Target("mask", "uint8")}
    choices = {"brightness": 0.4, "greyscale": 0.4, "lighting": 0.1, "noise": 5.0}
    found = augmented(batch, targets, erasing=1.0, **choices)
    np.testing.assert_array_equal(found["mask"], batch["mask"])
    assert not np.array_equal(found["image"].round(), pixels)


def test_cutmix_of_what_has_a_place_in_the_image_is_refused():
    targets = {
        "label": Target("label", "int32", names=("a", "b")),
        "mask": Target("mask", "uint8"),
    }
    augment.check(AugmentConfig(mixup=0.2), 3, targets)
    text = "cutmix must be 0 with target 'mask' of kind 'mask', which .* hide, not 1.0"
    with pytest.raises(UserError, match=text):
        augment.check(AugmentConfig(cutmix=1.0), 3, targets)
