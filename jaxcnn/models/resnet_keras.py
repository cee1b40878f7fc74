"""Residual networks of keras.applications, for Keras' weights.

Papers: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016,
https://arxiv.org/abs/1512.03385, and "Identity Mappings in Deep Residual Networks",
ECCV 2016, https://arxiv.org/abs/1603.05027. Depths and widths are those of resnet.py.

Differences from resnet.py and resnet_v2.py:
  * Convolutions have a bias, except the first two of a pre-activation block.
  * Epsilon is 1.001e-5, and 0.99 of the running statistics is kept. Initial values are
    Keras' (Glorot uniform, zero); no scale starts at 0.
  * ResNet v1 strides in the first 1x1 convolution, as in the paper.
  * ResNet v2 strides in the last block of a stage, whose shortcut takes every second
    pixel. It pads the max-pool of its stem with zeros, although no ReLU precedes it.
"""

from collections.abc import Callable, Iterator
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.models import resnet, resnet_v2
from jaxcnn.models.layers import Activation, BatchNorm, Conv, add_relu, max_pool, relu
from jaxcnn.models.variant import Variant

glorot_uniform = nn.initializers.glorot_uniform()
KerasConv = functools.partial(
    Conv, kernel_init=glorot_uniform, bias_init=nn.initializers.zeros
)
KerasBatchNorm = functools.partial(BatchNorm, momentum=0.99, epsilon=1.001e-5)


class ConvNorm(nn.Module):
    """Convolution with bias, normalisation, activation.

    Attributes:
        act: Activation function. None: no activation.
    """

    filters: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    act: Activation | None = relu
    norm: Callable[..., nn.Module] = KerasBatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, filters], rounded up."""
        conv = functools.partial(KerasConv, dilation=self.dilation, name="conv")
        x = conv(self.filters, self.kernel, self.stride)(x)
        x = self.norm(name="norm")(x, train=train)
        return x if self.act is None else self.act(x)


class BlockV1(nn.Module):
    """1x1 reduce, 3x3, 1x1 expand, and a shortcut; it strides in the first 1x1.

    Attributes:
        dilation: Dilations before and after the stride, see resnet.block_steps.
    """

    filters: int
    stride: int
    norm: Callable[..., nn.Module] = KerasBatchNorm
    dilation: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, 4 * filters]."""
        out = 4 * self.filters
        conv_norm = functools.partial(ConvNorm, norm=self.norm)
        linear = functools.partial(conv_norm, act=None)
        conv2 = functools.partial(conv_norm, dilation=self.dilation[1], name="conv2")
        y = conv_norm(self.filters, 1, self.stride, name="conv1")(x, train=train)
        y = conv2(self.filters, 3)(y, train=train)
        y = linear(out, 1, name="conv3")(y, train=train)
        if x.shape != y.shape:
            x = linear(out, 1, self.stride, name="proj")(x, train=train)
        return add_relu(x, y)


class BlockV2(nn.Module):
    """Pre-activation 1x1 reduce, 3x3, 1x1 expand, and a shortcut.

    Attributes:
        dilation: Dilations before and after the stride, see resnet.block_steps.
    """

    filters: int
    stride: int
    norm: Callable[..., nn.Module] = KerasBatchNorm
    dilation: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, 4 * filters]."""
        out = 4 * self.filters
        plain = functools.partial(KerasConv, bias=False)
        conv2 = functools.partial(plain, dilation=self.dilation[0], name="conv2")
        y = relu(self.norm(name="norm1")(x, train=train))
        if x.shape[-1] != out:
            x = KerasConv(out, 1, self.stride, name="proj")(y)
        else:
            x = x[:, :: self.stride, :: self.stride]
        y = plain(self.filters, 1, name="conv1")(y)
        y = relu(self.norm(name="norm2")(y, train=train))
        y = conv2(self.filters, 3, self.stride)(y)
        y = relu(self.norm(name="norm3")(y, train=train))
        return x + KerasConv(out, 1, name="conv3")(y)


class StemV1(nn.Module):
    """7x7 stride-2 convolution and 3x3 stride-2 max-pool."""

    filters: int
    norm: Callable[..., nn.Module] = KerasBatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/4, W/4, filters]."""
        conv = ConvNorm(self.filters, 7, 2, norm=self.norm, name="conv")
        x = conv(x, train=train)  # [B, H/2, W/2, filters]
        return max_pool(x, 3, 2, padding=1)


class StemV2(nn.Module):
    """7x7 stride-2 convolution and 3x3 stride-2 max-pool, padded with zeros."""

    filters: int = 64

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/4, W/4, filters]."""
        x = KerasConv(self.filters, 7, 2, name="conv")(x)  # [B, H/2, W/2, filters]
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        return max_pool(x, 3, 2)


def late_block_steps(
    depths: tuple[int, ...], dilated_stages: int
) -> Iterator[tuple[int, int, int, tuple[int, int]]]:
    """Like resnet.block_steps, but each stage except the last ends with stride 2."""
    dilation = 1
    for i, depth in enumerate(depths, start=1):
        for j in range(1, depth + 1):
            before, stride = dilation, 2 if j == depth and i < len(depths) else 1
            if len(depths) - i <= dilated_stages:
                dilation, stride = dilation * stride, 1
            yield i, j, stride, (before, dilation)


_v1 = functools.partial(resnet.ResNet, block=BlockV1, stem=StemV1, norm=KerasBatchNorm)
_v2 = functools.partial(
    resnet_v2.ResNetV2,
    block=BlockV2,
    stem=StemV2,
    steps=late_block_steps,
    norm=KerasBatchNorm,
)

# top1: https://keras.io/api/applications/
_row = functools.partial(
    Variant,
    paper="He et al. 2016, https://arxiv.org/abs/1512.03385",
    top1_source="ImageNet, Keras",
)
_row_v2 = functools.partial(
    _row, paper="He et al. 2016, https://arxiv.org/abs/1603.05027"
)

VARIANTS = {
    "resnet50_v1_keras": _row(
        functools.partial(_v1, depths=resnet.DEPTHS_50), top1=74.9
    ),
    "resnet101_v1_keras": _row(
        functools.partial(_v1, depths=resnet.DEPTHS_101), top1=76.4
    ),
    "resnet152_v1_keras": _row(
        functools.partial(_v1, depths=resnet.DEPTHS_152), top1=76.6
    ),
    "resnetv2_50_keras": _row_v2(
        functools.partial(_v2, depths=resnet.DEPTHS_50), top1=76.0
    ),
    "resnetv2_101_keras": _row_v2(
        functools.partial(_v2, depths=resnet.DEPTHS_101), top1=77.2
    ),
    "resnetv2_152_keras": _row_v2(
        functools.partial(_v2, depths=resnet.DEPTHS_152), top1=78.0
    ),
}
