"""Operations in plain JAX. They run on every device and define what the others compute.

Images are [B, H, W, C]. Windows, strides and dilations are (rows, columns); padding is
((top, bottom), (left, right)), in pixels. Shapes are checked by the layers that call
these functions; what gets past them is a TypeError or ValueError of JAX.

Statistics of normalisations are float32 where the input has fewer digits.
"""

from collections.abc import Sequence
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.ops import taps
from jaxcnn.ops.taps import Padding, Pair

Normalised = tuple[jax.Array, jax.Array, jax.Array]


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
    """Cross-correlation with zero padding, torch.nn.functional.conv2d.

    Args:
        x: [B, H, W, C].
        kernel: [kh, kw, C/groups, filters].
        bias: [filters], or None.
        stride: Distance of neighbouring windows, pixels.
        padding: Zeros on each side, pixels.
        dilation: Distance of neighbouring taps of the kernel, pixels.
        groups: Number of groups of channels; filter f sees the channels of group
            f // (filters / groups) only.

    Returns:
        [B, H', W', filters].
    """
    y = jax.lax.conv_general_dilated(
        x,
        kernel,
        stride,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
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
) -> jax.Array:
    """The transpose of a convolution, torch.nn.functional.conv_transpose2d.

    Pixel (i, j) of x adds x[i, j] times tap (a, b) of the kernel to pixel
    (stride * i + dilation * a, stride * j + dilation * b) of an image, from whose sides
    the padding is then cut off.

    Args:
        x: [B, H, W, C].
        kernel: [kh, kw, C/groups, filters], like that of conv. PyTorch has
            [C, filters/groups, kh, kw], and taps in the same order.
        bias: [filters], or None.
        stride: Distance of the windows of neighbouring pixels, pixels of the result.
        padding: Pixels cut off on each side; a negative number adds pixels that get the
            bias alone. PyTorch's output_padding is less padding at the bottom and at
            the right: ((p, p - output_padding), ...).
        dilation: Distance of neighbouring taps of the kernel, pixels.
        groups: Number of groups of channels; filter f sees the channels of group
            f // (filters / groups) only.

    Returns:
        [B, H', W', filters], where H' is
        stride * (H - 1) + dilation * (kh - 1) + 1 - top - bottom.
    """
    reach = [d * (k - 1) for d, k in zip(dilation, kernel.shape[:2], strict=True)]
    y = jax.lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1],
        (1, 1),
        tuple((r - a, r - b) for r, (a, b) in zip(reach, padding, strict=True)),
        lhs_dilation=stride,
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    return y if bias is None else y + bias


def dense(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """[..., C], [C, features], [features] -> [..., features]."""
    return x @ kernel + bias


def max_pool(
    x: jax.Array, *, window: Pair, stride: Pair, padding: Padding
) -> jax.Array:
    """The largest value of each window, [B, H, W, C] -> [B, H', W', C].

    Args:
        padding: Minus infinity on each side, pixels.
    """
    return _reduce_windows(x, -jnp.inf, jax.lax.max, window, stride, padding)


def max_pool_switches(
    x: jax.Array, *, window: Pair, stride: Pair, padding: Padding
) -> tuple[jax.Array, jax.Array]:
    """Max-pooling that tells which pixel of each window was the largest.

    Zeiler and Fergus, ECCV 2014, https://arxiv.org/abs/1311.2901, section 2.1.
    PyTorch's max_pool2d(return_indices=True) numbers the pixels of the image, not of
    the window.

    Args:
        x: [B, H, W, C].
        padding: Minus infinity on each side, pixels.

    Returns:
        (values, switches), both [B, H', W', C]. Switch r * kw + c stands for row r and
        column c of the window. Of equal pixels it is the first by rows. The dtype is
        that of switch_dtype.
    """
    padded = taps.pad(x, padding, -math.inf)
    windows = taps.num_windows(x.shape[1:3], window, stride, padding, taps.ONE)
    largest = jnp.full((len(x), *windows, x.shape[3]), -math.inf, x.dtype)
    switches = jnp.zeros(largest.shape, switch_dtype(window))
    for number, tap in enumerate(taps.positions(window)):
        pixel = taps.take_tap(padded, tap, windows, stride)
        larger = (pixel > largest) | jnp.isnan(pixel)
        largest = jnp.where(larger, pixel, largest)
        switches = jnp.where(larger, number, switches).astype(switches.dtype)
    return max_pool(x, window=window, stride=stride, padding=padding), switches


def switch_dtype(window: Pair) -> jnp.dtype:
    """uint8 where the numbers of a window's pixels fit into it, otherwise int32."""
    return jnp.dtype(jnp.uint8 if math.prod(window) <= 256 else jnp.int32)


def max_unpool(
    x: jax.Array,
    switches: jax.Array,
    *,
    size: Pair,
    window: Pair,
    stride: Pair,
    padding: Padding,
) -> jax.Array:
    """Puts each value where its switch says, between zeros.

    Values of overlapping windows that have the same place are summed, as in the
    gradient of max-pooling, which this function is. In PyTorch's max_unpool2d one of
    them replaces the others, and it is not defined which.

    Args:
        x: [B, H', W', C].
        switches: Switches of max_pool_switches, [B, H', W', C].
        size: Rows and columns of the result.
        window, stride, padding: The arguments of max_pool_switches.

    Returns:
        [B, H, W, C].
    """
    total = jnp.zeros((len(x), *size, x.shape[3]), x.dtype)
    for number, tap in enumerate(taps.positions(window)):
        sides = []
        for axis, (before, _) in enumerate(padding):
            first, step = tap[axis] - before, stride[axis]
            end = first + step * (x.shape[1 + axis] - 1) + 1
            sides.append((first, size[axis] - end, step - 1))
        share = jnp.where(switches == number, x, 0)
        zero = jnp.zeros((), x.dtype)
        total += jax.lax.pad(share, zero, ((0, 0, 0), *sides, (0, 0, 0)))
    return total


def avg_pool(
    x: jax.Array,
    *,
    window: Pair,
    stride: Pair,
    padding: Padding,
    count_include_pad: bool,
) -> jax.Array:
    """The mean of each window, [B, H, W, C] -> [B, H', W', C].

    Args:
        padding: Zeros on each side, pixels.
        count_include_pad: Whether the divisor counts the padding.
    """
    total = _reduce_windows(x, 0.0, jax.lax.add, window, stride, padding)
    if count_include_pad:
        return total / math.prod(window)
    ones = jnp.ones((1, *x.shape[1:3], 1))
    return total / _reduce_windows(ones, 0.0, jax.lax.add, window, stride, padding)


def global_avg_pool(
    x: jax.Array, *, axes: tuple[int, ...], keepdims: bool
) -> jax.Array:
    """The mean of each channel over rows, columns or both, [B, H, W, C].

    Args:
        axes: (1, 2), (1,) or (2,), over which the mean is taken.
        keepdims: Whether these axes stay, with size 1.
    """
    return jnp.mean(x, axis=axes, keepdims=keepdims)


def _reduce_windows(
    x: jax.Array, start: float, reduce, window: Pair, stride: Pair, padding: Padding
) -> jax.Array:
    padding = ((0, 0), *padding, (0, 0))
    return jax.lax.reduce_window(
        x, start, reduce, (1, *window, 1), (1, *stride, 1), padding
    )


def batch_norm(
    x: jax.Array,
    scale: jax.Array | None,
    bias: jax.Array | None,
    mean: jax.Array,
    var: jax.Array,
    *,
    epsilon: float,
) -> jax.Array:
    """Batch normalisation with given statistics, as in evaluation.

    (x - mean) / sqrt(var + epsilon) * scale + bias; Ioffe and Szegedy, ICML 2015,
    https://arxiv.org/abs/1502.03167, Algorithm 2.

    Args:
        x: [..., C].
        scale: [C]; None: 1.
        bias: [C]; None: 0.
        mean: [C].
        var: [C].
        epsilon: Added to the variance.

    Returns:
        [..., C], in the widest dtype of x, scale and bias.
    """
    axes = tuple(range(x.ndim - 1))
    return _normalise(x, scale, bias, mean, var, axes, epsilon)


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
) -> Normalised:
    """Batch normalisation with the statistics of the batch, as in training.

    Gradients pass through the batch's mean and variance. Ioffe and Szegedy, ICML 2015,
    https://arxiv.org/abs/1502.03167, Algorithm 1.

    Args:
        x: [B, ..., C].
        scale: [C]; None: 1.
        bias: [C]; None: 0.
        mean: Running mean before this batch, [C].
        var: Running variance before this batch, [C].
        momentum: The share of the running statistics that is kept.
        epsilon: Added to the variance.
        axis_name: Axis of pmap, vmap or shard_map whose members share their
            statistics. None: each has its own.
        groups: Number of groups of consecutive examples, which divides B. Each group
            is normalised by its own statistics; the running statistics follow the mean
            of all groups. More than one group is not shared over axis_name.

    Returns:
        (y, mean, var): y [B, ..., C] in the dtype that batch_norm gives, and the
        running statistics after this batch, [C]. Variances are biased (divided by n,
        not by n - 1).
    """
    if groups > 1:
        return _batch_norm_in_groups(
            x, scale, bias, mean, var, momentum, epsilon, groups
        )
    axes = tuple(range(x.ndim - 1))
    batch_mean, batch_var = statistics(x, axes, axis_name)
    mean = running_average(mean, batch_mean, momentum)
    var = running_average(var, batch_var, momentum)
    y = _normalise(x, scale, bias, batch_mean, batch_var, axes, epsilon)
    return y, mean, var


def _batch_norm_in_groups(
    x: jax.Array,
    scale: jax.Array | None,
    bias: jax.Array | None,
    mean: jax.Array,
    var: jax.Array,
    momentum: float,
    epsilon: float,
    groups: int,
) -> Normalised:
    parts = x.reshape(groups, -1, *x.shape[1:])  # [G, B/G, ..., C]
    parts = parts.astype(jnp.promote_types(x.dtype, jnp.float32))
    axes = tuple(range(1, parts.ndim - 1))
    means = parts.mean(axes, keepdims=True)  # [G, 1, ..., C]
    variances = parts.var(axes, keepdims=True)
    mean = running_average(mean, means.reshape(groups, -1).mean(axis=0), momentum)
    var = running_average(var, variances.reshape(groups, -1).mean(axis=0), momentum)
    y = (parts - means) * jax.lax.rsqrt(variances + epsilon)
    y = y * (1 if scale is None else scale) + (0 if bias is None else bias)
    return y.reshape(x.shape).astype(x.dtype), mean, var  # [B, ..., C], [C], [C]


def running_average(old: jax.Array, new: jax.Array, momentum: float) -> jax.Array:
    """momentum * old + (1 - momentum) * new; PyTorch calls 1 - momentum momentum."""
    return momentum * old + (1 - momentum) * new


def layer_norm(
    x: jax.Array,
    scale: jax.Array | None,
    bias: jax.Array | None,
    *,
    epsilon: float,
) -> jax.Array:
    """Normalisation over the last axis (Ba et al., https://arxiv.org/abs/1607.06450).

    Args:
        x: [..., C].
        scale: [C]; None: 1.
        bias: [C]; None: 0.
        epsilon: Added to the variance.

    Returns:
        [..., C], in the widest dtype of x, scale and bias.
    """
    axes = (x.ndim - 1,)
    return _normalise(x, scale, bias, *statistics(x, axes), axes, epsilon)


def statistics(
    x: jax.Array, axes: Sequence[int], axis_name: str | None = None
) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance over axes, in float32 or wider.

    The variance is the mean of the squares less the square of the mean, so that one
    pass over x is enough; rounding can make that negative.
    """
    x = jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32))
    square = jnp.square(x)
    mean, mean_square = jnp.mean(x, axes), jnp.mean(square, axes)
    if axis_name is not None:  # one message for both
        shared = jax.lax.pmean(jnp.stack([mean, mean_square]), axis_name)
        mean, mean_square = shared[0], shared[1]
    return mean, jnp.maximum(0.0, mean_square - jnp.square(mean))


def _normalise(
    x: jax.Array,
    scale: jax.Array | None,
    bias: jax.Array | None,
    mean: jax.Array,
    var: jax.Array,
    axes: Sequence[int],
    epsilon: float,
) -> jax.Array:
    """Statistics over axes of x; scale and bias of its last axis."""
    widest = jnp.result_type(*(a for a in (x, scale, bias) if a is not None))
    last = (1,) * (x.ndim - 1) + x.shape[-1:]
    mean, var = jnp.expand_dims(mean, axes), jnp.expand_dims(var, axes)
    y = x - mean
    factor = jax.lax.rsqrt(var + epsilon)
    if scale is not None:
        factor = factor * scale.reshape(last)
    y = y * factor
    if bias is not None:
        y = y + bias.reshape(last)
    return y.astype(widest)


def local_response_norm(
    x: jax.Array, *, size: int, alpha: float, beta: float, k: float
) -> jax.Array:
    """x / (k + alpha * sum of squares over size neighbouring channels) ** beta.

    Krizhevsky et al., NIPS 2012, section 3.3. [B, H, W, C] -> [B, H, W, C].
    """
    half = size // 2
    padding = ((0, 0), (0, 0), (0, 0), (half, size - 1 - half))
    window = (1, 1, 1, size)
    squares = jax.lax.reduce_window(
        jnp.square(x), 0.0, jax.lax.add, window, (1, 1, 1, 1), padding
    )
    return x / (k + alpha * squares) ** beta


def gelu(x: jax.Array) -> jax.Array:
    """x times the standard normal's distribution function, not its approximation.

    Hendrycks and Gimpel, https://arxiv.org/abs/1606.08415, section 2.
    """
    return jax.nn.gelu(x, approximate=False)


def resize(x: jax.Array, *, size: Pair, method: str, align_corners: bool) -> jax.Array:
    """Images of another size, torch.nn.functional.interpolate without antialiasing.

    jax.image.resize differs: it smooths an image that becomes smaller, and its
    "nearest" takes the pixel at the centre, floor((i + 1/2) * H / H').

    Args:
        x: [B, H, W, C].
        size: Rows and columns of the result.
        method: "bilinear" or "nearest", which takes pixel floor(i * H / H').
        align_corners: Whether bilinear interpolation keeps the centres of the corner
            pixels in place, instead of the corners of the image.

    Returns:
        [B, H', W', C], computed in float32 where x has fewer digits.
    """
    return _resize(x, size, method, align_corners)


# jax.image.resize is compiled under this name, too, which is one layer of a table.
@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _resize(x: jax.Array, size: Pair, method: str, align_corners: bool) -> jax.Array:
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    rows, columns = (
        jnp.asarray(resize_matrix(n, m, method, align_corners), wide.dtype)
        for n, m in zip(x.shape[1:3], size, strict=True)
    )
    exact = jax.lax.Precision.HIGHEST
    wide = jnp.einsum("Hh,bhwc->bHwc", rows, wide, precision=exact)
    wide = jnp.einsum("Ww,bHwc->bHWc", columns, wide, precision=exact)
    return wide.astype(x.dtype)


@functools.cache
def resize_matrix(
    size: int, new_size: int, method: str, align_corners: bool
) -> np.ndarray:
    """The share of each pixel of an axis in each pixel of the resized axis.

    Args:
        size: Pixels of the axis.
        new_size: Pixels of the resized axis.
        method: "bilinear" or "nearest".
        align_corners: See resize.

    Returns:
        float64 [new_size, size]; the sum of each row is 1.
    """
    index = np.arange(new_size)
    if method == "nearest":
        # PyTorch computes it in float32; for 0.6% of pairs of sizes up to 260 rounding
        # moves a pixel.
        at = index.astype(np.float32) * (np.float32(size) / np.float32(new_size))
        first, share = np.minimum(at.astype(int), size - 1), np.zeros(new_size)
    else:
        if align_corners:
            at = index * ((size - 1) / max(new_size - 1, 1))
        else:
            at = np.maximum((index + 0.5) * (size / new_size) - 0.5, 0)
        first = np.minimum(at.astype(int), size - 1)
        share = at - first
    second = np.minimum(first + 1, size - 1)
    matrix = np.zeros((new_size, size))
    matrix[index, first] = 1 - share
    matrix[index, second] += share
    return matrix
