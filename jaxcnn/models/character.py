"""The character network of the Oxford VGG practical.

Vedaldi and Zisserman, "VGG Convolutional Neural Networks Practical", part 4, University
of Oxford, https://www.robots.ox.ac.uk/~vgg/practicals/cnn/: 26 letters in grey images
of 32x32 pixels. There is no padding, so the last convolution sees such an image as a
whole. For larger images, the logits are the mean over all its positions.

As in the practical, kernels are initialised from a normal distribution with standard
deviation 0.01, biases with 0.
"""

import functools

from flax import linen as nn
import jax

from jaxcnn.models.layers import Conv, global_avg_pool, head, max_pool, relu
from jaxcnn.models.variant import Variant

PlainConv = functools.partial(
    Conv,
    padding=0,
    kernel_init=nn.initializers.normal(0.01),
    bias_init=nn.initializers.zeros,
)


class ConvPool(nn.Module):
    """5x5 convolution and 2x2 max-pool, without an activation."""

    filters: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, (H - 4)/2, (W - 4)/2, filters]."""
        return max_pool(PlainConv(self.filters, 5, name="conv")(x), 2, 2)


class Hidden(nn.Module):
    """4x4 convolution, ReLU."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H - 3, W - 3, 500]."""
        return relu(PlainConv(500, 4, name="conv")(x))


class CharacterNet(nn.Module):
    """Two convolutions with max-pooling, a third with ReLU, a 2x2 convolution."""

    num_classes: int

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, 32, 32, C]."""
        x = ConvPool(20, name="stem")(images, train=train)  # [B, 14, 14, 20]
        x = ConvPool(50, name="stage1_block1")(x, train=train)  # [B, 5, 5, 50]
        x = Hidden(name="stage2_block1")(x, train=train)  # [B, 2, 2, 500]
        conv = functools.partial(PlainConv, kernel=2)
        return global_avg_pool(head(self.num_classes, conv)(x))


VARIANTS = {
    "character_net": Variant(
        CharacterNet,
        "Vedaldi and Zisserman, https://www.robots.ox.ac.uk/~vgg/practicals/cnn/",
        image_size=32,
        channels=1,
        num_classes=26,
        reference="the practical's layers and receptive fields",
    )
}
