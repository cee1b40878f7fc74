"""MobileNetV3: inverted residuals with gates and hard-swish.

Paper: Howard et al., "Searching for MobileNetV3", ICCV 2019,
https://arxiv.org/abs/1905.02244. LARGE and SMALL are its Tables 1 and 2.

Padding, initial values and BatchNorm's epsilon of 1e-3 and momentum of 0.01 (PyTorch's
convention) are torchvision's. Departures from the paper, both shared with torchvision:
  * A gate squeezes to a quarter of the expanded filters, rounded to a multiple of 8 (as
    in the authors' code) instead of exactly a quarter (section 5.3).
  * 20% of the last hidden layer is dropped (the 0.8 of section 6.1.1 is the fraction
    that is kept).
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

from flax import linen as nn
import jax

from jaxcnn.models.layers import (
    Activation,
    BatchNorm,
    ConvNorm,
    Dense,
    Dropout,
    SqueezeExcitation,
    global_avg_pool,
    hard_sigmoid,
    hard_swish,
    head,
    kaiming_normal,
    relu,
    round_filters,
)
from jaxcnn.models.variant import Variant

Gate = functools.partial(
    SqueezeExcitation,
    gate=hard_sigmoid,
    kernel_init=kaiming_normal,
    bias_init=nn.initializers.zeros,
)
LinearLayer = functools.partial(
    Dense,
    kernel_init=nn.initializers.normal(0.01),
    bias_init=nn.initializers.zeros,
)


def no_gate(filters: int, *, name: str) -> Callable[..., jax.Array]:
    """Replaces the gate in blocks without one."""
    return lambda x, *, train: x


class Row(NamedTuple):
    """A row of Table 1 or 2, which is a block."""

    kernel: int
    expanded: int
    filters: int
    gate: Callable[..., Callable[..., jax.Array]]
    act: Activation
    stride: int


# A stage is the consecutive blocks with the same number of filters.
LARGE = (
    (Row(3, 16, 16, no_gate, relu, 1),),
    (
        Row(3, 64, 24, no_gate, relu, 2),
        Row(3, 72, 24, no_gate, relu, 1),
    ),
    (
        Row(5, 72, 40, Gate, relu, 2),
        Row(5, 120, 40, Gate, relu, 1),
        Row(5, 120, 40, Gate, relu, 1),
    ),
    (
        Row(3, 240, 80, no_gate, hard_swish, 2),
        Row(3, 200, 80, no_gate, hard_swish, 1),
        Row(3, 184, 80, no_gate, hard_swish, 1),
        Row(3, 184, 80, no_gate, hard_swish, 1),
    ),
    (
        Row(3, 480, 112, Gate, hard_swish, 1),
        Row(3, 672, 112, Gate, hard_swish, 1),
    ),
    (
        Row(5, 672, 160, Gate, hard_swish, 2),
        Row(5, 960, 160, Gate, hard_swish, 1),
        Row(5, 960, 160, Gate, hard_swish, 1),
    ),
)
SMALL = (
    (Row(3, 16, 16, Gate, relu, 2),),
    (
        Row(3, 72, 24, no_gate, relu, 2),
        Row(3, 88, 24, no_gate, relu, 1),
    ),
    (
        Row(5, 96, 40, Gate, hard_swish, 2),
        Row(5, 240, 40, Gate, hard_swish, 1),
        Row(5, 240, 40, Gate, hard_swish, 1),
    ),
    (
        Row(5, 120, 48, Gate, hard_swish, 1),
        Row(5, 144, 48, Gate, hard_swish, 1),
    ),
    (
        Row(5, 288, 96, Gate, hard_swish, 2),
        Row(5, 576, 96, Gate, hard_swish, 1),
        Row(5, 576, 96, Gate, hard_swish, 1),
    ),
)


class GatedInvertedResidual(nn.Module):
    """1x1 expand, depthwise, gate, linear 1x1 project (Figure 4).

    It has a shortcut if the shape does not change.
    """

    row: Row
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, filters]."""
        kernel, wide, filters, gate, act, stride = self.row
        conv_norm = functools.partial(ConvNorm, act=act, norm=self.norm)
        y = x
        if wide != x.shape[-1]:
            y = conv_norm(wide, 1, name="expand")(y, train=train)
        depthwise = conv_norm(wide, kernel, stride, groups=wide, name="depthwise")
        y = depthwise(y, train=train)
        y = gate(round_filters(wide // 4), name="gate")(y, train=train)
        y = conv_norm(filters, 1, act=None, name="project")(y, train=train)
        return x + y if x.shape == y.shape else y


class HiddenLayer(nn.Module):
    """Linear layer, hard-swish, dropout."""

    width: int
    dropout: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, C] -> [B, width]."""
        x = hard_swish(LinearLayer(self.width, name="dense")(x))
        return Dropout(self.dropout, name="dropout")(x, train=train)


class MobileNetV3(nn.Module):
    """Stem, gated inverted residuals, 1x1 convolution, pool, hidden layer, linear head.

    Attributes:
        num_classes: Number of classes. 0: no head, the output is the features [B, C].
        stages: Rows of each stage.
        hidden: Width of the hidden layer after pooling.
        dropout: Dropout rate of the hidden layer.
        norm: Normalisation class, see ConvNorm.
    """

    num_classes: int
    stages: tuple[tuple[Row, ...], ...]
    hidden: int
    dropout: float = 0.2
    norm: Callable[..., nn.Module] = functools.partial(
        BatchNorm, momentum=0.99, epsilon=1e-3
    )

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, H, W, C]."""
        conv_norm = functools.partial(ConvNorm, act=hard_swish, norm=self.norm)
        x = conv_norm(16, 3, 2, name="stem")(images, train=train)  # [B, H/2, W/2, 16]
        for i, rows in enumerate(self.stages):
            for j, row in enumerate(rows):
                name = f"stage{i + 1}_block{j + 1}"
                x = GatedInvertedResidual(row, self.norm, name=name)(x, train=train)
        last = f"stage{len(self.stages) + 1}_block"
        x = conv_norm(6 * x.shape[-1], 1, name=f"{last}1")(x, train=train)
        x = global_avg_pool(x)  # [B, C]
        x = HiddenLayer(self.hidden, self.dropout, name=f"{last}2")(x, train=train)
        return head(self.num_classes, LinearLayer)(x)


_row = functools.partial(
    Variant,
    paper="Howard et al. 2019, https://arxiv.org/abs/1905.02244",
    top1_source="ImageNet, torchvision IMAGENET1K_V1",
)

VARIANTS = {
    "mobilenet_v3_small": _row(
        functools.partial(MobileNetV3, stages=SMALL, hidden=1024), top1=67.668
    ),
    "mobilenet_v3_large": _row(
        functools.partial(MobileNetV3, stages=LARGE, hidden=1280), top1=74.042
    ),
}
