"""What a task is: all that the rest of the package asks of it.

A task alone knows what the numbers of a network mean. A new one is a class like
Classification, as a file of this package with a row in TASKS, or in a package of its
user's own that config.task.name names as "module:attribute".
"""

import abc
from collections.abc import Callable, Iterable, Mapping
import dataclasses
import inspect
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.config import TaskConfig
from jaxcnn.errors import UserError, require, unknown
from jaxcnn.targets import Targets
from jaxcnn.tasks.parts import Caption, Mark, Part

Batch = Mapping[str, jax.Array]  # each target [B, ...]; in evaluation "weight" [B]
# Name of a target -> its values, [N, ...], or each of them as it is iterated over.
Column = Callable[[str], Any]
Predicted = Mapping[str, np.ndarray]  # what Task.predict says of one example


@dataclasses.dataclass(frozen=True)
class Metric:
    """A number by which one network is better than another.

    Attributes:
        name: Its key in Task.metrics.
        greater_is_better: The direction.
    """

    name: str
    greater_is_better: bool = True

    def goodness(self, value: float) -> float:
        """The value, with its sign turned where less is better; NaN is the worst."""
        if math.isnan(value):
            return -math.inf
        return value if self.greater_is_better else -value


def metric_table(*metrics: Metric) -> dict[str, Metric]:
    """Metrics by name."""
    return {metric.name: metric for metric in metrics}


class Task(abc.ABC):
    """A target, a loss and metrics; what is not abstract has a useful default.

    Attributes:
        METRICS: Metrics that a checkpoint can be the best by; the first is the
            default.
        OPTIONS: Fields of TaskConfig that the task uses, besides name, target and
            aux_weight; another value of any other field is refused.
        IMBALANCE_ADVICE: Advice for data in which some groups are small.
        LISTS: Fields that are tuples of any length; other tuples have an item for each
            class, number or character.
        IS_MAP: Whether the network's output is an array [B, H, W, ...] as high and wide
            as its images. What is predicted is then that of an image's own size.
    """

    METRICS: ClassVar[Mapping[str, Metric]] = metric_table(
        Metric("loss", greater_is_better=False)
    )
    OPTIONS: ClassVar[frozenset[str]] = frozenset({"fields"})
    IMBALANCE_ADVICE: ClassVar[str] = ""
    LISTS: ClassVar[frozenset[str]] = frozenset()
    IS_MAP: ClassVar[bool] = False

    @classmethod
    def measure(
        cls, config: TaskConfig, targets: Targets, column: Column
    ) -> dict[str, Any]:
        """What must be known of the training targets, and of files that the config
        names, as JSON has it.

        A run's folder keeps it, so that nothing is measured twice. When a run is
        resumed with other options, it is measured again.

        Args:
            config: The task's options.
            targets: Targets of the data set.
            column: Gives one target of all training examples; may read all of them.
                Targets as large as their images, such as masks, are read as they are
                iterated over, without those of examples that cannot be read.
        """
        return {}

    @classmethod
    def create(
        cls, config: TaskConfig, targets: Targets, statistics: Mapping[str, Any]
    ) -> "Task":
        """The task for a data set; here made of config.fields alone.

        Args:
            config: The task's options.
            targets: Targets of the data set.
            statistics: Result of measure.

        Raises:
            UserError: An option that is not allowed, or no target of the right kind.
        """
        fields = dict(config.fields)
        try:
            inspect.signature(cls).bind(**fields)
        except TypeError as error:
            raise UserError(
                f"{cls.__name__} cannot be made of task.fields={config.fields}: "
                f"{error}."
            ) from error
        return cls(**fields)

    def for_channels(self, channels: int) -> "Task":
        """The task for images of that many channels; most tasks are the same for all.

        Raises:
            UserError: It cannot be done for such images.
        """
        return self

    def remarks(self, config: TaskConfig) -> list[str]:
        """Messages for the log of a run that begins or is resumed.

        Args:
            config: The task's options.
        """
        return []

    # Training.

    def inputs(self, batch: Batch, keys: jax.Array) -> Batch:
        """What a batch holds when the network sees it, in training and evaluation.

        A task that makes its targets of the images does it here, on the device: it may
        change "image" and add entries, each [B, ...]. Images that are predicted are
        taken as they are.

        Args:
            batch: Augmented images, not yet normalised, [B, H, W, C] in [0, 255], and
                the targets.
            keys: Key of each example, [B]. In training it is of the step, in evaluation
                it depends on the image alone.
        """
        return batch

    @property
    @abc.abstractmethod
    def targets(self) -> Targets:
        """The targets that a batch holds."""

    @property
    @abc.abstractmethod
    def outputs(self) -> dict[str, Any]:
        """Fields that the network is built with, such as {"num_classes": 10}."""

    @property
    def output_names(self) -> tuple[str, ...] | None:
        """Name of each of the network's outputs; None: they are not known."""
        named = [target.names for target in self.targets.values() if target.names]
        return named[0] if len(named) == 1 else None

    @property
    def output_shape(self) -> tuple[int | None, ...] | None:
        """Shape of the network's output for one image, with None for an axis of any
        length; None: any output will do."""
        return None

    def problems(self, output: Any, column: Column) -> Iterable[tuple[int, str]]:
        """(index of the example, what is wrong) for targets that this network cannot
        learn; they are refused before training.

        Args:
            output: Output of the network for one image, [1, ...], as
                jax.ShapeDtypeStruct.
            column: Gives one target of all examples of a split.
        """
        return ()

    @abc.abstractmethod
    def loss(self, output: Any, batch: Batch) -> jax.Array:
        """Training loss of each example, [B], from what the network gives."""

    def train_metrics(self, output: Any, batch: Batch) -> dict[str, jax.Array]:
        """Means over a training batch, float32 []."""
        return {}

    # Evaluation.

    @abc.abstractmethod
    def eval_sums(self, output: Any, batch: Batch) -> dict[str, jax.Array]:
        """Sums over the examples of a batch, each times batch["weight"]."""

    def eval_records(self, output: Any, batch: Batch) -> dict[str, jax.Array]:
        """What metrics needs of each example, [B, ...], where sums are not enough."""
        return {}

    @abc.abstractmethod
    def metrics(
        self, sums: Mapping[str, np.ndarray], records: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
        """Metrics of a whole split; single numbers are floats.

        Args:
            sums: Sums of eval_sums over all batches, float64.
            records: Records of eval_records, [N, ...], without padding.
        """

    def metric(self, name: str | None) -> Metric:
        """The metric of that name, the default for None; UserError for unknown ones."""
        if not self.METRICS:
            raise UserError(f"{type(self).__name__}.METRICS must name a metric.")
        if name is None:
            return next(iter(self.METRICS.values()))
        if name not in self.METRICS:
            raise unknown("metric", name, self.METRICS)
        return self.METRICS[name]

    def report(
        self, metrics: Mapping[str, Any], records: Mapping[str, np.ndarray]
    ) -> list[Part]:
        """Tables and figures of what is no single number.

        Args:
            metrics: Result of the method metrics.
            records: The records that it was given.
        """
        return []

    # Prediction.

    @abc.abstractmethod
    def predict(self, output: Any) -> dict[str, jax.Array]:
        """What is said of each example, [B, ...], from what the network gives."""

    def mean_output(self, outputs: Iterable[np.ndarray]) -> np.ndarray:
        """The output for an image that the network has seen several times, mirrored or
        at other scales: here the mean.

        Args:
            outputs: Those outputs, each computed when it is asked for. They are large:
                keep one at a time.
        """
        total, number = 0.0, 0
        for output in outputs:
            total, number = total + output, number + 1
        return total / number

    def answer(self, predicted: Predicted, limit: int) -> dict[str, Any]:
        """What predict says of one example, as JSON has it.

        Args:
            predicted: Its arrays, without the axis of the batch.
            limit: Most items of a list, such as the most likely classes.
        """
        return {name: value.tolist() for name, value in predicted.items()}

    def rows(self, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Rows of a CSV file, column -> value, for an answer."""
        return [dict(answer)]

    def cells(self, answer: Mapping[str, Any]) -> list[str]:
        """Cells of one row of a table that people read, for an answer."""
        return [f"{name} {value}" for name, value in answer.items()]

    def titles(self, number: int) -> list[str]:
        """Titles of the first `number` of the columns of these cells."""
        return [str(i) for i in range(1, number + 1)]

    def marks(self, answer: Mapping[str, Any]) -> list[Mark]:
        """What is drawn on the image for an answer."""
        return [Caption(cell) for cell in self.cells(answer)]

    def spread(self, predicted: Predicted) -> dict[str, str]:
        """All that predict says of one example in one row: column -> text."""
        return {name: str(value.tolist()) for name, value in predicted.items()}

    # Data.

    def caption(self, example: Mapping[str, Any]) -> str:
        """The target of an example, for people."""
        return ", ".join(f"{name} {example[name]}" for name in self.targets)

    def truth(self, example: Mapping[str, Any]) -> tuple[np.ndarray, list[Mark]]:
        """(image, what a right answer would have drawn on it) of an example.

        Args:
            example: "image", uint8 [H, W, C], and what else a batch has of it.
        """
        return example["image"], [Caption(self.caption(example))]

    def groups(self, column: Column) -> dict[str, np.ndarray]:
        """Name of a group of examples, such as a class -> which examples are in it,
        bool [N]."""
        return {}

    def strata(self, column: Column) -> np.ndarray | None:
        """The stratum of each example, int [N], for balanced sampling and stratified
        cuts; None where examples fall into no classes."""
        return None

    @property
    def strata_names(self) -> tuple[str, ...]:
        """Names of the strata."""
        return ()


def changes_inputs(task: Task) -> bool:
    """Whether a task has a method `inputs` of its own."""
    return type(task).inputs is not Task.inputs


def wide(x: jax.Array) -> jax.Array:
    """The array in the wider of float32 and its own dtype."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Their ratio in float64, 0 where the denominator is."""
    zeros = np.zeros(np.shape(numerator))
    return np.divide(numerator, denominator, out=zeros, where=denominator > 0)


def stated_numbers(
    statistics: Mapping[str, Any], name: str, count: int
) -> tuple[float, ...] | None:
    """The `count` numbers that statistics hold by a name; None: they hold none.

    Raises:
        UserError: What they hold is something else, as in a damaged file.
    """
    numbers = statistics.get(name)
    if numbers is None:
        return None
    holds = isinstance(numbers, list | tuple) and len(numbers) == count
    holds = holds and all(type(x) in (int, float) for x in numbers)
    require(holds, f"statistics.{name}", numbers, f"{count} numbers")
    return tuple(numbers)


def only_target(config: TaskConfig, targets: Targets, kind: str) -> str:
    """Name of the target that a task is trained on.

    Args:
        config: Its field target names it; None: it is the only one of the kind.
        targets: Targets of the data set.
        kind: The kind that the task needs.

    Raises:
        UserError: There is none of that name and kind, or which is meant is not clear.
    """
    fitting = [name for name, target in targets.items() if target.kind == kind]
    if config.target is not None:
        require(config.target in fitting, "task.target", config.target, f"in {fitting}")
        return config.target
    if len(fitting) != 1:
        have = ", ".join(f"{name} ({t.kind})" for name, t in targets.items()) or "none"
        raise UserError(
            f"task.name={config.name!r} needs one target of kind {kind!r}; the data "
            f"set has {have}. task.target chooses one."
        )
    return fitting[0]
