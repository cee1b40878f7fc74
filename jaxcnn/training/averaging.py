"""Averages of the parameters over the steps of a run.

Each average is updated in the compiled step, by a function of the average so far, the
variables after the update, and the number of updates so far.
"""

from collections.abc import Callable, Iterable
import functools
import itertools
from typing import Any

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.config import AverageConfig
from jaxcnn.errors import require, unknown
from jaxcnn.training.due import DueSteps

Average = Callable[[Any, Any, jax.Array], Any]


def ema(average: Any, variables: Any, step: jax.Array, *, decay: float) -> Any:
    """Exponential moving average of parameters and running statistics.

    Polyak and Juditsky, 1992. The decay is at most (1 + step) / (10 + step), as in
    TensorFlow's ExponentialMovingAverage, so that short runs forget their initial
    values.
    """
    decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))

    def move(old: jax.Array, new: jax.Array) -> jax.Array:
        return old + (1 - decay).astype(old.dtype) * (new - old)

    return jax.tree.map(move, average, variables)


def swa(average: Any, variables: Any, step: jax.Array, *, due: np.ndarray) -> Any:
    """Stochastic weight averaging: the mean of the parameters after each epoch.

    Izmailov et al., UAI 2018, Algorithm 1, https://arxiv.org/abs/1803.05407. The mean
    starts with the parameters of the first due step, as in PyTorch's AveragedModel; up
    to there the average is the parameters themselves. The running statistics are copied
    from the latest parameters, and are recomputed before an evaluation.

    Args:
        average: The average so far.
        variables: Parameters and running statistics after the update.
        step: Number of updates so far.
        due: int32 [N], steps whose parameters are averaged, in ascending order.
    """
    count = jnp.searchsorted(jnp.asarray(due), step, side="right")  # due so far
    is_due = jnp.asarray(due)[jnp.maximum(count - 1, 0)] == step
    share = jnp.where(is_due | (count == 0), 1 / jnp.maximum(count, 1), 0)

    def move(old: jax.Array, new: jax.Array) -> jax.Array:
        # The first is copied, or rounding would leave something of the start.
        moved = old + share.astype(old.dtype) * (new - old)
        return jnp.where(share == 1, new, moved)

    params = jax.tree.map(move, average["params"], variables["params"])
    return {"params": params, "batch_stats": variables["batch_stats"]}


NAMES = ("none", "ema", "swa")
_MAX_AVERAGED = 100_000


def make_average(
    config: AverageConfig, num_steps: int, steps_per_epoch: float
) -> Average | None:
    """Returns the update function of a run's average; None if it keeps no average.

    Raises:
        UserError: A setting is not allowed.
    """
    if config.name == "none":
        return None
    if config.name == "ema":
        return functools.partial(ema, decay=config.decay)
    if config.name != "swa":
        raise unknown("average", config.name, NAMES)
    start = config.start_epoch
    holds = round(start * steps_per_epoch) < num_steps
    require(holds, "average.start_epoch", start, "before the end of the run")
    due = DueSteps(steps_per_epoch, num_steps, start * steps_per_epoch)
    steps = [*itertools.islice(due, _MAX_AVERAGED + 1)]
    rule = f"ema or none for a run of more than {_MAX_AVERAGED:,} epochs"
    require(len(steps) <= _MAX_AVERAGED, "average.name", config.name, rule)
    return functools.partial(swa, due=np.array(steps, np.int32))


def pooled_statistics(batches: Iterable[Any], batch_stats: Any) -> Any:
    """Computes BatchNorm's running statistics over several batches of equal size.

    The variance is that of all values together, not the mean of the variances.

    Args:
        batches: Statistics of each batch, trees like batch_stats.
        batch_stats: Running statistics that supply everything except "mean" and "var".
    """
    total, count = None, 0
    for stats in batches:
        moments = _moments(traverse_util.flatten_dict(stats))
        total = moments if total is None else jax.tree.map(jnp.add, total, moments)
        count += 1
    flat = traverse_util.flatten_dict(batch_stats)
    for path in total:
        mean, square = (x / count for x in total[path])
        flat[(*path, "mean")] = mean
        flat[(*path, "var")] = jnp.maximum(square - jnp.square(mean), 0)
    return traverse_util.unflatten_dict(flat)


def _moments(flat: dict[tuple[str, ...], jax.Array]) -> dict[Any, Any]:
    """Returns path of a normalisation -> mean of its inputs and of their squares."""
    return {
        path[:-1]: (mean, flat[(*path[:-1], "var")] + jnp.square(mean))
        for path, mean in flat.items()
        if path[-1] == "mean"
    }
