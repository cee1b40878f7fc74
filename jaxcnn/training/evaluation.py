"""Exact metrics over a split."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
from jax.sharding import Mesh
import numpy as np

from jaxcnn.tasks import Task
from jaxcnn.training import parallel


def evaluate(
    step: Callable[..., dict[str, jax.Array]],
    variables: dict[str, Any],
    batches: Iterable[dict[str, np.ndarray]],
    *,
    task: Task,
    mesh: Mesh,
) -> dict[str, Any]:
    """Metrics of the task over batches that hold each example once.

    Args:
        step: Compiled step(variables, batch) -> sums over the batch's examples.
        variables: Of the model, on the mesh.
        batches: This host's share of padded and weighted batches.
        task: Turns the sums into metrics.
        mesh: The devices.
    """
    total, pending = None, None
    for batch in batches:
        sums = step(variables, parallel.put_batch(batch, mesh))
        # The sums before these are read while the device works on these. They add
        # up in float64, in which counts and many small losses stay exact.
        total, pending = _add(total, pending), sums
    return task.metrics(_add(total, pending))


def _add(total: Any, sums: Any) -> Any:
    if sums is None:
        return total
    sums = {name: np.asarray(x, np.float64) for name, x in sums.items()}
    return sums if total is None else {k: total[k] + x for k, x in sums.items()}
