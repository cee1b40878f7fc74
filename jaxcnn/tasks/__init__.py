"""What a model is trained to do: targets, loss and metrics."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax

from jaxcnn import errors
from jaxcnn.config import TaskConfig
from jaxcnn.tasks.classification import METRICS, Classification, Metric

__all__ = ["METRICS", "TASKS", "Classification", "Metric", "Task", "create_task"]


class Task(Protocol):
    """What a step and an evaluation ask of a task."""

    def loss(self, output: jax.Array, batch: Mapping[str, jax.Array]) -> jax.Array:
        """Training loss of each example, float32 [B]."""

    def train_metrics(
        self, output: jax.Array, batch: Mapping[str, jax.Array]
    ) -> dict[str, jax.Array]:
        """Means over a training batch, float32 []."""

    def eval_sums(
        self, output: jax.Array, batch: Mapping[str, jax.Array]
    ) -> dict[str, jax.Array]:
        """Sums over the examples of a batch, each times batch["weight"]."""

    def metrics(self, sums: Mapping[str, Any]) -> dict[str, Any]:
        """What the sums over a whole split say; single numbers are floats."""

    def check_metric(self, name: str) -> None:
        """Raises UserError unless metrics gives a single number of that name."""


TASKS = {"classification": Classification}


def create_task(
    config: TaskConfig, class_names: Sequence[str], class_counts: Sequence[int] | None
) -> Task:
    """The task that a config names.

    Args:
        config: Its choices.
        class_names: Name of each class; the label is the position.
        class_counts: Training examples of each class; needed for class weights only.

    Raises:
        UserError: A choice that is not allowed.
    """
    if config.name not in TASKS:
        raise errors.unknown("task", config.name, TASKS)
    return TASKS[config.name].create(config, class_names, class_counts)
