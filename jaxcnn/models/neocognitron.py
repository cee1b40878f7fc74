"""The Neocognitron.

Paper: Fukushima, "Neocognitron: A Self-organizing Neural Network Model for a Mechanism
of Pattern Recognition Unaffected by Shift in Position", Biological Cybernetics 36,
1980, https://doi.org/10.1007/BF00344251. The equations of S- and C-cells, the numbers
of cells and the constants are the paper's.

It is trained by gradient descent instead of the paper's self-organisation, in which the
S-cell with the largest response in its neighbourhood reinforces its inputs. As in the
paper, weights are positive: they are the softplus of the parameters. More departures:
  * There is a linear head on the last 24 C-cells; in the paper each of them comes to
    represent a pattern.
  * The receptors have no negative values: pixels darker than the data's mean are 0.
  * Windows have the paper's sizes. It does not give their strides, the padding, or how
    the fixed weights decrease with distance. Ours give the paper's numbers of cells,
    and the weights decrease by a factor of FALL per pixel.
Images of 16x16 pixels end in one C-cell per plane; for larger ones the head gets the
mean.
"""

import math

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.models.layers import convolve, global_avg_pool, head, relu, softplus
from jaxcnn.models.variant import Variant

PLANES = 24
ALPHA = 0.5  # half-saturation input of a C-cell
FALL = 0.8

# Our own initial values, with which few S-cells respond, and to different features.
SPREAD = 2.5
INHIBITION = 4.0


def falling_weights(size: int) -> np.ndarray:
    """Weights FALL ** (distance from the centre), [size, size]."""
    offsets = np.arange(size) - (size - 1) / 2
    return FALL ** np.hypot(offsets[:, None], offsets)


def excitation(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    """Initializer whose softplus is about log-normal: few strong weights, many weak."""
    fan_in = math.prod(shape[:-1])
    return SPREAD * jax.random.normal(key, shape, dtype) - math.log(fan_in)


class SCells(nn.Module):
    """Cells that detect a feature: excited by it and inhibited by anything else.

    Attributes:
        selectivity: The paper's r, how precisely the feature must match.
        window: Height and width of a cell's receptive field in each plane.
        padding: Number of cells with value 0 on each side.
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
        tiny = float(jnp.finfo(jnp.float32).tiny)  # an array would widen bfloat16
        v = jnp.sqrt(jnp.maximum(mean_square, tiny))  # [B, H', W', 1]
        excited = 1 + convolve(x, a, padding=self.padding)
        r = self.selectivity
        inhibited = 1 + 2 * r / (1 + r) * b * v
        return r * relu(excited / inhibited - 1)


class CCells(nn.Module):
    """Cells that tolerate shifts: they respond if any nearby S-cell of the plane does.

    Each plane is inhibited by all planes together, and every cell saturates below 1.
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
