"""Operations in forms that XLA compiles well for CPUs, in plain JAX.

They take and give what those of lax.py do. Convolution is in portable_conv.py; here is
pooling, whose gradient XLA's CPU compiler runs as a naive loop, and normalisation.
"""

from collections.abc import Callable
import functools
import math
from typing import Any, NamedTuple

import jax
from jax import lax as xla
import jax.numpy as jnp
import numpy as np

from jaxcnn.ops import lax, portable_conv
from jaxcnn.ops.lax import Normalised, Padding, Pair
from jaxcnn.ops.taps import ONE, num_windows, pad, positions, put_taps, take_tap

# Pooling.


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _max_pool(
    x: jax.Array, size: Pair, window: Pair, stride: Pair, padding: Padding
) -> jax.Array:
    """The largest of each window's rows, and then of its columns."""
    (height, width), (top, left) = window, stride
    rows, columns = num_windows(size, window, stride, padding, ONE)
    x = pad(x, padding, -math.inf)

    def largest(x: jax.Array, axis: int, width: int, step: int, number: int):
        stop = step * (number - 1) + 1
        taps = (xla.slice_in_dim(x, i, i + stop, step, axis) for i in range(width))
        return functools.reduce(jnp.maximum, taps)

    return largest(largest(x, 1, height, top, rows), 2, width, left, columns)


def _max_pool_backward(
    size: Pair,
    window: Pair,
    stride: Pair,
    padding: Padding,
    place: jax.Array,
    dy: jax.Array,
) -> tuple[jax.Array]:
    shares = {
        tap: jnp.where(place == number, dy, 0)
        for number, tap in enumerate(positions(window))
    }
    return (put_taps(shares, size, stride, padding),)


def _max_pool_forward(
    x: jax.Array, size: Pair, window: Pair, stride: Pair, padding: Padding
) -> tuple[jax.Array, jax.Array]:
    """The number of each window's largest pixel is kept, the first by rows, as in LAX.

    Comparing pixels with the largest in the backward pass would lose gradients: XLA
    may compute the pixels again there, and round otherwise.
    """
    y = _max_pool(x, size, window, stride, padding)
    padded = pad(x, padding, -math.inf)
    largest = jnp.full(y.shape, -math.inf, x.dtype)
    place = jnp.zeros(y.shape, jnp.int32)
    for number, tap in enumerate(positions(window)):
        pixel = take_tap(padded, tap, y.shape[1:3], stride)
        larger = (pixel > largest) | jnp.isnan(pixel)
        largest = jnp.where(larger, pixel, largest)
        place = jnp.where(larger, number, place)
    return y, place


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def max_pool(
    x: jax.Array, *, window: Pair, stride: Pair, padding: Padding
) -> jax.Array:
    """lax.max_pool as a tree of maxima."""
    return _max_pool(x, x.shape[1:3], window, stride, padding)


class MaxPool(NamedTuple):
    """Max-pooling with switches, and its gradient.

    Attributes:
        forward: Function like _max_pool_forward.
        backward: Function like _max_pool_backward.
    """

    forward: Callable[..., tuple[jax.Array, jax.Array]]
    backward: Callable[..., tuple[jax.Array]]


MAX_POOL = MaxPool(_max_pool_forward, _max_pool_backward)


def max_pool_switches(
    x: jax.Array,
    *,
    window: Pair,
    stride: Pair,
    padding: Padding,
    by: MaxPool = MAX_POOL,
) -> tuple[jax.Array, jax.Array]:
    """lax.max_pool_switches, whose gradient reads the switches alone."""
    return _max_pool_switches(x, x.shape[1:3], window, stride, padding, by)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4, 5))
def _max_pool_switches(
    x: jax.Array, size: Pair, window: Pair, stride: Pair, padding: Padding, by: MaxPool
) -> tuple[jax.Array, jax.Array]:
    y, place = by.forward(x, size, window, stride, padding)
    return y, place.astype(lax.switch_dtype(window))


def _max_pool_switches_forward(
    x: jax.Array, *place: Any
) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    y, switches = _max_pool_switches(x, *place)
    return (y, switches), switches


def _max_pool_switches_backward(
    size: Pair,
    window: Pair,
    stride: Pair,
    padding: Padding,
    by: MaxPool,
    switches: jax.Array,
    gradients: tuple[jax.Array, Any],
) -> tuple[jax.Array]:
    return by.backward(size, window, stride, padding, switches, gradients[0])


_max_pool_switches.defvjp(_max_pool_switches_forward, _max_pool_switches_backward)


def max_unpool(
    x: jax.Array,
    switches: jax.Array,
    *,
    size: Pair,
    window: Pair,
    stride: Pair,
    padding: Padding,
    by: MaxPool = MAX_POOL,
) -> jax.Array:
    """lax.max_unpool, which is the gradient of max-pooling."""
    return _max_unpool(x, switches, size, window, stride, padding, by)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5, 6))
def _max_unpool(
    x: jax.Array,
    switches: jax.Array,
    size: Pair,
    window: Pair,
    stride: Pair,
    padding: Padding,
    by: MaxPool,
) -> jax.Array:
    return by.backward(size, window, stride, padding, switches, x)[0]


def _max_unpool_backward(
    size: Pair,
    window: Pair,
    stride: Pair,
    padding: Padding,
    by: MaxPool,
    switches: jax.Array,
    dy: jax.Array,
) -> tuple[jax.Array, None]:
    # All taps of all windows lie inside; pixels beyond size are none.
    inside = tuple(
        (before, s * (m - 1) + k - n - before)
        for n, m, k, s, (before, _) in zip(
            *(size, switches.shape[1:3], window, stride, padding), strict=True
        )
    )
    padded, dx = pad(dy, inside), jnp.zeros((), dy.dtype)
    for number, tap in enumerate(positions(window)):
        pixel = take_tap(padded, tap, switches.shape[1:3], stride)
        dx = jnp.where(switches == number, pixel, dx)
    return dx, None  # switches have no gradient


_max_unpool.defvjp(
    lambda x, switches, *place: (_max_unpool(x, switches, *place), switches),
    _max_unpool_backward,
)


def avg_pool(
    x: jax.Array,
    *,
    window: Pair,
    stride: Pair,
    padding: Padding,
    count_include_pad: bool,
) -> jax.Array:
    """lax.avg_pool, which is a depthwise convolution with equal numbers."""
    ones = jnp.ones((*window, 1, x.shape[-1]), x.dtype)
    total = portable_conv.depthwise(x, ones, stride, padding, ONE)
    if count_include_pad:
        return total / math.prod(window)
    inside = np.ones((1, *x.shape[1:3], 1))
    counts = lax.avg_pool(
        inside, window=window, stride=stride, padding=padding, count_include_pad=True
    )
    return total / (counts * math.prod(window)).astype(x.dtype)


# Normalisation.


class Statistics(NamedTuple):
    """What batch normalisation computes over a batch.

    Attributes:
        moments: x [B, ..., C] -> mean and biased variance of each channel, [C].
        gradient: Function like norm_gradient.
    """

    moments: Callable[[jax.Array], tuple[jax.Array, jax.Array]]
    gradient: Callable[..., Normalised]


def moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance of each channel, [B, ..., C] -> [C], [C]."""
    return lax.statistics(x, tuple(range(x.ndim - 1)))


def norm_gradient(
    dy: jax.Array,
    x: jax.Array,
    scale: jax.Array,
    mean: jax.Array,
    var: jax.Array,
    dmean: jax.Array,
    dvar: jax.Array,
    *,
    epsilon: float,
) -> Normalised:
    """Gradients of x, scale and bias; Ioffe and Szegedy, section 3.

    Args:
        dy: Gradient of the normalised x, [B, ..., C].
        x: [B, ..., C].
        scale: [C].
        mean: Mean of the batch, [C].
        var: Biased variance of the batch, [C].
        dmean: Gradient of mean besides that through y, [C].
        dvar: Gradient of var besides that through y, [C].
        epsilon: Added to the variance.
    """
    axes, number = tuple(range(x.ndim - 1)), math.prod(x.shape[:-1])
    factor = xla.rsqrt(var + epsilon)
    centred = x.astype(scale.dtype) - mean
    dbias, dscale = jnp.sum(dy, axes), jnp.sum(dy * centred, axes) * factor
    # The parts of dx that are constant in a channel, and that grow with x.
    constant = (dmean - scale * factor * dbias) / number
    slope = (2 * dvar - scale * factor**2 * dscale) / number
    dx = dy * (scale * factor) + centred * slope + constant
    return dx.astype(x.dtype), dscale, dbias


PLAIN = Statistics(moments, norm_gradient)


def batch_norm_train(
    x: jax.Array,
    scale: jax.Array | None,
    bias: jax.Array | None,
    mean: jax.Array,
    var: jax.Array,
    *,
    momentum: float,
    epsilon: float,
    axis_name: str | None = None,
    groups: int = 1,
    by: Statistics = PLAIN,
) -> Normalised:
    """lax.batch_norm_train, with a gradient that reads x and dy twice and saves x."""
    if axis_name is not None or groups > 1:
        return lax.batch_norm_train(
            *(x, scale, bias, mean, var),
            momentum=momentum,
            epsilon=epsilon,
            axis_name=axis_name,
            groups=groups,
        )
    channels = x.shape[-1:]
    dtype = jnp.result_type(*(a for a in (x, scale, bias) if a is not None))
    wide = jnp.promote_types(x.dtype, jnp.float32)
    scale = jnp.ones(channels, wide) if scale is None else scale.astype(wide)
    bias = jnp.zeros(channels, wide) if bias is None else bias.astype(wide)
    y, batch_mean, batch_var = _batch_norm(x, scale, bias, epsilon, by)
    mean = lax.running_average(mean, batch_mean, momentum)
    var = lax.running_average(var, batch_var, momentum)
    return y.astype(dtype), mean, var


def _normalised(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, by: Statistics
) -> Normalised:
    """(y in the dtype of scale, mean and biased variance of the batch)."""
    mean, var = by.moments(x)
    return lax.batch_norm(x, scale, bias, mean, var, epsilon=epsilon), mean, var


_batch_norm = jax.custom_vjp(_normalised, nondiff_argnums=(3, 4))


def _batch_norm_forward(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, by: Statistics
) -> tuple[Normalised, Normalised]:
    y, mean, var = _normalised(x, scale, bias, epsilon, by)
    return (y, mean, var), (x, scale, mean, var)


def _batch_norm_backward(
    epsilon: float, by: Statistics, saved: tuple[jax.Array, ...], gradients: Normalised
) -> Normalised:
    x, scale, mean, var = saved
    dy, *others = gradients
    return by.gradient(dy, x, scale, mean, var, *others, epsilon=epsilon)


_batch_norm.defvjp(_batch_norm_forward, _batch_norm_backward)
