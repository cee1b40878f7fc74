"""The Neocognitron.

Paper: Fukushima, "Neocognitron: A Self-organizing Neural Network Model for a Mechanism
of Pattern Recognition Unaffected by Shift in Position", Biological Cybernetics 36,
1980, https://doi.org/10.1007/BF00344251. The equations of S- and C-cells, the numbers
of cells and the constants are the paper's.

It is trained by gradient here, not by the paper's self-organisation, in which the
S-cell that answers most in its neighbourhood reinforces its inputs. Weights stay
positive as there: they are softplus of the parameters. More departures:
  * A linear head on the 24 last C-cells; in the paper each comes to stand for a
    pattern.
  * The receptors pass no negative values: what is darker than the data's mean is 0.
  * Windows have the paper's sizes. It does not print their strides, the borders, or how
    the fixed weights fall with the distance; here they give its numbers of cells, and
    the weights fall by FALL for each pixel of distance.
Images of 16x16 pixels end in one C-cell a plane; of larger ones the head sees the mean.
"""

import math

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.models.layers import convolve, global_avg_pool, head, relu, softplus
from jaxcnn.models.variant import Variant

PLANES = 24
ALPHA = 0.5  # how soon a C-cell saturates
FALL = 0.8

# Initial values of our own, with which few S-cells answer, and to different features.
SPREAD = 2.5
INHIBITION = 4.0


def falling_weights(size: int) -> np.ndarray:
    """FALL ** distance from the middle, [size, size]."""
    offsets = np.arange(size) - (size - 1) / 2
    return FALL ** np.hypot(offsets[:, None], offsets)


def excitation(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    """Its softplus is about log-normal: a few strong weights among many weak ones."""
    fan_in = math.prod(shape[:-1])
    return SPREAD * jax.random.normal(key, shape, dtype) - math.log(fan_in)


class SCells(nn.Module):
    """Cells that extract a feature: excited by it, inhibited by anything else.

    Attributes:
        selectivity: The paper's r: how exactly the feature must be matched.
        window: Height and width of what a cell sees in each plane.
        padding: Cells of value 0 on each side.
    """

    selectivity: float
    window: int
    padding: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H', W', PLANES]."""
        shape = (self.window, self.window, x.shape[-1], PLANES)
        a = self.param("excitatory", excitation, shape, jnp.float32)
        inhibition = nn.initializers.constant(INHIBITION)
        b = self.param("inhibitory", inhibition, (PLANES,), jnp.float32)
        x, a, b = nn.dtypes.promote_dtype(x, a, b)
        a, b = softplus(a), softplus(b)
        c = falling_weights(self.window)[:, :, None, None]
        c = jnp.asarray(c / c.sum() / x.shape[-1], x.dtype)
        c = jnp.broadcast_to(c, (*shape[:3], 1))
        mean_square = convolve(jnp.square(x), c, padding=self.padding)
        tiny = float(jnp.finfo(jnp.float32).tiny)  # no array: it would widen bfloat16
        v = jnp.sqrt(jnp.maximum(mean_square, tiny))  # [B, H', W', 1]
        excited = 1 + convolve(x, a, padding=self.padding)
        r = self.selectivity
        inhibited = 1 + 2 * r / (1 + r) * b * v
        return r * relu(excited / inhibited - 1)


class CCells(nn.Module):
    """Cells that tolerate shifts: they answer if any S-cell nearby in its plane does.

    All planes together inhibit each, and every cell saturates below 1.
    """

    window: int
    stride: int
    padding: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H', W', C]."""
        planes = x.shape[-1]
        d = jnp.asarray(falling_weights(self.window), x.dtype)[:, :, None, None]
        d = jnp.tile(d, (1, 1, 1, planes))
        near = convolve(x, d, self.stride, self.padding, groups=planes)
        v = jnp.mean(near, axis=-1, keepdims=True)  # [B, H', W', 1]
        x = relu((1 + near) / (1 + v) - 1)
        return x / (ALPHA + x)


class Module(nn.Module):
    """A layer of S-cells and a layer of C-cells.

    Attributes:
        s: Fields of the S-cells.
        c: Fields of the C-cells.
    """

    s: tuple[float, int, int]
    c: tuple[int, int, int]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H', W', PLANES]."""
        return CCells(*self.c, name="c")(SCells(*self.s, name="s")(x))


class Neocognitron(nn.Module):
    """Three modules and a linear head."""

    num_classes: int

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, 16, 16, C]."""
        x = relu(images)
        # S-cells [B, 16, 16, 24], C-cells [B, 10, 10, 24]
        x = Module((4.0, 5, 2), (5, 2, 4), name="stem")(x, train=train)
        # S-cells [B, 8, 8, 24], C-cells [B, 6, 6, 24]
        x = Module((1.5, 5, 1), (5, 1, 1), name="stage1_block1")(x, train=train)
        # S-cells [B, 2, 2, 24], C-cells [B, 1, 1, 24]
        x = Module((1.5, 5, 0), (2, 1, 0), name="stage2_block1")(x, train=train)
        return head(self.num_classes)(global_avg_pool(x))


VARIANTS = {
    "neocognitron": Variant(
        Neocognitron,
        "Fukushima 1980, https://doi.org/10.1007/BF00344251",
        image_size=16,
        channels=1,
        num_classes=10,
        reference="the paper's numbers of cells and equations",
    )
}
