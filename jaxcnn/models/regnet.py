"""RegNetX and RegNetY.

Paper: Radosavovic, Kosaraju, Girshick, He and Dollar, "Designing Network Design
Spaces", CVPR 2020, https://arxiv.org/abs/2003.13678. A row of VARIANTS has the numbers
in the paper's tables of the best models; widths and depths of the stages follow from
them as in section 3.3.

Epsilon, initial values and the rounding of widths to the group width are torchvision's.
The rounding gives one stage of `regnet_x_400mf`, `regnet_y_800mf` and `regnet_y_8gf` a
different width than in the paper (400 for 384, 784 for 768, 224 for 168).

`regnet_y_128gf` is from Goyal et al., "Self-supervised Pretraining of Visual Features
in the Wild", https://arxiv.org/abs/2103.01988.
"""

from collections.abc import Callable
import functools
import itertools

from flax import linen as nn
import jax
import numpy as np

from jaxcnn.errors import UserError
from jaxcnn.models.layers import (
    BatchNorm,
    ConvNorm,
    Dense,
    SqueezeExcitation,
    add_relu,
    global_avg_pool,
    head,
)
from jaxcnn.models.variant import Variant

PlainDense = functools.partial(
    Dense,
    kernel_init=nn.initializers.normal(0.01),
    bias_init=nn.initializers.zeros,
)


def block_widths(depth: int, w0: int, wa: float, wm: float) -> tuple[int, ...]:
    """Returns the width of each block by equations 2 to 4, as multiples of 8.

    The line u_j = w0 + wa * j is rounded to w0 times a power of wm.
    """
    if not (depth >= 1 and w0 >= 8 and w0 % 8 == 0 and wa >= 0 and wm > 1):
        raise UserError(
            "RegNet takes depth >= 1, w0 a multiple of 8, wa >= 0 and wm > 1; "
            f"depth={depth}, w0={w0}, wa={wa}, wm={wm}."
        )
    line = w0 + wa * np.arange(depth)
    powers = np.round(np.log(line / w0) / np.log(wm))
    return tuple(8 * int(w) for w in np.round(w0 * wm**powers / 8))


def fit_to_groups(width: int, group_width: int) -> int:
    """Returns the multiple of group_width nearest to width.

    If that is less than 90% of width, returns the next larger multiple.
    """
    fitting = max(group_width, (width + group_width // 2) // group_width * group_width)
    return fitting if fitting >= 0.9 * width else fitting + group_width


class XBlock(nn.Module):
    """1x1, grouped 3x3 and 1x1 convolution of the same width, and a shortcut.

    This is Figure 4 with the bottleneck ratio 1 of section 3.3.

    Attributes:
        group_width: Filters per group of the 3x3 convolution.
    """

    filters: int
    stride: int
    group_width: int
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, filters]."""
        conv_norm = functools.partial(ConvNorm, self.filters, norm=self.norm)
        groups = self.filters // self.group_width
        y = conv_norm(1, name="conv1")(x, train=train)
        y = conv_norm(3, self.stride, groups=groups, name="conv2")(y, train=train)
        y = self.gate(y, x.shape[-1], train=train)
        y = conv_norm(1, act=None, name="conv3")(y, train=train)
        if self.stride > 1 or x.shape[-1] != self.filters:
            x = conv_norm(1, self.stride, act=None, name="proj")(x, train=train)
        return add_relu(x, y)

    def gate(self, y: jax.Array, inputs: int, *, train: bool) -> jax.Array:
        """Returns the layer before the last convolution, given the block's inputs."""
        return y


class YBlock(XBlock):
    """An X block with squeeze-and-excitation to a quarter of the block's inputs."""

    def gate(self, y: jax.Array, inputs: int, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        return SqueezeExcitation(round(inputs / 4), name="gate")(y, train=train)


class Stem(nn.Module):
    """One 3x3 stride-2 convolution."""

    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/2, W/2, 32]."""
        return ConvNorm(32, 3, 2, norm=self.norm, name="conv")(x, train=train)


class RegNet(nn.Module):
    """Stem, stages that each halve the resolution, global average pool, linear head.

    Attributes:
        num_classes: Number of classes. 0: no head, the output is the features [B, C].
        block: Block class, called as block(filters, stride, group_width, norm).
        depth: Number of blocks in all stages together.
        w0: Width of the first block.
        wa: Slope of the line that the widths follow.
        wm: Ratio of consecutive widths, before rounding.
        group_width: Filters per group; a narrower stage is a single group.
        norm: Normalisation class, see ConvNorm.
    """

    num_classes: int
    block: Callable[..., nn.Module]
    depth: int
    w0: int
    wa: float
    wm: float
    group_width: int
    norm: Callable[..., nn.Module] = BatchNorm

    def __post_init__(self) -> None:
        block_widths(self.depth, self.w0, self.wa, self.wm)  # raises for bad numbers
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, H, W, C]."""
        x = Stem(self.norm, name="stem")(images, train=train)
        widths = block_widths(self.depth, self.w0, self.wa, self.wm)
        for i, (width, blocks) in enumerate(itertools.groupby(widths)):
            group_width = min(self.group_width, width)
            filters = fit_to_groups(width, group_width)
            for j, _ in enumerate(blocks):
                stride = 2 if j == 0 else 1
                name = f"stage{i + 1}_block{j + 1}"
                block = self.block(filters, stride, group_width, self.norm, name=name)
                x = block(x, train=train)
        return head(self.num_classes, PlainDense)(global_avg_pool(x))


def _row(
    block: Callable[..., nn.Module],
    depth: int,
    w0: int,
    wa: float,
    wm: float,
    group_width: int,
    top1: float,
    weights: str = "IMAGENET1K_V1",
    paper: str = "Radosavovic et al. 2020, https://arxiv.org/abs/2003.13678",
) -> Variant:
    numbers = {"depth": depth, "w0": w0, "wa": wa, "wm": wm, "group_width": group_width}
    build = functools.partial(RegNet, block=block, **numbers)
    source = f"ImageNet, torchvision {weights}"
    return Variant(build, paper, top1=top1, top1_source=source)


_x, _y = functools.partial(_row, XBlock), functools.partial(_row, YBlock)

# top1: acc@1 of torchvision's first weights for 224 pixels,
# https://pytorch.org/vision/stable/models.html; for regnet_y_128gf that of a linear
# layer on features of Singh et al. 2022, https://arxiv.org/abs/2201.08371.
VARIANTS = {
    # name, depth, w0, wa, wm, group width, top1
    "regnet_x_400mf": _x(22, 24, 24.48, 2.54, 16, 72.834),
    "regnet_x_800mf": _x(16, 56, 35.73, 2.28, 16, 75.212),
    "regnet_x_1_6gf": _x(18, 80, 34.01, 2.25, 24, 77.040),
    "regnet_x_3_2gf": _x(25, 88, 26.31, 2.25, 48, 78.364),
    "regnet_x_8gf": _x(23, 80, 49.56, 2.88, 120, 79.344),
    "regnet_x_16gf": _x(22, 216, 55.59, 2.1, 128, 80.058),
    "regnet_x_32gf": _x(23, 320, 69.86, 2.0, 168, 80.622),
    "regnet_y_400mf": _y(16, 48, 27.89, 2.09, 8, 74.046),
    "regnet_y_800mf": _y(14, 56, 38.84, 2.4, 16, 76.420),
    "regnet_y_1_6gf": _y(27, 48, 20.71, 2.65, 24, 77.950),
    "regnet_y_3_2gf": _y(21, 80, 42.63, 2.66, 24, 78.948),
    "regnet_y_8gf": _y(17, 192, 76.82, 2.19, 56, 80.032),
    "regnet_y_16gf": _y(18, 200, 106.23, 2.48, 112, 80.424),
    "regnet_y_32gf": _y(20, 232, 115.89, 2.53, 232, 80.878),
    "regnet_y_128gf": _y(
        *(27, 456, 160.83, 2.52, 264, 86.068),
        weights="IMAGENET1K_SWAG_LINEAR_V1",
        paper="Goyal et al. 2021, https://arxiv.org/abs/2103.01988",
    ),
}
