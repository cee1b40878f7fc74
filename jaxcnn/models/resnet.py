"""Residual networks.

Paper: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition",
CVPR 2016, https://arxiv.org/abs/1512.03385. VARIANTS follows its Table 1 for ImageNet
and its section 4.2 for CIFAR-10.

Two departures from the paper:
  * "v1.5", as in torchvision: a bottleneck strides in its 3x3 convolution, not in
    its first 1x1. The rows that end with _v1 stride as in the paper.
  * The last BatchNorm of a residual branch starts at scale 0, so that every block
    starts as its shortcut (Goyal et al., https://arxiv.org/abs/1706.02677, 5.1;
    torchvision's zero_init_residual=True, not its default).

`resnet18_cifar` is not in the paper: it is the ImageNet network with the stem of the
CIFAR networks, as in many later papers.

With dilated_stages, the last stages keep their resolution: dilation replaces stride
(Yu, Koltun and Funkhouser, "Dilated Residual Networks", CVPR 2017,
https://arxiv.org/abs/1705.09914, section 2; torchvision's
replace_stride_with_dilation). The parameters are the same, and the features of the
strided network are every second pixel of those of the dilated network.
"""

from collections.abc import Callable, Iterator
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.errors import UserError
from jaxcnn.models.layers import (
    BatchNorm,
    ConvNorm,
    Dropout,
    add_relu,
    global_avg_pool,
    head,
    max_pool,
)
from jaxcnn.models.variant import Variant

LinearConvNorm = functools.partial(ConvNorm, act=None)
ZeroConvNorm = functools.partial(LinearConvNorm, scale_init=nn.initializers.zeros)

Projection = functools.partial(LinearConvNorm, kernel=1)  # option B of section 3.3


class Subsampling(nn.Module):
    """Option A of section 3.3: takes every stride-th pixel and appends zero filters.

    Attributes:
        norm: Unused, since what passes through is not changed.
    """

    filters: int
    stride: int
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, filters]."""
        x = x[:, :: self.stride, :: self.stride]
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, self.filters - x.shape[-1])))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (Figure 5, left).

    Attributes:
        dilation: Dilations before and after the stride, see block_steps.
        shortcut: Class of the shortcut if the shape changes, called as
            shortcut(filters, stride=..., norm=..., name="proj")(x, train=...).
    """

    filters: int
    stride: int
    norm: Callable[..., nn.Module] = BatchNorm
    dilation: tuple[int, int] = (1, 1)
    shortcut: Callable[..., nn.Module] = Projection

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, filters]."""
        before, after = self.dilation
        conv1 = functools.partial(ConvNorm, norm=self.norm, dilation=before)
        conv2 = functools.partial(ZeroConvNorm, norm=self.norm, dilation=after)
        y = conv1(self.filters, 3, self.stride, name="conv1")(x, train=train)
        y = conv2(self.filters, 3, name="conv2")(y, train=train)
        if x.shape != y.shape:
            fields = {"stride": self.stride, "norm": self.norm}
            x = self.shortcut(self.filters, **fields, name="proj")(x, train=train)
        return add_relu(x, y)


class BottleneckBlock(nn.Module):
    """1x1 reduce, 3x3, 1x1 expand, and a shortcut (Figure 5, right).

    Attributes:
        dilation: Dilations before and after the stride, see block_steps.
        groups: Number of groups of the 3x3 convolution.
        group_width: Filters per group in a stage of 64 filters.
        gate: Class of the gate on the branch before the addition, called as
            gate(4 * filters, name="gate")(y, train=...). None: no gate.
    """

    filters: int
    stride: int
    norm: Callable[..., nn.Module] = BatchNorm
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    group_width: int = 64
    gate: Callable[..., nn.Module] | None = None

    def steps(self) -> tuple[int, int, int]:
        """Stride of the first 1x1, stride and dilation of the 3x3 convolution."""
        return 1, self.stride, self.dilation[0]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, 4 * filters]."""
        inner = self.groups * (self.filters * self.group_width // 64)
        out = 4 * self.filters
        stride1, stride2, dilation = self.steps()
        conv_norm = functools.partial(ConvNorm, norm=self.norm)
        grouped = functools.partial(conv_norm, groups=self.groups, dilation=dilation)
        zero_conv_norm = functools.partial(ZeroConvNorm, norm=self.norm)
        y = conv_norm(inner, 1, stride1, name="conv1")(x, train=train)
        y = grouped(inner, 3, stride2, name="conv2")(y, train=train)
        y = zero_conv_norm(out, 1, name="conv3")(y, train=train)
        if self.gate is not None:
            y = self.gate(out, name="gate")(y, train=train)
        if x.shape != y.shape:
            fields = {"stride": self.stride, "norm": self.norm}
            x = Projection(out, **fields, name="proj")(x, train=train)
        return add_relu(x, y)


class OriginalBottleneckBlock(BottleneckBlock):
    """The paper's bottleneck block, which strides in its first 1x1 convolution."""

    def steps(self) -> tuple[int, int, int]:
        """Stride of the first 1x1, stride and dilation of the 3x3 convolution."""
        return self.stride, 1, self.dilation[1]


class ImageNetStem(nn.Module):
    """7x7 stride-2 convolution and 3x3 stride-2 max-pool, for 224-pixel images."""

    filters: int
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/4, W/4, filters]."""
        conv = ConvNorm(self.filters, 7, 2, norm=self.norm, name="conv")
        x = conv(x, train=train)  # [B, H/2, W/2, filters]
        return max_pool(x, 3, 2, padding=1)


class CifarStem(nn.Module):
    """One 3x3 convolution, for 32-pixel images."""

    filters: int
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, filters]."""
        return ConvNorm(self.filters, 3, norm=self.norm, name="conv")(x, train=train)


def block_steps(
    depths: tuple[int, ...], dilated_stages: int
) -> Iterator[tuple[int, int, int, tuple[int, int]]]:
    """Yields (stage, block, stride, dilations) for each block, counted from 1.

    Each stage except the first begins with stride 2. In a dilated stage, dilation
    replaces the stride, so that the layers after it still use every second pixel. A
    block gets the dilations before and after its stride; they differ only in the first
    block of a dilated stage.
    """
    dilation = 1
    for i, depth in enumerate(depths):
        before, stride = dilation, 2 if i > 0 else 1
        if len(depths) - i <= dilated_stages:
            dilation, stride = dilation * stride, 1
        yield i + 1, 1, stride, (before, dilation)
        for j in range(2, depth + 1):
            yield i + 1, j, 1, (dilation, dilation)


def check_dilated_stages(depths: tuple[int, ...], dilated_stages: int) -> None:
    """Raises UserError if there are more dilated stages than stages with a stride."""
    if not 0 <= dilated_stages < len(depths):
        raise UserError(
            f"dilated_stages={dilated_stages}; of {len(depths)} stages the last "
            f"{len(depths) - 1} can be dilated."
        )


class ResNet(nn.Module):
    """Stem, stages of residual blocks, global average pool, linear head.

    Attributes:
        num_classes: Number of classes. 0: no head, the output is the features [B, C].
        block: Residual block class, called as
            block(filters, stride, norm, dilation=...).
        depths: Blocks per stage; stage i (from 0) has filters * 2**i filters.
        filters: Number of filters of the first stage.
        stem: Stem class, called as stem(filters, norm).
        dilated_stages: Number of last stages that use dilation instead of stride.
        dropout: Dropout rate of the pooled features.
        norm: Normalisation class, see ConvNorm.
    """

    num_classes: int
    block: Callable[..., nn.Module]
    depths: tuple[int, ...]
    filters: int = 64
    stem: Callable[..., nn.Module] = ImageNetStem
    dilated_stages: int = 0
    dropout: float = 0.0
    norm: Callable[..., nn.Module] = BatchNorm

    def __post_init__(self) -> None:
        check_dilated_stages(self.depths, self.dilated_stages)
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, H, W, C]."""
        x = self.stem(self.filters, self.norm, name="stem")(images, train=train)
        for i, j, stride, dilation in block_steps(self.depths, self.dilated_stages):
            block = functools.partial(self.block, name=f"stage{i}_block{j}")
            filters = self.filters * 2 ** (i - 1)
            x = block(filters, stride, self.norm, dilation=dilation)(x, train=train)
        last = f"stage{len(self.depths) + 1}_block1"
        x = Dropout(self.dropout, name=last)(global_avg_pool(x), train=train)
        return head(self.num_classes)(x)


_basic = functools.partial(ResNet, block=BasicBlock)
_bottleneck = functools.partial(ResNet, block=BottleneckBlock)
_original = functools.partial(ResNet, block=OriginalBottleneckBlock)
_cifar = functools.partial(
    ResNet,
    block=functools.partial(BasicBlock, shortcut=Subsampling),
    filters=16,
    stem=CifarStem,
)

# top1: acc@1 of the IMAGENET1K_V1 weights, https://pytorch.org/vision/stable/models.html;
# for _v1, 100% minus the authors' 1-crop error; for CIFAR-10, 100% minus the error in
# the paper's Table 6, which is that of the best run for 110 layers.
_row = functools.partial(
    Variant,
    paper="He et al. 2016, https://arxiv.org/abs/1512.03385",
    top1_source="ImageNet, torchvision IMAGENET1K_V1",
)
_original_row = functools.partial(
    _row, top1_source="ImageNet, https://github.com/KaimingHe/deep-residual-networks"
)
_cifar_row = functools.partial(
    _row, image_size=32, num_classes=10, top1_source="CIFAR-10, the paper's Table 6"
)

DEPTHS_50, DEPTHS_101, DEPTHS_152 = (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)

VARIANTS = {
    "resnet18": _row(functools.partial(_basic, depths=(2, 2, 2, 2)), top1=69.758),
    "resnet34": _row(functools.partial(_basic, depths=(3, 4, 6, 3)), top1=73.314),
    "resnet50": _row(functools.partial(_bottleneck, depths=DEPTHS_50), top1=76.130),
    "resnet101": _row(functools.partial(_bottleneck, depths=DEPTHS_101), top1=77.374),
    "resnet152": _row(functools.partial(_bottleneck, depths=DEPTHS_152), top1=78.312),
    "resnet50_v1": _original_row(
        functools.partial(_original, depths=DEPTHS_50), top1=75.3
    ),
    "resnet101_v1": _original_row(
        functools.partial(_original, depths=DEPTHS_101), top1=76.4
    ),
    "resnet152_v1": _original_row(
        functools.partial(_original, depths=DEPTHS_152), top1=77.0
    ),
    "resnet20_cifar": _cifar_row(
        functools.partial(_cifar, depths=(3, 3, 3)), top1=91.25
    ),
    "resnet32_cifar": _cifar_row(
        functools.partial(_cifar, depths=(5, 5, 5)), top1=92.49
    ),
    "resnet44_cifar": _cifar_row(
        functools.partial(_cifar, depths=(7, 7, 7)), top1=92.83
    ),
    "resnet56_cifar": _cifar_row(
        functools.partial(_cifar, depths=(9, 9, 9)), top1=93.03
    ),
    "resnet110_cifar": _cifar_row(
        functools.partial(_cifar, depths=(18, 18, 18)), top1=93.57
    ),
    "resnet18_cifar": _cifar_row(
        functools.partial(_basic, depths=(2, 2, 2, 2), stem=CifarStem), top1_source=""
    ),
}
