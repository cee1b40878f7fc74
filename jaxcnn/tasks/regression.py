"""Regression: one or more numbers for each image.

The network learns the numbers in units of their standard deviation over the training
images, so that losses and learning rates do not depend on the unit in which they are
given. Mean and standard deviation are kept with the run.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcnn.config import TaskConfig
from jaxcnn.errors import UserError, unknown
from jaxcnn.targets import Target, Targets
from jaxcnn.tasks.parts import Part, Scatter, Table
from jaxcnn.tasks.task import (
    Batch,
    Column,
    Metric,
    Predicted,
    Task,
    metric_table,
    only_target,
    stated_numbers,
)

# Loss of an error, in standard deviations of the target: called as loss(error, delta).
LOSSES: Mapping[str, Callable[[jax.Array, float], jax.Array]] = {
    "squared": lambda error, delta: jnp.square(error),
    "absolute": lambda error, delta: jnp.abs(error),
    # Huber, "Robust Estimation of a Location Parameter", 1964.
    "huber": lambda error, delta: optax.huber_loss(error, delta=delta),
}


def _only_value(config: TaskConfig, targets: Targets) -> str:
    """Name of the target of kind "value"; UserError if it is not one named vector."""
    name = only_target(config, targets, "value")
    shape, names = targets[name].shape, targets[name].names
    if not names or shape != (len(names),):
        raise UserError(
            "A regression needs a vector with a name for each of its numbers; target "
            f"{name!r} has shape {shape} and the names {names}."
        )
    return name


@dataclasses.dataclass(frozen=True)
class Regression(Task):
    """The loss and the metrics of D numbers.

    Attributes:
        names: Names of the D numbers.
        mean: Mean of each over the training images.
        std: Standard deviation of each over the training images.
        target: Name of the target, float32 [D].
        loss_name: A name in LOSSES.
        huber_delta: Error from which on the Huber loss is linear, standard deviations.
    """

    METRICS: ClassVar[Mapping[str, Metric]] = metric_table(
        Metric("rmse", greater_is_better=False),
        Metric("mae", greater_is_better=False),
        Metric("r2"),
        Metric("loss", greater_is_better=False),
    )
    OPTIONS: ClassVar[frozenset[str]] = frozenset({"loss", "huber_delta"})

    names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    target: str = "value"
    loss_name: str = "squared"
    huber_delta: float = 1.0

    @classmethod
    def measure(
        cls, config: TaskConfig, targets: Targets, column: Column
    ) -> dict[str, Any]:
        """Mean and standard deviation of each number over the training images.

        Raises:
            UserError: A number is not finite, or the same for all images.
        """
        target = _only_value(config, targets)
        values = np.asarray(column(target), np.float64)
        targets[target].check(values, "train")
        mean, std = values.mean(axis=0), values.std(axis=0)
        for name, deviation in zip(targets[target].names, std, strict=True):
            if deviation == 0:
                raise UserError(
                    f"The number {name!r} is the same for all training images; a "
                    "regression needs numbers that differ."
                )
        return {"mean": mean.tolist(), "std": std.tolist()}

    @classmethod
    def create(
        cls, config: TaskConfig, targets: Targets, statistics: Mapping[str, Any]
    ) -> "Regression":
        """The task for a data set whose examples have a target of kind "value".

        Raises:
            UserError: An option that is not allowed, or no such target.
        """
        loss = config.loss or next(iter(LOSSES))
        if loss not in LOSSES:
            raise unknown("loss", loss, LOSSES)
        delta = config.huber_delta
        target = _only_value(config, targets)
        names = targets[target].names
        return cls(
            names=names,
            mean=stated_numbers(statistics, "mean", len(names)) or (0.0,) * len(names),
            std=stated_numbers(statistics, "std", len(names)) or (1.0,) * len(names),
            target=target,
            loss_name=loss,
            huber_delta=delta,
        )

    @property
    def targets(self) -> Targets:
        shape = (len(self.names),)
        return {self.target: Target("value", "float32", shape, names=self.names)}

    @property
    def outputs(self) -> dict[str, Any]:
        return {"num_classes": len(self.names)}

    @property
    def output_shape(self) -> tuple[int]:
        return (len(self.names),)

    def loss(self, output: jax.Array, batch: Batch) -> jax.Array:
        """Mean over the numbers of the loss of their errors: [B, D] -> float32 [B]."""
        mean, std = jnp.asarray(self.mean), jnp.asarray(self.std)
        error = output - (batch[self.target] - mean) / std
        loss = functools.partial(LOSSES[self.loss_name], delta=self.huber_delta)
        return jnp.mean(loss(error), axis=-1)

    def eval_sums(self, output: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        return {"loss": jnp.sum(batch["weight"] * self.loss(output, batch))}

    def eval_records(self, output: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Predicted and true numbers of each example, [B, D]."""
        return {"predicted": self._values(output), "true": batch[self.target]}

    def _values(self, output: jax.Array) -> jax.Array:
        """What the network gives -> numbers in their own unit, [B, D]."""
        return output * jnp.asarray(self.std) + jnp.asarray(self.mean)

    def metrics(
        self, sums: Mapping[str, np.ndarray], records: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
        """Metrics of a whole split, on the host, in float64.

        Returns:
            "rmse", "mae" and "r2", means over the numbers, in their units, and "loss";
            and of each number a list: "rmse_each", "mae_each", "r2_each". R2 is 1
            minus the squared errors over the squared deviations from the mean of the
            split, and 0 where all true numbers are equal.
        """
        true = records["true"].astype(np.float64)
        error = records["predicted"].astype(np.float64) - true
        squares = np.square(error).sum(axis=0)  # [D]
        deviations = np.square(true - true.mean(axis=0)).sum(axis=0)
        varies = deviations > 0
        each = {
            "rmse": np.sqrt(squares / len(true)),
            "mae": np.abs(error).mean(axis=0),
            "r2": np.where(varies, 1 - squares / np.where(varies, deviations, 1), 0.0),
        }
        return {
            **{name: float(x.mean()) for name, x in each.items()},
            "loss": float(sums["loss"]) / len(true),
            **{f"{name}_each": x.tolist() for name, x in each.items()},
        }

    def report(
        self, metrics: Mapping[str, Any], records: Mapping[str, np.ndarray]
    ) -> list[Part]:
        """A row and a scatter plot for each number."""
        columns = ("mae", "rmse", "r2")
        rows = [
            (name, *(f"{metrics[f'{column}_each'][i]:.4g}" for column in columns))
            for i, name in enumerate(self.names)
        ]
        plots = [
            Scatter(
                name=f"scatter_{name}",
                title=f"{name}: R2 {metrics['r2_each'][i]:.4f}",
                x_label="true",
                y_label="predicted",
                x=records["true"][:, i].tolist(),
                y=records["predicted"][:, i].tolist(),
            )
            for i, name in enumerate(self.names)
        ]
        return [Table("values", "", ("value", "MAE", "RMSE", "R2"), rows), *plots]

    def predict(self, output: jax.Array) -> dict[str, jax.Array]:
        """The numbers, in their own unit."""
        return {"values": self._values(output)}

    def answer(self, predicted: Predicted, limit: int) -> dict[str, Any]:
        """{"values": name -> number}."""
        values = map(float, predicted["values"])
        return {"values": dict(zip(self.names, values, strict=True))}

    def rows(self, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [{name: f"{x:.6g}" for name, x in answer["values"].items()}]

    def cells(self, answer: Mapping[str, Any]) -> list[str]:
        return [f"{name} {x:.6g}" for name, x in answer["values"].items()]

    def spread(self, predicted: Predicted) -> dict[str, str]:
        values = zip(self.names, predicted["values"], strict=True)
        return {name: f"{x:.6g}" for name, x in values}

    def caption(self, example: Mapping[str, Any]) -> str:
        pairs = zip(self.names, example[self.target], strict=True)
        return ", ".join(f"{name} {x:.4g}" for name, x in pairs)
