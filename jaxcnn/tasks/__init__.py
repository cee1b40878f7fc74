"""What a model is trained to do: targets, loss, metrics, predictions."""

from collections.abc import Mapping, Set
import dataclasses
from typing import Any

from jaxcnn import errors, names
from jaxcnn.config import TaskConfig
from jaxcnn.targets import Target, Targets
from jaxcnn.tasks.classification import Classification
from jaxcnn.tasks.multi_label import MultiLabel
from jaxcnn.tasks.regression import Regression
from jaxcnn.tasks.restoration import Restoration
from jaxcnn.tasks.saliency import Saliency
from jaxcnn.tasks.segmentation import Segmentation
from jaxcnn.tasks.task import Metric, Task, changes_inputs, metric_table
from jaxcnn.tasks.text import Text

__all__ = [
    "TASKS",
    "Classification",
    "Metric",
    "MultiLabel",
    "Regression",
    "Restoration",
    "Saliency",
    "Segmentation",
    "Task",
    "Text",
    "changes_inputs",
    "create_task",
    "find",
    "metric_table",
]

TASKS: Mapping[str, type[Task]] = {
    "classification": Classification,
    "multi_label": MultiLabel,
    "regression": Regression,
    "restoration": Restoration,
    "saliency": Saliency,
    "segmentation": Segmentation,
    "text": Text,
}

_COMMON = frozenset({"name", "target", "aux_weight"})  # options that all tasks use


def find(config: TaskConfig, given: type[Task] | None = None) -> type[Task]:
    """The class of the task that is given, or else that a config names.

    Raises:
        UserError: There is none, or the config has options that would be ignored.
    """
    cls = names.resolve(config.name, TASKS, "task") if given is None else given
    if not (isinstance(cls, type) and issubclass(cls, Task)):
        raise errors.UserError(
            f"task.name={config.name!r} is no task: it must be a subclass of "
            "jaxcnn.tasks.Task."
        )
    missing = sorted(cls.__abstractmethods__)
    if missing:
        raise errors.UserError(
            f"Task {cls.__name__} must have {', '.join(missing)} of its own, see "
            "jaxcnn.tasks.Task."
        )
    _check_options(config, _COMMON | cls.OPTIONS, f"task {config.name!r}")
    return cls


def _check_options(config: TaskConfig, used: Set[str], where: str) -> None:
    """Raises UserError for an option that would be ignored."""
    default = TaskConfig()
    for field in dataclasses.fields(TaskConfig):
        value, expected = getattr(config, field.name), getattr(default, field.name)
        if field.name not in used:
            rule = f"{expected!r} for {where}"
            errors.require(value == expected, f"task.{field.name}", value, rule)


def create_task(
    config: TaskConfig,
    targets: Targets,
    statistics: Mapping[str, Any],
    given: Any = None,
    channels: int | None = None,
) -> Task:
    """The task for a data set.

    Args:
        config: Name and options.
        targets: Targets of the data set.
        statistics: Result of the task's measure for the training examples.
        given: A task, or its class; None: config names it.
        channels: Channels of the images. None: those that the task was made for.

    Raises:
        UserError: A choice that is not allowed, or a target that the data set does
            not have.
    """
    if given is None or isinstance(given, type):
        task = find(config, given).create(config, targets, statistics)
    elif isinstance(given, Task):
        task, used = given, {"name", "fields", "aux_weight"}
        _check_options(config, used, "a task that is an object")
    else:
        raise errors.UserError(
            f"A task must be a jaxcnn.Task or its class, not a {type(given).__name__}."
        )
    if channels is not None:
        task = task.for_channels(channels)
    for name, target in task.targets.items():
        _check_target(type(task).__name__, name, target, targets)
    return task


def _check_target(task: str, name: str, target: Target, targets: Targets) -> None:
    """Raises UserError unless a data set has the target that a task needs."""
    if name not in targets:
        raise errors.UserError(
            f"{task} needs target {name!r}; the data set has "
            f"{', '.join(targets) or 'none'}."
        )
    fields = ["kind", "shape", "ragged"]
    if target.kind in ("label", "labels", "mask", "text") and target.names:
        fields.append("names")  # whose order gives numbers their meaning
    for field in fields:
        needed, has = getattr(target, field), getattr(targets[name], field)
        if needed != has:
            raise errors.UserError(
                f"{task} needs target {name!r} with {field} {needed!r}; that of the "
                f"data set has {has!r}."
            )
