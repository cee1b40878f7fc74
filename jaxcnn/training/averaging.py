"""Averages of the parameters over the steps of a run.

Each average is updated in the compiled step, by a function of the average so far, the
variables after the update, and the number of updates so far.
"""

from collections.abc import Callable, Iterable
import functools
import math
from typing import Any

from flax import traverse_util
import jax
import jax.numpy as jnp

from jaxcnn.config import AverageConfig
from jaxcnn.errors import require, unknown

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


def swa(
    average: Any, variables: Any, step: jax.Array, *, start_step: int, every_steps: int
) -> Any:
    """Stochastic weight averaging: the mean of the parameters after each epoch.

    Izmailov et al., UAI 2018, Algorithm 1, https://arxiv.org/abs/1803.05407. Up to
    start_step, the average is the parameters themselves. The running statistics are
    copied from the latest parameters, and are recomputed before an evaluation.
    """
    after = jnp.maximum(step - start_step, 0)
    due = after % every_steps == 0  # always true up to start_step
    share = jnp.where(due, 1 / (1 + after // every_steps), 0)

    def move(old: jax.Array, new: jax.Array) -> jax.Array:
        return old + share.astype(old.dtype) * (new - old)

    params = jax.tree.map(move, average["params"], variables["params"])
    return {"params": params, "batch_stats": variables["batch_stats"]}


NAMES = ("none", "ema", "swa")


def make_average(
    config: AverageConfig, num_steps: int, steps_per_epoch: float
) -> Average | None:
    """Returns the update function of a run's average; None if it keeps no average.

    Raises:
        UserError: A setting is not allowed.
    """
    require(0 <= config.decay < 1, "average.decay", config.decay, "in [0, 1)")
    start = config.start_epoch
    require(0 <= start < math.inf, "average.start_epoch", start, "0 or more")
    start_step = round(start * steps_per_epoch)
    if config.name == "none":
        return None
    if config.name == "ema":
        return functools.partial(ema, decay=config.decay)
    if config.name != "swa":
        raise unknown("average", config.name, NAMES)
    holds = start_step < num_steps
    require(holds, "average.start_epoch", start, "before the end of the run")
    every_steps = max(1, round(steps_per_epoch))
    return functools.partial(swa, start_step=start_step, every_steps=every_steps)


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
