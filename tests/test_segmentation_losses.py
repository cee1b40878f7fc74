"""Losses of segmentation against torch, torchvision and segmentation-models-pytorch.

Their numbers are stored in tests/reference/segmentation.npz by the script
make_segmentation_reference.py beside it.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.tasks import Segmentation
from tests.reference.segmentation_cases import (
    ALPHA,
    SMOOTHING,
    VOID,
    WEIGHTS,
    example,
    two_classes,
)

REFERENCE = pathlib.Path(__file__).parent / "reference" / "segmentation.npz"
OPTIONS = {
    "cross_entropy": {},
    "weighted": {"class_weights": WEIGHTS},
    "smoothed": {"label_smoothing": SMOOTHING},
    "weighted_smoothed": {"class_weights": WEIGHTS, "label_smoothing": SMOOTHING},
    "focal": {"loss_name": "focal"},
    "dice": {"loss_name": "dice"},
    "jaccard": {"loss_name": "jaccard"},
    "lovasz": {"loss_name": "lovasz"},
}


def of(number, **options):
    return Segmentation(tuple("abcdefg"[:number]), void=VOID, **options)


def loss_and_gradient(task, logits, masks):
    """Losses [B], and the gradient of their mean."""

    def mean(logits):
        losses = task.loss(logits, {"mask": jnp.asarray(masks)})
        return jnp.mean(losses), losses

    gradient, losses = jax.jit(jax.grad(mean, has_aux=True))(jnp.asarray(logits))
    return losses, gradient


@pytest.mark.parametrize("name", OPTIONS)
def test_a_loss_and_its_gradient_are_those_of_others(name):
    logits, masks = example()
    task = of(4, **OPTIONS[name])
    with np.load(REFERENCE) as expected, jax.enable_x64(True):
        losses, gradient = loss_and_gradient(task, logits, masks)
        assert losses.dtype == jnp.float64
        if expected[name].ndim:  # of each image
            np.testing.assert_allclose(losses, expected[name], rtol=1e-12)
        np.testing.assert_allclose(np.mean(losses), expected[name].mean(), rtol=1e-12)
        theirs = expected[f"{name}_gradient"]
        np.testing.assert_allclose(gradient, theirs, rtol=1e-9, atol=1e-14)
        assert not np.any(gradient[np.asarray(masks) == VOID])


def test_the_focal_loss_of_two_classes_is_that_of_torchvision():
    logits, masks = two_classes()
    weights = (1 - ALPHA, ALPHA)
    task = of(2, loss_name="focal", class_weights=weights)
    with np.load(REFERENCE) as expected, jax.enable_x64(True):
        both = np.stack([np.zeros_like(logits), logits], axis=-1)
        losses, gradient = loss_and_gradient(task, both, masks)
        np.testing.assert_allclose(np.mean(losses), expected["binary_focal"])
        theirs = expected["binary_focal_gradient"]
        np.testing.assert_allclose(gradient[..., 1], theirs, atol=1e-14)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_the_focal_loss_has_a_gradient_where_every_pixel_is_right(gamma):
    logits = 200.0 * jnp.eye(2)[jnp.array([[[0, 1], [1, 0]]])]
    task = of(2, loss_name="focal", focal_gamma=gamma)
    losses, gradient = loss_and_gradient(task, logits, [[[0, 1], [1, VOID]]])
    np.testing.assert_array_equal(losses, 0)
    np.testing.assert_array_equal(gradient, 0)


def test_without_a_focus_the_focal_loss_is_the_cross_entropy():
    logits, masks = example()
    found, _ = loss_and_gradient(of(4, loss_name="focal", focal_gamma=0), logits, masks)
    expected, _ = loss_and_gradient(of(4), logits, masks)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_losses_add_up():
    logits, masks = example()
    parts = ("cross_entropy", "dice")
    whole, _ = loss_and_gradient(of(4, loss_name="+".join(parts)), logits, masks)
    each = [loss_and_gradient(of(4, loss_name=x), logits, masks)[0] for x in parts]
    np.testing.assert_allclose(whole, sum(each), rtol=1e-6)


@pytest.mark.parametrize(
    "name", ["cross_entropy", "focal", "dice", "jaccard", "lovasz"]
)
def test_void_images_have_no_loss_and_leave_the_others_finite(name):
    logits, masks = example()
    masks = masks.copy()
    masks[1] = VOID
    losses, gradient = loss_and_gradient(of(4, loss_name=name), logits, masks)
    assert losses[1] == 0 < losses[0]
    assert np.isfinite(gradient).all()
    losses, gradient = loss_and_gradient(of(4, loss_name=name), logits, masks[1:2])
    np.testing.assert_array_equal(losses, 0)
    np.testing.assert_array_equal(gradient, 0)


def test_every_pixel_of_a_batch_counts_alike_whatever_its_image():
    # By hand, equal logits of two classes have ln 2 at each of the pixels; the first
    # image has 1 labelled pixel and the second 3, of 4 together.
    masks = np.array(
        [
            [[0, VOID], [VOID, VOID]],
            [
                [
                    0,
                    1,
                ],
                [1, VOID],
            ],
        ]
    )
    losses, _ = loss_and_gradient(of(2), jnp.zeros((2, 2, 2, 2)), masks)
    expected = np.log(2) * np.array([1, 3]) * 2 / 4
    np.testing.assert_allclose(losses, expected, rtol=1e-6)


def test_the_logits_of_half_precision_are_widened():
    logits, masks = jnp.ones((1, 2, 2, 3), jnp.bfloat16), jnp.zeros((1, 2, 2), int)
    for name in ("cross_entropy", "focal", "dice", "jaccard", "lovasz"):
        task = of(3, loss_name=name)
        losses = jax.eval_shape(task.loss, logits, {"mask": masks})
        assert losses.dtype == jnp.float32
