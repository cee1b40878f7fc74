"""Operations in forms that XLA compiles well for CPUs, in plain JAX.

They take and give what those of lax.py do. What is written anew is what XLA's CPU
compiler runs as naive loops: convolutions in groups, the gradients of strided
convolutions and of their kernels, and of pooling. A window is taken apart into its
taps: tap (i, j) of all windows is one strided slice of the image.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import functools
import math
import operator
from typing import NamedTuple

import jax
from jax import lax as xla
import jax.numpy as jnp
import numpy as np

from jaxcnn.ops import lax
from jaxcnn.ops.lax import Normalised, Padding, Pair

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_ONE: Pair = (1, 1)
_NONE: Padding = ((0, 0), (0, 0))

# Of an image: with so few, one product with all patches is the fastest convolution.
_FEW_WINDOWS = 16

_FEW_TAPS = 9  # of a depthwise kernel

_FEW_FILTERS = 12  # of a grey image: XLA's own convolution was the fastest

_CHANNELS_TOGETHER = 64  # of groups whose kernels are multiplied as one

Tap = tuple[int, int]
Saved = tuple[jax.Array, jax.Array]  # an image and a kernel


def _pad(x: jax.Array, padding: Padding, value: float = 0.0) -> jax.Array:
    """[B, H, W, C] with pixels of a value on each side; negative ones are cut off."""
    if padding == _NONE:
        return x
    config = ((0, 0, 0), *((*sides, 0) for sides in padding), (0, 0, 0))
    return xla.pad(x, jnp.asarray(value, x.dtype), config)


def num_windows(
    size: Pair, window: Pair, stride: Pair, padding: Padding, dilation: Pair
) -> Pair:
    """Rows and columns of windows."""
    rows, columns = (
        (n + sum(p) - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, window, stride, padding, dilation, strict=True)
    )
    return rows, columns


def _positions(window: Pair) -> Iterator[Tap]:
    return ((i, j) for i in range(window[0]) for j in range(window[1]))


def _tap(
    padded: jax.Array, tap: Tap, windows: Pair, stride: Pair, dilation: Pair = _ONE
) -> jax.Array:
    """One pixel of each window, [B, H', W', C]."""
    start = [d * t for d, t in zip(dilation, tap, strict=True)]
    stop = [a + s * (n - 1) + 1 for a, s, n in zip(start, stride, windows, strict=True)]
    return xla.slice(
        padded,
        (0, *start, 0),
        (padded.shape[0], *stop, padded.shape[3]),
        (1, *stride, 1),
    )


def _put_taps(
    taps: Mapping[Tap, jax.Array], size: Pair, stride: Pair, padding: Padding
) -> jax.Array:
    """The sum of what is put back where _tap took it, [B, H, W, C].

    Args:
        taps: [B, H', W', C] by the place in the window, dilation included.
        size: H and W, without padding.
        stride: Distance of neighbouring windows, pixels.
        padding: Pixels on each side that are cut off.
    """
    dy = next(iter(taps.values()))
    padded = [n + sum(p) for n, p in zip(size, padding, strict=True)]
    parts = [-(-n // s) for n, s in zip(padded, stride, strict=True)]

    def part(row: int, column: int) -> jax.Array:
        total = jnp.zeros((len(dy), *parts, dy.shape[3]), dy.dtype)
        for tap, share in taps.items():
            shift, place = zip(*map(divmod, tap, stride), strict=True)
            if place == (row, column):
                sides = zip(shift, parts, dy.shape[1:3], strict=True)
                total += _pad(share, tuple((a, n - a - m) for a, n, m in sides))
        return total

    whole = _interleave(
        [[part(r, c) for c in range(stride[1])] for r in range(stride[0])], padded
    )
    return _pad(whole, tuple((-a, -b) for a, b in padding))


def _interleave(parts: Sequence[Sequence[jax.Array]], size: Sequence[int]) -> jax.Array:
    """Puts the pixels of parts[r][c] at rows r, r + number of rows, ... and so on.

    Args:
        parts: Each [B, h, w, C].
        size: Rows and columns of the result, at most those that the parts give.
    """
    if len(parts) == len(parts[0]) == 1:
        return parts[0][0]
    stacked = jnp.stack([jnp.stack(row, axis=3) for row in parts], axis=2)
    batch, rows, strides, columns, others, channels = stacked.shape
    whole = stacked.reshape(batch, rows * strides, columns * others, channels)
    return whole[:, : size[0], : size[1]]


# Convolution.


def conv(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> jax.Array:
    """lax.conv; each kind of groups has a form of its own."""
    per_group = kernel.shape[2]
    if groups == 1 and per_group == 1 and kernel.shape[3] <= _FEW_FILTERS:
        return lax.conv(
            *(x, kernel, bias),
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
        )
    if groups == 1:
        y = _dense_conv(x, kernel, stride, padding, dilation)
    elif per_group == 1:
        # A filter sees one channel; with several filters a channel, it is repeated.
        repeated = jnp.repeat(x, kernel.shape[3] // groups, axis=3)
        y = _depthwise(repeated, kernel, stride, padding, dilation)
    else:
        y = _grouped(x, kernel, stride, padding, dilation, groups)
    return y if bias is None else y + bias


def _convolve(
    x: jax.Array,
    kernel: jax.Array,
    stride: Pair = _ONE,
    padding: Padding = _NONE,
    dilation: Pair = _ONE,
) -> jax.Array:
    """A convolution without groups; negative padding cuts pixels off."""
    window = kernel.shape[:2]
    if window == stride == _ONE and not any(max(sides) > 0 for sides in padding):
        return jnp.dot(_pad(x, padding), kernel[0, 0])
    windows = num_windows(x.shape[1:3], window, stride, padding, dilation)
    if math.prod(windows) <= _FEW_WINDOWS:
        return jnp.dot(
            _patches(x, window, windows, stride, padding, dilation),
            kernel.reshape(-1, kernel.shape[3]),
        )
    cut = tuple((min(a, 0), min(b, 0)) for a, b in padding)
    added = tuple((max(a, 0), max(b, 0)) for a, b in padding)
    return xla.conv_general_dilated(
        _pad(x, cut),
        kernel,
        stride,
        added,
        rhs_dilation=dilation,
        dimension_numbers=_LAYOUT,
    )


def _patches(
    x: jax.Array,
    window: Pair,
    windows: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
) -> jax.Array:
    """All pixels of each window, [B, H', W', kh * kw * C]; "im2col"."""
    return _joined(_pad(x, padding), _positions(window), windows, stride, dilation)


def _joined(
    padded: jax.Array, taps: Iterable[Tap], windows: Pair, stride: Pair, dilation: Pair
) -> jax.Array:
    """Some pixels of each window, [B, H', W', number of taps * C]."""
    parts = [_tap(padded, tap, windows, stride, dilation) for tap in taps]
    return jnp.concatenate(parts, axis=3)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _dense_conv(
    x: jax.Array, kernel: jax.Array, stride: Pair, padding: Padding, dilation: Pair
) -> jax.Array:
    return _convolve(x, kernel, stride, padding, dilation)


def _dense_conv_backward(
    stride: Pair, padding: Padding, dilation: Pair, saved: Saved, dy: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    return (
        _dense_dx(dy, kernel, x.shape[1:3], stride, padding, dilation),
        dense_dw(x, dy, kernel.shape[:2], stride, padding, dilation),
    )


_dense_conv.defvjp(
    lambda x, kernel, *window: (_convolve(x, kernel, *window), (x, kernel)),
    _dense_conv_backward,
)


class _Phase(NamedTuple):
    """The pixels n of one axis that have the same n % stride.

    Attributes:
        taps: Positions in the kernel that reach them, by ascending pixel of dy.
        size: Number of these pixels, the same for all phases of an axis.
        padding: Pixels before and after dy.
        dilation: Distance of the taps' pixels in dy.
    """

    taps: list[int]
    size: int
    padding: Pair
    dilation: int


def _phases(
    kernel: int, stride: int, before: int, dilation: int, size: int, windows: int
) -> list[_Phase]:
    """The phases of an axis: pixel stride * q + r gets kernel[t] * dy[q + offset of t]
    from each tap t for which r + before - dilation * t is a multiple of stride."""
    found = []
    number = -(-size // stride)
    for r in range(stride):
        offsets = {
            t: (r + before - dilation * t) // stride
            for t in range(kernel - 1, -1, -1)
            if (r + before - dilation * t) % stride == 0
        }
        low, high = min(offsets.values(), default=0), max(offsets.values(), default=0)
        found.append(
            _Phase(
                taps=list(offsets),
                size=number,
                padding=(-low, number - windows + high),
                dilation=dilation // math.gcd(dilation, stride),
            )
        )
    return found


def _dense_dx(
    dy: jax.Array,
    kernel: jax.Array,
    size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
) -> jax.Array:
    """The gradient of the image: a convolution of dy with the turned kernel.

    With a stride each set of pixels that see the same taps has a convolution of its
    own, so that no zeros are multiplied.
    """
    rows, columns = (
        _phases(k, s, p[0], d, n, m)
        for k, s, p, d, n, m in zip(
            *(kernel.shape[:2], stride, padding, dilation, size, dy.shape[1:3]),
            strict=True,
        )
    )
    turned = kernel.swapaxes(2, 3)

    def part(row: _Phase, column: _Phase) -> jax.Array:
        if not row.taps or not column.taps:
            shape = (len(dy), row.size, column.size, kernel.shape[2])
            return jnp.zeros(shape, dy.dtype)
        sides = row.padding, column.padding
        if kernel.shape[:2] == _ONE:  # without a copy of the kernel, turned
            filters = (((3,), (1,)), ((), ()))
            return xla.dot_general(_pad(dy, sides), kernel[0, 0], filters)
        taps = turned[np.ix_(row.taps, column.taps)]
        return _convolve(dy, taps, _ONE, sides, (row.dilation, column.dilation))

    return _interleave([[part(r, c) for c in columns] for r in rows], size)


def dense_dw(
    x: jax.Array,
    dy: jax.Array,
    window: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
) -> jax.Array:
    """The gradient of the kernel: a product of matrices for some taps at once."""
    padded, products = _pad(x, padding), []
    for taps in _taps_together(window, math.prod(dy.shape[1:3]), x.shape[3]):
        pixels = _joined(padded, taps, dy.shape[1:3], stride, dilation)
        products.append(_sum_of_products(pixels, dy))
    return jnp.concatenate(products).reshape(*window, x.shape[3], dy.shape[3])


def _taps_together(window: Pair, num_windows: int, channels: int) -> list[list[Tap]]:
    """The taps whose products are one, as measured: more of them for small images, and
    for few channels, with which a product of a single tap is slow."""
    taps = [*_positions(window)]
    if num_windows <= 256 or (num_windows <= 1024 and channels <= 64):
        number = len(taps)
    else:
        number = window[1] if channels <= 64 else 1
    return [taps[i : i + number] for i in range(0, len(taps), number)]


def _sum_of_products(x: jax.Array, dy: jax.Array) -> jax.Array:
    """[B, H, W, C], [B, H, W, F] -> [C, F]."""
    return x.reshape(-1, x.shape[3]).T @ dy.reshape(-1, dy.shape[3])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _depthwise(
    x: jax.Array, kernel: jax.Array, stride: Pair, padding: Padding, dilation: Pair
) -> jax.Array:
    """Each channel has one filter: a sum of taps, each times a number a channel."""
    windows = num_windows(x.shape[1:3], kernel.shape[:2], stride, padding, dilation)
    padded, total = _pad(x, padding), 0
    for tap in _positions(kernel.shape[:2]):
        total = total + _tap(padded, tap, windows, stride, dilation) * kernel[tap][0]
    return total


def _depthwise_backward(
    stride: Pair, padding: Padding, dilation: Pair, saved: Saved, dy: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    taps = [*_positions(kernel.shape[:2])]
    if stride == _ONE:
        reach = [d * (k - 1) for k, d in zip(kernel.shape[:2], dilation, strict=True)]
        sides = tuple((r - a, r - b) for r, (a, b) in zip(reach, padding, strict=True))
        dx = _depthwise(dy, kernel[::-1, ::-1], _ONE, sides, dilation)
    else:
        shares = {
            (i * dilation[0], j * dilation[1]): dy * kernel[i, j, 0] for i, j in taps
        }
        dx = _put_taps(shares, x.shape[1:3], stride, padding)
    padded = xla.optimization_barrier(_pad(x, padding))
    pixels = [_tap(padded, tap, dy.shape[1:3], stride, dilation) for tap in taps]
    # Sums of rows, or of images where those are too many, and then of these: faster and
    # more exact than one long sum.
    axes = (2,) if len(taps) <= _FEW_TAPS else (1, 2)
    sums = xla.reduce(
        [pixel * dy for pixel in pixels],
        [jnp.zeros((), dy.dtype)] * len(taps),
        lambda a, b: [*map(operator.add, a, b)],
        axes,
    )
    total = jnp.stack(sums).sum(range(1, 4 - len(axes)))  # [taps, C]
    return dx, total.reshape(kernel.shape)


_depthwise.defvjp(
    lambda x, kernel, *window: (_depthwise(x, kernel, *window), (x, kernel)),
    _depthwise_backward,
)


def _grouped(
    x: jax.Array,
    kernel: jax.Array,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> jax.Array:
    """Convolutions of a few groups each, whose kernels have zeros between groups."""
    kernel, groups = join_groups(kernel, groups, _CHANNELS_TOGETHER)
    inputs, filters = kernel.shape[2], kernel.shape[3] // groups
    parts = [
        _dense_conv(
            x[..., g * inputs : (g + 1) * inputs],
            kernel[..., g * filters : (g + 1) * filters],
            stride,
            padding,
            dilation,
        )
        for g in range(groups)
    ]
    return jnp.concatenate(parts, axis=3)


def join_groups(kernel: jax.Array, groups: int, channels: int) -> tuple[jax.Array, int]:
    """A kernel of fewer groups that computes the same, with zeros between those joined.

    Args:
        kernel: [kh, kw, C/groups, filters].
        groups: Number of groups of channels.
        channels: Number of channels that a joined group has, or less where the number
            of groups has no such divisor.

    Returns:
        (kernel [kh, kw, C/fewer groups, filters], number of groups).
    """
    height, width, inputs, filters = kernel.shape
    wanted = max(1, channels // inputs)
    together = max(n for n in range(1, wanted + 1) if groups % n == 0)
    if together == 1:
        return kernel, groups
    fewer, each = groups // together, filters // groups
    blocks = kernel.reshape(height, width, inputs, fewer, together, each)
    joined = jnp.einsum(
        "hwiGgf,gk->hwkiGgf", blocks, jnp.eye(together, dtype=kernel.dtype)
    )
    return joined.reshape(height, width, together * inputs, filters), fewer


# Pooling.


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(x: jax.Array, window: Pair, stride: Pair, padding: Padding) -> jax.Array:
    """The largest of each window's rows, and then of its columns."""
    (height, width), (top, left) = window, stride
    rows, columns = num_windows(x.shape[1:3], window, stride, padding, _ONE)
    x = _pad(x, padding, -math.inf)

    def largest(x: jax.Array, axis: int, width: int, step: int, number: int):
        stop = step * (number - 1) + 1
        taps = (xla.slice_in_dim(x, i, i + stop, step, axis) for i in range(width))
        return functools.reduce(jnp.maximum, taps)

    return largest(largest(x, 1, height, top, rows), 2, width, left, columns)


def _max_pool_backward(
    window: Pair,
    stride: Pair,
    padding: Padding,
    saved: tuple[jax.Array, jax.Array],
    dy: jax.Array,
) -> tuple[jax.Array]:
    """The first of a window's largest pixels gets its gradient, by rows, as in LAX."""
    x, y = saved
    padded = _pad(x, padding, -math.inf)
    found, shares = jnp.zeros(y.shape, bool), {}
    for tap in _positions(window):
        largest = (_tap(padded, tap, y.shape[1:3], stride) == y) & ~found
        found |= largest
        shares[tap] = jnp.where(largest, dy, 0)
    return (_put_taps(shares, x.shape[1:3], stride, padding),)


def _max_pool_forward(
    x: jax.Array, window: Pair, stride: Pair, padding: Padding
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    y = _max_pool(x, window, stride, padding)
    return y, (x, y)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def max_pool(
    x: jax.Array, *, window: Pair, stride: Pair, padding: Padding
) -> jax.Array:
    """lax.max_pool as a tree of maxima."""
    return _max_pool(x, window, stride, padding)


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
    total = _depthwise(x, ones, stride, padding, _ONE)
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _batch_norm(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, by: Statistics
) -> Normalised:
    """(y in the dtype of scale, mean and biased variance of the batch)."""
    mean, var = by.moments(x)
    return lax.batch_norm(x, scale, bias, mean, var, epsilon=epsilon), mean, var


def _batch_norm_forward(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, by: Statistics
) -> tuple[Normalised, Normalised]:
    y, mean, var = _batch_norm(x, scale, bias, epsilon, by)
    return (y, mean, var), (x, scale, mean, var)


def _batch_norm_backward(
    epsilon: float, by: Statistics, saved: tuple[jax.Array, ...], gradients: Normalised
) -> Normalised:
    x, scale, mean, var = saved
    dy, *others = gradients
    return by.gradient(dy, x, scale, mean, var, *others, epsilon=epsilon)


_batch_norm.defvjp(_batch_norm_forward, _batch_norm_backward)
