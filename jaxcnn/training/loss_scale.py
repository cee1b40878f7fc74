"""Dynamic loss scaling, for training in float16.

Micikevicius et al., "Mixed Precision Training", ICLR 2018, sec. 3.2,
https://arxiv.org/abs/1710.03740: small gradients are 0 in float16, whose smallest
number is 6e-8, so the loss is multiplied by a scale before the backward pass and the
gradients are divided by it after that. A step whose gradients overflow is skipped and
halves the scale; many good steps in a row double it. The numbers are those of PyTorch's
GradScaler, https://docs.pytorch.org/docs/stable/amp.html#gradient-scaling.

A step that is skipped counts as a step, but not for the optimizer, whose schedule is
behind by one from there on.
"""

from flax import struct
import jax
import jax.numpy as jnp

START = 65536.0  # GradScaler: init_scale
GROWTH_INTERVAL = 2000  # good steps in a row; GradScaler: growth_interval
SMALLEST, LARGEST = 1.0, 2.0**100  # with 1 there is nothing left to lower


class LossScale(struct.PyTreeNode):
    """The scale of the next step.

    Attributes:
        scale: float32 [], a power of two, which changes no digit of a gradient.
        good_steps: int32 [], in a row since the scale last changed.
    """

    scale: jax.Array
    good_steps: jax.Array

    def after(
        self, finite: jax.Array, growth_interval: int = GROWTH_INTERVAL
    ) -> "LossScale":
        """The scale after a step whose gradients were finite, bool [], or not."""
        good_steps = jnp.where(finite, self.good_steps + 1, 0)
        grows = good_steps == growth_interval
        scale = jnp.where(finite, self.scale, self.scale / 2)
        scale = jnp.where(grows, scale * 2, scale)
        return LossScale(
            scale=jnp.clip(scale, SMALLEST, LARGEST),
            good_steps=jnp.where(grows, 0, good_steps),
        )


def create() -> LossScale:
    """The scale of the first step."""
    return LossScale(jnp.float32(START), jnp.int32(0))


def all_finite(tree: object) -> jax.Array:
    """bool [], whether every number of a tree is finite."""
    return jnp.all(jnp.array([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]))
