"""Classification: one class for each image.

The logits of equal size are ordered by class number, lower first, as by argmax; a class
that is in the five first by that order counts for top-5.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcnn.config import TaskConfig
from jaxcnn.errors import UserError, require, unknown

# "label" int32 [B]; in evaluation "weight" float32 [B]; where two examples are mixed
# "other" with a "label" of its own and "other_share" float [B], see augment/mixing.py.
Batch = Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Metric:
    """What a checkpoint can be the best by."""

    name: str
    greater_is_better: bool = True


METRICS = {
    "accuracy": Metric("accuracy"),
    "top5_accuracy": Metric("top5_accuracy"),
    "macro_f1": Metric("macro_f1"),
    "loss": Metric("loss", greater_is_better=False),
}

TOP = 5  # of ImageNet's challenge: the right class is among the first five


def no_weights(class_names: Sequence[str], counts: Sequence[int] | None) -> None:
    """Every class weighs 1."""
    return None


def balanced_weights(
    class_names: Sequence[str], counts: Sequence[int] | None
) -> tuple[float, ...]:
    """n / (K n_c), whose mean over the n training examples is 1.

    King and Zeng, "Logistic Regression in Rare Events Data", 2001, as scikit-learn's
    class_weight="balanced". The loss stays a plain mean over a batch.
    """
    if counts is None:
        raise UserError(
            "task.class_weights must be 'none' where no training example is counted, "
            "not 'balanced'."
        )
    empty = [n for n, count in zip(class_names, counts, strict=True) if not count]
    if empty:
        raise UserError(
            "task.class_weights='balanced' needs a training example of each class; "
            f"there is none of {', '.join(empty)}."
        )
    return tuple(float(sum(counts) / (len(counts) * count)) for count in counts)


CLASS_WEIGHTS = {"none": no_weights, "balanced": balanced_weights}


@dataclasses.dataclass(frozen=True)
class Classification:
    """The loss and the metrics of K classes.

    Attributes:
        num_classes: K, size of the last axis of the logits.
        label_smoothing: Probability spread over all classes.
        class_weights: Weight of each class in the training loss; None: 1.
    """

    num_classes: int
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None

    @classmethod
    def create(
        cls,
        config: TaskConfig,
        class_names: Sequence[str],
        class_counts: Sequence[int] | None = None,
    ) -> "Classification":
        """The task that a config describes.

        Args:
            config: The choices.
            class_names: Name of each class; the label is the position.
            class_counts: Training examples of each class, for class weights.

        Raises:
            UserError: A choice that is not allowed, or a class without examples.
        """
        smoothing = config.label_smoothing
        require(0 <= smoothing < 1, "task.label_smoothing", smoothing, "in [0, 1)")
        if config.class_weights not in CLASS_WEIGHTS:
            raise unknown("class weights", config.class_weights, CLASS_WEIGHTS)
        weights = CLASS_WEIGHTS[config.class_weights](class_names, class_counts)
        return cls(len(class_names), smoothing, weights)

    def loss(self, logits: jax.Array, batch: Batch) -> jax.Array:
        """Training loss of each example: logits [B, K] -> float32 [B].

        Cross entropy with smoothed labels (Szegedy et al., CVPR 2016, sec. 7,
        https://arxiv.org/abs/1512.00567) times the weight of the example's class. Of
        two examples that are mixed, the losses are, in the shares of the mixture.
        """
        loss = self._loss(logits, batch["label"])
        if "other" not in batch:
            return loss
        other, share = batch["other"]["label"], batch["other_share"]
        other = self._loss(logits, other)
        return (1 - share) * loss + share * other

    def _loss(self, logits: jax.Array, label: jax.Array) -> jax.Array:
        logits = _wide(logits)
        labels = jax.nn.one_hot(label, self.num_classes, dtype=logits.dtype)
        labels = optax.smooth_labels(labels, self.label_smoothing)  # [B, K]
        loss = optax.softmax_cross_entropy(logits, labels)  # [B]
        if self.class_weights is None:
            return loss
        return loss * jnp.asarray(self.class_weights, loss.dtype)[label]

    def train_metrics(self, logits: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Means over the batch, float32 []; of a mixture the larger part counts."""
        correct = jnp.argmax(logits, axis=-1) == batch["label"]
        return {"accuracy": jnp.mean(correct, dtype=jnp.float32)}

    def eval_sums(self, logits: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Sums over the examples, each times its weight; padding has weight 0.

        Sums add up over batches and devices, and metrics divides once.

        Returns:
            "loss" [] plain cross entropy, neither smoothed nor weighted by class;
            "top5" [] examples whose class is among the five first;
            "confusion" [K, K] examples of each class (row) put in each (column).
        """
        logits, label = _wide(logits), batch["label"]
        weight = batch["weight"].astype(logits.dtype)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, label)
        _, first = jax.lax.top_k(logits, min(TOP, self.num_classes))  # [B, 5]
        in_top = jnp.any(first == label[:, None], axis=-1)
        confusion = jnp.zeros((self.num_classes, self.num_classes), logits.dtype)
        return {
            "loss": jnp.sum(weight * loss),
            "top5": jnp.sum(weight * in_top),
            "confusion": confusion.at[label, jnp.argmax(logits, axis=-1)].add(weight),
        }

    def metrics(self, sums: Mapping[str, Any]) -> dict[str, float | list[float]]:
        """What the sums over a whole split say, on the host, in float64.

        Returns:
            "loss", "accuracy", "top5_accuracy" (for more than five classes; it is 1
            for fewer), "macro_f1" (the mean over all K classes), and of each class a
            list: "precision", "recall", "f1", "support"; and "confusion" [K, K]. A
            ratio of 0 to 0 is 0, as scikit-learn's zero_division=0.
        """
        confusion = np.asarray(sums["confusion"], np.float64)
        correct, count = np.diag(confusion), confusion.sum()
        support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
        f1 = _ratio(2 * correct, support + predicted)
        values = {
            "loss": float(sums["loss"]) / float(count),
            "accuracy": float(correct.sum() / count),
            "top5_accuracy": float(sums["top5"]) / float(count),
            "macro_f1": float(f1.mean()),
            "precision": _ratio(correct, predicted).tolist(),
            "recall": _ratio(correct, support).tolist(),
            "f1": f1.tolist(),
            "support": support.tolist(),
            "confusion": confusion.tolist(),
        }
        if self.num_classes <= TOP:
            del values["top5_accuracy"]
        return values

    def check_metric(self, name: str) -> None:
        """Raises UserError unless metrics has this one number to choose the best by."""
        known = set(METRICS)
        if self.num_classes <= TOP:
            known -= {"top5_accuracy"}
        if name not in known:
            raise unknown(f"metric of {self.num_classes} classes", name, known)


def _wide(logits: jax.Array) -> jax.Array:
    """In the wider of float32 and their own dtype."""
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Their ratio, 0 where the denominator is."""
    zeros = np.zeros_like(numerator)
    return np.divide(numerator, denominator, out=zeros, where=denominator > 0)
