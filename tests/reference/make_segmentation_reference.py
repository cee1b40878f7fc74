"""Makes segmentation.npz, with torch 2.13.0, torchvision 0.28.0, torchmetrics 1.9.0 and
segmentation-models-pytorch 0.6.0.

    python tests/reference/make_segmentation_reference.py

Losses and their gradients in float64 for the logits of segmentation_cases.py. Cross
entropy and focal loss are means over the labelled pixels of the batch; Dice, Jaccard
and Lovasz losses are of each image by itself, of the classes that it has. Metrics are
those of all masks together.
"""

import contextlib
from pathlib import Path
from unittest import mock

with contextlib.suppress(ImportError):
    import outside  # noqa: F401  a helper that lets torchvision import without CUDA
import numpy as np
from segmentation_cases import (
    ALPHA,
    SMOOTHING,
    VOID,
    WEIGHTS,
    example,
    predictions,
    two_classes,
)
from segmentation_models_pytorch import losses as smp
from segmentation_models_pytorch.losses._functional import (
    softmax_focal_loss_with_logits,
)
import torch
from torch.nn import functional as F
from torchmetrics.functional import classification as torchmetrics
from torchvision.ops import sigmoid_focal_loss


def cross_entropy(logits, masks, **options):
    return F.cross_entropy(logits, masks, ignore_index=VOID, **options)


def focal(logits, masks):
    is_labelled = masks != VOID
    pixels = logits.movedim(1, -1)[is_labelled]
    return softmax_focal_loss_with_logits(pixels, masks[is_labelled], gamma=2.0)


def each_image(loss):
    """The losses of images one by one, [B]."""

    def losses(logits, masks):
        one_by_one = zip(logits.split(1), masks.split(1), strict=True)
        return torch.stack([loss(*image) for image in one_by_one])

    return losses


def overlap(cls):
    """A loss of an image over the classes that it has; smp counts the others as 0."""

    def loss(logits, masks):
        classes = [k for k in masks.unique().tolist() if k != VOID]
        return cls("multiclass", classes=classes, ignore_index=VOID)(logits, masks)

    return each_image(loss)


def lovasz(logits, masks):
    # It casts to float32 in the middle, which does not go together with float64.
    with mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
        return smp.LovaszLoss("multiclass", ignore_index=VOID)(logits, masks)


WEIGHT = torch.tensor(WEIGHTS, dtype=torch.float64)
LOSSES = {
    "cross_entropy": cross_entropy,
    "weighted": lambda *x: cross_entropy(*x, weight=WEIGHT),
    "smoothed": lambda *x: cross_entropy(*x, label_smoothing=SMOOTHING),
    "weighted_smoothed": lambda *x: cross_entropy(
        *x, weight=WEIGHT, label_smoothing=SMOOTHING
    ),
    "focal": focal,
    "dice": overlap(smp.DiceLoss),
    "jaccard": overlap(smp.JaccardLoss),
    "lovasz": each_image(lovasz),
}


def with_gradient(name, loss, logits, masks):
    """The loss, and the gradient of its mean, by name."""
    logits = torch.tensor(logits, requires_grad=True)
    value = loss(logits, torch.tensor(masks))
    value.mean().backward()
    return {name: value.detach().numpy(), f"{name}_gradient": logits.grad.numpy()}


def main():
    logits, masks = example()
    arrays = {}
    for name, loss in LOSSES.items():
        arrays |= with_gradient(name, loss, np.moveaxis(logits, -1, 1), masks)
    for name in LOSSES:
        gradient = arrays[f"{name}_gradient"]
        arrays[f"{name}_gradient"] = np.moveaxis(gradient, 1, -1)

    logits, masks = two_classes()

    def binary(logits, masks):
        logits, masks = logits[masks != VOID], masks[masks != VOID]
        return sigmoid_focal_loss(
            logits, masks.double(), alpha=ALPHA, gamma=2.0, reduction="mean"
        )

    arrays |= with_gradient("binary_focal", binary, logits, masks)

    true, predicted = map(torch.tensor, predictions())
    shared = {"num_classes": 5, "ignore_index": VOID}
    for name, metric in {
        "iou": torchmetrics.multiclass_jaccard_index,
        "dice": torchmetrics.multiclass_f1_score,
    }.items():
        for average in ("macro", "none"):
            value = metric(predicted, true, average=average, **shared)
            arrays[f"{average}_{name}"] = value.numpy()
    accuracy = torchmetrics.multiclass_accuracy(
        predicted, true, average="micro", **shared
    )
    arrays["pixel_accuracy"] = accuracy.numpy()
    np.savez_compressed(Path(__file__).parent / "segmentation.npz", **arrays)


main()
