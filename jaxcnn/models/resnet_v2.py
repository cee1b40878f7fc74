"""Residual networks with pre-activation.

Paper: He, Zhang, Ren and Sun, "Identity Mappings in Deep Residual Networks", ECCV
2016, https://arxiv.org/abs/1603.05027, Figure 4(e): normalisation and ReLU come before
each convolution, and nothing comes after the addition. Depths and widths are those of
resnet.py; the CIFAR networks follow section 4.1.

Details that the paper leaves open or does differently are those of timm (ImageNet) and
pytorchcv (CIFAR):
  * A bottleneck strides in its 3x3 convolution, not in its first 1x1.
  * The stem has no normalisation: the first block begins with one.
  * A shortcut that changes the shape is a 1x1 convolution of the pre-activation.
Initial values are those of resnet.py, without a scale that starts at 0.
"""

from collections.abc import Callable, Iterator
import functools

from flax import linen as nn
import jax

from jaxcnn.models import resnet
from jaxcnn.models.layers import (
    BatchNorm,
    Conv,
    global_avg_pool,
    head,
    kaiming_normal,
    max_pool,
    relu,
)
from jaxcnn.models.variant import Variant

PlainConv = functools.partial(Conv, bias=False, kernel_init=kaiming_normal)


class NormRelu(nn.Module):
    """Normalisation and ReLU.

    Attributes:
        norm: Normalisation class, see ConvNorm.
    """

    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        return relu(self.norm(name="norm")(x, train=train))


class BasicBlock(nn.Module):
    """Two pre-activation 3x3 convolutions and a shortcut (Figure 4e).

    Attributes:
        dilation: Dilations before and after the stride, see resnet.block_steps.
    """

    filters: int
    stride: int
    norm: Callable[..., nn.Module] = BatchNorm
    dilation: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, filters]."""
        before, after = self.dilation
        y = relu(self.norm(name="norm1")(x, train=train))
        if self.stride > 1 or x.shape[-1] != self.filters:
            x = PlainConv(self.filters, 1, self.stride, name="proj")(y)
        conv1 = functools.partial(PlainConv, dilation=before, name="conv1")
        y = conv1(self.filters, 3, self.stride)(y)
        y = relu(self.norm(name="norm2")(y, train=train))
        return x + PlainConv(self.filters, 3, dilation=after, name="conv2")(y)


class BottleneckBlock(nn.Module):
    """Pre-activation 1x1 reduce, 3x3, 1x1 expand, and a shortcut.

    Attributes:
        dilation: Dilations before and after the stride, see resnet.block_steps.
    """

    filters: int
    stride: int
    norm: Callable[..., nn.Module] = BatchNorm
    dilation: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, 4 * filters]."""
        out = 4 * self.filters
        y = relu(self.norm(name="norm1")(x, train=train))
        if self.stride > 1 or x.shape[-1] != out:
            x = PlainConv(out, 1, self.stride, name="proj")(y)
        y = PlainConv(self.filters, 1, name="conv1")(y)
        y = relu(self.norm(name="norm2")(y, train=train))
        conv2 = functools.partial(PlainConv, dilation=self.dilation[0], name="conv2")
        y = conv2(self.filters, 3, self.stride)(y)
        y = relu(self.norm(name="norm3")(y, train=train))
        return x + PlainConv(out, 1, name="conv3")(y)


class ImageNetStem(nn.Module):
    """7x7 stride-2 convolution and 3x3 stride-2 max-pool, for 224-pixel images."""

    filters: int = 64

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/4, W/4, filters]."""
        x = PlainConv(self.filters, 7, 2, name="conv")(x)  # [B, H/2, W/2, filters]
        return max_pool(x, 3, 2, padding=1)


class CifarStem(nn.Module):
    """One 3x3 convolution, for 32-pixel images."""

    filters: int = 16

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, filters]."""
        return PlainConv(self.filters, 3, name="conv")(x)


class ResNetV2(nn.Module):
    """Stem, stages of pre-activation blocks, normalisation, average pool, linear head.

    Attributes:
        num_classes: Number of classes. 0: no head, the output is the features [B, C].
        block: Block class, called as block(filters, stride, norm, dilation=...).
        depths: Blocks per stage; stage i (from 0) has filters * 2**i filters.
        filters: Number of filters of the first stage.
        stem: Module class that maps images to the input of the first stage.
        steps: Function that gives the blocks their strides, called as steps(depths,
            dilated_stages).
        dilated_stages: Number of last stages that use dilation instead of stride.
        norm: Normalisation class, see ConvNorm.
    """

    num_classes: int
    block: Callable[..., nn.Module]
    depths: tuple[int, ...]
    filters: int = 64
    stem: Callable[..., nn.Module] = ImageNetStem
    steps: Callable[..., Iterator] = resnet.block_steps
    dilated_stages: int = 0
    norm: Callable[..., nn.Module] = BatchNorm

    def __post_init__(self) -> None:
        resnet.check_dilated_stages(self.depths, self.dilated_stages)
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, H, W, C]."""
        x = self.stem(name="stem")(images, train=train)
        for i, j, stride, dilation in self.steps(self.depths, self.dilated_stages):
            block = functools.partial(self.block, name=f"stage{i}_block{j}")
            filters = self.filters * 2 ** (i - 1)
            x = block(filters, stride, self.norm, dilation=dilation)(x, train=train)
        last = f"stage{len(self.depths) + 1}_block1"
        x = NormRelu(self.norm, name=last)(x, train=train)
        return head(self.num_classes)(global_avg_pool(x))


_bottleneck = functools.partial(ResNetV2, block=BottleneckBlock)
_cifar = functools.partial(ResNetV2, block=BottleneckBlock, filters=16, stem=CifarStem)
_cifar_basic = functools.partial(_cifar, block=BasicBlock)

# top1: 100% minus the median error of 5 runs,
# https://github.com/szagoruyko/wide-residual-networks, which cites the paper.
_row = functools.partial(
    Variant, paper="He et al. 2016, https://arxiv.org/abs/1603.05027"
)
_cifar_row = functools.partial(_row, image_size=32, num_classes=10)

VARIANTS = {
    "resnetv2_50": _row(functools.partial(_bottleneck, depths=resnet.DEPTHS_50)),
    "resnetv2_101": _row(functools.partial(_bottleneck, depths=resnet.DEPTHS_101)),
    "resnetv2_152": _row(functools.partial(_bottleneck, depths=resnet.DEPTHS_152)),
    "resnetv2_20_cifar": _cifar_row(functools.partial(_cifar_basic, depths=(3, 3, 3))),
    "resnetv2_56_cifar": _cifar_row(functools.partial(_cifar_basic, depths=(9, 9, 9))),
    "resnetv2_110_cifar": _cifar_row(
        functools.partial(_cifar_basic, depths=(18, 18, 18))
    ),
    "resnetv2_164_cifar": _cifar_row(
        functools.partial(_cifar, depths=(18, 18, 18)),
        top1=94.54,
        top1_source="CIFAR-10, the paper, median of 5 runs",
    ),
    "resnetv2_1001_cifar": _cifar_row(
        functools.partial(_cifar, depths=(111, 111, 111)),
        top1=95.08,
        top1_source="CIFAR-10, the paper, median of 5 runs",
    ),
}
