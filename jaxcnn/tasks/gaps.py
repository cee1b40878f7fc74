"""The weight that U-Net gives to narrow gaps between objects.

Ronneberger, Fischer and Brox, MICCAI 2015, https://arxiv.org/abs/1505.04597, eq. 2:
w0 exp(-(d1 + d2)^2 / (2 sigma^2)) where d1 and d2 are the distances of a pixel to the
nearest and to the second nearest object. It is computed from the labels on the device,
after augmentation has moved them.

An object is a region of one class other than 0, connected through the sides of its
pixels, as in scipy.ndimage.label; class 0 is the background, and only its pixels have
this weight. A weight below w0 / 10,000 is 0, so that distances need not be known
further away than that.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

_NEGLIGIBLE = 1e-4


def gap_weights(labels: jax.Array, weight: float, sigma: float) -> jax.Array:
    """The weight of each pixel: integers [B, H, W] -> float32 [B, H, W].

    Args:
        labels: Classes; 0 is the background. Negative ones are void, neither background
            nor an object.
        weight: Largest weight, w0.
        sigma: Width of a gap, pixels.
    """
    longest = sigma * math.sqrt(-2 * math.log(_NEGLIGIBLE))  # of d1 + d2
    found = nearest_two(objects(labels), max(1, math.ceil(longest) - 1))
    length = jnp.sqrt(found.first) + jnp.sqrt(found.second)
    gap = weight * jnp.exp(-jnp.square(length / sigma) / 2)
    return jnp.where((labels == 0) & (length <= longest), gap, 0)


def objects(labels: jax.Array) -> jax.Array:
    """A number for each object, the same at all of its pixels; 0 elsewhere.

    Integers [B, H, W] -> int32 [B, H, W]. Each pixel begins with a number of its own,
    and takes the largest among its neighbours of the same class until nothing changes.
    """
    batch, height, width = labels.shape
    own = jnp.arange(1, height * width + 1, dtype=jnp.int32).reshape(height, width)
    first = jnp.where(labels > 0, own, 0)  # [B, H, W]

    def spread(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        numbers, _ = carry
        new = numbers
        for axis in (1, 2):
            for step in (-1, 1):
                same = _shifted(labels, step, axis, -1) == labels
                beside = jnp.where(same, _shifted(numbers, step, axis, 0), 0)
                new = jnp.where(labels > 0, jnp.maximum(new, beside), 0)
        return new, jnp.any(new != numbers)

    numbers, _ = jax.lax.while_loop(
        lambda carry: carry[1], spread, (first, jnp.array(True))
    )
    return numbers


def _shifted(x: jax.Array, step: int, axis: int, fill: int) -> jax.Array:
    """Each pixel's neighbour, one step back along an axis; `fill` at the edge."""
    edge = jnp.full_like(jax.lax.slice_in_dim(x, 0, 1, axis=axis), fill)
    length = x.shape[axis]
    if step > 0:
        return jnp.concatenate(
            [edge, jax.lax.slice_in_dim(x, 0, length - 1, axis=axis)], axis
        )
    return jnp.concatenate([jax.lax.slice_in_dim(x, 1, length, axis=axis), edge], axis)


class Nearest(NamedTuple):
    """The two nearest objects of each pixel, [B, H, W] each.

    Attributes:
        first: Squared distance to the nearest, pixels^2; infinite: there is none.
        first_object: Its number; 0: there is none.
        second: Squared distance to the second nearest.
        second_object: Its number.
    """

    first: jax.Array
    first_object: jax.Array
    second: jax.Array
    second_object: jax.Array

    def with_other(self, distance: jax.Array, number: jax.Array) -> "Nearest":
        """The two nearest of these and another object at a squared distance."""
        is_known = number == self.first_object
        becomes_first = ~is_known & (distance < self.first)
        becomes_second = ~is_known & (distance < self.second)

        def chosen(first: jax.Array, new: jax.Array, second: jax.Array) -> jax.Array:
            return jnp.where(
                becomes_first, first, jnp.where(becomes_second, new, second)
            )

        return Nearest(
            jnp.minimum(self.first, distance),
            jnp.where(becomes_first, number, self.first_object),
            chosen(self.first, distance, self.second),
            chosen(self.first_object, number, self.second_object),
        )


def nearest_two(numbers: jax.Array, reach: int) -> Nearest:
    """The two objects nearest to each pixel, of those at most `reach` rows and columns
    away: int32 [B, H, W] -> [B, H, W].

    First within each column, then over the columns: what is no nearer than third in its
    column is no nearer than third at all.
    """
    infinite = jnp.full(numbers.shape, jnp.inf, jnp.float32)
    none = Nearest(infinite, jnp.zeros_like(numbers), infinite, jnp.zeros_like(numbers))
    distances = jnp.where(numbers > 0, 0, infinite)

    def over(axis: int, start: Nearest, found: Nearest) -> Nearest:
        """The nearest of those that pixels along an axis have found."""
        filling = [(0, 0)] * 3
        filling[axis] = reach, reach
        empty = Nearest(jnp.inf, 0, jnp.inf, 0)
        padded = Nearest(
            *(
                jnp.pad(x, filling, constant_values=fill)
                for x, fill in zip(found, empty, strict=True)
            )
        )

        def compare(step: jax.Array, nearest: Nearest) -> Nearest:
            apart = jnp.square(step - reach).astype(jnp.float32)
            beside = Nearest(
                *(
                    jax.lax.dynamic_slice_in_dim(
                        x, step, x.shape[axis] - 2 * reach, axis
                    )
                    for x in padded
                )
            )
            nearest = nearest.with_other(beside.first + apart, beside.first_object)
            return nearest.with_other(beside.second + apart, beside.second_object)

        return jax.lax.fori_loop(0, 2 * reach + 1, compare, start)

    own = none._replace(first=distances, first_object=numbers)
    return over(2, none, over(1, none, own))
