"""What a training step changes, and nothing else."""

from typing import Any

from flax import linen as nn
from flax import struct
import jax
import jax.numpy as jnp
import optax


class TrainState(struct.PyTreeNode):
    """The numbers that a checkpoint holds.

    Attributes:
        step: int32 [], updates so far, which is also the position in the data.
        params: Trainable parameters, by layer group.
        batch_stats: Running statistics of BatchNorm; {} in a network without it.
        opt_state: State of the optax chain.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        """What model.apply takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def init_variables(
    model: nn.Module, key: jax.Array, image_shape: tuple[int, int, int]
) -> dict[str, Any]:
    """Fresh {"params", "batch_stats"} for images [B, H, W, C].

    They are float32, and float64 under jax_enable_x64.
    """
    images = jnp.zeros((1, *image_shape))
    variables = model.init(key, images, train=False)
    variables = {"params": {}, "batch_stats": {}} | variables
    return jax.tree.map(lambda x: x.astype(jnp.result_type(float)), variables)


def create_state(
    model: nn.Module,
    tx: optax.GradientTransformation,
    key: jax.Array,
    image_shape: tuple[int, int, int],
) -> TrainState:
    """The state before the first step; pure, so that it can be compiled or traced."""
    variables = init_variables(model, key, image_shape)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=tx.init(variables["params"]),
    )
