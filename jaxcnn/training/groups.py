"""Summarises how a run trains each layer group, for the table printed at its start."""

from collections.abc import Sequence
import dataclasses
from typing import Any

import jax

from jaxcnn.config import OptimConfig
from jaxcnn.optim import Plan, layerwise


@dataclasses.dataclass(frozen=True)
class GroupRow:
    """A layer group, or all blocks of a stage if they are trained alike.

    Attributes:
        name: Name of the group, or "stage2" for all blocks of a stage.
        parameters: Number of parameters, trained or not.
        trained: When it is trained: "from the start", "from epoch 2", "frozen", or
            several of these.
        peak_lr: Highest learning rate of its trained parameters. None: it is frozen.
        weight_decay: Weight decay of its kernels. None: nothing is decayed.
        batch_norm: Statistics that BatchNorm uses: "batch", "running", "batch and
            running" if some of it is frozen, or "none" if there is no BatchNorm.
    """

    name: str
    parameters: int
    trained: str
    peak_lr: float | None
    weight_decay: float | None
    batch_norm: str


def group_rows(
    config: OptimConfig,
    plan: Plan,
    variables: dict[str, Any],
    groups: tuple[str, ...],
    steps_per_epoch: float,
) -> list[GroupRow]:
    """Returns a row for each layer group, from input to head.

    The blocks of a stage share a row if they differ only in their number of parameters.
    """
    rows = []
    for group in groups:
        leaves = jax.tree_util.tree_leaves_with_path(
            {group: variables["params"][group]}
        )
        paths = [layerwise.path(keys) for keys, _ in leaves]
        starts = {plan.starts[path] for path in paths}
        moving = [path for path in paths if plan.starts[path] is not None]
        decays = any(path.endswith("/kernel") for path in moving)
        stats = layerwise.paths({group: variables["batch_stats"].get(group, {})})
        when = [_when(start, steps_per_epoch) for start in sorted(starts, key=_last)]
        rates = [config.peak_lr * plan.factors[path] for path in moving]
        row = GroupRow(
            name=group,
            parameters=sum(leaf.size for _, leaf in leaves),
            trained=", ".join(when),
            peak_lr=max(rates, default=None),
            weight_decay=(config.weight_decay or None) if decays else None,
            batch_norm=_batch_norm(stats, paths, moving),
        )
        rows.append(row)
    return _merged(rows)


def _batch_norm(
    stats: Sequence[str], paths: Sequence[str], moving: Sequence[str]
) -> str:
    """GroupRow.batch_norm of a group with these statistics and parameters."""
    modes = set()
    for layer in {path.rpartition("/")[0] for path in stats}:
        own = {path for path in paths if path.rpartition("/")[0] == layer}
        is_frozen = not own & set(moving) if own else not moving
        modes.add("running" if is_frozen else "batch")
    return " and ".join(sorted(modes)) or "none"


def _last(start: int | None) -> float:
    return float("inf") if start is None else start


def _when(start: int | None, steps_per_epoch: float) -> str:
    if start is None:
        return "frozen"
    return f"from epoch {start / steps_per_epoch:.3g}" if start else "from the start"


def _merged(rows: list[GroupRow]) -> list[GroupRow]:
    """Merges the rows of a stage's blocks if that loses no information."""
    stages = {}
    for row in rows:
        stages.setdefault(layerwise.stage(row.name), []).append(row)
    result = []
    for stage, blocks in stages.items():
        facts = {dataclasses.replace(row, name="", parameters=0) for row in blocks}
        if len(facts) > 1:
            result += blocks
            continue
        total = sum(row.parameters for row in blocks)
        result.append(dataclasses.replace(blocks[0], name=stage, parameters=total))
    return result
