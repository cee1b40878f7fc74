"""The network for handwritten zip codes.

Paper: LeCun, Boser, Denker, Henderson, Howard, Hubbard and Jackel, "Backpropagation
Applied to Handwritten Zip Code Recognition", Neural Computation 1(4), 1989,
https://doi.org/10.1162/neco.1989.1.4.541, section 3 and Figure 3. Its digits have 16x16
pixels from -1 (paper) to 1 (ink), which is the scale that its images get.

Each map of H1 and H2 has one kernel and a bias for every unit: 9,760 parameters, of
which 1,000 are biases, and 64,660 connections. Departures:
  * The head returns logits for a cross-entropy loss; the paper fits 10 more squashed
    units by squared error.
  * The paper does not give the 8 maps of H1 that each map of H2 is connected to;
    H2_TABLE is our choice.
  * The squashing function is that of LeNet-5's paper, and biases start at 0; the
    paper says "a scaled hyperbolic tangent" and draws biases like weights.
"""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.models.layers import Conv, head
from jaxcnn.models.lenet import PaperDense, fan_in_uniform, squash
from jaxcnn.models.variant import Variant

BACKGROUND = -1.0  # value of units beyond the border of the layer below

# The maps of H1 to which the first, second and last four maps of H2 are connected.
H2_TABLE = (
    (0, 1, 2, 3, 4, 5, 6, 7),
    (4, 5, 6, 7, 8, 9, 10, 11),
    (8, 9, 10, 11, 0, 1, 2, 3),
)


class SharedKernels(nn.Module):
    """5x5 convolutions with stride 2 on a padded layer, and a bias for every unit.

    Attributes:
        table: Input maps of each convolution.
        filters: Number of output maps of each convolution.
    """

    table: tuple[tuple[int, ...], ...]
    filters: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/2, W/2, filters of all convolutions]."""
        padding = ((0, 0), (2, 2), (2, 2), (0, 0))
        x = jnp.pad(x, padding, constant_values=BACKGROUND)  # [B, H + 4, W + 4, C]
        conv = functools.partial(
            *(Conv, self.filters, 5, 2, 0), bias=False, kernel_init=fan_in_uniform
        )
        maps = [
            conv(name=f"conv{i + 1}")(x[..., np.array(inputs)])
            for i, inputs in enumerate(self.table)
        ]
        x = jnp.concatenate(maps, axis=-1)
        zeros = nn.initializers.zeros
        bias = self.param("bias", zeros, x.shape[1:], jnp.float32)
        return squash(x + bias)


class Hidden(nn.Module):
    """H3, fully connected to H2."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, 30]."""
        return squash(PaperDense(30, name="dense")(x.reshape(len(x), -1)))


class ZipCodeNet(nn.Module):
    """H1, H2, H3 and a linear head."""

    num_classes: int

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, 16, 16, C]."""
        every = tuple(range(images.shape[-1]))
        h1 = SharedKernels((every,), 12, name="stem")
        x = h1(images, train=train)  # [B, 8, 8, 12]
        h2 = SharedKernels(H2_TABLE, 4, name="stage1_block1")
        x = h2(x, train=train)  # [B, 4, 4, 12]
        x = Hidden(name="stage2_block1")(x, train=train)  # [B, 30]
        return head(self.num_classes, PaperDense)(x)


VARIANTS = {
    # Section 5: 5.0% of the test digits wrong.
    "zipcode_1989": Variant(
        ZipCodeNet,
        "LeCun et al. 1989, https://doi.org/10.1162/neco.1989.1.4.541",
        image_size=16,
        channels=1,
        num_classes=10,
        scale=(BACKGROUND, 1.0),
        top1=95.0,
        top1_source="zip codes of the US mail, the paper",
        reference="the paper's 9,760 parameters and formula",
    )
}
