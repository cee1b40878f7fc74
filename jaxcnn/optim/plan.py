"""Plans which parameters a run trains, from which step, and at which learning rate.

Howard and Ruder, "Universal Language Model Fine-tuning", ACL 2018, sec. 3.2,
https://arxiv.org/abs/1801.06146: rates that decrease from group to group towards the
input ("discriminative fine-tuning"), and groups that are unfrozen from the head down
("gradual unfreezing").
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from jaxcnn.config import OptimConfig
from jaxcnn.errors import UserError, require
from jaxcnn.optim import layerwise

LEVELS = ("stage", "block")


@dataclasses.dataclass(frozen=True)
class Plan:
    """When and how fast each parameter is trained.

    Attributes:
        factors: Path -> factor of the learning rate.
        starts: Path -> step of the parameter's first update. None: it is never
            trained.
        never: Layer groups, from input to head, that optim.unfreeze omits or reaches
            only after the run's end, although nothing freezes them.
    """

    factors: Mapping[str, float]
    starts: Mapping[str, int | None]
    never: tuple[str, ...] = ()

    @property
    def boundaries(self) -> tuple[int, ...]:
        """Steps at which the set of trained parameters changes; the first is 0."""
        return tuple(
            sorted({start for start in self.starts.values() if start is not None})
        )

    def trained(self, step: int) -> frozenset[str]:
        """Paths of the parameters that the update at `step` changes."""
        return frozenset(
            path
            for path, start in self.starts.items()
            if start is not None and start <= step
        )


def make_plan(
    config: OptimConfig,
    params: Any,
    groups: Sequence[str],
    num_steps: int,
    steps_per_epoch: float,
) -> Plan:
    """Makes the plan of a run.

    Args:
        config: Optimizer settings; uses lr_factors, lr_decay, freeze and unfreeze.
        params: Parameters, or their shapes.
        groups: Names of the layer groups, from input to head.
        num_steps: Number of updates in the whole run.
        steps_per_epoch: Number of updates in one pass over the training images.

    Raises:
        UserError: A setting is not allowed, a pattern matches nothing, or no parameter
            is trained from the first step.
    """
    factors = layerwise.factors(_rules(config, groups), params)
    frozen = layerwise.first_match(config.freeze, params)
    starts = {
        path: None if frozen[path] is not None or factor == 0 else 0
        for path, factor in factors.items()
    }
    never = ()
    if config.unfreeze:
        first = layerwise.first_match([p for p, _ in config.unfreeze], params)
        unfrozen = {
            path: None
            if index is None
            else round(config.unfreeze[index][1] * steps_per_epoch)
            for path, index in first.items()
        }
        late = {p for p, at in unfrozen.items() if at is None or at >= num_steps}
        late = {layerwise.group(p) for p in late if starts[p] is not None}
        never = tuple(group for group in groups if group in late)
        starts = {
            path: None if start is None or unfrozen[path] is None else unfrozen[path]
            for path, start in starts.items()
        }
    if 0 not in starts.values():
        raise UserError(
            "Every parameter is frozen at the first step: optim.freeze, optim.unfreeze "
            "and the learning-rate factors must leave something to train, such as "
            "'head'."
        )
    return Plan(factors, starts, never)


def _rules(config: OptimConfig, groups: Sequence[str]) -> Sequence[layerwise.Rule]:
    """Returns (pattern, factor) rules that cover every group."""
    require(
        config.lr_decay_per in LEVELS,
        "optim.lr_decay_per",
        config.lr_decay_per,
        " or ".join(LEVELS),
    )
    decay = config.lr_decay
    if config.lr_factors and decay != 1:
        raise UserError(
            f"optim.lr_decay={decay} and optim.lr_factors both set the learning rate "
            "of each layer group; use only one of them."
        )
    if config.lr_factors:
        return config.lr_factors
    return layerwise.decay_by_depth(groups, decay, config.lr_decay_per)
