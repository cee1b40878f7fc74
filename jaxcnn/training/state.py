"""What a training step changes, and nothing else."""

from collections.abc import Collection
from typing import Any

from flax import linen as nn
from flax import struct, traverse_util
import jax
import jax.numpy as jnp
import optax

from jaxcnn.training import loss_scale, nonfinite


class TrainState(struct.PyTreeNode):
    """The numbers that a checkpoint holds.

    Attributes:
        step: int32 [], updates so far, which is also the position in the data.
        params: All parameters, by layer group.
        batch_stats: Running statistics of BatchNorm; {} in a network without it.
        opt_state: State of the optax chain, for the parameters that are trained.
        average: "params" and "batch_stats" averaged over steps; {} in a run that
            keeps no average.
        loss_scale: A loss_scale.LossScale in a run in float16; {} in all others.
        skips: Steps that changed no parameter.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    average: Any
    loss_scale: Any = struct.field(default_factory=dict)
    skips: nonfinite.Skips = struct.field(default_factory=nonfinite.create)

    @property
    def variables(self) -> dict[str, Any]:
        """What model.apply takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def averaged(self) -> dict[str, Any]:
        """The variables to predict with: the average, where one is kept."""
        return self.average or self.variables


def init_variables(
    model: nn.Module, key: jax.Array, image_shape: tuple[int, int, int]
) -> dict[str, Any]:
    """Fresh {"params", "batch_stats"} for images [B, H, W, C].

    They are float32, and float64 under jax_enable_x64.
    """
    return init_with_output(model, key, image_shape)[1]


def init_with_output(
    model: nn.Module, key: jax.Array, image_shape: tuple[int, int, int]
) -> tuple[Any, dict[str, Any]]:
    """(what the network gives for one image, what init_variables gives)."""
    images = jnp.zeros((1, *image_shape))
    output, variables = model.init_with_output(key, images, train=False)
    variables = {"params": {}, "batch_stats": {}} | variables
    return output, jax.tree.map(lambda x: x.astype(jnp.result_type(float)), variables)


def select(params: Any, paths: Collection[str]) -> Any:
    """The parameters of these paths, such as "stem/conv/kernel", and no others."""
    flat = traverse_util.flatten_dict(params, sep="/")
    chosen = {path: leaf for path, leaf in flat.items() if path in paths}
    return traverse_util.unflatten_dict(chosen, sep="/")


def merge(params: Any, part: Any) -> Any:
    """params with those of a part, from select, in their places."""
    flat = traverse_util.flatten_dict(params, sep="/")
    flat |= traverse_util.flatten_dict(part, sep="/")
    return traverse_util.unflatten_dict(flat, sep="/")


def create_state(
    variables: dict[str, Any],
    tx: optax.GradientTransformation,
    trained: Collection[str] | None = None,
    *,
    average: bool = False,
    scaled: bool = False,
) -> TrainState:
    """The state before the first step; pure, so that it can be compiled or traced.

    Args:
        variables: Variables returned by init_variables.
        tx: The optimizer.
        trained: Paths of the parameters that it updates; None: all.
        average: Whether the state has an average, which starts as the variables.
        scaled: Whether it has a scale of the loss, as float16 needs it.
    """
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables["batch_stats"],
        opt_state=tx.init(params if trained is None else select(params, trained)),
        # A copy: the step donates both.
        average=jax.tree.map(jnp.copy, dict(variables)) if average else {},
        loss_scale=loss_scale.create() if scaled else {},
    )
