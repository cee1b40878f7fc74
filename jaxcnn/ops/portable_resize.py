"""Resizing images as XLA compiles it well for CPUs, in plain JAX.

A pixel of the result is a sum of few pixels, its taps, along rows and then along
columns; so is a pixel of the gradient. Both are gathers with constant indices, which
XLA joins into one loop. From 28 or 112 to 224 pixels products with matrices, as in
lax.py, took 3 times as long and 9 to 15 times in the gradient; the scatters that JAX
makes of a gather's gradient took 11 to 25 times as long as these gathers.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.ops import lax
from jaxcnn.ops.lax import Pair

_MOST_TAPS = 64  # of a pixel; with more of them compilation takes seconds


class _Spec(NamedTuple):
    """The arguments of lax.resize_matrix, and whether it is transposed."""

    size: int
    new_size: int
    method: str
    align_corners: bool
    transposed: bool = False

    @property
    def matrix(self) -> np.ndarray:
        matrix = lax.resize_matrix(*self[:-1])
        return matrix.T if self.transposed else matrix


def resize(x: jax.Array, *, size: Pair, method: str, align_corners: bool) -> jax.Array:
    """lax.resize by gathers."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    for axis, new_size in zip((1, 2), size, strict=True):
        if x.shape[axis] != new_size:
            spec = _Spec(x.shape[axis], new_size, method, align_corners)
            wide = _resample(wide, axis, spec)
    return wide.astype(x.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _resample(x: jax.Array, axis: int, spec: _Spec) -> jax.Array:
    """The product of a matrix and an axis of x, which is linear, and so its own
    derivative."""
    index, share = _taps(spec)
    if len(index) > _MOST_TAPS:
        matrix = jnp.asarray(spec.matrix, x.dtype)
        product = jnp.tensordot(
            matrix, x, (1, axis), precision=jax.lax.Precision.HIGHEST
        )
        return jnp.moveaxis(product, 0, axis)
    shape = [1] * x.ndim
    shape[axis] = -1
    total = 0
    for at, weight in zip(index, share, strict=True):
        pixels = jnp.take(x, at, axis, mode="clip")
        total += pixels * jnp.asarray(weight, x.dtype).reshape(shape)
    return total


@functools.cache
def _taps(spec: _Spec) -> tuple[np.ndarray, np.ndarray]:
    """The pixels in each sum and their shares, both [taps, pixels of the result]."""
    matrix = spec.matrix
    used = matrix != 0
    first = used.argmax(axis=1)
    last = used.shape[1] - 1 - used[:, ::-1].argmax(axis=1)
    number = np.max(np.where(used.any(axis=1), last - first, 0)) + 1
    index = first + np.arange(number)[:, None]
    inside = index < used.shape[1]
    index = np.where(inside, index, 0)
    return index, matrix[np.arange(len(matrix)), index] * inside


_resample.defvjp(
    lambda x, axis, spec: (_resample(x, axis, spec), None),
    lambda axis, spec, _, dy: (
        _resample(dy, axis, spec._replace(transposed=not spec.transposed)),
    ),
)
