"""Boundaries of segments, and how many of their pixels another mask has nearby.

Labels are integers [B, H, W]; a negative one is void. A pixel is of the boundary of its
class where one of its four neighbours is of another class: the inner boundary of the
segment, one pixel wide. The edge of the image is none, nor is that of a void region.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_NO_BOUNDARY = -1
_OUTSIDE = -2  # equal to nothing


def boundary(labels: jax.Array) -> jax.Array:
    """The class of each pixel of a boundary, -1 elsewhere: [B, H, W] -> [B, H, W]."""
    around = jnp.pad(labels, ((0, 0), (1, 1), (1, 1)), constant_values=_OUTSIDE)
    is_boundary = jnp.zeros(labels.shape, bool)
    for y, x in ((0, 1), (2, 1), (1, 0), (1, 2)):
        beside = around[:, y : y + labels.shape[1], x : x + labels.shape[2]]
        is_boundary |= (beside >= 0) & (beside != labels)
    return jnp.where(is_boundary & (labels >= 0), labels, _NO_BOUNDARY)


def is_near(labels: jax.Array, others: jax.Array, tolerance: float) -> jax.Array:
    """Whether others have the same label at a distance of at most `tolerance` pixels,
    bool [B, H, W]."""
    reach = int(tolerance)
    side = np.arange(-reach, reach + 1)
    inside = side[:, None] ** 2 + side**2 <= tolerance**2
    offsets = jnp.asarray(np.argwhere(inside))
    filling = ((0, 0), (reach, reach), (reach, reach))
    around = jnp.pad(others, filling, constant_values=_OUTSIDE)

    def compare(number: jax.Array, near: jax.Array) -> jax.Array:
        y, x = offsets[number]
        return near | (jax.lax.dynamic_slice(around, (0, y, x), labels.shape) == labels)

    near = jnp.zeros(labels.shape, bool)
    return jax.lax.fori_loop(0, len(offsets), compare, near)


class Matches(NamedTuple):
    """Pixels of boundaries by class, counted over a batch, int32 [K] each.

    Attributes:
        true: Pixels of the true boundaries.
        found: Those of them that a predicted boundary of the class is near.
        predicted: Pixels of the predicted boundaries.
        right: Those of them that a true boundary of the class is near.
    """

    true: jax.Array
    found: jax.Array
    predicted: jax.Array
    right: jax.Array


def matches(
    true: jax.Array, predicted: jax.Array, num_classes: int, tolerance: float
) -> Matches:
    """Counts the pixels of the boundaries in two masks that lie near each other.

    Csurka, Larlus and Perronnin, "What is a good evaluation measure for semantic
    segmentation?", BMVC 2013, sec. 3.2; their counts of each image are added up here
    over all images, as the counts of pixels are.

    Args:
        true: True labels [B, H, W]; void where they are negative.
        predicted: Predicted labels [B, H, W].
        num_classes: Number of classes.
        tolerance: Largest distance, pixels.
    """
    predicted = jnp.where(true >= 0, predicted, -1)
    edges = boundary(true), boundary(predicted)
    counts = []
    for own, other in (edges, edges[::-1]):
        near = jnp.where(is_near(own, other, tolerance), own, _NO_BOUNDARY)
        counts += [count(own, num_classes), count(near, num_classes)]
    return Matches(*counts)


def count(labels: jax.Array, number: int) -> jax.Array:
    """How often each of the numbers 0 to number - 1 is in labels [B, ...], int32
    [number]; negative ones are not counted.

    Each image is counted by itself, so that devices need to exchange the sums only.
    """
    labels = labels.reshape(len(labels), -1)
    places = jnp.where(labels >= 0, labels, number)  # out of range, and dropped
    zeros = jnp.zeros(number, jnp.int32)
    each = jax.vmap(lambda place: zeros.at[place].add(1, mode="drop"))(places)
    return jnp.sum(each, axis=0)
