"""Early stopping: ends a run before its last step.

Goodfellow, Bengio and Courville, "Deep Learning", 2016, Algorithm 7.1,
https://www.deeplearningbook.org/contents/regularization.html: patience is the number of
consecutive validations without improvement. The decision depends only on the
validations so far, which every checkpoint contains, so a resumed run ends at the same
step.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math

from jaxcnn.config import Config
from jaxcnn.tasks import Metric, Task


def metric_name(config: Config) -> str | None:
    """Name of the validation metric that is watched; None: the task's default."""
    return config.early_stopping_metric or config.best_metric


@dataclasses.dataclass(frozen=True)
class Rule:
    """When to stop.

    Attributes:
        metric: The validation metric that is watched.
        patience: Validations in a row without a better value that end the run; None:
            none do.
    """

    metric: Metric
    patience: int | None

    def since_best(self, validations: Sequence[Mapping[str, float]]) -> int:
        """Validations after the best one; of equal ones the first is the best.

        Args:
            validations: Metrics of each validation of the run, in order.
        """
        best, since = -math.inf, 0
        for values in validations:
            value = self.metric.goodness(values[self.metric.name])
            best, since = (value, 0) if value > best else (best, since + 1)
        return since

    def is_over(self, validations: Sequence[Mapping[str, float]]) -> bool:
        """Whether the run ends after these validations."""
        patience = self.patience
        return patience is not None and self.since_best(validations) >= patience


def make_rule(config: Config, task: Task) -> Rule:
    """The rule of a run."""
    metric = task.metric(metric_name(config))
    return Rule(metric, config.early_stopping_patience)
