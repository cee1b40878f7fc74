"""Parameters and images that both sides of a comparison make for themselves.

Only their names and shapes need to be stored, which keeps the reference files small.
"""

from collections.abc import Mapping
import math
import zlib

import numpy as np

Shapes = Mapping[str, tuple[int, ...]]


def tensors(shapes: Shapes) -> dict[str, np.ndarray]:
    """float64 parameters and statistics, so that activations stay near 1.

    Scales and statistics are away from 0 and 1, so that none can be left out.
    """
    return {name: _tensor(name, shape) for name, shape in shapes.items()}


def _tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    if len(shape) > 1:  # a kernel, with PyTorch's outputs first
        return generator.normal(size=shape) * math.sqrt(2 / math.prod(shape[1:]))
    if name.endswith(("weight", "running_var")):
        return generator.uniform(0.5, 1.1, size=shape)
    return 0.2 * generator.normal(size=shape)


def directions(shapes: Shapes) -> dict[str, np.ndarray]:
    """Of each tensor a random direction, on which a gradient is projected."""
    return {
        name: np.random.default_rng(zlib.crc32(f"{name} direction".encode())).normal(
            size=shape
        )
        for name, shape in shapes.items()
    }


def images(shape: tuple[int, ...]) -> np.ndarray:
    """float64 images [B, H, W, C]."""
    return np.random.default_rng(0).normal(size=shape)
