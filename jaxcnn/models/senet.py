"""Squeeze-and-excitation networks.

Paper: Hu, Shen and Sun, "Squeeze-and-Excitation Networks", CVPR 2018,
https://arxiv.org/abs/1709.01507: Figure 3 and Table 1 with reduction ratio 16, and
SENet-154 from the paper's appendix. Details are those of the authors' Caffe networks
(https://github.com/hujie-frank/SENet), which timm's legacy_se* reproduce:
  * SE-ResNets stride in the first 1x1 convolution of a bottleneck, the others in the
    3x3 convolution.
  * The max-pool of the stem has no padding; its last window may extend beyond the
    image.
Initial values are those of resnet.py, including its scale of 0 at the end of a branch,
which the authors do not use.
"""

from collections.abc import Callable
import functools

from flax import linen as nn
import jax

from jaxcnn.models import resnet
from jaxcnn.models.layers import (
    BatchNorm,
    ConvNorm,
    SqueezeExcitation,
    add_relu,
    max_pool,
)
from jaxcnn.models.variant import Variant


def gate(channels: int, name: str) -> nn.Module:
    """Squeeze-and-excitation with reduction ratio 16."""
    return SqueezeExcitation(channels // 16, name=name)


class Block154(nn.Module):
    """Bottleneck of SENet-154: wider, in 64 groups, with 3x3 shortcuts for strides.

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
        before, after = self.dilation
        conv_norm = functools.partial(ConvNorm, norm=self.norm)
        strided = functools.partial(conv_norm, stride=self.stride, dilation=before)
        zero_conv_norm = functools.partial(resnet.ZeroConvNorm, norm=self.norm)
        y = conv_norm(2 * self.filters, 1, name="conv1")(x, train=train)
        y = strided(out, 3, groups=64, name="conv2")(y, train=train)
        y = zero_conv_norm(out, 1, name="conv3")(y, train=train)
        y = gate(out, name="gate")(y, train=train)
        if x.shape != y.shape:
            kernel = 3 if self.stride > 1 or before != after else 1
            x = strided(out, kernel, act=None, name="proj")(x, train=train)
        return add_relu(x, y)


class Stem(nn.Module):
    """7x7 stride-2 convolution and 3x3 stride-2 max-pool without padding."""

    filters: int
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/4, W/4, filters]."""
        conv = ConvNorm(self.filters, 7, 2, norm=self.norm, name="conv")
        x = conv(x, train=train)  # [B, H/2, W/2, filters]
        return max_pool(x, 3, 2, ceil_mode=True)


class Stem154(nn.Module):
    """Three 3x3 convolutions, the first with stride 2, and the max-pool."""

    filters: int
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/4, W/4, 2 * filters]."""
        conv_norm = functools.partial(ConvNorm, norm=self.norm)
        x = conv_norm(self.filters, 3, 2, name="conv1")(x, train=train)
        x = conv_norm(self.filters, 3, name="conv2")(x, train=train)
        x = conv_norm(2 * self.filters, 3, name="conv3")(x, train=train)
        return max_pool(x, 3, 2, ceil_mode=True)


_se_resnet = functools.partial(
    resnet.ResNet,
    block=functools.partial(resnet.OriginalBottleneckBlock, gate=gate),
    stem=Stem,
)
_se_resnext = functools.partial(
    resnet.ResNet,
    block=functools.partial(
        resnet.BottleneckBlock, groups=32, group_width=4, gate=gate
    ),
    stem=Stem,
)
_senet154 = functools.partial(
    resnet.ResNet,
    block=Block154,
    depths=resnet.DEPTHS_152,
    stem=Stem154,
    dropout=0.2,
)

# top1: 100% minus the single-crop error of the authors' weights.
_row = functools.partial(
    Variant,
    paper="Hu et al. 2018, https://arxiv.org/abs/1709.01507",
    top1_source="ImageNet, https://github.com/hujie-frank/SENet",
)

VARIANTS = {
    "legacy_seresnet50": _row(
        functools.partial(_se_resnet, depths=resnet.DEPTHS_50), top1=77.63
    ),
    "legacy_seresnet101": _row(
        functools.partial(_se_resnet, depths=resnet.DEPTHS_101), top1=78.25
    ),
    "legacy_seresnet152": _row(
        functools.partial(_se_resnet, depths=resnet.DEPTHS_152), top1=78.66
    ),
    "legacy_seresnext50_32x4d": _row(
        functools.partial(_se_resnext, depths=resnet.DEPTHS_50), top1=79.03
    ),
    "legacy_seresnext101_32x4d": _row(
        functools.partial(_se_resnext, depths=resnet.DEPTHS_101), top1=80.19
    ),
    "legacy_senet154": _row(_senet154, top1=81.32),
}
