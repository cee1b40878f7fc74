"""Logits and masks on which losses and metrics of segmentation are compared."""

import numpy as np

VOID = 255
WEIGHTS = (0.5, 2.0, 1.0, 3.0)
SMOOTHING = 0.1
ALPHA = 0.25  # of the focal loss of one class


def example():
    """Logits float64 [3, 7, 9, 4], and masks [3, 7, 9] with unequal numbers of void
    pixels; the second image lacks a class, the third has two."""
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 4, (3, 7, 9))
    masks[1] %= 3
    masks[2] = 2 * (masks[2] % 2)
    logits = 2.0 * rng.normal(size=(*masks.shape, 4)) + np.eye(4)[masks]
    masks[0, :3] = VOID
    masks[2, 2:4, 5:] = VOID
    return logits, masks


def two_classes():
    """Logits float64 [2, 5, 6] of the second of two classes, and masks [2, 5, 6]."""
    rng = np.random.default_rng(1)
    masks = rng.integers(0, 2, (2, 5, 6))
    logits = 2.0 * rng.normal(size=masks.shape)
    masks[0, 0, :4] = VOID
    return logits, masks


def predictions():
    """True and predicted masks, [6, 12, 10], of five classes: one of them is only
    predicted, and one is neither true nor predicted."""
    rng = np.random.default_rng(2)
    true = np.kron(rng.integers(0, 3, (6, 4, 2)), np.ones((3, 5), int))
    wrong = rng.random(true.shape) < 0.3
    predicted = np.where(wrong, rng.integers(0, 4, true.shape), true)
    true[:, :2, :3] = VOID
    return true, predicted
