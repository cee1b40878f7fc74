"""What a model is trained to do: targets, loss, metrics, predictions."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from jaxcnn import errors, names
from jaxcnn.config import TaskConfig
from jaxcnn.targets import Targets
from jaxcnn.tasks.classification import Classification
from jaxcnn.tasks.multi_label import MultiLabel
from jaxcnn.tasks.regression import Regression
from jaxcnn.tasks.task import Metric, Task, metric_table

__all__ = [
    "TASKS",
    "Classification",
    "Metric",
    "MultiLabel",
    "Regression",
    "Task",
    "create_task",
    "find",
    "metric_table",
]

TASKS: Mapping[str, type[Task]] = {
    "classification": Classification,
    "multi_label": MultiLabel,
    "regression": Regression,
}

# What a subclass of Task must define.
REQUIRED = (
    *("create", "targets", "outputs", "loss"),
    *("eval_sums", "metrics", "predict"),
)
_COMMON = frozenset({"name", "target", "aux_weight"})  # options that all tasks heed


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
    missing = [name for name in REQUIRED if _attribute(cls, name) is vars(Task)[name]]
    if missing:
        raise errors.UserError(
            f"Task {cls.__name__} must have {', '.join(missing)} of its own, see "
            "jaxcnn.tasks.Task."
        )
    default = TaskConfig()
    for field in dataclasses.fields(TaskConfig):
        value = getattr(config, field.name)
        if field.name not in _COMMON | cls.OPTIONS:
            rule = f"{getattr(default, field.name)!r} for task {config.name!r}"
            errors.require(
                value == getattr(default, field.name), f"task.{field.name}", value, rule
            )
    return cls


def _attribute(cls: type, name: str) -> Any:
    """What a class, or the first of its bases that has it, defines under a name."""
    return next(vars(base)[name] for base in cls.__mro__ if name in vars(base))


def create_task(
    config: TaskConfig,
    targets: Targets,
    statistics: Mapping[str, Any],
    given: Any = None,
) -> Task:
    """The task for a data set.

    Args:
        config: Name and options.
        targets: Targets of the data set.
        statistics: Result of the task's measure for the training examples.
        given: A task, or its class; None: config names it.

    Raises:
        UserError: A choice that is not allowed, or a target that the data set does
            not have.
    """
    if given is None or isinstance(given, type):
        return find(config, given).create(config, targets, statistics)
    if not hasattr(given, "eval_sums"):
        raise errors.UserError(
            f"A task must be a jaxcnn.Task or its class, not a {type(given).__name__}."
        )
    missing = [name for name in given.targets if name not in targets]
    if missing:
        raise errors.UserError(
            f"{type(given).__name__} needs target {missing[0]!r}; the data set has "
            f"{', '.join(targets) or 'none'}."
        )
    return given
