"""Shared parts of the Inception networks: parallel branches and auxiliary heads."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.models.layers import Size

Pool = Callable[[jax.Array], jax.Array]


class Unit(NamedTuple):
    """A convolution with activation; for the fields see layers.ConvNorm."""

    filters: int
    kernel: Size = 1
    stride: Size = 1
    padding: Size | None = None


class Fork(NamedTuple):
    """Two convolutions with the same input, at the end of a branch."""

    a: Unit
    b: Unit


Branch = Sequence[Unit | Fork | Pool]


class Branches(nn.Module):
    """Parallel branches whose channels are concatenated.

    The convolutions of the second branch are branch2_conv1, branch2_conv2, ..., those
    of a fork branch2_conv3a and branch2_conv3b.

    Attributes:
        branches: Convolutions and pools of each branch, from input to output.
        conv: Convolution class, called as conv(*unit, name=...)(x, train=...).
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
    """Runs an auxiliary head in training only.

    Args:
        head: Auxiliary head, which sows its logits.
        x: Features [B, H, W, C].
        size: H and W of the features that initialise the head. Its parameters do not
            depend on them, but x may be too small for it.
        train: Whether the network is training.
    """
    if head.is_initializing():
        x = jnp.zeros((1, size, size, x.shape[-1]), x.dtype)
    elif not train:
        return
    head(x, train=train)
