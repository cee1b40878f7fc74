"""ShuffleNetV2: half of the channels pass through each unit unchanged.

Paper: Ma, Zhang, Zheng and Sun, "ShuffleNet V2: Practical Guidelines for Efficient CNN
Architecture Design", ECCV 2018, https://arxiv.org/abs/1807.11164. The network is that
of Table 5; the number in a name is the width.

Padding, epsilon and initial values (PyTorch's defaults) are torchvision's.
"""

from collections.abc import Callable
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.models.layers import (
    BatchNorm,
    ConvNorm,
    channel_shuffle,
    global_avg_pool,
    head,
    max_pool,
    torch_uniform,
)
from jaxcnn.models.variant import Variant

TorchConvNorm = functools.partial(ConvNorm, kernel_init=torch_uniform)


class Branch(nn.Module):
    """1x1, 3x3 depthwise and 1x1 convolution (Figure 3c and d, right)."""

    filters: int
    stride: int
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, filters]."""
        filters = self.filters
        conv_norm = functools.partial(TorchConvNorm, norm=self.norm)
        x = conv_norm(filters, 1, name="conv1")(x, train=train)
        depthwise = functools.partial(conv_norm, groups=filters, act=None)
        x = depthwise(filters, 3, self.stride, name="conv2")(x, train=train)
        return conv_norm(filters, 1, name="conv3")(x, train=train)


class Projection(nn.Module):
    """3x3 depthwise and 1x1 convolution (Figure 3d, left)."""

    filters: int
    stride: int
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, filters]."""
        channels = x.shape[-1]
        conv_norm = functools.partial(TorchConvNorm, norm=self.norm)
        depthwise = functools.partial(conv_norm, groups=channels, act=None)
        x = depthwise(channels, 3, self.stride, name="conv1")(x, train=train)
        return conv_norm(self.filters, 1, name="conv2")(x, train=train)


class SplitUnit(nn.Module):
    """One half passes through, the other takes the branch, then shuffle (Figure 3c)."""

    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        passed, x = jnp.split(x, 2, axis=-1)  # [B, H, W, C/2] twice
        x = Branch(x.shape[-1], 1, self.norm, name="branch")(x, train=train)
        return channel_shuffle(jnp.concatenate([passed, x], axis=-1), 2)


class DownsamplingUnit(nn.Module):
    """All channels take both branches with stride 2 (Figure 3d)."""

    filters: int
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/2, W/2, filters]."""
        half = self.filters // 2
        proj = Projection(half, 2, self.norm, name="proj")(x, train=train)
        x = Branch(half, 2, self.norm, name="branch")(x, train=train)
        return channel_shuffle(jnp.concatenate([proj, x], axis=-1), 2)


class Stem(nn.Module):
    """3x3 stride-2 convolution and 3x3 stride-2 max-pool."""

    filters: int
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/4, W/4, filters]."""
        conv = TorchConvNorm(self.filters, 3, 2, norm=self.norm, name="conv")
        return max_pool(conv(x, train=train), 3, 2, padding=1)


class ShuffleNetV2(nn.Module):
    """Stem, three stages of units, 1x1 convolution, global average pool, linear head.

    Attributes:
        num_classes: Number of classes. 0: no head, the output is the features [B, C].
        filters: Number of filters of each stage.
        last_filters: Number of filters of the last convolution.
        depths: Units per stage.
        norm: Normalisation class, see ConvNorm.
    """

    num_classes: int
    filters: tuple[int, ...]
    last_filters: int = 1024
    depths: tuple[int, ...] = (4, 8, 4)
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, H, W, C]."""
        x = Stem(24, self.norm, name="stem")(images, train=train)
        stages = zip(self.filters, self.depths, strict=True)
        for i, (filters, depth) in enumerate(stages, start=1):
            first = DownsamplingUnit(filters, self.norm, name=f"stage{i}_block1")
            x = first(x, train=train)
            for j in range(2, depth + 1):
                x = SplitUnit(self.norm, name=f"stage{i}_block{j}")(x, train=train)
        last = TorchConvNorm(
            self.last_filters,
            1,
            norm=self.norm,
            name=f"stage{len(self.depths) + 1}_block1",
        )
        x = last(x, train=train)  # [B, H/32, W/32, last_filters]
        return head(self.num_classes)(global_avg_pool(x))


_row = functools.partial(
    Variant,
    paper="Ma et al. 2018, https://arxiv.org/abs/1807.11164",
    top1_source="ImageNet, torchvision IMAGENET1K_V1",
)

VARIANTS = {
    "shufflenet_v2_x0_5": _row(
        functools.partial(ShuffleNetV2, filters=(48, 96, 192)), top1=60.552
    ),
    "shufflenet_v2_x1_0": _row(
        functools.partial(ShuffleNetV2, filters=(116, 232, 464)), top1=69.362
    ),
    "shufflenet_v2_x1_5": _row(
        functools.partial(ShuffleNetV2, filters=(176, 352, 704)), top1=72.996
    ),
    "shufflenet_v2_x2_0": _row(
        functools.partial(ShuffleNetV2, filters=(244, 488, 976), last_filters=2048),
        top1=76.230,
    ),
}
