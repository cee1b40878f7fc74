"""RandAugment and TrivialAugment: random operations of random strength.

Papers: Cubuk, Zoph, Shlens and Le, "RandAugment", NeurIPS 2020,
https://arxiv.org/abs/1909.13719, whose operations and ranges are those of AutoAugment
(https://arxiv.org/abs/1805.09501, Table 6); Müller and Hutter, "TrivialAugment", ICCV
2021, https://arxiv.org/abs/2103.10158, with its wide space. The operations, their
ranges and the 31 levels are those of torchvision's transforms/autoaugment.py. Each
operation gives Pillow's result: nearest pixel, black outside the image, integer grey
levels.

Under vmap, a choice between fourteen operations would compute all fourteen. Each
operation is therefore written as a warp, a blend with another image, or a lookup table
for grey levels; every image goes through all three, two of which leave it unchanged.
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
    """Strengths of the operations at MAX_LEVEL; they are proportional to the level.

    Attributes:
        shear: Displacement in pixels per pixel of distance.
        right: Shift of TranslateX, in pixels.
        down: Shift of TranslateY, in pixels.
        rotation: Angle of Rotate, in degrees.
        enhance: Change in the factor of Brightness, Color, Contrast and Sharpness.
        bits: Number of the 8 bits that Posterize drops.
    """

    shear: float
    right: float
    down: float
    rotation: float
    enhance: float
    bits: int


TRIVIALAUGMENT = Limits(0.99, 32.0, 32.0, 135.0, 0.99, 6)


def randaugment_limits(size: tuple[int, int]) -> Limits:
    """Limits for images of (height, width); those of AutoAugment had 331 pixels."""
    height, width = size
    return Limits(0.3, 150 / 331 * width, 150 / 331 * height, 30.0, 0.9, 4)


def randaugment(
    images: jax.Array, keys: jax.Array, *, num_operations: int, magnitude: int
) -> jax.Array:
    """Random operations of fixed strength: uint8 [B, H, W, C] -> uint8 [B, H, W, C].

    Args:
        images: Grey levels; one channel, or RGB.
        keys: One key per example.
        num_operations: Number of operations per image, drawn with replacement.
        magnitude: Strength of each operation, 0 to MAX_LEVEL.
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
    """One operation of random strength: uint8 [B, H, W, C] -> uint8 [B, H, W, C].

    Args:
        images: Grey levels; one channel, or RGB.
        keys: One key per example.
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
    """Applies one operation to one image: uint8 [H, W, C] -> uint8 [H, W, C].

    Args:
        image: Grey levels.
        operation: Index in OPERATIONS, int32 [].
        limits: Strengths at MAX_LEVEL.
        level: Level, 0 to MAX_LEVEL, int32 [].
        sign: Direction, 1 or -1, int32 []; used by operations that have two.
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
    # A shear fixes the corner of the image, half a pixel before the first pixel centre.
    return matrix, offset + jnp.array([shear_y, shear_x]) / 2


def _blended_with(image: jax.Array) -> list[jax.Array]:
    """The images that Pillow's ImageEnhance blends with, each [H, W, C].

    They are black, grey, the mean grey level, and a smooth image. The last is that of
    ImageFilter.SMOOTH, which leaves the border unchanged.
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
    """Lookup tables [256, C] of Posterize, Solarize, AutoContrast and Equalize."""
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
