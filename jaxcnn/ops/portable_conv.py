"""Convolution in forms that XLA compiles well for CPUs, in plain JAX.

What is written anew is what XLA's CPU compiler runs as naive loops: convolutions in
groups, and the gradients of strided convolutions and of their kernels.
"""

from collections.abc import Callable, Iterable
import functools
import math
import operator
from typing import NamedTuple

import jax
from jax import lax as xla
import jax.numpy as jnp
import numpy as np

from jaxcnn.ops import lax
from jaxcnn.ops.lax import Padding, Pair
from jaxcnn.ops.taps import (
    NONE,
    ONE,
    Tap,
    interleave,
    num_windows,
    pad,
    positions,
    put_taps,
    take_tap,
)

_LAYOUT = ("NHWC", "HWIO", "NHWC")

# Of an image: with so few, one product with all patches is the fastest convolution.
_FEW_WINDOWS = 16

_FEW_TAPS = 9  # of a depthwise kernel

_FEW_FILTERS = 12  # of a grey image: XLA's own convolution was the fastest

_CHANNELS_TOGETHER = 64  # of groups whose kernels are multiplied as one

Saved = tuple[jax.Array, jax.Array]  # an image and a kernel


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
    window = {"stride": stride, "padding": padding, "dilation": dilation}
    if groups == 1 and per_group == 1 and kernel.shape[3] <= _FEW_FILTERS:
        y = lax.conv(x, kernel, groups=groups, **window)
    elif groups == 1:
        y = _dense_conv(x, kernel, stride, padding, dilation)
    elif per_group == 1:
        # A filter sees one channel; with several filters a channel, it is repeated.
        repeated = jnp.repeat(x, kernel.shape[3] // groups, axis=3)
        y = depthwise(repeated, kernel, stride, padding, dilation)
    else:
        y = _grouped(x, kernel, stride, padding, dilation, groups)
    return y if bias is None else y + bias


def conv_transpose(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    conv: Callable[..., jax.Array] = conv,
) -> jax.Array:
    """lax.conv_transpose as a convolution without a stride.

    With a stride, each pixel of that convolution is a block of stride x stride pixels
    of the result, which have the filters one after the other.

    Args:
        conv: Function like lax.conv.
    """
    if stride != ONE and dilation != ONE:
        return lax.conv_transpose(
            *(x, kernel, bias),
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
        )
    # Rows and columns of the result, of which the blocks may have more.
    size = tuple(
        s * (n - 1) + d * (k - 1) + 1 - a - b
        for n, s, d, k, (a, b) in zip(
            *(x.shape[1:3], stride, dilation, kernel.shape[:2], padding), strict=True
        )
    )
    blocks = _kernel_of_blocks(kernel, stride)
    reach = [d * (k - 1) for d, k in zip(dilation, blocks.shape[:2], strict=True)]
    y = conv(
        x,
        blocks.reshape(*blocks.shape[:3], -1),
        stride=ONE,
        padding=tuple((r, r) for r in reach),
        dilation=dilation,
        groups=groups,
    )
    batch, rows, columns, _ = y.shape
    y = y.reshape(batch, rows, columns, -1, *stride).transpose(0, 1, 4, 2, 5, 3)
    whole = [n * s for n, s in zip((rows, columns), stride, strict=True)]
    y = y.reshape(batch, *whole, -1)  # [B, H', W', filters] and what is cut off
    sides = zip(padding, size, whole, strict=True)
    y = pad(y, tuple((-a, a + n - m) for (a, _), n, m in sides))
    return y if bias is None else y + bias


def _kernel_of_blocks(kernel: jax.Array, stride: Pair) -> jax.Array:
    """[kh, kw, C/groups, filters] -> [kh/stride, kw/stride, C/groups, filters, stride,
    stride], rounded up, turned by half a circle."""
    height, width, inputs, filters = kernel.shape
    rows, columns = -(-height // stride[0]), -(-width // stride[1])
    sides = (rows * stride[0] - height, columns * stride[1] - width)
    kernel = jnp.pad(kernel, ((0, sides[0]), (0, sides[1]), (0, 0), (0, 0)))
    parts = kernel.reshape(rows, stride[0], columns, stride[1], inputs, filters)
    return parts[::-1, :, ::-1].transpose(0, 2, 4, 5, 1, 3)


def _convolve(
    x: jax.Array,
    kernel: jax.Array,
    stride: Pair = ONE,
    padding: Padding = NONE,
    dilation: Pair = ONE,
) -> jax.Array:
    """A convolution without groups; negative padding cuts pixels off."""
    window = kernel.shape[:2]
    if window == stride == ONE and not any(max(sides) > 0 for sides in padding):
        return jnp.dot(pad(x, padding), kernel[0, 0])
    windows = num_windows(x.shape[1:3], window, stride, padding, dilation)
    if math.prod(windows) <= _FEW_WINDOWS:
        return jnp.dot(
            _patches(x, window, windows, stride, padding, dilation),
            kernel.reshape(-1, kernel.shape[3]),
        )
    cut = tuple((min(a, 0), min(b, 0)) for a, b in padding)
    added = tuple((max(a, 0), max(b, 0)) for a, b in padding)
    return xla.conv_general_dilated(
        pad(x, cut),
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
    return _joined(pad(x, padding), positions(window), windows, stride, dilation)


def _joined(
    padded: jax.Array, taps: Iterable[Tap], windows: Pair, stride: Pair, dilation: Pair
) -> jax.Array:
    """Some pixels of each window, [B, H', W', number of taps * C]."""
    parts = [take_tap(padded, tap, windows, stride, dilation) for tap in taps]
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
        if kernel.shape[:2] == ONE:  # without a copy of the kernel, turned
            filters = (((3,), (1,)), ((), ()))
            return xla.dot_general(pad(dy, sides), kernel[0, 0], filters)
        taps = turned[np.ix_(row.taps, column.taps)]
        return _convolve(dy, taps, ONE, sides, (row.dilation, column.dilation))

    return interleave([[part(r, c) for c in columns] for r in rows], size)


def dense_dw(
    x: jax.Array,
    dy: jax.Array,
    window: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
) -> jax.Array:
    """The gradient of the kernel: a product of matrices for some taps at once."""
    padded, products = pad(x, padding), []
    for taps in _taps_together(window, math.prod(dy.shape[1:3]), x.shape[3]):
        pixels = _joined(padded, taps, dy.shape[1:3], stride, dilation)
        products.append(_sum_of_products(pixels, dy))
    return jnp.concatenate(products).reshape(*window, x.shape[3], dy.shape[3])


def _taps_together(window: Pair, num_windows: int, channels: int) -> list[list[Tap]]:
    """The taps whose products are one, as measured: more of them for small images, and
    for few channels, with which a product of a single tap is slow."""
    taps = [*positions(window)]
    if num_windows <= 256 or (num_windows <= 1024 and channels <= 64):
        number = len(taps)
    else:
        number = window[1] if channels <= 64 else 1
    return [taps[i : i + number] for i in range(0, len(taps), number)]


def _sum_of_products(x: jax.Array, dy: jax.Array) -> jax.Array:
    """[B, H, W, C], [B, H, W, F] -> [C, F]."""
    return x.reshape(-1, x.shape[3]).T @ dy.reshape(-1, dy.shape[3])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def depthwise(
    x: jax.Array, kernel: jax.Array, stride: Pair, padding: Padding, dilation: Pair
) -> jax.Array:
    """Each channel has one filter: a sum of taps, each times a number a channel."""
    windows = num_windows(x.shape[1:3], kernel.shape[:2], stride, padding, dilation)
    padded, total = pad(x, padding), 0
    for tap in positions(kernel.shape[:2]):
        total = (
            total + take_tap(padded, tap, windows, stride, dilation) * kernel[tap][0]
        )
    return total


def _depthwise_backward(
    stride: Pair, padding: Padding, dilation: Pair, saved: Saved, dy: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    taps = [*positions(kernel.shape[:2])]
    if stride == ONE:
        reach = [d * (k - 1) for k, d in zip(kernel.shape[:2], dilation, strict=True)]
        sides = tuple((r - a, r - b) for r, (a, b) in zip(reach, padding, strict=True))
        dx = depthwise(dy, kernel[::-1, ::-1], ONE, sides, dilation)
    else:
        shares = {
            (i * dilation[0], j * dilation[1]): dy * kernel[i, j, 0] for i, j in taps
        }
        dx = put_taps(shares, x.shape[1:3], stride, padding)
    padded = xla.optimization_barrier(pad(x, padding))
    pixels = [take_tap(padded, tap, dy.shape[1:3], stride, dilation) for tap in taps]
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


depthwise.defvjp(
    lambda x, kernel, *window: (depthwise(x, kernel, *window), (x, kernel)),
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
