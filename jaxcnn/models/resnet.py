"""Residual networks.

Paper: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition",
CVPR 2016, https://arxiv.org/abs/1512.03385. VARIANTS follows its Table 1 for ImageNet
and its section 4.2 for CIFAR-10.

Two departures from the paper:
  * "v1.5", as in torchvision: a bottleneck strides in its 3x3 convolution, not in
    its first 1x1.
  * The last BatchNorm of a residual branch starts at scale 0, so that every block
    starts as its shortcut (Goyal et al., https://arxiv.org/abs/1706.02677, 5.1;
    torchvision's zero_init_residual=True, not its default).

`resnet18_cifar` is not in the paper: the ImageNet network with the stem of the CIFAR
ones, as in many later papers.
"""

from collections.abc import Callable
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.models.layers import (
    BatchNorm,
    ConvNorm,
    global_avg_pool,
    head,
    max_pool,
    relu,
)
from jaxcnn.models.variant import Variant

LinearConvNorm = functools.partial(ConvNorm, act=None)
ZeroConvNorm = functools.partial(LinearConvNorm, scale_init=nn.initializers.zeros)

Projection = functools.partial(LinearConvNorm, kernel=1)  # option B of section 3.3


class Subsampling(nn.Module):
    """Option A of section 3.3: every stride-th pixel, new filters zero, no parameters.

    Attributes:
        norm: Not used: what passes through is not changed.
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
        shortcut: Where the shape changes, called as
            shortcut(filters, stride=..., norm=..., name="proj")(x, train=...).
    """

    filters: int
    stride: int
    norm: Callable[..., nn.Module] = BatchNorm
    shortcut: Callable[..., nn.Module] = Projection

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, filters]."""
        conv_norm = functools.partial(ConvNorm, norm=self.norm)
        zero_conv_norm = functools.partial(ZeroConvNorm, norm=self.norm)
        y = conv_norm(self.filters, 3, self.stride, name="conv1")(x, train=train)
        y = zero_conv_norm(self.filters, 3, name="conv2")(y, train=train)
        if x.shape != y.shape:
            fields = {"stride": self.stride, "norm": self.norm}
            x = self.shortcut(self.filters, **fields, name="proj")(x, train=train)
        return relu(x + y)


class BottleneckBlock(nn.Module):
    """1x1 reduce, 3x3, 1x1 expand, and a shortcut (Figure 5, right)."""

    filters: int
    stride: int
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, 4 * filters]."""
        out = 4 * self.filters
        conv_norm = functools.partial(ConvNorm, norm=self.norm)
        zero_conv_norm = functools.partial(ZeroConvNorm, norm=self.norm)
        y = conv_norm(self.filters, 1, name="conv1")(x, train=train)
        y = conv_norm(self.filters, 3, self.stride, name="conv2")(y, train=train)
        y = zero_conv_norm(out, 1, name="conv3")(y, train=train)
        if x.shape != y.shape:
            fields = {"stride": self.stride, "norm": self.norm}
            x = Projection(out, **fields, name="proj")(x, train=train)
        return relu(x + y)


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


class ResNet(nn.Module):
    """Stem, stages of residual blocks, global average pool, linear head.

    Attributes:
        num_classes: Size of the last axis of the logits; 0: features [B, C], no head.
        block: Residual block class, called as block(filters, stride, norm).
        depths: Blocks per stage; stage i (from 0) has filters * 2**i filters.
        filters: Of the stem and the first stage.
        stem: Module class that maps images to the input of the first stage.
        norm: Normalisation class, see ConvNorm.
    """

    num_classes: int
    block: Callable[..., nn.Module]
    depths: tuple[int, ...]
    filters: int = 64
    stem: Callable[..., nn.Module] = ImageNetStem
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, H, W, C]."""
        x = self.stem(self.filters, self.norm, name="stem")(images, train=train)
        for i, depth in enumerate(self.depths):
            for j in range(depth):
                stride = 2 if i > 0 and j == 0 else 1
                name = f"stage{i + 1}_block{j + 1}"
                block = self.block(self.filters * 2**i, stride, self.norm, name=name)
                x = block(x, train=train)
        return head(self.num_classes)(global_avg_pool(x))


_basic = functools.partial(ResNet, block=BasicBlock)
_bottleneck = functools.partial(ResNet, block=BottleneckBlock)
_cifar = functools.partial(
    ResNet,
    block=functools.partial(BasicBlock, shortcut=Subsampling),
    filters=16,
    stem=CifarStem,
)

# top1: acc@1 of the IMAGENET1K_V1 weights, https://pytorch.org/vision/stable/models.html;
# for CIFAR-10, 100% less the error of the paper's Table 6, the best run of 110 layers.
_row = functools.partial(
    Variant,
    paper="He et al. 2016, https://arxiv.org/abs/1512.03385",
    top1_source="ImageNet, torchvision IMAGENET1K_V1",
)
_cifar_row = functools.partial(
    _row, image_size=32, num_classes=10, top1_source="CIFAR-10, the paper's Table 6"
)

VARIANTS = {
    "resnet18": _row(functools.partial(_basic, depths=(2, 2, 2, 2)), top1=69.758),
    "resnet34": _row(functools.partial(_basic, depths=(3, 4, 6, 3)), top1=73.314),
    "resnet50": _row(functools.partial(_bottleneck, depths=(3, 4, 6, 3)), top1=76.130),
    "resnet101": _row(
        functools.partial(_bottleneck, depths=(3, 4, 23, 3)), top1=77.374
    ),
    "resnet152": _row(
        functools.partial(_bottleneck, depths=(3, 8, 36, 3)), top1=78.312
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
