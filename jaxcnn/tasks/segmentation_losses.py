"""Losses of a class for each pixel, as pure functions.

Each takes logits [B, H, W, K] and labels, integers [B, H, W], and gives float [B], one
number for each image. Pixels whose label is none of the K classes are void: they count
in no loss, and an image or batch of void pixels has the loss 0.

Cross entropy and focal loss are sums over pixels. As in PyTorch their mean over the
batch is the mean over its labelled pixels: an image counts as much as it has labelled
pixels, and B / (labelled pixels of the batch) times its sum is what it is given. Under
pmap, and where a batch passes in parts, the pixels of a replica or part are those of a
batch, as in PyTorch. Dice, Jaccard and Lovasz are ratios of each image by itself, and
do not depend on what else is in the batch.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxcnn.tasks.gaps import gap_weights


def labelled(labels: jax.Array, num_classes: int) -> jax.Array:
    """Which pixels have one of the classes; the others are void: bool [B, H, W]."""
    return (labels >= 0) & (labels < num_classes)


def _one_hot(labels: jax.Array, num_classes: int) -> jax.Array:
    """Whether a pixel is of each class, bool [B, H, W, K]; a void one is of none.

    Comparisons, since XLA joins them with what they select from; the gradient of a
    gather would be a scatter of every pixel.
    """
    return labels[..., None] == jnp.arange(num_classes, dtype=labels.dtype)


def _negative_log_likelihood(logits: jax.Array, is_class: jax.Array) -> jax.Array:
    """Cross entropy of each pixel, [B, H, W]."""
    own = jnp.sum(jnp.where(is_class, logits, 0), axis=-1)
    return jax.nn.logsumexp(logits, axis=-1) - own


def _pixel_weights(
    is_class: jax.Array, class_weights: tuple[float, ...] | None, dtype: jnp.dtype
) -> jax.Array:
    """Weight of the class of each pixel, 0 of void ones, [B, H, W]."""
    if class_weights is None:
        return jnp.any(is_class, axis=-1).astype(dtype)
    return jnp.sum(jnp.where(is_class, jnp.asarray(class_weights, dtype), 0), axis=-1)


def _mean_of_batch(losses: jax.Array, weights: jax.Array) -> jax.Array:
    """Share of each image, [B], in the sum of losses over the sum of weights.

    The shares' mean is that ratio. Both are [B, H, W].
    """
    total = jnp.sum(weights)
    scale = len(losses) / jnp.where(total > 0, total, 1)
    return scale * jnp.sum(losses, axis=(1, 2))


def cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    label_smoothing: float = 0.0,
    class_weights: tuple[float, ...] | None = None,
    gap_weight: float = 0.0,
    gap_sigma_pixels: float = 5.0,
) -> jax.Array:
    """Cross entropy, as torch.nn.functional.cross_entropy has it: the sum over pixels
    of weight times loss, over the sum of the pixels' weights.

    The weight of gaps between objects comes on top of it, and is not in that sum.

    Args:
        logits: [B, H, W, K].
        labels: Integers [B, H, W].
        label_smoothing: Probability spread evenly over all classes. Of it each class
            counts with its own weight, whatever the pixel's class is.
        class_weights: K weights; None: 1.
        gap_weight: Largest weight of a gap, see gaps.py.
        gap_sigma_pixels: Width of a gap, pixels.
    """
    number = logits.shape[-1]
    is_class = _one_hot(labels, number)
    weights = _pixel_weights(is_class, class_weights, logits.dtype)
    gaps = 0.0
    if gap_weight:
        known = jnp.where(labelled(labels, number), labels, -1)
        gaps = gap_weights(known, gap_weight, gap_sigma_pixels)
    losses = (weights + gaps) * _negative_log_likelihood(logits, is_class)
    if label_smoothing:
        each = 1.0 if class_weights is None else jnp.asarray(class_weights)
        spread = -jnp.mean(each * jax.nn.log_softmax(logits), axis=-1)
        spread = jnp.where(jnp.any(is_class, axis=-1), spread, 0)
        losses = (1 - label_smoothing) * losses + label_smoothing * spread
    return _mean_of_batch(losses, weights)


def focal(
    logits: jax.Array,
    labels: jax.Array,
    *,
    focal_gamma: float = 2.0,
    class_weights: tuple[float, ...] | None = None,
) -> jax.Array:
    """Focal loss: (1 - p)^gamma times the cross entropy, where p is the probability of
    the right class, averaged over labelled pixels.

    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, eq. 4 and 5,
    https://arxiv.org/abs/1708.02002, with the softmax of K classes in place of the
    sigmoid of one; of two classes with logits (0, x) it is theirs of x.

    Args:
        logits: [B, H, W, K].
        labels: Integers [B, H, W].
        focal_gamma: Exponent; 0 gives the cross entropy.
        class_weights: K weights, alpha_t in the paper; None: 1.
    """
    is_class = _one_hot(labels, logits.shape[-1])
    is_labelled = jnp.any(is_class, axis=-1)
    losses = jnp.where(is_labelled, _negative_log_likelihood(logits, is_class), 0)
    # Not 0, where a root has no gradient.
    wrong = jnp.maximum(-jnp.expm1(-losses), jnp.finfo(losses.dtype).eps)
    weights = _pixel_weights(is_class, class_weights, logits.dtype)
    losses = weights * wrong**focal_gamma * losses
    return _mean_of_batch(losses, is_labelled.astype(losses.dtype))


def _mean_of_present(losses: jax.Array, is_present: jax.Array) -> jax.Array:
    """Mean over the classes that an image has, [B, K] -> [B]; 0 if it has none."""
    number = jnp.sum(is_present, axis=-1)
    total = jnp.sum(jnp.where(is_present, losses, 0), axis=-1)
    return total / jnp.maximum(number, 1)


def _overlaps(
    logits: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Intersection of the probabilities of each class with its pixels, and the sum of
    both, [B, K]; and which classes an image has, bool [B, K]."""
    is_class = _one_hot(labels, logits.shape[-1])
    is_labelled = jnp.any(is_class, axis=-1, keepdims=True)
    probabilities = jnp.where(is_labelled, jax.nn.softmax(logits), 0)
    shared = jnp.sum(jnp.where(is_class, probabilities, 0), axis=(1, 2))
    size = jnp.sum(is_class, axis=(1, 2), dtype=logits.dtype)
    return shared, jnp.sum(probabilities, axis=(1, 2)) + size, size > 0


def dice(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """1 minus the soft Dice coefficient, the mean over the classes that an image has.

    Milletari et al., "V-Net", 3DV 2016, https://arxiv.org/abs/1606.04797, with
    probabilities that are not squared, as in segmentation-models-pytorch.
    """
    shared, sizes, is_present = _overlaps(logits, labels)
    return _mean_of_present(1 - 2 * shared / jnp.where(sizes > 0, sizes, 1), is_present)


def jaccard(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """1 minus the soft intersection over union, the mean over the classes that an image
    has.

    Rahman and Wang, "Optimizing Intersection-Over-Union in Deep Neural Networks for
    Image Segmentation", ISVC 2016, eq. 3 to 5, for each class of a softmax.
    """
    shared, sizes, is_present = _overlaps(logits, labels)
    union = sizes - shared
    return _mean_of_present(1 - shared / jnp.where(union > 0, union, 1), is_present)


def lovasz(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Lovasz-softmax: the Lovasz extension of the Jaccard loss of each class, at the
    errors of its probabilities, the mean over the classes that an image has.

    Berman, Triki and Blaschko, CVPR 2018, https://arxiv.org/abs/1705.08790, eq. 11 and
    Algorithm 1; as their code with per_image=True and classes="present".
    """
    batch, num_classes = len(logits), logits.shape[-1]
    is_class = _one_hot(labels, num_classes)
    is_labelled = jnp.any(is_class, axis=-1, keepdims=True)
    errors = jnp.abs(is_class - jax.nn.softmax(logits))
    errors = jnp.where(is_labelled, errors, -1)  # void pixels come last, and count not
    errors = errors.reshape(batch, -1, num_classes)  # [B, H * W, K]
    is_class = is_class.reshape(batch, -1, num_classes)
    order = jnp.argsort(-jax.lax.stop_gradient(errors), axis=1)
    errors = jnp.maximum(jnp.take_along_axis(errors, order, axis=1), 0)
    found = jnp.cumsum(jnp.take_along_axis(is_class, order, axis=1), axis=1)
    size = found[:, -1:]  # [B, 1, K]
    rank = jnp.arange(1, found.shape[1] + 1)[:, None]
    # Jaccard loss of a prediction that is wrong at the first pixels alone.
    losses = 1 - (size - found) / jnp.maximum(size + rank - found, 1)
    slopes = jnp.diff(losses, axis=1, prepend=0).astype(errors.dtype)
    return _mean_of_present(jnp.sum(errors * slopes, axis=1), size[:, 0] > 0)


class Loss(NamedTuple):
    """A row of LOSSES.

    Attributes:
        function: Called as function(logits, labels, **options), gives float [B].
        options: Its keyword arguments, fields of config.TaskConfig and of the task.
    """

    function: Callable[..., jax.Array]
    options: frozenset[str] = frozenset()


LOSSES: Mapping[str, Loss] = {
    "cross_entropy": Loss(
        cross_entropy,
        frozenset(
            {"class_weights", "label_smoothing", "gap_weight", "gap_sigma_pixels"}
        ),
    ),
    "focal": Loss(focal, frozenset({"class_weights", "focal_gamma"})),
    "dice": Loss(dice),
    "jaccard": Loss(jaccard),
    "lovasz": Loss(lovasz),
}
