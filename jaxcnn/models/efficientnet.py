"""EfficientNets: one small network, scaled in width, depth and resolution together.

Papers: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural
Networks", ICML 2019, https://arxiv.org/abs/1905.11946, Table 1 (B0; B1 to B7 are wider
and deeper); Tan and Le, "EfficientNetV2: Smaller Models and Faster Training", ICML
2021, https://arxiv.org/abs/2104.00298, Table 4 (S; M and L are from the authors' code).

Padding, initial values, BatchNorm's epsilon and momentum, dropout and image sizes are
torchvision's: PyTorch's defaults up to B4, epsilon 1e-3 and momentum 0.01 (PyTorch's
convention) from B5 on, epsilon 1e-3 and momentum 0.1 for V2. Departures, shared with
torchvision:
  * Symmetric padding, where TensorFlow and therefore the papers pad below and to the
    right.
  * The rate of stochastic depth increases linearly from 0 and would reach 20% one block
    after the last (the papers give 20% at the end, for B0 and for V2).
"""

from collections.abc import Callable
import functools
import math
from typing import NamedTuple

from flax import linen as nn
import jax

from jaxcnn.models.layers import (
    BatchNorm,
    ConvNorm,
    Dense,
    Dropout,
    SqueezeExcitation,
    StochasticDepth,
    global_avg_pool,
    head,
    kaiming_normal,
    round_filters,
    silu,
)
from jaxcnn.models.variant import Variant

Gate = functools.partial(
    SqueezeExcitation,
    act=silu,
    kernel_init=kaiming_normal,
    bias_init=nn.initializers.zeros,
)


class MBConv(nn.Module):
    """1x1 expand, depthwise, gate, linear 1x1 project.

    If the shape does not change, it has a shortcut and stochastic depth.

    Attributes:
        expansion: Ratio of inner filters to input channels.
        drop_rate: Rate of stochastic depth.
    """

    filters: int
    kernel: int
    stride: int
    expansion: int
    drop_rate: float
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, filters]."""
        conv_norm = functools.partial(ConvNorm, act=silu, norm=self.norm)
        channels = x.shape[-1]
        wide = self.expansion * channels
        y = x
        if self.expansion != 1:
            y = conv_norm(wide, 1, name="expand")(y, train=train)
        depthwise = functools.partial(conv_norm, groups=wide, name="depthwise")
        y = depthwise(wide, self.kernel, self.stride)(y, train=train)
        y = Gate(channels // 4, name="gate")(y, train=train)
        y = conv_norm(self.filters, 1, act=None, name="project")(y, train=train)
        if x.shape != y.shape:
            return y
        return x + StochasticDepth(self.drop_rate, name="drop")(y, train=train)


class FusedMBConv(nn.Module):
    """One full convolution that expands, linear 1x1 project (EfficientNetV2, Figure 2).

    If the shape does not change, it has a shortcut and stochastic depth. With expansion
    1 there is no projection.

    Attributes:
        expansion: Ratio of inner filters to input channels.
        drop_rate: Rate of stochastic depth.
    """

    filters: int
    kernel: int
    stride: int
    expansion: int
    drop_rate: float
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, filters]."""
        conv_norm = functools.partial(ConvNorm, act=silu, norm=self.norm)
        wide = self.filters if self.expansion == 1 else self.expansion * x.shape[-1]
        y = conv_norm(wide, self.kernel, self.stride, name="fused")(x, train=train)
        if self.expansion != 1:
            y = conv_norm(self.filters, 1, act=None, name="project")(y, train=train)
        if x.shape != y.shape:
            return y
        return x + StochasticDepth(self.drop_rate, name="drop")(y, train=train)


class Stage(NamedTuple):
    """A row of a table: the blocks of a stage, of which only the first has a stride."""

    block: Callable[..., nn.Module]
    expansion: int
    kernel: int
    stride: int
    filters: int
    depth: int


class EfficientNet(nn.Module):
    """Stem, stages, a last 1x1 convolution, global average pool, linear head.

    Attributes:
        num_classes: Number of classes. 0: no head, the output is the features [B, C].
        stem_filters: Number of filters of the first convolution.
        stages: Rows of the table.
        last_filters: Number of filters of the last convolution.
        dropout: Dropout rate of the pooled features.
        drop_rate: Rate of stochastic depth at the end of the network.
        norm: Normalisation class, see ConvNorm.
    """

    num_classes: int
    stem_filters: int
    stages: tuple[Stage, ...]
    last_filters: int
    dropout: float
    drop_rate: float = 0.2
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, H, W, C]."""
        conv_norm = functools.partial(ConvNorm, act=silu, norm=self.norm)
        x = conv_norm(self.stem_filters, 3, 2, name="stem")(images, train=train)
        num_blocks = sum(stage.depth for stage in self.stages)
        num_before = 0  # blocks before this one, without the stem
        for i, stage in enumerate(self.stages):
            for j in range(stage.depth):
                x = stage.block(
                    stage.filters,
                    stage.kernel,
                    stage.stride if j == 0 else 1,
                    stage.expansion,
                    self.drop_rate * num_before / num_blocks,
                    self.norm,
                    name=f"stage{i + 1}_block{j + 1}",
                )(x, train=train)
                num_before += 1
        last = f"stage{len(self.stages) + 1}_block"
        x = conv_norm(self.last_filters, 1, name=f"{last}1")(x, train=train)
        x = global_avg_pool(x)  # [B, last_filters]
        x = Dropout(self.dropout, name=f"{last}2")(x, train=train)
        return head(self.num_classes, LinearHead)(x)


# torchvision: uniform in +-1/sqrt(classes).
LinearHead = functools.partial(
    Dense,
    kernel_init=nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform"),
    bias_init=nn.initializers.zeros,
)

B0 = (
    Stage(MBConv, 1, 3, 1, 16, 1),
    Stage(MBConv, 6, 3, 2, 24, 2),
    Stage(MBConv, 6, 5, 2, 40, 2),
    Stage(MBConv, 6, 3, 2, 80, 3),
    Stage(MBConv, 6, 5, 1, 112, 3),
    Stage(MBConv, 6, 5, 2, 192, 4),
    Stage(MBConv, 6, 3, 1, 320, 1),
)
V2_S = (
    Stage(FusedMBConv, 1, 3, 1, 24, 2),
    Stage(FusedMBConv, 4, 3, 2, 48, 4),
    Stage(FusedMBConv, 4, 3, 2, 64, 4),
    Stage(MBConv, 4, 3, 2, 128, 6),
    Stage(MBConv, 6, 3, 1, 160, 9),
    Stage(MBConv, 6, 3, 2, 256, 15),
)
V2_M = (
    Stage(FusedMBConv, 1, 3, 1, 24, 3),
    Stage(FusedMBConv, 4, 3, 2, 48, 5),
    Stage(FusedMBConv, 4, 3, 2, 80, 5),
    Stage(MBConv, 4, 3, 2, 160, 7),
    Stage(MBConv, 6, 3, 1, 176, 14),
    Stage(MBConv, 6, 3, 2, 304, 18),
    Stage(MBConv, 6, 3, 1, 512, 5),
)
V2_L = (
    Stage(FusedMBConv, 1, 3, 1, 32, 4),
    Stage(FusedMBConv, 4, 3, 2, 64, 7),
    Stage(FusedMBConv, 4, 3, 2, 96, 7),
    Stage(MBConv, 4, 3, 2, 192, 10),
    Stage(MBConv, 6, 3, 1, 224, 19),
    Stage(MBConv, 6, 3, 2, 384, 25),
    Stage(MBConv, 6, 3, 1, 640, 7),
)

wide_norm = functools.partial(BatchNorm, epsilon=1e-3)
slow_wide_norm = functools.partial(BatchNorm, momentum=0.99, epsilon=1e-3)


def scaled(
    width: float,
    depth: float,
    dropout: float,
    norm: Callable[..., nn.Module] = BatchNorm,
) -> Callable[..., nn.Module]:
    """B0 with scaled widths and depths (section 4)."""
    return functools.partial(
        EfficientNet,
        stem_filters=round_filters(32 * width),
        stages=tuple(
            stage._replace(
                filters=round_filters(stage.filters * width),
                depth=math.ceil(stage.depth * depth),
            )
            for stage in B0
        ),
        last_filters=4 * round_filters(320 * width),
        dropout=dropout,
        norm=norm,
    )


def second(stages: tuple[Stage, ...], dropout: float) -> Callable[..., nn.Module]:
    """A row for a network of EfficientNetV2."""
    return functools.partial(
        EfficientNet,
        stem_filters=stages[0].filters,
        stages=stages,
        last_filters=1280,
        dropout=dropout,
        norm=wide_norm,
    )


_row = functools.partial(
    Variant,
    paper="Tan and Le 2019, https://arxiv.org/abs/1905.11946",
    top1_source="ImageNet, torchvision IMAGENET1K_V1",
)
_row2 = functools.partial(
    _row, paper="Tan and Le 2021, https://arxiv.org/abs/2104.00298"
)

VARIANTS = {
    "efficientnet_b0": _row(scaled(1.0, 1.0, 0.2), image_size=224, top1=77.692),
    "efficientnet_b1": _row(scaled(1.0, 1.1, 0.2), image_size=240, top1=78.642),
    "efficientnet_b2": _row(scaled(1.1, 1.2, 0.3), image_size=288, top1=80.608),
    "efficientnet_b3": _row(scaled(1.2, 1.4, 0.3), image_size=300, top1=82.008),
    "efficientnet_b4": _row(scaled(1.4, 1.8, 0.4), image_size=380, top1=83.384),
    "efficientnet_b5": _row(
        scaled(1.6, 2.2, 0.4, slow_wide_norm), image_size=456, top1=83.444
    ),
    "efficientnet_b6": _row(
        scaled(1.8, 2.6, 0.5, slow_wide_norm), image_size=528, top1=84.008
    ),
    "efficientnet_b7": _row(
        scaled(2.0, 3.1, 0.5, slow_wide_norm), image_size=600, top1=84.122
    ),
    "efficientnet_v2_s": _row2(second(V2_S, 0.2), image_size=384, top1=84.228),
    "efficientnet_v2_m": _row2(second(V2_M, 0.3), image_size=480, top1=85.112),
    "efficientnet_v2_l": _row2(second(V2_L, 0.4), image_size=480, top1=85.808),
}
