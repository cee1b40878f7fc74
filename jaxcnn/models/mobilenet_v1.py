"""MobileNetV1: a network of depthwise-separable convolutions.

Paper: Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile
Vision Applications", 2017, https://arxiv.org/abs/1704.04861. The network is that of
Table 1; the number in a name is the width multiplier alpha of section 3.3, in percent.

`mobilenetv1_100` is timm's network, with PyTorch's padding and epsilon; the narrower
ones are built in the same way. `mobilenetv1_100_keras` and its narrower variants are
Keras', which has published weights for all four: convolutions with a stride pad only
below and to the right; epsilon is 1e-3.

Departures from the paper, all shared with the references:
  * ReLU6 instead of ReLU.
  * The last strided convolution of Table 1 has its stride, but the convolution after
    it, printed with stride 2, has stride 1: 224 pixels are reduced to 7x7.
  * Keras drops 0.1% of the pooled features; timm and the paper drop none.
  * Initial values are those of torchvision's MobileNet v2; the paper gives none.
"""

from collections.abc import Callable
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.models.layers import (
    BatchNorm,
    ConvNorm,
    Dropout,
    global_avg_pool,
    head,
    relu6,
    round_filters,
)
from jaxcnn.models.variant import Variant

# Table 1: filters and blocks of each stage; all except the first begin with stride 2.
STAGES = ((64, 1), (128, 2), (256, 2), (512, 6), (1024, 2))


class EndPaddedConvNorm(ConvNorm):
    """ConvNorm padded only below and to the right, as in Keras' blocks."""

    padding: int = 0

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, filters], rounded down."""
        x = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
        return super().__call__(x, train=train)


class SamePaddedConvNorm(ConvNorm):
    """ConvNorm with TensorFlow's "SAME" padding, as in Keras' stem.

    For a 3x3 kernel with stride 2, it also pads above and to the left if the size is
    odd.
    """

    padding: int = 0

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/2, W/2, filters], rounded up."""
        _, height, width, _ = x.shape
        x = jnp.pad(x, ((0, 0), (height % 2, 1), (width % 2, 1), (0, 0)))
        return super().__call__(x, train=train)


class SeparableBlock(nn.Module):
    """3x3 depthwise and 1x1 pointwise convolution (Figure 3, right).

    Attributes:
        strided: Class of the depthwise convolution if it has a stride, see ConvNorm.
    """

    filters: int
    stride: int
    norm: Callable[..., nn.Module] = BatchNorm
    strided: Callable[..., nn.Module] = ConvNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, filters]."""
        fields = {"act": relu6, "norm": self.norm}
        channels = x.shape[-1]
        depthwise = ConvNorm if self.stride == 1 else self.strided
        x = depthwise(
            channels, 3, self.stride, groups=channels, **fields, name="depthwise"
        )(x, train=train)
        return ConvNorm(self.filters, 1, **fields, name="pointwise")(x, train=train)


class MobileNetV1(nn.Module):
    """Stem, five stages of separable convolutions, global average pool, linear head.

    Attributes:
        num_classes: Number of classes. 0: no head, the output is the features [B, C].
        width: Multiplier of the filters of every layer.
        dropout: Dropout rate of the pooled features.
        norm: Normalisation class, see ConvNorm.
        stem: Class of the first convolution, see ConvNorm.
        strided: Class of depthwise convolutions with a stride, see ConvNorm.
    """

    num_classes: int
    width: float = 1.0
    dropout: float = 0.0
    norm: Callable[..., nn.Module] = BatchNorm
    stem: Callable[..., nn.Module] = ConvNorm
    strided: Callable[..., nn.Module] = ConvNorm

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, H, W, C]."""
        filters = round_filters(32 * self.width)
        stem = self.stem(filters, 3, 2, act=relu6, norm=self.norm, name="stem")
        x = stem(images, train=train)  # [B, H/2, W/2, filters]
        for i, (filters, depth) in enumerate(STAGES):
            for j in range(depth):
                stride = 2 if i > 0 and j == 0 else 1
                x = SeparableBlock(
                    round_filters(filters * self.width),
                    stride,
                    self.norm,
                    self.strided,
                    name=f"stage{i + 1}_block{j + 1}",
                )(x, train=train)
        x = global_avg_pool(x)  # [B, C]
        x = Dropout(self.dropout, name=f"stage{len(STAGES) + 1}_block1")(x, train=train)
        return head(self.num_classes)(x)


_keras = functools.partial(
    MobileNetV1,
    dropout=0.001,
    norm=functools.partial(BatchNorm, momentum=0.99, epsilon=1e-3),
    stem=SamePaddedConvNorm,
    strided=EndPaddedConvNorm,
)

_row = functools.partial(
    Variant,
    paper="Howard et al. 2017, https://arxiv.org/abs/1704.04861",
    top1_source="ImageNet, the paper's Table 6",
)

VARIANTS = {
    "mobilenetv1_025": _row(functools.partial(MobileNetV1, width=0.25), top1=50.6),
    "mobilenetv1_050": _row(functools.partial(MobileNetV1, width=0.5), top1=63.7),
    "mobilenetv1_075": _row(functools.partial(MobileNetV1, width=0.75), top1=68.4),
    "mobilenetv1_100": _row(MobileNetV1, top1=70.6),
    "mobilenetv1_025_keras": _row(functools.partial(_keras, width=0.25), top1=50.6),
    "mobilenetv1_050_keras": _row(functools.partial(_keras, width=0.5), top1=63.7),
    "mobilenetv1_075_keras": _row(functools.partial(_keras, width=0.75), top1=68.4),
    "mobilenetv1_100_keras": _row(_keras, top1=70.6),
}
