"""Xception.

Paper: Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR
2017, https://arxiv.org/abs/1610.02357, Figure 5: stage 1 is its entry flow without the
first two convolutions, stage 2 its middle flow, stage 3 its exit flow.

`xception` is timm's legacy_xception: padding and epsilon are PyTorch's, so the author's
weights, converted by timm, do not give exactly the author's logits.

`xception_keras` is the author's, in Keras: BatchNorm with epsilon 1e-3 and a decay of
0.99, max-pools with asymmetric padding if the size is even. Its middle flow is the same
as timm's.

Dropout of 0.5 before the head is the paper's (section 4.3). Initial values are timm's.
"""

from collections.abc import Callable
import functools

from flax import linen as nn
import jax

from jaxcnn.models.layers import (
    BatchNorm,
    Conv,
    ConvNorm,
    Dropout,
    global_avg_pool,
    head,
    kaiming_normal,
    max_pool,
    relu,
)
from jaxcnn.models.variant import Variant

KerasBatchNorm = functools.partial(BatchNorm, epsilon=1e-3, momentum=0.99)


def torch_pool(x: jax.Array) -> jax.Array:
    """3x3 max-pool with stride 2 and padding 1."""
    return max_pool(x, 3, 2, padding=1)


def keras_pool(x: jax.Array) -> jax.Array:
    """3x3 max-pool with stride 2 and padding "same", 0 at the start of even sizes."""
    padding = (x.shape[1] % 2, x.shape[2] % 2)
    return max_pool(x, 3, 2, padding, ceil_mode=True)


class SeparableConvNorm(nn.Module):
    """3x3 depthwise convolution, 1x1 convolution, normalisation."""

    filters: int
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, filters]."""
        channels = x.shape[-1]
        depthwise = Conv(
            channels,
            3,
            groups=channels,
            bias=False,
            kernel_init=kaiming_normal,
            name="depthwise",
        )
        pointwise = ConvNorm(
            self.filters, 1, act=None, norm=self.norm, name="pointwise"
        )
        return pointwise(depthwise(x), train=train)


class Stem(nn.Module):
    """Two 3x3 convolutions without padding."""

    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, 299, 299, C] -> [B, 147, 147, 64]."""
        conv = functools.partial(ConvNorm, kernel=3, padding=0, norm=self.norm)
        x = conv(32, stride=2, name="conv1")(x, train=train)  # [B, 149, 149, 32]
        return conv(64, name="conv2")(x, train=train)  # [B, 147, 147, 64]


class ReductionBlock(nn.Module):
    """Two separable convolutions, a max-pool, and a strided 1x1 shortcut.

    Attributes:
        filters: Numbers of filters of the two convolutions.
        pool: Pooling function that halves the maps.
        act: Activation before the first convolution.
    """

    filters: tuple[int, int]
    norm: Callable[..., nn.Module]
    pool: Callable[[jax.Array], jax.Array]
    act: Callable[[jax.Array], jax.Array] = relu

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/2, W/2, filters], rounded up."""
        first, second = self.filters
        y = SeparableConvNorm(first, self.norm, name="conv1")(self.act(x), train=train)
        y = SeparableConvNorm(second, self.norm, name="conv2")(relu(y), train=train)
        proj = ConvNorm(second, 1, 2, act=None, norm=self.norm, name="proj")
        return self.pool(y) + proj(x, train=train)


class MiddleBlock(nn.Module):
    """Three separable convolutions of the same width, and a shortcut."""

    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        y = x
        for i in range(3):
            conv = SeparableConvNorm(x.shape[-1], self.norm, name=f"conv{i + 1}")
            y = conv(relu(y), train=train)
        return x + y


class LastBlock(nn.Module):
    """Two separable convolutions, each followed by a ReLU."""

    filters: tuple[int, int]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, filters]."""
        for i, width in enumerate(self.filters):
            conv = SeparableConvNorm(width, self.norm, name=f"conv{i + 1}")
            x = relu(conv(x, train=train))
        return x


class Xception(nn.Module):
    """Entry, middle and exit flow, global average pool, linear head.

    Attributes:
        pool: Max-pool of the blocks that halve the maps.
        dropout: Dropout rate before the head.
        norm: Normalisation class, see layers.ConvNorm.
    """

    num_classes: int
    pool: Callable[[jax.Array], jax.Array] = torch_pool
    dropout: float = 0.5
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, H, W, C]."""
        reduction = functools.partial(ReductionBlock, norm=self.norm, pool=self.pool)
        first = functools.partial(reduction, act=_unchanged)  # the stem ends with one
        x = Stem(self.norm, name="stem")(images, train=train)
        x = first((128, 128), name="stage1_block1")(x, train=train)
        x = reduction((256, 256), name="stage1_block2")(x, train=train)
        x = reduction((728, 728), name="stage1_block3")(x, train=train)
        for j in range(8):
            x = MiddleBlock(self.norm, name=f"stage2_block{j + 1}")(x, train=train)
        x = reduction((728, 1024), name="stage3_block1")(x, train=train)
        x = LastBlock((1536, 2048), self.norm, name="stage3_block2")(x, train=train)
        x = global_avg_pool(x)  # [B, 2048]
        x = Dropout(self.dropout, name="stage4_block1")(x, train=train)
        return head(self.num_classes)(x)


def _unchanged(x: jax.Array) -> jax.Array:
    return x


_row = functools.partial(
    Variant, paper="Chollet 2017, https://arxiv.org/abs/1610.02357", image_size=299
)

# top1: xception.py of timm 1.0.31; the documentation of tf.keras.applications.xception.
VARIANTS = {
    "xception": _row(
        Xception, top1=78.892, top1_source="ImageNet, timm legacy_xception.tf_in1k"
    ),
    "xception_keras": _row(
        functools.partial(Xception, pool=keras_pool, norm=KerasBatchNorm),
        top1=79.0,
        top1_source="ImageNet, Keras",
    ),
}
