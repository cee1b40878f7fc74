"""Semantic segmentation: one of K classes for each pixel.

The network gives logits [B, H, W, K], as high and wide as the image. Pixels of the mask
whose value is none of the K classes are void; they count in no loss and no metric.
"""

from collections.abc import Iterable, Mapping
import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.config import TaskConfig
from jaxcnn.errors import UserError, require, unknown
from jaxcnn.targets import Target, Targets
from jaxcnn.tasks import boundaries, runs
from jaxcnn.tasks.class_weights import class_weights
from jaxcnn.tasks.parts import Mark, Matrix, Part, Regions, Table
from jaxcnn.tasks.segmentation_losses import LOSSES, cross_entropy, labelled
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

# Csurka et al., BMVC 2013, sec. 3.2: 0.75% of the diagonal.
BOUNDARY_TOLERANCE = 0.0075


@dataclasses.dataclass(frozen=True)
class Segmentation(Task):
    """The loss and the metrics of a mask of K classes.

    Attributes:
        class_names: Names of the K classes; the value of a pixel is the position.
        target: Name of the target, integers [H, W].
        void: Value of pixels that are not labelled, and of what lies outside the
            image. None: every pixel is labelled, and outside the image is class 0.
        loss_name: A name in LOSSES, or several with "+" between them, which add up.
        class_weights: Weight of each class in the training loss; None: 1.
        label_smoothing: Probability spread over all classes.
        focal_gamma: Exponent of the focal loss.
        gap_weight: Weight of background pixels between two objects in the cross
            entropy, see gaps.py.
        gap_sigma_pixels: Width of such a gap, pixels.
        boundary_tolerance_pixels: Distance at which a boundary counts as found, pixels.
            None: BOUNDARY_TOLERANCE of the diagonal of the image, at least 1.
    """

    METRICS: ClassVar[Mapping[str, Metric]] = metric_table(
        Metric("mean_iou"),
        Metric("mean_dice"),
        Metric("pixel_accuracy"),
        Metric("mean_accuracy"),
        Metric("boundary_f1"),
        Metric("loss", greater_is_better=False),
    )
    OPTIONS: ClassVar[frozenset[str]] = frozenset(
        {
            "loss",
            "class_weights",
            "label_smoothing",
            "focal_gamma",
            "gap_weight",
            "gap_sigma_pixels",
            "boundary_tolerance_pixels",
        }
    )
    IMBALANCE_ADVICE: ClassVar[str] = (
        "task.class_weights=balanced or task.loss=cross_entropy+dice gives small "
        "classes more weight, and best_metric=mean_iou counts each class alike"
    )

    IS_MAP: ClassVar[bool] = True

    class_names: tuple[str, ...]
    target: str = "mask"
    void: int | None = None
    loss_name: str = "cross_entropy"
    class_weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0
    focal_gamma: float = 2.0
    gap_weight: float = 0.0
    gap_sigma_pixels: float = 5.0
    boundary_tolerance_pixels: float | None = None

    @classmethod
    def measure(
        cls, config: TaskConfig, targets: Targets, column: Column
    ) -> dict[str, Any]:
        """The number of training pixels of each class, where classes are balanced."""
        if config.class_weights != "balanced":
            return {}
        name = only_target(config, targets, "mask")
        counts = np.zeros(len(targets[name].names), np.int64)
        for index, mask in enumerate(column(name)):  # one after another: they are large
            targets[name].check(mask[None], "train", index)
            counts += _pixels(mask, len(counts))
        return {"counts": counts.tolist()}

    @classmethod
    def create(
        cls, config: TaskConfig, targets: Targets, statistics: Mapping[str, Any]
    ) -> "Segmentation":
        """The task for a data set whose examples have a target of kind "mask".

        Raises:
            UserError: An option that is not allowed or has no effect on the loss, or no
                mask whose classes have names.
        """
        name = only_target(config, targets, "mask")
        target, loss = targets[name], config.loss or next(iter(LOSSES))
        names = target.names
        if len(names) < 2 or target.shape:
            raise UserError(
                "A segmentation needs a mask [H, W] with the names of at least two "
                f"classes; target {name!r} has the names {names} and shape "
                f"(H, W) + {target.shape}."
            )
        _check_loss(loss, config)
        return cls(
            class_names=names,
            target=name,
            void=None if target.fill in range(len(names)) else int(target.fill),
            loss_name=loss,
            class_weights=class_weights(
                config.class_weights, names, statistics, "pixel"
            ),
            label_smoothing=config.label_smoothing,
            focal_gamma=config.focal_gamma,
            gap_weight=config.gap_weight,
            gap_sigma_pixels=config.gap_sigma_pixels,
            boundary_tolerance_pixels=config.boundary_tolerance_pixels,
        )

    @property
    def num_classes(self) -> int:
        """K, size of the last axis of the logits."""
        return len(self.class_names)

    @property
    def targets(self) -> Targets:
        fill = 0 if self.void is None else self.void
        fits = 0 <= fill < 256 and self.num_classes <= 256
        dtype = "uint8" if fits else "int32"
        return {self.target: Target("mask", dtype, names=self.class_names, fill=fill)}

    @property
    def outputs(self) -> dict[str, Any]:
        return {"num_classes": self.num_classes}

    def _labels(self, logits: jax.Array, batch: Batch) -> jax.Array:
        """The mask of a batch, int32 [B, H, W].

        Raises:
            UserError: The network's output has another shape.
        """
        mask = batch[self.target]
        needed = [*mask.shape[1:], self.num_classes]
        gives = jax.tree.map(lambda x: [*x.shape[1:]], logits)
        if gives != needed:
            raise UserError(
                f"A segmentation needs a network that gives [H, W, K] = {needed} "
                "numbers for each image, with the image's height and width; this one "
                f"gives {gives}."
            )
        return mask.astype(jnp.int32)

    def loss(self, logits: jax.Array, batch: Batch) -> jax.Array:
        """Training loss of each example: logits [B, H, W, K] -> float32 [B].

        The mean over the batch is that of its labelled pixels for some losses and of
        its images for others, see segmentation_losses.py.

        Raises:
            UserError: The logits are not as high and wide as the mask, or not of K
                classes.
        """
        labels, logits = self._labels(logits, batch), wide(logits)
        losses = []
        for name in self.loss_name.split("+"):
            function, options = LOSSES[name]
            chosen = {option: getattr(self, option) for option in options}
            losses.append(function(logits, labels, **chosen))
        return sum(losses)

    def train_metrics(self, logits: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Over the labelled pixels of the batch, float32 []; of a mixture the larger
        part counts."""
        labels = self._labels(logits, batch)
        is_labelled = labelled(labels, self.num_classes)
        correct = (jnp.argmax(logits, axis=-1) == labels) & is_labelled
        number = jnp.maximum(jnp.sum(is_labelled), 1)
        return {"pixel_accuracy": (jnp.sum(correct) / number).astype(jnp.float32)}

    def eval_sums(self, logits: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Sums over the labelled pixels of the examples of weight 1; padding has 0.

        Counts are integers, which stay exact for more pixels than a float32 holds.

        Returns:
            "loss" [] plain cross entropy, neither smoothed nor weighted by class;
            "confusion" int32 [K, K] pixels of each class (row) put in each (column);
            "true_boundary", "found_boundary", "predicted_boundary", "right_boundary"
            int32 [K], see boundaries.Matches.
        """
        labels, logits = self._labels(logits, batch), wide(logits)
        number, size = self.num_classes, labels.shape[1:]
        is_real = batch["weight"][:, None, None] > 0
        labels = jnp.where(labelled(labels, number) & is_real, labels, -1)
        predicted = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        pairs = jnp.where(labels >= 0, labels * number + predicted, -1)
        confusion = boundaries.count(pairs, number**2).reshape(number, number)
        # Its mean over the batch is that over the pixels.
        loss = jnp.mean(cross_entropy(logits, labels)) * jnp.sum(confusion)
        tolerance = self.boundary_tolerance_pixels
        if tolerance is None:
            tolerance = max(1.0, BOUNDARY_TOLERANCE * math.hypot(*size))
        found = boundaries.matches(labels, predicted, number, tolerance)
        return {
            "loss": loss,
            "confusion": confusion,
            "true_boundary": found.true,
            "found_boundary": found.found,
            "predicted_boundary": found.predicted,
            "right_boundary": found.right,
        }

    def metrics(
        self, sums: Mapping[str, np.ndarray], records: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
        """What the sums over a whole split say, on the host, in float64.

        A class that is neither in the true masks nor in the predicted ones has no score
        and is left out of the means, as in scikit-learn's jaccard_score and in
        torchmetrics; one that is predicted only has a score of 0.

        Returns:
            "mean_iou", "mean_dice", "boundary_f1" (means over these classes, the last
            over those with a boundary), "pixel_accuracy", "mean_accuracy" (the mean
            over the classes of the true masks, as scikit-learn's
            balanced_accuracy_score), "loss"; of each class a list, with None where it
            has no score: "iou_each", "dice_each", "accuracy_each", "boundary_f1_each",
            and "pixels", those of its true masks; and "confusion" [K, K]. A ratio of 0
            to 0, as of a split without a boundary, is 0.
        """
        confusion = np.asarray(sums["confusion"], np.float64)
        correct, count = np.diag(confusion), confusion.sum()
        pixels, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
        together = pixels + predicted
        precision = ratio(sums["right_boundary"], sums["predicted_boundary"])
        recall = ratio(sums["found_boundary"], sums["true_boundary"])
        has_boundary = sums["true_boundary"] + sums["predicted_boundary"] > 0
        scores = {  # and the classes that have one
            "iou": (ratio(correct, together - correct), together > 0),
            "dice": (ratio(2 * correct, together), together > 0),
            "accuracy": (ratio(correct, pixels), pixels > 0),
            "boundary_f1": (
                ratio(2 * precision * recall, precision + recall),
                has_boundary,
            ),
        }
        means = {name: _mean(*scored) for name, scored in scores.items()}
        return {
            "mean_iou": means["iou"],
            "mean_dice": means["dice"],
            "pixel_accuracy": float(ratio(correct.sum(), count)),
            "mean_accuracy": means["accuracy"],
            "boundary_f1": means["boundary_f1"],
            "loss": float(ratio(np.asarray(sums["loss"]), count)),
            **{f"{name}_each": _listed(*scored) for name, scored in scores.items()},
            "pixels": pixels.tolist(),
            "confusion": confusion.tolist(),
        }

    def report(
        self, metrics: Mapping[str, Any], records: Mapping[str, np.ndarray]
    ) -> list[Part]:
        """A row for each class, and the confusion matrix of the pixels."""
        columns = ("iou", "dice", "accuracy", "boundary_f1")
        total, rows = sum(metrics["pixels"]), []
        for k, name in enumerate(self.class_names):
            numbers = (metrics[f"{column}_each"][k] for column in columns)
            shown = ("-" if x is None else f"{x:.4f}" for x in numbers)
            share = metrics["pixels"][k] / max(total, 1)
            rows.append((name, *shown, f"{share:.2%}"))
        header = ("class", "IoU", "Dice", "accuracy", "boundary F1", "pixels")
        return [
            Table("classes", "", header, rows),
            Matrix(
                "confusion",
                "Pixels, rows true, columns predicted",
                self.class_names,
                metrics["confusion"],
            ),
        ]

    def predict(self, logits: jax.Array) -> dict[str, jax.Array]:
        """The class of each pixel, and its probability.

        Returns:
            "mask" [B, H, W], uint8 for up to 256 classes, else int32;
            "confidence" float32 [B, H, W], the largest probability.
        """
        mask = jnp.argmax(logits, axis=-1)
        logits = wide(logits)
        largest = jnp.max(logits, axis=-1) - jax.nn.logsumexp(logits, axis=-1)
        return {
            "mask": mask.astype(jnp.uint8 if self.num_classes <= 256 else jnp.int32),
            "confidence": jnp.exp(largest),
        }

    def mean_output(self, outputs: Iterable[np.ndarray]) -> np.ndarray:
        """The logarithm of the mean of the probabilities."""
        total, number = np.float32(-np.inf), 0
        for output in outputs:
            total = np.logaddexp(total, jax.nn.log_softmax(output, axis=-1))
            number += 1
        return total - np.float32(math.log(number))

    def answer(self, predicted: Predicted, limit: int) -> dict[str, Any]:
        """The classes by size, and the mask.

        Returns:
            "classes": the `limit` largest, the largest first, each {"class", "share" of
            the pixels, "confidence", the mean over its pixels};
            "mask": [{"class", "label", "size", "counts"}] for all classes of the mask,
            of which "size" and "counts" are COCO's run-length encoding, see runs.py.
        """
        mask, sure = predicted["mask"], predicted["confidence"]
        pixels = _pixels(mask, self.num_classes)
        present = np.flatnonzero(pixels)
        largest = present[np.argsort(-pixels[present], kind="stable")]
        return {
            "classes": [
                {
                    "class": self.class_names[k],
                    "share": float(pixels[k] / mask.size),
                    "confidence": float(sure[mask == k].mean(dtype=np.float64)),
                }
                for k in largest[:limit]
            ],
            "mask": [
                {
                    "class": self.class_names[k],
                    "label": int(k),
                    **runs.encode(mask == k),
                }
                for k in present
            ],
        }

    def rows(self, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                "class": row["class"],
                "share": f"{row['share']:.6f}",
                "confidence": f"{row['confidence']:.6f}",
            }
            for row in answer["classes"]
        ]

    def cells(self, answer: Mapping[str, Any]) -> list[str]:
        return [f"{row['class']} {row['share']:.1%}" for row in answer["classes"]]

    def titles(self, number: int) -> list[str]:
        first = "largest, share of pixels"
        return [first, *super().titles(number)[1:]]

    def marks(self, answer: Mapping[str, Any]) -> list[Mark]:
        """The mask, with the name and share of each class in its key."""
        key, mask = {}, np.zeros(answer["mask"][0]["size"], np.int32)
        for row in answer["mask"]:
            is_class = runs.decode(row)
            mask[is_class] = row["label"]
            key[row["label"]] = f"{row['class']} {is_class.mean():.1%}"
        return [Regions(mask, key)]

    def spread(self, predicted: Predicted) -> dict[str, str]:
        """The share of the pixels of each class."""
        shares = _pixels(predicted["mask"], self.num_classes) / predicted["mask"].size
        pairs = zip(self.class_names, shares, strict=True)
        return {f"share({name})": f"{share:.6f}" for name, share in pairs}

    def caption(self, example: Mapping[str, Any]) -> str:
        """The classes of a mask, the largest first."""
        pixels = _pixels(np.asarray(example[self.target]), self.num_classes)
        order = np.argsort(-pixels, kind="stable")
        names = [self.class_names[k] for k in order if pixels[k]]
        return ", ".join(names) or "no class"

    def truth(self, example: Mapping[str, Any]) -> tuple[np.ndarray, list[Mark]]:
        mask = np.asarray(example[self.target])
        names = dict(enumerate(self.class_names))
        key = {k: names.get(k, "no class") for k in np.unique(mask).tolist()}
        return example["image"], [Regions(mask, key)]

    def groups(self, column: Column) -> dict[str, np.ndarray]:
        """Which images have a pixel of a class."""
        masks = column(self.target)
        pixels = np.stack([_pixels(mask, self.num_classes) for mask in masks])
        return {name: pixels[:, k] > 0 for k, name in enumerate(self.class_names)}


def _check_loss(loss: str, config: TaskConfig) -> None:
    """Raises UserError for an unknown loss, or for an option that it ignores."""
    names = loss.split("+")
    rule = f"one of {', '.join(LOSSES)}, or a sum of different ones such as "
    rule += "cross_entropy+dice"
    holds = "" not in names and len({*names}) == len(names)
    require(holds, "task.loss", loss, rule)
    used = set()
    for name in names:
        if name not in LOSSES:
            raise unknown("loss", name, LOSSES)
        used |= LOSSES[name].options
    default = TaskConfig()
    for option in (
        "class_weights",
        "label_smoothing",
        "focal_gamma",
        "gap_weight",
        "gap_sigma_pixels",
    ):
        value, expected = getattr(config, option), getattr(default, option)
        rule = f"{expected!r} for task.loss={loss!r}, which does not use it"
        holds = option in used or value == expected
        require(holds, f"task.{option}", value, rule)


def _mean(scores: np.ndarray, has_one: np.ndarray) -> float:
    """The mean over the classes that have a score; 0 if none has."""
    return float(scores[has_one].mean()) if has_one.any() else 0.0


def _listed(scores: np.ndarray, has_one: np.ndarray) -> list[float | None]:
    """The score of each class; None where it has none."""
    pairs = zip(scores.tolist(), has_one, strict=True)
    return [score if has else None for score, has in pairs]


def _pixels(mask: np.ndarray, number: int) -> np.ndarray:
    """Pixels of each of a number of classes, int64 [number]; void ones are none."""
    is_class = (mask >= 0) & (mask < number)
    return np.bincount(mask[is_class].astype(np.int64), minlength=number)
