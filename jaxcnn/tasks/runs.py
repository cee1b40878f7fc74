"""Masks as lengths of runs: COCO's run-length encoding, not compressed.

{"size": [H, W], "counts": [...]}: the pixels column by column, in runs of 0s and 1s by
turns, the first of 0s, which may be of length 0. pycocotools.mask.frPyObjects reads it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np


def encode(mask: np.ndarray) -> dict[str, list[int]]:
    """The runs of a bool mask [H, W]."""
    pixels = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(pixels, prepend=False))
    counts = np.diff([0, *changes, pixels.size])
    return {"size": [*mask.shape], "counts": counts.tolist()}


def decode(runs: Mapping[str, Any]) -> np.ndarray:
    """The bool mask [H, W] of runs."""
    counts = runs["counts"]
    pixels = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return pixels.reshape(runs["size"], order="F")
