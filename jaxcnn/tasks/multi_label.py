"""Multi-label classification: any number of K classes for each image.

Each class is a question of its own, answered by the sigmoid of its logit.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcnn.config import TaskConfig
from jaxcnn.targets import Target, Targets
from jaxcnn.tasks.parts import Part, Table
from jaxcnn.tasks.task import (
    Batch,
    Column,
    Metric,
    Predicted,
    Task,
    metric_table,
    only_target,
    ratio,
)


@dataclasses.dataclass(frozen=True)
class MultiLabel(Task):
    """The loss and the metrics of K classes, of which an image may have any.

    Attributes:
        class_names: Names of the K classes.
        target: Name of the target, K numbers 0 or 1.
        threshold: Probability from which on a class counts as predicted.
    """

    METRICS: ClassVar[Mapping[str, Metric]] = metric_table(
        Metric("mean_average_precision"),
        Metric("macro_f1"),
        Metric("micro_f1"),
        Metric("exact_match"),
        Metric("loss", greater_is_better=False),
    )
    OPTIONS: ClassVar[frozenset[str]] = frozenset({"threshold"})
    IMBALANCE_ADVICE: ClassVar[str] = "best_metric=macro_f1 counts each class alike"

    class_names: tuple[str, ...]
    target: str = "labels"
    threshold: float = 0.5

    @classmethod
    def create(
        cls, config: TaskConfig, targets: Targets, statistics: Mapping[str, Any]
    ) -> "MultiLabel":
        """The task for a data set whose examples have a target of kind "labels".

        Raises:
            UserError: An option that is not allowed, or no such target.
        """
        threshold = config.threshold
        target = only_target(config, targets, "labels")
        return cls(targets[target].names, target, threshold)

    @property
    def targets(self) -> Targets:
        shape = (len(self.class_names),)
        return {self.target: Target("labels", "uint8", shape, names=self.class_names)}

    @property
    def outputs(self) -> dict[str, Any]:
        return {"num_classes": len(self.class_names)}

    @property
    def output_shape(self) -> tuple[int]:
        return (len(self.class_names),)

    def loss(self, logits: jax.Array, batch: Batch) -> jax.Array:
        """Mean over the classes of the binary cross entropy: [B, K] -> float32 [B]."""
        labels = batch[self.target].astype(logits.dtype)
        return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, labels), axis=-1)

    def train_metrics(self, logits: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """The share of classes that are right at a threshold of 1/2, float32 []."""
        correct = (logits > 0) == (batch[self.target] == 1)
        return {"class_accuracy": jnp.mean(correct, dtype=jnp.float32)}

    def eval_sums(self, logits: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        return {"loss": jnp.sum(batch["weight"] * self.loss(logits, batch))}

    def eval_records(self, logits: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Probabilities and labels of each example, [B, K]: an average precision
        depends on the order of all examples."""
        return {"probabilities": jax.nn.sigmoid(logits), "labels": batch[self.target]}

    def metrics(
        self, sums: Mapping[str, np.ndarray], records: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
        """Metrics of a whole split, on the host, in float64.

        Returns:
            "mean_average_precision", the mean over the classes that occur;
            "macro_f1", the mean over all classes; "micro_f1", of all decisions
            together; "exact_match", the share of images with every class right;
            "loss"; and of each class a list: "average_precision" (None for a class
            that does not occur), "precision", "recall", "f1", "support". A ratio of 0
            to 0 is 0, as scikit-learn's zero_division=0.
        """
        truth = records["labels"] == 1
        predicted = records["probabilities"] >= self.threshold
        correct = (truth & predicted).sum(axis=0)  # [K]
        support, positive = truth.sum(axis=0), predicted.sum(axis=0)
        f1 = ratio(2 * correct, support + positive)
        precisions = [
            average_precision(truth[:, k], records["probabilities"][:, k])
            for k in range(len(self.class_names))
        ]
        occurring = [x for x in precisions if x is not None]
        return {
            "mean_average_precision": float(np.mean(occurring)) if occurring else 0.0,
            "macro_f1": float(f1.mean()),
            "micro_f1": float(ratio(2 * correct.sum(), (support + positive).sum())),
            "exact_match": float((truth == predicted).all(axis=1).mean()),
            "loss": float(sums["loss"]) / len(truth),
            "average_precision": precisions,
            "precision": ratio(correct, positive).tolist(),
            "recall": ratio(correct, support).tolist(),
            "f1": f1.tolist(),
            "support": support.tolist(),
        }

    def report(
        self, metrics: Mapping[str, Any], records: Mapping[str, np.ndarray]
    ) -> list[Part]:
        """A row for each class."""
        columns = ("average_precision", "precision", "recall", "f1")
        rows = []
        for k, name in enumerate(self.class_names):
            numbers = (metrics[column][k] for column in columns)
            shown = ("-" if x is None else f"{x:.4f}" for x in numbers)
            rows.append((name, *shown, f"{metrics['support'][k]}"))
        return [Table("classes", "", ("class", *columns, "images"), rows)]

    def predict(self, logits: jax.Array) -> dict[str, jax.Array]:
        """The probability of each class."""
        return {"probabilities": jax.nn.sigmoid(logits)}

    def answer(self, predicted: Predicted, limit: int) -> dict[str, Any]:
        """{"classes": the most likely ones, each {"class", "probability",
        "predicted"}}."""
        probabilities = predicted["probabilities"]
        order = np.argsort(-probabilities, kind="stable")[:limit]
        return {
            "classes": [
                {
                    "class": self.class_names[k],
                    "probability": float(probabilities[k]),
                    "predicted": bool(probabilities[k] >= self.threshold),
                }
                for k in order
            ]
        }

    def rows(self, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [
            {**row, "probability": f"{row['probability']:.6f}"}
            for row in answer["classes"]
        ]

    def cells(self, answer: Mapping[str, Any]) -> list[str]:
        return [
            f"{'+' if row['predicted'] else '-'} {row['class']} "
            f"{row['probability']:.4f}"
            for row in answer["classes"]
        ]

    def spread(self, predicted: Predicted) -> dict[str, str]:
        pairs = zip(self.class_names, predicted["probabilities"], strict=True)
        return {f"P({name})": f"{p:.6f}" for name, p in pairs}

    def caption(self, example: Mapping[str, Any]) -> str:
        pairs = zip(self.class_names, example[self.target], strict=True)
        return ", ".join(name for name, has in pairs if has) or "no class"

    def groups(self, column: Column) -> dict[str, np.ndarray]:
        labels = np.asarray(column(self.target))
        return {name: labels[:, k] == 1 for k, name in enumerate(self.class_names)}


def average_precision(truth: np.ndarray, scores: np.ndarray) -> float | None:
    """The sum over thresholds of the step in recall times the precision there.

    As scikit-learn's average_precision_score; None where nothing is true. Examples of
    equal score share one threshold.

    Args:
        truth: Whether each example has the class, bool [N].
        scores: Score of each example, [N]; a higher one says more surely yes.
    """
    if not truth.any():
        return None
    order = np.argsort(-scores, kind="stable")
    truth, scores = truth[order], scores[order]
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    correct = np.cumsum(truth)[last]
    precision, recall = correct / (last + 1), correct / truth.sum()
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))
