"""The first fully convolutional networks: FCN-32s, FCN-16s and FCN-8s on VGG-16.

Paper: Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic
Segmentation", CVPR 2015, https://arxiv.org/abs/1411.4038, sections 3 and 4.

The hidden layers of the classifier are applied at every place, as convolutions with the
same weights: their parameters have the classifier's names and shapes, so that a trained
`vgg16` starts an FCN as it is. A linear layer for each pixel says what stands at every
32nd pixel; FCN-16s and FCN-8s add what the fourth and third pooled maps say (Figure 3).
The classes start at zero, and upsampling starts as bilinear interpolation, which is
learned but for the last.

Departure: the paper extends images by 100 pixels of zeros and crops the result; here
the first hidden layer pads its map by 3 pixels, and images of any size of at least 32
pixels will do.
"""

import functools
from typing import ClassVar

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.models.layers import (
    Conv,
    ConvTranspose,
    Dropout,
    bilinear_kernel,
    convolve,
    max_pool,
    relu,
    resize,
)
from jaxcnn.models.variant import Variant
from jaxcnn.models.vgg import ConvRelu

zeros = nn.initializers.zeros
normal = nn.initializers.normal(0.01)  # as in vgg.py


class DenseEverywhere(nn.Module):
    """A linear layer on a window of a map, at every place.

    Attributes:
        features: Number of outputs.
        kernel: Size of the window, pixels.
    """

    features: int
    kernel: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, features]."""
        side, channels = self.kernel, x.shape[-1]
        shape = (side * side * channels, self.features)  # that of the linear layer
        kernel = self.param("kernel", normal, shape, jnp.float32)
        bias = self.param("bias", zeros, shape[1:], jnp.float32)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias)
        return convolve(x, kernel.reshape(side, side, channels, -1), bias=bias)


class HiddenLayer(nn.Module):
    """A hidden layer of the classifier at every place, ReLU, dropout."""

    width: int
    kernel: int
    dropout: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, width]."""
        x = relu(DenseEverywhere(self.width, self.kernel, name="dense")(x))
        return Dropout(self.dropout, name="dropout")(x, train=train)


class Scores(nn.Module):
    """Classes of several maps, from the coarsest, added at the finest."""

    num_classes: int

    @nn.compact
    def __call__(self, maps: list[jax.Array]) -> jax.Array:
        """[B, H, W, C], [B, 2H, 2W, C'], ... -> logits of the last one's size."""
        score = functools.partial(
            Conv, self.num_classes, 1, kernel_init=zeros, bias_init=zeros
        )
        x = score(name="score1")(maps[0])
        for i, y in enumerate(maps[1:], start=2):
            up = ConvTranspose(
                self.num_classes,
                4,
                2,
                padding=1,
                # An odd row or column at the end that pooling has dropped.
                output_padding=tuple(
                    fine - 2 * coarse
                    for fine, coarse in zip(y.shape[1:3], x.shape[1:3], strict=True)
                ),
                bias=False,
                kernel_init=bilinear_kernel,
                name=f"up{i}",
            )
            x = up(x) + score(name=f"score{i}")(y)
        return x


class FCN(nn.Module):
    """VGG-16 at every place, and the classes of one to three maps.

    Attributes:
        num_classes: Number of classes. 0: no head, the output is the last map.
        num_maps: 1 for FCN-32s, 2 for FCN-16s, 3 for FCN-8s.
        depths, filters: Those of VGG-16, see vgg.VGG.
        hidden: Width of each hidden layer.
        dropout: Dropout rate of the hidden layers.
        backbone: Name of the classifier that it begins as.
    """

    backbone: ClassVar[str] = "vgg16"

    num_classes: int
    num_maps: int
    depths: tuple[int, ...] = (2, 2, 3, 3, 3)
    filters: tuple[int, ...] = (64, 128, 256, 512, 512)
    hidden: tuple[int, ...] = (4096, 4096)
    dropout: float = 0.5

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, H, W, num_classes] for images [B, H, W, C]."""
        x, pooled = images, []
        for i, (depth, filters) in enumerate(
            zip(self.depths, self.filters, strict=True)
        ):
            for j in range(depth):
                name = f"stage{i + 1}_block{j + 1}"
                x = ConvRelu(filters, name=name)(x, train=train)
            x = max_pool(x, 2, 2)  # [B, H/2, W/2, filters]
            pooled.append(x)
        for j, (width, kernel) in enumerate(zip(self.hidden, (7, 1), strict=True)):
            layer = HiddenLayer(
                width, kernel, self.dropout, name=f"stage6_block{j + 1}"
            )
            x = layer(x, train=train)  # [B, H/32, W/32, width]
        if self.num_classes:
            maps = [x, pooled[3], pooled[2]][: self.num_maps]
            x = Scores(self.num_classes, name="head")(maps)
        return resize(x, images.shape[1:3], "bilinear", align_corners=False)


VARIANTS = {
    f"fcn{stride}s_vgg16": Variant(
        functools.partial(FCN, num_maps=num_maps),
        paper="Long et al. 2015, https://arxiv.org/abs/1411.4038",
        reference="the paper's section 4; torch",
        task="segmentation",
        num_classes=21,
    )
    for num_maps, stride in enumerate((32, 16, 8), start=1)
}
