"""Dynamic loss scaling, for training in float16.

Micikevicius et al., "Mixed Precision Training", ICLR 2018, sec. 3.2,
https://arxiv.org/abs/1710.03740: small gradients underflow in float16, whose smallest
positive number is 6e-8, so the loss is multiplied by a scale before the backward pass
and the gradients are divided by it afterwards. A step whose gradients overflow is
skipped and halves the scale; many steps in a row without overflow double it. The
constants are those of PyTorch's GradScaler,
https://docs.pytorch.org/docs/stable/amp.html#gradient-scaling.

A skipped step counts as a step of the run, but not of the optimizer, whose schedule is
behind by one step from then on.
"""

from flax import struct
import jax
import jax.numpy as jnp

START = 65536.0  # GradScaler: init_scale
GROWTH_INTERVAL = 2000  # steps in a row without overflow; GradScaler: growth_interval
SMALLEST, LARGEST = 1.0, 2.0**100  # below 1, the loss would be scaled down


class LossScale(struct.PyTreeNode):
    """The loss scale of the next step.

    Attributes:
        scale: Scale, float32 []; a power of two, so that scaling is exact.
        good_steps: Number of steps without overflow since the last change, int32 [].
    """

    scale: jax.Array
    good_steps: jax.Array

    def after(
        self, finite: jax.Array, growth_interval: int = GROWTH_INTERVAL
    ) -> "LossScale":
        """Returns the scale after a step; `finite`, bool [], is for its gradients."""
        good_steps = jnp.where(finite, self.good_steps + 1, 0)
        grows = good_steps == growth_interval
        scale = jnp.where(finite, self.scale, self.scale / 2)
        scale = jnp.where(grows, scale * 2, scale)
        return LossScale(
            scale=jnp.clip(scale, SMALLEST, LARGEST),
            good_steps=jnp.where(grows, 0, good_steps),
        )


def create() -> LossScale:
    """Returns the scale of the first step."""
    return LossScale(jnp.float32(START), jnp.int32(0))
