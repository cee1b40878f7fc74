"""Densely connected networks.

Paper: Huang, Liu, van der Maaten and Weinberger, "Densely Connected Convolutional
Networks", CVPR 2017, https://arxiv.org/abs/1608.06993. All rows are DenseNet-BC, with
1x1 bottlenecks and transitions that halve the channels. The ImageNet networks follow
Table 1 and torchvision, the CIFAR networks sections 3 and 4 and pytorchcv; their names
contain depth L and growth rate k. As in both libraries, the BatchNorm before the
average pool is followed by a ReLU.

stage<i>_block<j> is the j-th layer of dense block i; the last one is the transition to
the next block. Every layer can thus have its own learning rate.
"""

from collections.abc import Callable
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.models.layers import (
    BatchNorm,
    Conv,
    Dense,
    avg_pool,
    global_avg_pool,
    head,
    max_pool,
    relu,
)
from jaxcnn.models.variant import Variant

# nn.init.kaiming_normal_ with its defaults, as in torchvision's DenseNet.
fan_in_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
PlainConv = functools.partial(Conv, bias=False, kernel_init=fan_in_normal)
ZeroBiasDense = functools.partial(Dense, bias_init=nn.initializers.zeros)


class DenseLayer(nn.Module):
    """Pre-activation 1x1 and 3x3 convolution whose output is appended to the input.

    Attributes:
        growth: Number of channels that it adds.
        norm: Normalisation class, see ConvNorm.
    """

    growth: int
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C + growth]."""
        y = relu(self.norm(name="norm1")(x, train=train))
        y = PlainConv(4 * self.growth, 1, name="conv1")(y)  # [B, H, W, 4 * growth]
        y = relu(self.norm(name="norm2")(y, train=train))
        y = PlainConv(self.growth, 3, name="conv2")(y)  # [B, H, W, growth]
        return jnp.concatenate([x, y], axis=-1)


class Transition(nn.Module):
    """Pre-activation 1x1 convolution that halves the channels, 2x2 average pool."""

    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/2, W/2, C/2]."""
        y = relu(self.norm(name="norm")(x, train=train))
        y = PlainConv(x.shape[-1] // 2, 1, name="conv")(y)  # [B, H, W, C/2]
        return avg_pool(y, 2, 2)


class LastNorm(nn.Module):
    """Normalisation and ReLU after the last dense block."""

    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        return relu(self.norm(name="norm")(x, train=train))


class ImageNetStem(nn.Module):
    """7x7 stride-2 convolution and 3x3 stride-2 max-pool, for 224-pixel images."""

    filters: int
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/4, W/4, filters]."""
        x = PlainConv(self.filters, 7, 2, name="conv")(x)  # [B, H/2, W/2, filters]
        x = relu(self.norm(name="norm")(x, train=train))
        return max_pool(x, 3, 2, padding=1)


class CifarStem(nn.Module):
    """One 3x3 convolution, for 32-pixel images.

    Attributes:
        norm: Unused, since the first dense layer begins with a normalisation.
    """

    filters: int
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, filters]."""
        return PlainConv(self.filters, 3, name="conv")(x)


class DenseNet(nn.Module):
    """Stem, dense blocks with transitions between, average pool, linear head.

    Attributes:
        num_classes: Number of classes. 0: no head, the output is the features [B, C].
        depths: Number of layers in each dense block.
        growth: Number of channels that a layer adds; the stem has twice as many.
        stem: Stem class, called as stem(filters, norm).
        norm: Normalisation class, see ConvNorm.
    """

    num_classes: int
    depths: tuple[int, ...]
    growth: int = 32
    stem: Callable[..., nn.Module] = ImageNetStem
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, H, W, C]."""
        x = self.stem(2 * self.growth, self.norm, name="stem")(images, train=train)
        for i, depth in enumerate(self.depths, start=1):
            if i > 1:
                name = f"stage{i - 1}_block{self.depths[i - 2] + 1}"
                x = Transition(self.norm, name=name)(x, train=train)
            for j in range(1, depth + 1):
                layer = DenseLayer(self.growth, self.norm, name=f"stage{i}_block{j}")
                x = layer(x, train=train)
        last = f"stage{len(self.depths) + 1}_block1"
        x = LastNorm(self.norm, name=last)(x, train=train)
        return head(self.num_classes, ZeroBiasDense)(global_avg_pool(x))


_cifar = functools.partial(DenseNet, stem=CifarStem)

# top1: acc@1 on torchvision's model cards; for CIFAR-10, 100% minus the error with
# augmentation (C10+), https://github.com/liuzhuang13/DenseNet
_row = functools.partial(
    Variant,
    paper="Huang et al. 2017, https://arxiv.org/abs/1608.06993",
    top1_source="ImageNet, torchvision IMAGENET1K_V1",
)
_cifar_row = functools.partial(
    _row, image_size=32, num_classes=10, top1_source="CIFAR-10, the authors"
)

VARIANTS = {
    "densenet121": _row(
        functools.partial(DenseNet, depths=(6, 12, 24, 16)), top1=74.434
    ),
    "densenet161": _row(
        functools.partial(DenseNet, depths=(6, 12, 36, 24), growth=48), top1=77.138
    ),
    "densenet169": _row(
        functools.partial(DenseNet, depths=(6, 12, 32, 32)), top1=75.600
    ),
    "densenet201": _row(
        functools.partial(DenseNet, depths=(6, 12, 48, 32)), top1=76.896
    ),
    "densenet100_k12_bc_cifar": _cifar_row(
        functools.partial(_cifar, depths=(16, 16, 16), growth=12), top1=95.49
    ),
    "densenet190_k40_bc_cifar": _cifar_row(
        functools.partial(_cifar, depths=(31, 31, 31), growth=40), top1=96.54
    ),
}
