"""What a run does with each layer group, for people to read before it starts."""

import dataclasses
from typing import Any

import jax

from jaxcnn.config import OptimConfig
from jaxcnn.optim import Plan, layerwise


@dataclasses.dataclass(frozen=True)
class GroupRow:
    """One layer group, or all blocks of a stage of which the same can be said.

    Attributes:
        name: Of the group; "stage2" for all blocks of a stage.
        parameters: Its numbers, trained or not.
        trained: "from the start", "from epoch 2", "frozen", or several of them.
        peak_lr: The highest rate of its parameters that are trained; None: none is.
        weight_decay: Of its kernels; None: nothing of it decays.
        batch_norm: "batch", the statistics of the batch, "running", those that are
            kept, or "none".
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
    """A row for each layer group, from input to head; blocks of a stage are one row
    where only their numbers of parameters differ."""
    rows = []
    for group in groups:
        leaves = jax.tree_util.tree_leaves_with_path(
            {group: variables["params"][group]}
        )
        paths = [layerwise.path(keys) for keys, _ in leaves]
        starts = {plan.starts[path] for path in paths}
        moving = [path for path in paths if plan.starts[path] is not None]
        decays = any(path.endswith("/kernel") for path in moving)
        stats = jax.tree.leaves(variables["batch_stats"].get(group, {}))
        mode = ("batch" if moving else "running") if stats else "none"
        when = [_when(start, steps_per_epoch) for start in sorted(starts, key=_last)]
        rates = [config.peak_lr * plan.factors[path] for path in moving]
        row = GroupRow(
            name=group,
            parameters=sum(leaf.size for _, leaf in leaves),
            trained=", ".join(when),
            peak_lr=max(rates, default=None),
            weight_decay=(config.weight_decay or None) if decays else None,
            batch_norm=mode,
        )
        rows.append(row)
    return _merged(rows)


def _last(start: int | None) -> float:
    return float("inf") if start is None else start


def _when(start: int | None, steps_per_epoch: float) -> str:
    if start is None:
        return "frozen"
    return f"from epoch {start / steps_per_epoch:.3g}" if start else "from the start"


def _merged(rows: list[GroupRow]) -> list[GroupRow]:
    """Rows with the blocks of a stage in one where that loses nothing."""
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
