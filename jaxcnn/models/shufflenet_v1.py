"""ShuffleNetV1: grouped 1x1 convolutions with shuffled channels.

Paper: Zhang, Zhou, Lin and Sun, "ShuffleNet: An Extremely Efficient Convolutional
Neural Network for Mobile Devices", CVPR 2018, https://arxiv.org/abs/1707.01083. The
network is that of Table 1 with width 1; the names are pytorchcv's.

Padding, epsilon and the initial values of the convolutions (uniform, by fan-in) are
pytorchcv's; the paper does not give them.
"""

from collections.abc import Callable
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.models.layers import (
    BatchNorm,
    ConvNorm,
    add_relu,
    avg_pool,
    channel_shuffle,
    global_avg_pool,
    head,
    max_pool,
    relu,
)
from jaxcnn.models.variant import Variant

kaiming_uniform = nn.initializers.variance_scaling(2.0, "fan_in", "uniform")


class ShuffleUnit(nn.Module):
    """Grouped 1x1, shuffle, 3x3 depthwise, grouped 1x1, and a shortcut (Figure 2b, c).

    With stride 1 the shortcut is added, with stride 2 it is pooled and concatenated.

    Attributes:
        filters: Number of filters of the output, including the shortcut.
        first_groups: Number of groups of the first 1x1 convolution.
        groups: Number of groups of the shuffle and of the last 1x1 convolution.
    """

    filters: int
    stride: int
    first_groups: int
    groups: int
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, filters]."""
        conv_norm = functools.partial(
            ConvNorm, act=None, norm=self.norm, kernel_init=kaiming_uniform
        )
        narrow = self.filters // 4
        conv1 = conv_norm(narrow, 1, groups=self.first_groups, act=relu, name="conv1")
        y = conv1(x, train=train)  # [B, H, W, filters/4]
        y = channel_shuffle(y, self.groups)
        conv2 = conv_norm(narrow, 3, self.stride, groups=narrow, name="conv2")
        y = conv2(y, train=train)  # [B, H/stride, W/stride, filters/4]
        if self.stride == 1:
            conv3 = conv_norm(self.filters, 1, groups=self.groups, name="conv3")
            return add_relu(x, conv3(y, train=train))
        more = self.filters - x.shape[-1]
        conv3 = conv_norm(more, 1, groups=self.groups, name="conv3")
        x = avg_pool(x, 3, 2, padding=1)
        return relu(jnp.concatenate([conv3(y, train=train), x], axis=-1))


class Stem(nn.Module):
    """3x3 stride-2 convolution and 3x3 stride-2 max-pool."""

    filters: int
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/4, W/4, filters]."""
        fields = {"norm": self.norm, "kernel_init": kaiming_uniform}
        x = ConvNorm(self.filters, 3, 2, **fields, name="conv")(x, train=train)
        return max_pool(x, 3, 2, padding=1)


class ShuffleNetV1(nn.Module):
    """Stem, three stages of shuffle units, global average pool, linear head.

    Attributes:
        num_classes: Number of classes. 0: no head, the output is the features [B, C].
        groups: Number of groups of the 1x1 convolutions, except the very first one,
            whose input has few channels (section 3.3).
        filters: Number of filters of the first stage, doubled in each later stage.
        depths: Units per stage.
        norm: Normalisation class, see ConvNorm.
    """

    num_classes: int
    groups: int
    filters: int
    depths: tuple[int, ...] = (4, 8, 4)
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, H, W, C]."""
        x = Stem(24, self.norm, name="stem")(images, train=train)
        for i, depth in enumerate(self.depths):
            for j in range(depth):
                x = ShuffleUnit(
                    self.filters * 2**i,
                    stride=2 if j == 0 else 1,
                    first_groups=1 if i == j == 0 else self.groups,
                    groups=self.groups,
                    norm=self.norm,
                    name=f"stage{i + 1}_block{j + 1}",
                )(x, train=train)
        return head(self.num_classes)(global_avg_pool(x))


def _row(groups: int, filters: int, top1: float) -> Variant:
    """A column of Table 1; top1 is 100 minus the error in Table 2."""
    return Variant(
        functools.partial(ShuffleNetV1, groups=groups, filters=filters),
        paper="Zhang et al. 2018, https://arxiv.org/abs/1707.01083",
        top1=top1,
        top1_source="ImageNet, the paper's Table 2",
    )


VARIANTS = {
    "shufflenet_g1_w1": _row(groups=1, filters=144, top1=66.4),
    "shufflenet_g2_w1": _row(groups=2, filters=200, top1=67.3),
    "shufflenet_g3_w1": _row(groups=3, filters=240, top1=67.4),
    "shufflenet_g4_w1": _row(groups=4, filters=272, top1=67.2),
    "shufflenet_g8_w1": _row(groups=8, filters=384, top1=67.6),
}
