"""MobileNetV2: inverted residual blocks, wide inside and narrow between them.

Paper: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR
2018, https://arxiv.org/abs/1801.04381. The network is that of Table 2.

Padding, epsilon, rounding of widths and initial values are torchvision's; its network
is `mobilenet_v2`. `mobilenetv2_050` and the other widths are timm's, the same network
with the width multiplier in percent in its name.

Departure from the paper, shared with torchvision: 20% of the pooled features are
dropped. As in the paper (section 6.1), a multiplier below 1 does not reduce the 1280
filters of the last convolution.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

from flax import linen as nn
import jax

from jaxcnn.models.layers import (
    BatchNorm,
    ConvNorm,
    Dense,
    Dropout,
    global_avg_pool,
    head,
    relu6,
    round_filters,
)
from jaxcnn.models.variant import Variant


class Stage(NamedTuple):
    """A row of Table 2: t, c, n and s."""

    expansion: int
    filters: int
    depth: int
    stride: int


STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """1x1 expand, 3x3 depthwise, linear 1x1 project (Table 1, Figure 4d).

    It has a shortcut if the shape does not change.
    """

    filters: int
    stride: int
    expansion: int
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, filters]."""
        conv_norm = functools.partial(ConvNorm, act=relu6, norm=self.norm)
        wide = self.expansion * x.shape[-1]
        y = x
        if self.expansion != 1:
            y = conv_norm(wide, 1, name="expand")(y, train=train)
        depthwise = conv_norm(wide, 3, self.stride, groups=wide, name="depthwise")
        y = depthwise(y, train=train)
        y = conv_norm(self.filters, 1, act=None, name="project")(y, train=train)
        return x + y if x.shape == y.shape else y


class MobileNetV2(nn.Module):
    """Stem, stages of inverted residuals, 1x1 convolution, average pool, linear head.

    Attributes:
        num_classes: Number of classes. 0: no head, the output is the features [B, C].
        width: Multiplier of the filters of every layer.
        dropout: Dropout rate of the pooled features.
        stages: Rows of Table 2.
        norm: Normalisation class, see ConvNorm.
    """

    num_classes: int
    width: float = 1.0
    dropout: float = 0.2
    stages: tuple[Stage, ...] = STAGES
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, H, W, C]."""
        conv_norm = functools.partial(ConvNorm, act=relu6, norm=self.norm)
        filters = round_filters(32 * self.width)
        x = conv_norm(filters, 3, 2, name="stem")(images, train=train)
        for i, stage in enumerate(self.stages):
            filters = round_filters(stage.filters * self.width)
            for j in range(stage.depth):
                stride = stage.stride if j == 0 else 1
                name = f"stage{i + 1}_block{j + 1}"
                fields = filters, stride, stage.expansion, self.norm
                x = InvertedResidual(*fields, name=name)(x, train=train)
        last = f"stage{len(self.stages) + 1}_block"
        filters = round_filters(1280 * max(1.0, self.width))
        x = conv_norm(filters, 1, name=f"{last}1")(x, train=train)
        x = global_avg_pool(x)  # [B, filters]
        x = Dropout(self.dropout, name=f"{last}2")(x, train=train)
        return head(self.num_classes, LinearHead)(x)


LinearHead = functools.partial(
    Dense,
    kernel_init=nn.initializers.normal(0.01),
    bias_init=nn.initializers.zeros,
)

_row = functools.partial(
    Variant, paper="Sandler et al. 2018, https://arxiv.org/abs/1801.04381"
)
# The authors' own weights; the paper does not report 0.5 and 0.75.
_slim = functools.partial(
    _row,
    top1_source="ImageNet, https://github.com/tensorflow/models, slim mobilenet_v2",
)

VARIANTS = {
    "mobilenet_v2": _row(
        MobileNetV2,
        top1=71.878,
        top1_source="ImageNet, torchvision IMAGENET1K_V1",
    ),
    "mobilenetv2_050": _slim(functools.partial(MobileNetV2, width=0.5), top1=65.4),
    "mobilenetv2_075": _slim(functools.partial(MobileNetV2, width=0.75), top1=69.8),
    "mobilenetv2_140": _slim(functools.partial(MobileNetV2, width=1.4), top1=75.0),
}
