"""RandAugment and TrivialAugment against torchvision."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import augment
from jaxcnn.augment import policies

# Made by tests/reference/make_policy_reference.py with torchvision 0.28.0 and Pillow:
# image/policy/operation/level/sign -> what the operation makes of the image.
REFERENCE = dict(np.load(pathlib.Path(__file__).parent / "reference/policies.npz"))
IMAGES = {name: image for name, image in REFERENCE.items() if "/" not in name}
MAGNITUDE = 7  # one of the levels there
LIMITS = {
    "randaugment": policies.randaugment_limits,
    "trivialaugment": lambda size: policies.TRIVIALAUGMENT,
}


def with_channels(image):
    return image.reshape(*image.shape[:2], -1)


def expected(image, policy):
    """(operation, level, sign) -> result."""
    for name, result in REFERENCE.items():
        if name.startswith(f"{image}/{policy}/"):
            operation, level, sign = name.split("/")[2:]
            yield (operation, int(level), int(sign)), with_channels(result)


@pytest.mark.parametrize("policy", LIMITS)
@pytest.mark.parametrize("image", IMAGES)
def test_each_operation_is_that_of_torchvision(image, policy):
    pixels = with_channels(IMAGES[image])
    limits = LIMITS[policy](pixels.shape[:2])

    @jax.jit
    def operate(operation, level, sign):
        return policies.operate(jnp.array(pixels), operation, limits, level, sign)

    seen = set()
    for (operation, level, sign), result in expected(image, policy):
        found = operate(policies.OPERATIONS.index(operation), level, sign)
        assert found.dtype == np.uint8
        # A blend is rounded down, by float32 here and in C: one grey level.
        blends = ("Brightness", "Color", "Contrast", "Sharpness")
        tolerance = 1 if operation in blends else 0
        difference = np.abs(np.asarray(found, int) - result)
        assert difference.max() <= tolerance, (operation, level, sign)
        seen.add(operation)
    if image in ("colour", "grey"):
        assert seen == set(policies.OPERATIONS)
    else:  # those of which nothing but the image decides
        assert seen == {"AutoContrast", "Equalize"}


def keys(count):
    return augment.example_keys(jax.random.key(0), 5, jnp.arange(count))


def copies(count):
    return jnp.tile(IMAGES["colour"], (count, 1, 1, 1))


def randaugment(number, num_operations):
    augmented = functools.partial(
        augment.randaugment, num_operations=num_operations, magnitude=MAGNITUDE
    )
    return np.asarray(jax.jit(augmented)(copies(number), keys(number)))


def matches(images, result):
    """Which of the images are a result, but for a rounding."""
    difference = np.abs(images.astype(int) - result.astype(int))
    return difference.max(axis=(1, 2, 3)) <= 1


def about(count, number, probability):
    """Whether a binomial count is within four standard deviations of its mean."""
    std = np.sqrt(number * probability * (1 - probability))
    return abs(count - number * probability) < 4 * std


@pytest.mark.slow
def test_randaugment_draws_each_operation_of_torchvision_alike():
    number = 3000
    found = randaugment(number, num_operations=1)
    results = {
        (operation, sign): result
        for (operation, level, sign), result in expected("colour", "randaugment")
        if level == MAGNITUDE
    }
    signed = {operation for operation, sign in results if sign == -1}
    assert len(signed) == 9
    names, stack = list(results), np.stack(list(results.values()))
    probability = np.array([1 / (28 if name[0] in signed else 14) for name in names])
    explained = np.zeros(number, bool)
    for name, result in results.items():
        same = matches(found, result)
        explained |= same
        # Some leave this image almost alone, such as Identity and Posterize to 7 bits.
        alike = matches(stack, result)
        assert about(same.sum(), number, probability[alike].sum()), name
    assert explained.all()


@pytest.mark.slow
def test_the_operations_of_an_image_are_drawn_on_their_own():
    number = 3000
    one, two = (randaugment(number, num_operations=n) for n in (1, 2))
    unchanged = [
        (images == IMAGES["colour"]).all(axis=(1, 2, 3)) for images in (one, two)
    ]
    once = unchanged[0].mean()
    assert once > 1 / 14 - 0.02
    assert about(unchanged[1].sum(), number, once**2)


@pytest.mark.slow
def test_trivialaugment_draws_one_of_31_levels():
    number = 6000
    found = jax.jit(augment.trivialaugment)(copies(number), keys(number))
    found, counts = np.asarray(found), {7: 0, 30: 0}
    for (operation, level, _), result in expected("colour", "trivialaugment"):
        if operation in ("Brightness", "Color", "Contrast"):
            counts[level] += matches(found, result).sum()
    for count in counts.values():
        assert about(count, number, 3 / 14 / 31)
