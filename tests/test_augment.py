"""Augmentation against NumPy, SciPy and cases computed by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxcnn import augment
from jaxcnn.augment import geometry
from jaxcnn.config import AugmentConfig
from jaxcnn.errors import UserError

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
ALL = AugmentConfig(
    flip=0.5,
    crop_padding_pixels=2,
    shift_pixels=1.5,
    rotation_degrees=15.0,
    scale=0.2,
    shear_degrees=10.0,
    noise=5.0,
)


def images(count=16, height=10, width=12, channels=3):
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (count, height, width, channels), np.uint8)


def keys(count):
    return augment.example_keys(jax.random.key(0), 3, jnp.arange(count))


def warp_of(size, shift=(0.0, 0.0), rotation=0.0, scale=1.0, shear=0.0):
    return geometry.inverse_map(
        size,
        shift=jnp.array(shift),
        rotation_degrees=rotation,
        scale=scale,
        shear_degrees=shear,
    )


def test_normalise_is_to_tensor_and_normalize():
    # torchvision: ToTensor divides by 255, Normalize is (x - mean) / std, in float32.
    batch = images()
    expected = (batch.astype(np.float32) / np.float32(255) - np.float32(MEAN)) / (
        np.float32(STD)
    )
    found = augment.normalise(batch, MEAN, STD)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_normalise_is_exact_in_float64():
    with jax.enable_x64(True):
        found = augment.normalise(images(), MEAN, STD)
    assert found.dtype == np.float64
    np.testing.assert_allclose(
        found, (images() / 255 - np.array(MEAN)) / np.array(STD), rtol=1e-14
    )


def test_a_batch_without_augmentation_is_only_normalised():
    batch = {"image": images(), "label": np.arange(16)}
    found = augment.augment_batch(batch, keys(16), AugmentConfig(), MEAN, STD, {})
    np.testing.assert_array_equal(
        found["image"], augment.normalise(batch["image"], MEAN, STD)
    )
    np.testing.assert_array_equal(found["label"], batch["label"])


def test_a_flip_mirrors_left_and_right():
    batch = images()
    np.testing.assert_array_equal(augment.flip(batch, keys(16), 1.0), batch[:, :, ::-1])


def test_about_the_asked_for_part_is_flipped():
    column = np.zeros((4000, 1, 2, 1), np.uint8)
    column[:, 0, 1] = 1
    flipped = int(np.sum(augment.flip(column, keys(4000), 0.3)[:, 0, 0, 0]))
    # A binomial count is within four of its standard deviations of its mean.
    assert abs(flipped - 1200) < 4 * np.sqrt(4000 * 0.3 * 0.7)


def test_a_crop_is_a_window_of_the_padded_image_and_each_window_occurs():
    batch = images(count=200, height=5, width=6)
    found = np.asarray(augment.crop(batch, keys(200), 1))
    seen = set()
    for image, cut in zip(batch, found, strict=True):
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
        windows = [
            (top, left)
            for top in range(3)
            for left in range(3)
            if np.array_equal(padded[top : top + 5, left : left + 6], cut)
        ]
        assert len(windows) == 1
        seen.update(windows)
    assert len(seen) == 9


def test_a_quarter_turn_is_that_of_numpy():
    image = np.arange(16.0).reshape(4, 4, 1)
    found = geometry.warp(image, *warp_of((4, 4), rotation=90.0))
    np.testing.assert_allclose(found, np.rot90(image), atol=1e-4)  # counter-clockwise


def test_a_shift_moves_down_and_right_and_brings_zeros_in():
    image = np.arange(1.0, 10.0).reshape(3, 3, 1)
    found = geometry.warp(image, *warp_of((3, 3), shift=(1.0, 0.0)))[..., 0]
    np.testing.assert_array_equal(found, [[0, 0, 0], [1, 2, 3], [4, 5, 6]])
    found = geometry.warp(image, *warp_of((3, 3), shift=(0.0, 0.5)))[..., 0]
    # Half a pixel: the mean of each pixel and its left neighbour.
    np.testing.assert_array_equal(
        found, [[0.5, 1.5, 2.5], [2, 4.5, 5.5], [3.5, 7.5, 8.5]]
    )


def test_a_shear_of_45_degrees_moves_each_row_by_its_distance_from_the_centre():
    image = np.zeros((3, 3, 1))
    image[:, 1] = 1.0  # a vertical line becomes a diagonal, lower end to the right
    found = geometry.warp(image, *warp_of((3, 3), shear=45.0))[..., 0]
    np.testing.assert_allclose(found, np.eye(3), atol=1e-6)


def test_a_scale_of_2_doubles_a_square_about_the_centre():
    image = np.zeros((7, 7, 1))
    image[3, 3] = 1.0
    found = geometry.warp(image, *warp_of((7, 7), scale=2.0))[..., 0]
    tent = np.array([0, 0, 0.5, 1, 0.5, 0, 0])
    np.testing.assert_array_equal(found, np.outer(tent, tent))


def test_the_map_is_shear_then_rotation_then_scale_then_shift():
    # Points as (x to the right, y up) about the centre, by textbook matrices.
    size, shift, rotation, scale, shear = (9, 11), (1.0, -2.0), 25.0, 1.3, 12.0
    matrix, offset = warp_of(size, shift, rotation, scale, shear)
    a, t = np.deg2rad(rotation), np.tan(np.deg2rad(shear))
    rotate = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    forward = scale * rotate @ np.array([[1, -t], [0, 1]])
    for x, y in ((2.0, 1.0), (-1.5, 3.0)):
        to_x, to_y = forward @ [x, y] + [shift[1], -shift[0]]
        source = np.asarray(matrix) @ [4 - to_y, 5 + to_x] + np.asarray(offset)
        np.testing.assert_allclose(source, [4 - y, 5 + x], atol=1e-5)


def test_affine_is_that_of_scipy_for_the_numbers_that_it_draws():
    batch, batch_keys = images(height=9, width=11), keys(16)
    limits = {
        "shift_pixels": 2.0,
        "rotation_degrees": 30.0,
        "scale": 0.3,
        "shear_degrees": 20.0,
    }
    found = augment.affine(batch, batch_keys, **limits)
    for image, key, warped in zip(batch, batch_keys, found, strict=True):
        u = jax.random.uniform(key, (5,), minval=-1.0, maxval=1.0)
        matrix, offset = warp_of(
            (9, 11), 2.0 * u[:2], 30 * u[2], 1.3 ** u[3], 20 * u[4]
        )
        for channel in range(3):
            expected = ndimage.affine_transform(
                image[..., channel].astype(np.float64),
                np.asarray(matrix),
                np.asarray(offset),
                order=1,
                mode="grid-constant",
            )
            np.testing.assert_allclose(warped[..., channel], expected, atol=2e-3)


def test_noise_has_its_standard_deviation_and_stays_in_range():
    grey = np.full((8, 32, 32, 1), 128, np.uint8)
    found = np.asarray(augment.noise(grey, keys(8), 5.0))
    assert abs(found.mean() - 128) < 0.3
    assert abs(found.std() - 5) < 0.2
    black = np.asarray(augment.noise(np.zeros_like(grey), keys(8), 5.0))
    assert black.min() == 0
    assert abs((black == 0).mean() - 0.5) < 0.05  # one half is below and clipped


def augmented(config):
    """A compiled function of images, a step and the places of examples."""

    @jax.jit
    def augment_images(batch, step, indices):
        batch_keys = augment.example_keys(jax.random.key(0), step, indices)
        batch = {"image": batch}
        return augment.augment_batch(batch, batch_keys, config, MEAN, STD, {})["image"]

    return augment_images


WITHOUT_AFFINE = AugmentConfig(flip=0.5, crop_padding_pixels=2, noise=5.0)
POLICIES = AugmentConfig(randaugment=2, trivialaugment=True, erasing=0.5)
COLOURS = AugmentConfig(
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    greyscale=0.2,
    lighting=0.1,
)
HUNDREDTH = 0.01 / 255 / 0.2  # of a grey level


@pytest.mark.slow
# Warps and colours are rounded differently in batches of other sizes.
@pytest.mark.parametrize(
    ("config", "tolerance"),
    [
        (WITHOUT_AFFINE, 0.0),
        (ALL, HUNDREDTH),
        (POLICIES, 0.0),
        (COLOURS, HUNDREDTH),
    ],
)
def test_an_example_is_augmented_alike_in_any_slice_of_the_batch(config, tolerance):
    run = augmented(config)
    whole = run(images(), 7, jnp.arange(16))
    assert not np.array_equal(whole, augment.normalise(images(), MEAN, STD))
    for rows in (slice(5, 12), slice(3, 4)):
        part = run(images()[rows], 7, jnp.arange(16)[rows])
        np.testing.assert_allclose(part, whole[rows], rtol=0, atol=tolerance)


def test_each_step_and_each_example_draws_its_own():
    same = np.tile(images(count=1), (16, 1, 1, 1))
    run = augmented(ALL)
    found = [run(same, step, jnp.arange(16)) for step in (0, 1)]
    assert len({image.tobytes() for image in np.concatenate(found)}) == 32


@pytest.mark.parametrize("name", ["saturation", "hue", "greyscale", "lighting"])
def test_colours_of_grey_images_are_refused(name):
    text = f"augment.{name} must be 0 for images without colour, not 0.1."
    with pytest.raises(UserError, match=text):
        augment.check(AugmentConfig(**{name: 0.1}), 1, {})


def darker(batch, keys):
    """Each image less a number of its own."""
    amount = jax.vmap(lambda key: jax.random.uniform(key, (1, 1, 1)))(keys)
    return {**batch, "image": batch["image"] - amount}


def smaller(batch, keys):
    return {**batch, "image": batch["image"][:, ::2]}


def only_images(batch, keys):
    return batch["image"]


def test_a_function_of_ones_own_changes_the_normalised_batch():
    batch = {"image": np.full((4, 6, 5, 1), 51, np.uint8), "label": np.arange(4)}
    keys = jax.random.split(jax.random.key(0), 4)
    config = AugmentConfig(own=(f"{__name__}:darker", f"{__name__}:darker"))
    changed = augment.augment_batch(batch, keys, config, (0.1,), (0.5,), {})
    less = 0.2 - np.asarray(changed["image"])  # (51 / 255 - 0.1) / 0.5 is 0.2
    np.testing.assert_allclose(less, less[:, :1, :1] + np.zeros_like(less), atol=1e-6)
    drawn = less[:, 0, 0, 0]
    assert ((drawn > 0) & (drawn < 2)).all()
    assert len(set(drawn.tolist())) == 4
    np.testing.assert_array_equal(changed["label"], batch["label"])
    alone = {name: value[2:3] for name, value in batch.items()}
    again = augment.augment_batch(alone, keys[2:3], config, (0.1,), (0.5,), {})
    np.testing.assert_allclose(again["image"], changed["image"][2:3], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (f"{__name__}:smaller", "must return a batch with .*6, 5, 1.*, not .*3, 5, 1"),
        (f"{__name__}:only_images", r"must return a batch with the arrays .*, not \(4"),
    ],
)
def test_a_function_of_ones_own_must_give_a_batch(name, text):
    batch = {"image": np.zeros((4, 6, 5, 1), np.uint8), "label": np.arange(4)}
    keys = jax.random.split(jax.random.key(0), 4)
    config = AugmentConfig(own=(name,))
    with pytest.raises(UserError, match=text):
        augment.augment_batch(batch, keys, config, (0.1,), (0.5,), {})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("blur", "Unknown augmentation 'blur'; your own is named 'module:attribute'"),
        (f"{__name__}:__name__", "augment.own must be the name of a function"),
    ],
)
def test_the_name_of_a_function_of_ones_own_must_be_one(name, text):
    with pytest.raises(UserError, match=text):
        augment.check(AugmentConfig(own=(name,)), 1, {})
