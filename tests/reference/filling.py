"""Parameters and images that both sides of a comparison make for themselves.

Only their names and shapes need to be stored, which keeps the reference files small.
"""

from collections.abc import Mapping
import hashlib
import math
import re
import zlib

import numpy as np

WIDE = 16  # inputs of a kernel
VARIANCE = (1 - 1 / math.pi) / 2  # of a standard normal number after ReLU
Shapes = Mapping[str, tuple[int, ...]]

_POSITIVE = (
    *("weight", "running_var", "gamma", "moving_variance"),
    *("layer_scale", "coefficient"),
)


def tensors(
    shapes: Shapes, gains: Mapping[str, float] = {}, dtype: str = "float64"
) -> dict[str, np.ndarray]:
    """Parameters and statistics, so that activations stay near 1.

    Scales and statistics are away from 0 and 1, so that none can be left out.

    Args:
        shapes: Name -> shape.
        gains: Regular expression for whole names -> factor, where activations would
            otherwise grow or fade, such as that of the last scales of the residual
            branches of a deep network. All that match are multiplied.
        dtype: That they are rounded to.
    """
    return {
        name: _tensor(name, shape, gains).astype(dtype, copy=False)
        for name, shape in shapes.items()
    }


def _tensor(
    name: str, shape: tuple[int, ...], gains: Mapping[str, float]
) -> np.ndarray:
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    gain = math.prod(f for pattern, f in gains.items() if re.fullmatch(pattern, name))
    if len(shape) > 1 and shape[1:] != (1, 1):
        axes = _input_axes(name, shape)
        fan_in = math.prod(shape[axis] for axis in axes)
        kernel = generator.normal(size=shape)
        kernel *= gain  # in place: some take a gigabyte
        if fan_in < WIDE:
            return kernel * math.sqrt(2 / fan_in)
        # After ReLU all channels are positive, whatever the image; with weights of
        # mean 0 the images stay apart.
        kernel -= kernel.mean(axes, keepdims=True)
        kernel /= math.sqrt(VARIANCE * fan_in)
        return kernel
    if name.endswith(_POSITIVE):
        return gain * generator.uniform(0.5, 1.1, size=shape)
    return gain * 0.2 * generator.normal(size=shape)


def _input_axes(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Axes that an output of a kernel sums over: PyTorch has its outputs first, Keras
    last, and in the last but one where it is depthwise."""
    axes = tuple(range(len(shape)))
    if not name.endswith("kernel"):
        return axes[1:]
    if len(shape) == 4 and shape[-1] == 1:
        return axes[:2]
    return axes[:-1]


def directions(shapes: Shapes) -> dict[str, np.ndarray]:
    """Of each tensor a random direction, on which a gradient is projected."""
    return {
        name: np.random.default_rng(zlib.crc32(f"{name} direction".encode())).normal(
            size=shape
        )
        for name, shape in shapes.items()
    }


def images(shape: tuple[int, ...]) -> np.ndarray:
    """float64 images [B, H, W, C]: noise, around a colour of each image."""
    generator = np.random.default_rng(0)
    colours = generator.normal(size=(shape[0], 1, 1, shape[3]))
    return colours + generator.normal(size=shape)


def fingerprint(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of tensors with their names, types and shapes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        digest.update(np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()
