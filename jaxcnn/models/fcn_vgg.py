"""The first fully convolutional networks: FCN-32s, FCN-16s and FCN-8s on VGG-16.

Paper: Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic
Segmentation", CVPR 2015, https://arxiv.org/abs/1411.4038, sections 3 and 4.

The hidden layers of the classifier are applied at every place, as convolutions with the
same weights: their parameters have the classifier's names and shapes, so that a trained
`vgg16` starts an FCN as it is. A linear layer for each pixel says what stands at every
32nd pixel; FCN-16s and FCN-8s add what the fourth and third pooled maps say (Figure 3).
The classes start at zero, and upsampling starts as bilinear interpolation, which is
learned but for the last.

Departures: the paper extends images by 100 pixels of zeros and crops the result; here
the first hidden layer pads its map by 3 pixels, and images of any size of at least 32
pixels will do. The networks on `vgg16_bn` normalise behind each 3x3 convolution: they
can be trained from random weights, which the paper could not do.
"""

from collections.abc import Callable
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.models import layers
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
from jaxcnn.models.vgg import ConvNormRelu, ConvRelu

zeros = nn.initializers.zeros
normal = nn.initializers.normal(0.01)  # as in vgg.py


class DenseEverywhere(nn.Module):
    """A linear layer on a window of a map, at every place.

    Attributes:
        features: Number of outputs.
        kernel: Size of the window, pixels.
        dilation: Distance of the pixels of the window.
    """

    features: int
    kernel: int
    dilation: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, features]."""
        side, channels = self.kernel, x.shape[-1]
        shape = (side * side * channels, self.features)  # that of the linear layer
        kernel = self.param("kernel", normal, shape, jnp.float32)
        bias = self.param("bias", zeros, shape[1:], jnp.float32)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias)
        kernel = kernel.reshape(side, side, channels, -1)
        return convolve(x, kernel, dilation=self.dilation, bias=bias)


class HiddenLayer(nn.Module):
    """A hidden layer of the classifier at every place, ReLU, dropout."""

    width: int
    kernel: int
    dropout: float
    dilation: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, width]."""
        dense = DenseEverywhere(self.width, self.kernel, self.dilation, name="dense")
        x = relu(dense(x))
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
        layer: Convolution class, see vgg.VGG.
        norm: Normalisation class of layers with one, see layers.ConvNorm.
        backbone: Name of the classifier that it begins as.
    """

    num_classes: int
    num_maps: int
    depths: tuple[int, ...] = (2, 2, 3, 3, 3)
    filters: tuple[int, ...] = (64, 128, 256, 512, 512)
    hidden: tuple[int, ...] = (4096, 4096)
    dropout: float = 0.5
    layer: Callable[..., nn.Module] = ConvRelu
    norm: Callable[..., nn.Module] = layers.BatchNorm
    backbone: str = "vgg16"

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, H, W, num_classes] for images [B, H, W, C]."""
        x, pooled = images, []
        for i, (depth, filters) in enumerate(
            zip(self.depths, self.filters, strict=True)
        ):
            for j in range(depth):
                name = f"stage{i + 1}_block{j + 1}"
                x = self.layer(filters, self.norm, name=name)(x, train=train)
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


_LAYERS = {"vgg16": ConvRelu, "vgg16_bn": ConvNormRelu}

VARIANTS = {
    f"fcn{stride}s_{backbone}": Variant(
        functools.partial(FCN, num_maps=num_maps, layer=layer, backbone=backbone),
        paper="Long et al. 2015, https://arxiv.org/abs/1411.4038",
        reference="the paper's section 4; torch",
        task="segmentation",
        num_classes=21,
    )
    for backbone, layer in _LAYERS.items()
    for num_maps, stride in enumerate((32, 16, 8), start=1)
}
