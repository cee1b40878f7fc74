"""ConvNeXt.

Paper: Liu, Mao, Wu, Feichtenhofer, Darrell and Xie, "A ConvNet for the 2020s", CVPR
2022, https://arxiv.org/abs/2201.03545. The block is its Figure 4 (right), the depths
and widths are those of section 3, the rates of stochastic depth those of its Table 5.

Epsilon, initial values and the position of the last LayerNorm (after the pool) are
torchvision's. The paper's ConvNeXt-XL is left out, since torchvision has no weights for
it.

The downsampling layer between two stages is the first block of the later stage, and the
last LayerNorm is stage 5, so that replacing the head keeps both.
"""

from collections.abc import Callable
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.models.layers import (
    Conv,
    Dense,
    LayerNorm,
    StochasticDepth,
    gelu,
    global_avg_pool,
    head,
)
from jaxcnn.models.variant import Variant

_inits = {
    "kernel_init": nn.initializers.normal(0.02),
    "bias_init": nn.initializers.zeros,
}
PlainConv = functools.partial(Conv, **_inits)
PlainDense = functools.partial(Dense, **_inits)


class Block(nn.Module):
    """7x7 depthwise convolution, norm, two layers at each pixel, and a shortcut.

    Attributes:
        drop_rate: Probability that the branch is dropped in training.
        layer_scale: Initial factor of each of the branch's filters (Touvron et al.,
            https://arxiv.org/abs/2103.17239, section 2).
    """

    drop_rate: float
    layer_scale: float
    norm: Callable[..., nn.Module] = LayerNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        filters = x.shape[-1]
        y = PlainConv(filters, 7, groups=filters, name="conv")(x)
        y = self.norm(name="norm")(y, train=train)
        y = gelu(PlainDense(4 * filters, name="fc1")(y))  # [B, H, W, 4 * C]
        y = PlainDense(filters, name="fc2")(y)  # [B, H, W, C]
        init = nn.initializers.constant(self.layer_scale)
        scale = self.param("layer_scale", init, (filters,), jnp.float32)
        drop = StochasticDepth(self.drop_rate, name="drop")
        return x + drop(scale * y, train=train)


class Stem(nn.Module):
    """Convolution of 4x4 patches, norm."""

    filters: int
    norm: Callable[..., nn.Module] = LayerNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/4, W/4, filters]."""
        x = PlainConv(self.filters, 4, 4, padding=0, name="conv")(x)
        return self.norm(name="norm")(x, train=train)


class Downsample(nn.Module):
    """Norm, convolution of 2x2 patches."""

    filters: int
    norm: Callable[..., nn.Module] = LayerNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/2, W/2, filters]."""
        x = self.norm(name="norm")(x, train=train)
        return PlainConv(self.filters, 2, 2, padding=0, name="conv")(x)


class ConvNeXt(nn.Module):
    """Stem, stages of blocks, global average pool, norm, linear head.

    Attributes:
        num_classes: Number of classes. 0: no head, the output is the features [B, C].
        depths: Blocks per stage, excluding downsampling layers.
        filters: Number of filters of the first stage, doubled in each later stage.
        drop_rate: Stochastic depth rate of the last block; it increases linearly from
            0, see Block.
        layer_scale: Initial factor of the branches, see Block.
        norm: Normalisation class, called as norm(name=...)(x, train=...).
    """

    num_classes: int
    depths: tuple[int, ...]
    filters: int
    drop_rate: float = 0.0
    layer_scale: float = 1e-6
    norm: Callable[..., nn.Module] = LayerNorm

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, H, W, C]."""
        x = Stem(self.filters, self.norm, name="stem")(images, train=train)
        last = sum(self.depths) - 1
        for i, depth in enumerate(self.depths):
            names = (f"stage{i + 1}_block{j + 1}" for j in range(depth + 1))
            if i > 0:
                down = Downsample(self.filters * 2**i, self.norm, name=next(names))
                x = down(x, train=train)
            for j in range(depth):
                drop_rate = self.drop_rate * (sum(self.depths[:i]) + j) / max(last, 1)
                block = Block(drop_rate, self.layer_scale, self.norm, name=next(names))
                x = block(x, train=train)
        x = global_avg_pool(x)  # [B, C]
        name = f"stage{len(self.depths) + 1}_block1"
        x = self.norm(name=name)(x, train=train)
        return head(self.num_classes, PlainDense)(x)


# top1: acc@1 of the IMAGENET1K_V1 weights, https://pytorch.org/vision/stable/models.html
_row = functools.partial(
    Variant,
    paper="Liu et al. 2022, https://arxiv.org/abs/2201.03545",
    top1_source="ImageNet, torchvision IMAGENET1K_V1",
)
_tiny = functools.partial(ConvNeXt, depths=(3, 3, 9, 3))
_deep = functools.partial(ConvNeXt, depths=(3, 3, 27, 3))

VARIANTS = {
    "convnext_tiny": _row(
        functools.partial(_tiny, filters=96, drop_rate=0.1), top1=82.520
    ),
    "convnext_small": _row(
        functools.partial(_deep, filters=96, drop_rate=0.4), top1=83.616
    ),
    "convnext_base": _row(
        functools.partial(_deep, filters=128, drop_rate=0.5), top1=84.062
    ),
    "convnext_large": _row(
        functools.partial(_deep, filters=192, drop_rate=0.5), top1=84.414
    ),
}
