"""LeNet-5 in its original and in its modern form.

Paper: LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document
Recognition", Proceedings of the IEEE 1998, section II.B and Figure 2,
http://yann.lecun.com/exdb/publis/pdf/lecun-01a.pdf. Images have 32x32 pixels; those of
28x28 must be padded by 2 first.

`lenet5_1998` has the paper's layers C1 to F6 and their 60,000 parameters. Its images
get the paper's scale, on which the background is -0.1 and ink is 1.175. Departures:
  * The head is a trainable linear layer, so that any classes are possible. The paper's
    head has 84 fixed weights per class, the pixels of a stylised character, and outputs
    the squared distance to each.
  * Biases are initialised with 0; Appendix A draws them like the weights.
  * With colour images, each map of C1 is connected to all channels.

`lenet5` is what textbooks call LeNet-5: ReLU, max-pooling, C3 connected to all maps.
Its initial values are PyTorch's.
"""

import functools
import math

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.errors import UserError
from jaxcnn.models.layers import (
    Conv,
    Dense,
    Dropout,
    avg_pool,
    head,
    max_pool,
    relu,
    tanh,
)
from jaxcnn.models.variant import Variant

# Table I: the maps of S2 to which each map of C3 is connected.
C3_TABLE = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5)),
    *((0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)


def squash(x: jax.Array) -> jax.Array:
    """1.7159 tanh(2/3 x), which has f(1) = 1 and f(-1) = -1 (Appendix A)."""
    return 1.7159 * tanh(2 / 3 * x)


def fan_in_uniform(
    key: jax.Array,
    shape: tuple[int, ...],
    dtype: jnp.dtype,
    fan_in: int | None = None,
) -> jax.Array:
    """Uniform in +-2.4/fan_in (Appendix A); fan_in follows from the kernel's shape."""
    bound = 2.4 / (fan_in or math.prod(shape[:-1]))
    return jax.random.uniform(key, shape, dtype, -bound, bound)


_inits = {"kernel_init": fan_in_uniform, "bias_init": nn.initializers.zeros}
PaperConv = functools.partial(Conv, kernel=5, padding=0, **_inits)
PaperDense = functools.partial(Dense, **_inits)


class Subsample(nn.Module):
    """S2 and S4: sums of 2x2 units, with one coefficient and one bias per map."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H/2, W/2, C]."""
        shape = (x.shape[-1],)
        init = functools.partial(fan_in_uniform, fan_in=4)
        coefficient = self.param("coefficient", init, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        return squash(coefficient * (4 * avg_pool(x, 2, 2)) + bias)


class PaperStem(nn.Module):
    """C1 and S2."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, 32, 32, C] -> [B, 14, 14, 6]."""
        x = squash(PaperConv(6, name="conv")(x))  # [B, 28, 28, 6]
        return Subsample(name="subsample")(x)


class PartialConvBlock(nn.Module):
    """C3, whose maps are each connected to some maps of S2 (Table I), and S4."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, 14, 14, 6] -> [B, 5, 5, 16]."""
        # One convolution per map: the gradient of a grouped convolution is about 30
        # times slower on a CPU.
        maps = [
            PaperConv(1, name=f"conv{i + 1}")(x[..., np.array(inputs)])
            for i, inputs in enumerate(C3_TABLE)
        ]
        x = squash(jnp.concatenate(maps, axis=-1))  # [B, 10, 10, 16]
        return Subsample(name="subsample")(x)


class PaperConvLayer(nn.Module):
    """C5: its kernel covers all of S4."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, 5, 5, 16] -> [B, 1, 1, 120]."""
        return squash(PaperConv(120, name="conv")(x))


class PaperDenseLayer(nn.Module):
    """F6."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, 1, 1, 120] -> [B, 84]."""
        x = x.reshape(len(x), -1)  # [B, 120]
        return squash(PaperDense(84, name="dense")(x))


class LeNet5As1998(nn.Module):
    """The paper's layers C1 to F6 and a linear head."""

    num_classes: int

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, 32, 32, C]."""
        x = PaperStem(name="stem")(images, train=train)
        x = PartialConvBlock(name="stage1_block1")(x, train=train)
        x = PaperConvLayer(name="stage2_block1")(x, train=train)
        x = PaperDenseLayer(name="stage2_block2")(x, train=train)
        return head(self.num_classes, PaperDense)(x)


class ConvPool(nn.Module):
    """5x5 convolution, ReLU, 2x2 max-pool."""

    filters: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, (H - 4)/2, (W - 4)/2, filters]."""
        x = relu(Conv(self.filters, 5, padding=0, name="conv")(x))
        return max_pool(x, 2, 2)


class DenseLayer(nn.Module):
    """Linear layer, ReLU, dropout."""

    width: int
    dropout: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, C] -> [B, width]."""
        x = relu(Dense(self.width, name="dense")(x))
        return Dropout(self.dropout, name="dropout")(x, train=train)


class LeNet5(nn.Module):
    """Two convolutions with max-pooling, two hidden layers, linear head.

    Attributes:
        dropout: Dropout rate of the two hidden layers.
    """

    num_classes: int
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise UserError(f"Dropout must be in [0, 1); dropout={self.dropout}.")
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, 32, 32, C]."""
        x = ConvPool(6, name="stem")(images, train=train)  # [B, 14, 14, 6]
        x = ConvPool(16, name="stage1_block1")(x, train=train)  # [B, 5, 5, 16]
        x = x.reshape(len(x), -1)  # [B, 400]
        x = DenseLayer(120, self.dropout, name="stage2_block1")(x, train=train)
        x = DenseLayer(84, self.dropout, name="stage2_block2")(x, train=train)
        return head(self.num_classes)(x)


_row = functools.partial(
    Variant,
    paper="LeCun et al. 1998, http://yann.lecun.com/exdb/publis/pdf/lecun-01a.pdf",
    image_size=32,
    channels=1,
    num_classes=10,
)

VARIANTS = {
    "lenet5": _row(LeNet5),
    # Section III.B and Figure 9: 0.95% of the test images wrong, without distortions.
    "lenet5_1998": _row(
        LeNet5As1998,
        scale=(-0.1, 1.175),
        top1=99.05,
        top1_source="MNIST, the paper",
        reference="the paper's counts, Table I and formulas",
    ),
}
