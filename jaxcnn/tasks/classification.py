"""Classification: one class for each image.

The logits of equal size are ordered by class number, lower first, as by argmax; a class
that is in the five first by that order counts for top-5.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcnn.config import TaskConfig
from jaxcnn.errors import unknown
from jaxcnn.targets import Target, Targets
from jaxcnn.tasks.class_weights import class_weights
from jaxcnn.tasks.parts import Matrix, Part, Table
from jaxcnn.tasks.task import (
    Batch,
    Column,
    Metric,
    Predicted,
    Task,
    metric_table,
    only_target,
    ratio,
    wide,
)

TOP = 5  # of ImageNet's challenge: the right class is among the first five


@dataclasses.dataclass(frozen=True)
class Classification(Task):
    """The loss and the metrics of K classes.

    Attributes:
        class_names: Names of the K classes; the label is the position.
        target: Name of the target that is the label.
        label_smoothing: Probability spread over all classes.
        class_weights: Weight of each class in the training loss; None: 1.
    """

    METRICS: ClassVar[Mapping[str, Metric]] = metric_table(
        Metric("accuracy"),
        Metric("top5_accuracy"),
        Metric("macro_f1"),
        Metric("loss", greater_is_better=False),
    )
    OPTIONS: ClassVar[frozenset[str]] = frozenset({"label_smoothing", "class_weights"})
    IMBALANCE_ADVICE: ClassVar[str] = (
        "data.sampling=balanced or task.class_weights=balanced evens that out, and "
        "best_metric=macro_f1 counts each class alike"
    )

    class_names: tuple[str, ...]
    target: str = "label"
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None

    @classmethod
    def measure(
        cls, config: TaskConfig, targets: Targets, column: Column
    ) -> dict[str, Any]:
        """The number of training examples of each class, where classes are balanced."""
        if config.class_weights != "balanced":
            return {}
        target = only_target(config, targets, "label")
        targets[target].check(column(target), "train")
        counts = np.bincount(column(target), minlength=len(targets[target].names))
        return {"counts": counts.tolist()}

    @classmethod
    def create(
        cls, config: TaskConfig, targets: Targets, statistics: Mapping[str, Any]
    ) -> "Classification":
        """The task for a data set whose examples have one label each.

        Raises:
            UserError: An option that is not allowed, no label, or a class without
                examples where classes are weighted.
        """
        smoothing = config.label_smoothing
        target = only_target(config, targets, "label")
        names = targets[target].names
        weights = class_weights(config.class_weights, names, statistics, "example")
        return cls(names, target, smoothing, weights)

    @property
    def num_classes(self) -> int:
        """K, size of the last axis of the logits."""
        return len(self.class_names)

    @property
    def targets(self) -> Targets:
        return {self.target: Target("label", "int32", names=self.class_names)}

    @property
    def outputs(self) -> dict[str, Any]:
        return {"num_classes": self.num_classes}

    @property
    def output_shape(self) -> tuple[int]:
        return (self.num_classes,)

    def loss(self, logits: jax.Array, batch: Batch) -> jax.Array:
        """Training loss of each example: logits [B, K] -> float32 [B].

        Cross entropy with smoothed labels (Szegedy et al., CVPR 2016, sec. 7,
        https://arxiv.org/abs/1512.00567) times the weight of the example's class.
        """
        label, logits = batch[self.target], wide(logits)
        labels = jax.nn.one_hot(label, self.num_classes, dtype=logits.dtype)
        labels = optax.smooth_labels(labels, self.label_smoothing)  # [B, K]
        loss = optax.softmax_cross_entropy(logits, labels)  # [B]
        if self.class_weights is None:
            return loss
        return loss * jnp.asarray(self.class_weights, loss.dtype)[label]

    def train_metrics(self, logits: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Means over the batch, float32 []; of a mixture the larger part counts."""
        correct = jnp.argmax(logits, axis=-1) == batch[self.target]
        return {"accuracy": jnp.mean(correct, dtype=jnp.float32)}

    def eval_sums(self, logits: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Sums over the examples, each times its weight; padding has weight 0.

        Sums add up over batches and devices, and metrics divides once.

        Returns:
            "loss" [] plain cross entropy, neither smoothed nor weighted by class;
            "top5" [] examples whose class is among the five first;
            "confusion" [K, K] examples of each class (row) put in each (column).
        """
        logits, label = wide(logits), batch[self.target]
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

    def metrics(
        self, sums: Mapping[str, np.ndarray], records: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
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
        f1 = ratio(2 * correct, support + predicted)
        values = {
            "loss": float(sums["loss"]) / float(count),
            "accuracy": float(correct.sum() / count),
            "top5_accuracy": float(sums["top5"]) / float(count),
            "macro_f1": float(f1.mean()),
            "precision": ratio(correct, predicted).tolist(),
            "recall": ratio(correct, support).tolist(),
            "f1": f1.tolist(),
            "support": support.tolist(),
            "confusion": confusion.tolist(),
        }
        if self.num_classes <= TOP:
            del values["top5_accuracy"]
        return values

    def metric(self, name: str | None) -> Metric:
        """The metric of that name; top5_accuracy needs more than five classes."""
        if name == "top5_accuracy" and self.num_classes <= TOP:
            known = set(self.METRICS) - {name}
            raise unknown(f"metric of {self.num_classes} classes", name, known)
        return super().metric(name)

    def report(
        self, metrics: Mapping[str, Any], records: Mapping[str, np.ndarray]
    ) -> list[Part]:
        """A row for each class, and the confusion matrix."""
        columns = ("precision", "recall", "f1")
        rows = [
            (
                name,
                *(f"{metrics[column][i]:.4f}" for column in columns),
                f"{metrics['support'][i]:.0f}",
            )
            for i, name in enumerate(self.class_names)
        ]
        return [
            Table("classes", "", ("class", *columns, "images"), rows),
            Matrix(
                "confusion",
                "Confusion matrix, rows true, columns predicted",
                self.class_names,
                metrics["confusion"],
            ),
        ]

    def predict(self, logits: jax.Array) -> dict[str, jax.Array]:
        """The class of the largest logit, and the probability of each class."""
        return {
            "class": jnp.argmax(logits, axis=-1),
            "probabilities": jax.nn.softmax(wide(logits), axis=-1),
        }

    def answer(self, predicted: Predicted, limit: int) -> dict[str, Any]:
        """{"classes": the most likely ones, each {"class", "probability"}}."""
        probabilities = predicted["probabilities"]
        order = np.argsort(-probabilities, kind="stable")[:limit]
        return {
            "classes": [
                {"class": self.class_names[i], "probability": float(probabilities[i])}
                for i in order
            ]
        }

    def rows(self, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                "rank": rank,
                "class": row["class"],
                "probability": f"{row['probability']:.6f}",
            }
            for rank, row in enumerate(answer["classes"], start=1)
        ]

    def cells(self, answer: Mapping[str, Any]) -> list[str]:
        return [f"{row['class']} {row['probability']:.4f}" for row in answer["classes"]]

    def spread(self, predicted: Predicted) -> dict[str, str]:
        columns = {"prediction": self.class_names[int(predicted["class"])]}
        for name, p in zip(self.class_names, predicted["probabilities"], strict=True):
            columns[f"P({name})"] = f"{p:.6f}"
        return columns

    def caption(self, example: Mapping[str, Any]) -> str:
        label = int(example[self.target])
        known = 0 <= label < self.num_classes
        return self.class_names[label] if known else str(label)

    def groups(self, column: Column) -> dict[str, np.ndarray]:
        labels = column(self.target)
        return {name: labels == label for label, name in enumerate(self.class_names)}

    def strata(self, column: Column) -> np.ndarray:
        return np.asarray(column(self.target))

    @property
    def strata_names(self) -> tuple[str, ...]:
        return self.class_names
