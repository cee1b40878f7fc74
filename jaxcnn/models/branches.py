"""What the Inception networks share: branches side by side, and auxiliary heads."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.models.layers import Size

Pool = Callable[[jax.Array], jax.Array]


class Unit(NamedTuple):
    """One convolution with its activation; fields as in layers.ConvNorm."""

    filters: int
    kernel: Size = 1
    stride: Size = 1
    padding: Size | None = None


class Fork(NamedTuple):
    """Two convolutions of the same input, the end of a branch."""

    a: Unit
    b: Unit


Branch = Sequence[Unit | Fork | Pool]


class Branches(nn.Module):
    """Branches that run side by side and whose channels are put together.

    The convolutions of the second branch are branch2_conv1, branch2_conv2, ..., those
    of a fork branch2_conv3a and branch2_conv3b.

    Attributes:
        branches: Convolutions and pools of each branch, from input to output.
        conv: Called as conv(*unit, name=...)(x, train=...).
    """

    branches: Sequence[Branch]
    conv: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, sum over branches]."""
        outputs = []
        for i, branch in enumerate(self.branches):
            ends, convs = [x], 0
            for step in branch:
                if isinstance(step, Unit | Fork):
                    convs += 1
                    name = f"branch{i + 1}_conv{convs}"
                if isinstance(step, Unit):
                    ends = [self.conv(*step, name=name)(ends[0], train=train)]
                elif isinstance(step, Fork):
                    ends = [
                        self.conv(*unit, name=f"{name}{letter}")(ends[0], train=train)
                        for letter, unit in zip("ab", step, strict=True)
                    ]
                else:
                    ends = [step(ends[0])]
            outputs += ends
        return jnp.concatenate(outputs, axis=-1)


def run_auxiliary(head: nn.Module, x: jax.Array, size: int, *, train: bool) -> None:
    """Runs an auxiliary head where it is wanted: in training.

    Args:
        head: Sows its logits.
        x: Features [B, H, W, C].
        size: H and W for which its parameters are made. They do not depend on it, but
            it is large enough for the head, as x may not be.
        train: Whether the network trains.
    """
    if head.is_initializing():
        x = jnp.zeros((1, size, size, x.shape[-1]), x.dtype)
    elif not train:
        return
    head(x, train=train)
