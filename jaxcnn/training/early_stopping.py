"""Early stopping: ends a run before its last step.

Goodfellow, Bengio and Courville, "Deep Learning", 2016, Algorithm 7.1,
https://www.deeplearningbook.org/contents/regularization.html: patience is the number of
consecutive validations without improvement. The decision depends only on the
validations so far, which every checkpoint contains, so a resumed run ends at the same
step.
"""

from collections.abc import Mapping, Sequence
import math

from jaxcnn.config import Config
from jaxcnn.tasks import METRICS


def metric_name(config: Config) -> str:
    """Name of the validation metric that is monitored."""
    return config.early_stopping_metric or config.best_metric


def since_best(config: Config, validations: Sequence[Mapping[str, float]]) -> int:
    """Number of validations since the best one; the first of equals is the best.

    Args:
        config: Config of the run, which names the monitored metric.
        validations: Metrics of each validation of the run, in order.
    """
    metric = METRICS[metric_name(config)]
    sign = 1.0 if metric.greater_is_better else -1.0
    best, since = -math.inf, 0
    for values in validations:
        value = sign * values[metric.name]
        best, since = (value, 0) if value > best else (best, since + 1)
    return since


def is_over(config: Config, validations: Sequence[Mapping[str, float]]) -> bool:
    """Whether the run ends after these validations."""
    patience = config.early_stopping_patience
    return patience is not None and since_best(config, validations) >= patience
