"""Operations by compiled kernels, see kernels.cc; only on a CPU, and where they exist.

They take and give what those of lax.py do. What the kernels do not have, by dtype or by
shape, is computed as in portable.py.
"""

import functools
import math
from typing import Any
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.ops import kernels, portable, portable_conv
from jaxcnn.ops.lax import Normalised, Padding, Pair
from jaxcnn.ops.taps import ONE, num_windows, pad

_DTYPES = (jnp.float32, jnp.bfloat16)  # of convolutions
_LANES = 8  # channels of a group below which oneDNN's kernels are slow
_MOST_TAPS = 16  # of a strided kernel that oneDNN transposes; larger ones were slow


def _call(name: str, outputs: Any, *arrays: jax.Array, **attributes: Any) -> Any:
    return jax.ffi.ffi_call(f"jaxcnn_{name}", outputs, vmap_method="sequential")(
        *arrays, **attributes
    )


def _numbers(*numbers: int) -> np.ndarray:
    return np.asarray(numbers, np.int64)


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
    """lax.conv by oneDNN."""
    if 1 < kernel.shape[2] < _LANES:
        kernel, groups = portable_conv.join_groups(kernel, groups, _LANES)
    window = (stride, padding, dilation, groups)
    windows = _num_windows(x, kernel, stride, padding, dilation)
    one_pixel = kernel.shape[:2] == (1, 1) and groups == 1
    if (one_pixel and _is_larger(kernel, x, windows)) or not _has(x, kernel, *window):
        return portable_conv.conv(
            *(x, kernel, bias),
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
        )
    y = _conv(x, kernel, *window)
    return y if bias is None else y + bias


def _is_larger(kernel: jax.Array, x: jax.Array, windows: Pair) -> bool:
    """Whether a kernel has more numbers than the images on both of its sides.

    There XLA was the faster one, as measured. oneDNN brings kernels and their gradients
    into layouts of its own, and those of the parts of a batch are summed.
    """
    return kernel.size > x.size + len(x) * math.prod(windows) * kernel.shape[3]


def _has(
    x: jax.Array,
    kernel: jax.Array,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> bool:
    """Whether oneDNN has this convolution and its gradients on this processor."""
    if x.dtype != kernel.dtype or x.dtype not in _DTYPES or not x.size:
        return False
    windows = _num_windows(x, kernel, stride, padding, dilation)
    found = kernels.has_convolution(
        str(x.dtype),
        x.shape,
        kernel.shape,
        windows,
        tuple(_window(stride, padding, dilation, groups).tolist()),
    )
    if not found:
        _say_once(str(x.dtype), kernel.shape[:2])
    return found


@functools.cache
def _say_once(dtype: str, window: Pair) -> None:
    warnings.warn(
        f"oneDNN has no {window[0]}x{window[1]} convolution of {dtype} of this shape "
        "on this processor; it is computed as with ops='portable'.",
        stacklevel=1,
    )


def _num_windows(
    x: jax.Array, kernel: jax.Array, stride: Pair, padding: Padding, dilation: Pair
) -> Pair:
    return num_windows(x.shape[1:3], kernel.shape[:2], stride, padding, dilation)


def _window(stride: Pair, padding: Padding, dilation: Pair, groups: int) -> np.ndarray:
    before, after = zip(*padding, strict=True)
    return _numbers(*stride, *before, *after, *dilation, groups)


def _conv_forward(
    x: jax.Array,
    kernel: jax.Array,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> jax.Array:
    windows = _num_windows(x, kernel, stride, padding, dilation)
    y = jax.ShapeDtypeStruct((x.shape[0], *windows, kernel.shape[3]), x.dtype)
    window = _window(stride, padding, dilation, groups)
    return _call("conv_forward", y, x, kernel, window=window)


_conv = jax.custom_vjp(_conv_forward, nondiff_argnums=(2, 3, 4, 5))


def _conv_backward(
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    saved: tuple[jax.Array, jax.Array],
    dy: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    window = _window(stride, padding, dilation, groups)
    dx = jax.ShapeDtypeStruct(x.shape, x.dtype)
    dx = _call("conv_image", dx, dy, kernel, window=window)
    if groups == 1 and _is_larger(kernel, x, dy.shape[1:3]):
        return dx, portable_conv.dense_dw(
            x, dy, kernel.shape[:2], stride, padding, dilation
        )
    dkernel = jax.ShapeDtypeStruct(kernel.shape, jnp.float32)
    dkernel = _call("conv_kernel", dkernel, x, dy, window=window)
    return dx, dkernel.astype(kernel.dtype)


_conv.defvjp(
    lambda x, kernel, *window: (_conv_forward(x, kernel, *window), (x, kernel)),
    _conv_backward,
)


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
    """lax.conv_transpose as oneDNN's gradient of an image."""
    if 1 < kernel.shape[2] < _LANES:
        kernel, groups = portable_conv.join_groups(kernel, groups, _LANES)
    # oneDNN pads with zeros only: pixels that no window sees are added afterwards.
    added = tuple((max(-a, 0), max(-b, 0)) for a, b in padding)
    cut = tuple((max(a, 0), max(b, 0)) for a, b in padding)
    size = tuple(
        s * (n - 1) + d * (k - 1) + 1 - sum(sides)
        for n, s, d, k, sides in zip(
            *(x.shape[1:3], stride, dilation, kernel.shape[:2], cut), strict=True
        )
    )
    image = jax.ShapeDtypeStruct((len(x), *size, kernel.shape[3]), x.dtype)
    turned = _turned(kernel, groups)
    window = (stride, cut, dilation, groups)
    large = math.prod(kernel.shape[:2]) > _MOST_TAPS and stride != ONE
    if large or min(size) < 1 or not x.size or not _has(image, turned, *window):
        return portable_conv.conv_transpose(
            *(x, kernel, bias),
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            conv=conv,
        )
    y = pad(_conv_transpose(x, turned, size, *window), added)
    return y if bias is None else y + bias


def _turned(kernel: jax.Array, groups: int) -> jax.Array:
    """[kh, kw, C/groups, filters] -> [kh, kw, filters/groups, C], the kernel of the
    convolution that is transposed."""
    height, width, inputs, filters = kernel.shape
    parts = kernel.reshape(height, width, inputs, groups, filters // groups)
    return parts.transpose(0, 1, 4, 3, 2).reshape(height, width, -1, inputs * groups)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5, 6))
def _conv_transpose(
    x: jax.Array,
    kernel: jax.Array,
    size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> jax.Array:
    """The gradient of the image of _conv, whose output has the gradient x."""
    window = _window(stride, padding, dilation, groups)
    shape = (len(x), *size, kernel.shape[2] * groups)
    return _call(
        "conv_image", jax.ShapeDtypeStruct(shape, x.dtype), x, kernel, window=window
    )


def _conv_transpose_backward(
    size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    saved: tuple[jax.Array, jax.Array],
    dy: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    window = _window(stride, padding, dilation, groups)
    dx = _call(
        "conv_forward",
        jax.ShapeDtypeStruct(x.shape, x.dtype),
        dy,
        kernel,
        window=window,
    )
    dkernel = jax.ShapeDtypeStruct(kernel.shape, jnp.float32)
    dkernel = _call("conv_kernel", dkernel, dy, x, window=window)
    return dx, dkernel.astype(kernel.dtype)


_conv_transpose.defvjp(
    lambda x, kernel, *window: (_conv_transpose(x, kernel, *window), (x, kernel)),
    _conv_transpose_backward,
)


def max_pool(
    x: jax.Array, *, window: Pair, stride: Pair, padding: Padding
) -> jax.Array:
    """lax.max_pool, which keeps the place of each window's largest pixel."""
    if not _has_max_pool(x, window):
        return portable.max_pool(x, window=window, stride=stride, padding=padding)
    return _max_pool(x, x.shape[1:3], window, stride, padding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _max_pool(
    x: jax.Array, size: Pair, window: Pair, stride: Pair, padding: Padding
) -> jax.Array:
    return _max_pool_forward(x, size, window, stride, padding)[0]


def _pool(window: Pair, stride: Pair, padding: Padding) -> np.ndarray:
    return _numbers(*window, *stride, *(before for before, _ in padding))


def _max_pool_forward(
    x: jax.Array, size: Pair, window: Pair, stride: Pair, padding: Padding
) -> tuple[jax.Array, jax.Array]:
    windows = num_windows(size, window, stride, padding, (1, 1))
    shape = (x.shape[0], *windows, x.shape[3])
    y, place = _call(
        "max_pool_forward",
        [
            jax.ShapeDtypeStruct(shape, x.dtype),
            jax.ShapeDtypeStruct(shape, jnp.uint8),
        ],
        x,
        window=_pool(window, stride, padding),
    )
    return y, place


def _max_pool_backward(
    size: Pair,
    window: Pair,
    stride: Pair,
    padding: Padding,
    place: jax.Array,
    dy: jax.Array,
) -> tuple[jax.Array]:
    dx = jax.ShapeDtypeStruct((len(dy), *size, dy.shape[3]), dy.dtype)
    numbers = _pool(window, stride, padding)
    return (_call("max_pool_backward", dx, dy, place, window=numbers),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)

_BY_KERNELS = portable.MaxPool(_max_pool_forward, _max_pool_backward)


def max_pool_switches(
    x: jax.Array, *, window: Pair, stride: Pair, padding: Padding
) -> tuple[jax.Array, jax.Array]:
    """lax.max_pool_switches by compiled loops."""
    return portable.max_pool_switches(
        x, window=window, stride=stride, padding=padding, by=_max_pool_by(x, window)
    )


def max_unpool(
    x: jax.Array,
    switches: jax.Array,
    *,
    size: Pair,
    window: Pair,
    stride: Pair,
    padding: Padding,
) -> jax.Array:
    """lax.max_unpool by the compiled gradient of max-pooling."""
    return portable.max_unpool(
        *(x, switches),
        size=size,
        window=window,
        stride=stride,
        padding=padding,
        by=_max_pool_by(x, window),
    )


def _max_pool_by(x: jax.Array, window: Pair) -> portable.MaxPool:
    """The kernels where they can compute it."""
    return _BY_KERNELS if _has_max_pool(x, window) else portable.MAX_POOL


def _has_max_pool(x: jax.Array, window: Pair) -> bool:
    return x.dtype == jnp.float32 and math.prod(window) <= 256 and x.size > 0


def _moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    if x.dtype != jnp.float32 or not x.size:
        return portable.moments(x)
    channel = jax.ShapeDtypeStruct(x.shape[-1:], jnp.float32)
    mean, var = _call("moments", [channel, channel], x)
    return mean, var


def _norm_gradient(
    dy: jax.Array,
    x: jax.Array,
    *channels: jax.Array,
    epsilon: float,
) -> Normalised:
    if any(a.dtype != jnp.float32 or not a.size for a in (dy, x, *channels)):
        return portable.norm_gradient(dy, x, *channels, epsilon=epsilon)
    channel = jax.ShapeDtypeStruct(x.shape[-1:], jnp.float32)
    outputs = [jax.ShapeDtypeStruct(x.shape, x.dtype), channel, channel]
    dx, dscale, dbias = _call(
        "norm_gradient", outputs, dy, x, *channels, epsilon=np.float32(epsilon)
    )
    return dx, dscale, dbias


batch_norm_train = functools.partial(
    portable.batch_norm_train, by=portable.Statistics(_moments, _norm_gradient)
)
