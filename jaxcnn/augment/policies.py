"""RandAugment and TrivialAugment: random operations from one list, random strengths.

Papers: Cubuk, Zoph, Shlens and Le, "RandAugment", NeurIPS 2020,
https://arxiv.org/abs/1909.13719, whose operations and ranges are those of AutoAugment
(https://arxiv.org/abs/1805.09501, Table 6); Müller and Hutter, "TrivialAugment", ICCV
2021, https://arxiv.org/abs/2103.10158, with its wide space. The list, its ranges and
their 31 levels are those of torchvision's transforms/autoaugment.py, and each operation
is that of Pillow: the nearest pixel, black outside the image, whole grey levels.

Under vmap a choice between fourteen images would compute all fourteen. So an operation
is one of a warp, a blend with another image, and a table of new grey levels; each image
passes all three, and two of them leave it as it is.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxcnn.augment.geometry import Map, inverse_map, nearest
from jaxcnn.augment.pixels import blend, luma

OPERATIONS = (
    "Identity",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
    "Posterize",
    "Solarize",
    "AutoContrast",
    "Equalize",
)
MAX_LEVEL = 30


class Limits(NamedTuple):
    """What an operation does at MAX_LEVEL; it is proportional to the level.

    Attributes:
        shear: Pixels across for each pixel along.
        right: TranslateX, pixels.
        down: TranslateY, pixels.
        rotation: Degrees.
        enhance: Of Brightness, Color, Contrast and Sharpness: change of their factor.
        bits: Of 8, that Posterize drops.
    """

    shear: float
    right: float
    down: float
    rotation: float
    enhance: float
    bits: int


TRIVIALAUGMENT = Limits(0.99, 32.0, 32.0, 135.0, 0.99, 6)


def randaugment_limits(size: tuple[int, int]) -> Limits:
    """Of images of this height and width. AutoAugment's had 331 pixels."""
    height, width = size
    return Limits(0.3, 150 / 331 * width, 150 / 331 * height, 30.0, 0.9, 4)


def randaugment(
    images: jax.Array, keys: jax.Array, *, num_operations: int, magnitude: int
) -> jax.Array:
    """num_operations at a strength: uint8 [B, H, W, C] -> uint8 [B, H, W, C].

    Args:
        images: Grey levels; one channel, or RGB.
        keys: Key of each example.
        num_operations: Operations on each image, drawn with replacement.
        magnitude: Strength of each, 0 to MAX_LEVEL.
    """
    limits = randaugment_limits(images.shape[1:3])

    def augment(image, key):
        for key_of_one in jax.random.split(key, num_operations):
            operation, sign = _draw(key_of_one)
            image = operate(image, operation, limits, jnp.array(magnitude), sign)
        return image

    return jax.vmap(augment)(images, keys)


def randaugment_maps(
    keys: jax.Array, *, size: tuple[int, int], num_operations: int, magnitude: int
) -> list[Map]:
    """The maps of each operation of randaugment, one after the other."""
    limits = randaugment_limits(size)

    def of_one(key):
        draws = map(_draw, jax.random.split(key, num_operations))
        return [
            _map(_chosen(operation), size, limits, magnitude, sign)
            for operation, sign in draws
        ]

    return jax.vmap(of_one)(keys)


def trivialaugment(images: jax.Array, keys: jax.Array) -> jax.Array:
    """One operation at a random strength: uint8 [B, H, W, C] -> uint8 [B, H, W, C].

    Args:
        images: Grey levels; one channel, or RGB.
        keys: Key of each example.
    """

    def augment(image, key):
        key, level = _draw_level(key)
        operation, sign = _draw(key)
        return operate(image, operation, TRIVIALAUGMENT, level, sign)

    return jax.vmap(augment)(images, keys)


def trivialaugment_map(keys: jax.Array, *, size: tuple[int, int]) -> Map:
    """The maps of trivialaugment."""

    def of_one(key):
        key, level = _draw_level(key)
        operation, sign = _draw(key)
        return _map(_chosen(operation), size, TRIVIALAUGMENT, level, sign)

    return jax.vmap(of_one)(keys)


def _draw_level(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(the key of what else is drawn, a level)."""
    key, level_key = jax.random.split(key)
    return key, jax.random.randint(level_key, (), 0, MAX_LEVEL + 1)


def _draw(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(operation, sign), as operate takes them."""
    operation_key, sign_key = jax.random.split(key)
    operation = jax.random.randint(operation_key, (), 0, len(OPERATIONS))
    return operation, jax.random.rademacher(sign_key, ())


def operate(
    image: jax.Array,
    operation: jax.Array,
    limits: Limits,
    level: jax.Array,
    sign: jax.Array,
) -> jax.Array:
    """One operation on one image: uint8 [H, W, C] -> uint8 [H, W, C].

    Args:
        image: Grey levels.
        operation: Position in OPERATIONS, int32 [].
        limits: Of the strength.
        level: 0 to MAX_LEVEL, int32 [].
        sign: 1 or -1, int32 []: the direction, of the operations that have two.
    """
    chosen = _chosen(operation)
    image = nearest(image, *_map(chosen, image.shape[:2], limits, level, sign))

    other = jnp.select(
        [chosen[name] for name in ("Brightness", "Color", "Contrast", "Sharpness")],
        _blended_with(image.astype(float)),
        image.astype(float),
    )
    factor = 1.0 + sign * limits.enhance * level / MAX_LEVEL
    image = blend(other, image.astype(float), factor).astype(jnp.uint8)

    table = jnp.select(
        [chosen[name] for name in OPERATIONS[-4:]],
        _tables(image, limits, level),
        jnp.arange(256)[:, None],
    )
    channels = jnp.arange(image.shape[-1])
    return table.astype(jnp.uint8)[image, channels]


def _chosen(operation: jax.Array) -> dict[str, jax.Array]:
    """Which operation it is, by name."""
    return {name: operation == i for i, name in enumerate(OPERATIONS)}


def _map(
    chosen: dict[str, jax.Array],
    size: tuple[int, int],
    limits: Limits,
    level: jax.Array,
    sign: jax.Array,
) -> Map:
    """Where an operation takes its pixels from; the identity if it moves none."""

    def amount(name: str, limit: float) -> jax.Array:
        return jnp.where(chosen[name], limit * level / MAX_LEVEL, 0.0) * sign

    shear_x, shear_y = amount("ShearX", limits.shear), amount("ShearY", limits.shear)
    right = jnp.trunc(amount("TranslateX", limits.right))
    down = jnp.trunc(amount("TranslateY", limits.down))
    matrix, offset = inverse_map(
        size,
        shift=jnp.array([down, right]),
        rotation_degrees=amount("Rotate", limits.rotation),
        scale=1.0,
        shear_degrees=0.0,
    )
    matrix += jnp.array([[0.0, shear_y], [shear_x, 0.0]])
    # A shear leaves the image's corner in place, half a pixel before its first centre.
    return matrix, offset + jnp.array([shear_y, shear_x]) / 2


def _blended_with(image: jax.Array) -> list[jax.Array]:
    """What Pillow's ImageEnhance blends with: black, grey, mean grey, smooth [H, W, C].

    The smooth image is that of ImageFilter.SMOOTH, which leaves the border as it is.
    """
    grey = jnp.round(luma(image))
    mean = jnp.floor(jnp.mean(grey) + 0.5)
    rows = image[:-2] + image[1:-1] + image[2:]
    box = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    inside = jnp.floor((box + 4 * image[1:-1, 1:-1]) / 13 + 0.5)
    smooth = image.at[1:-1, 1:-1].set(inside)
    return [
        jnp.zeros_like(image),
        jnp.broadcast_to(grey, image.shape),
        jnp.full_like(image, mean),
        smooth,
    ]


def _tables(image: jax.Array, limits: Limits, level: jax.Array) -> list[jax.Array]:
    """New grey levels [256, C] of Posterize, Solarize, AutoContrast and Equalize."""
    old = jnp.arange(256)[:, None]
    bits = jnp.round(limits.bits * level / MAX_LEVEL).astype(int)
    solarized = jnp.where(old < 255.0 - 255.0 * level / MAX_LEVEL, old, 255 - old)

    low = image.min(axis=(0, 1)).astype(int)
    high = image.max(axis=(0, 1)).astype(int)
    stretched = (old - low) * 255 // jnp.maximum(high - low, 1)
    stretched = jnp.where(high > low, jnp.clip(stretched, 0, 255), old)

    planes = jnp.moveaxis(image, -1, 0).reshape(len(high), -1)  # [C, H * W]
    count = functools.partial(jnp.bincount, length=256)
    counts = jax.vmap(count, out_axes=1)(planes)  # [256, C]
    step = (planes.shape[1] - counts[high, jnp.arange(len(high))]) // 255
    below = jnp.cumsum(counts, axis=0) - counts
    equal = jnp.minimum((step // 2 + below) // jnp.maximum(step, 1), 255)
    tables = [old >> bits << bits, solarized, stretched, jnp.where(step, equal, old)]
    return [jnp.broadcast_to(table, counts.shape) for table in tables]
