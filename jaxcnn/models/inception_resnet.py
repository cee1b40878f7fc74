"""Inception-ResNet-v1 and -v2.

Paper: Szegedy, Ioffe, Vanhoucke and Alemi, "Inception-v4, Inception-ResNet and the
Impact of Residual Connections on Learning", AAAI 2017,
https://arxiv.org/abs/1602.07261, Figures 7 and 10 to 20, Table 1.

`inception_resnet_v1` is facenet-pytorch's and David Sandberg's: Figures 10 to 15 with a
last linear layer to 512 features, a face embedding. facenet-pytorch normalises the
embedding to unit length; with num_classes=0 we return it unnormalised.

`inception_resnet_v2` is timm's, whose weights are those of the authors. It is the
network that they released, not that of Figure 15: the stem is Inception-v3's with one
more Inception module, there are 10, 20 and 10 residual modules instead of 5, 10 and 5,
and a last 1x1 convolution to 1,536 features. `inception_resnet_v2_keras` is the same
with BatchNorm without scale.

Both add a last residual module, unscaled and without ReLU, which the paper does not
show. The branch of a residual module is scaled by 0.17, 0.1 or 0.2 (section 3.3). A
stage begins where the maps become smaller: 35x35, 17x17 and 8x8, including the
reductions; stage 4 is the layers after them. BatchNorm has epsilon 1e-3, like the
authors'.
"""

from collections.abc import Callable, Sequence
import functools
import operator

from flax import linen as nn
import jax

from jaxcnn.models.branches import Branch, Branches, Unit
from jaxcnn.models.inception import (
    COLUMN,
    ROW,
    BatchNorm,
    KerasBatchNorm,
    StemV3,
    glorot_uniform,
    inner_avg_pool_1,
    max_pool_2,
)
from jaxcnn.models.layers import (
    Conv,
    ConvNorm,
    Dense,
    Dropout,
    Initializer,
    add_relu,
    global_avg_pool,
    head,
    max_pool,
    torch_uniform,
)
from jaxcnn.models.variant import Variant


class Residual(nn.Module):
    """Branches, a 1x1 convolution back to the width of the input, and a shortcut.

    Attributes:
        branches: Convolutions and pools of each branch, see Branches.
        conv: Class of the convolutions, see Branches.
        scale: Factor of the branches before they are added.
        join: Function that adds the branches to the shortcut.
    """

    branches: Sequence[Branch]
    conv: Callable[..., nn.Module]
    scale: float
    join: Callable[[jax.Array, jax.Array], jax.Array] = add_relu

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        y = Branches(self.branches, self.conv, name="mixed")(x, train=train)
        return self.join(x, self.scale * Conv(x.shape[-1], 1, name="up")(y))


def residual_a(*widths: int) -> Callable[..., nn.Module]:
    """Figures 10 and 16; widths are those of the two 3x3 convolutions in branch 3."""
    branches = (
        (Unit(32),),
        (Unit(32), Unit(32, 3)),
        (Unit(32), *(Unit(width, 3) for width in widths)),
    )
    return functools.partial(Residual, branches, scale=0.17)


def residual_b(first: int, *widths: int) -> Callable[..., nn.Module]:
    """Figures 11 and 17; widths are those of branch 1 and of the three in branch 2."""
    reduce, row, column = widths
    branches = ((Unit(first),), (Unit(reduce), Unit(row, ROW), Unit(column, COLUMN)))
    return functools.partial(Residual, branches, scale=0.1)


def residual_c(row: int, column: int) -> Callable[..., nn.Module]:
    """Figures 13 and 19; widths are those of the second branch."""
    branches = ((Unit(192),), (Unit(192), Unit(row, (1, 3)), Unit(column, (3, 1))))
    return functools.partial(Residual, branches, scale=0.2)


def last(residual: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """The last residual module: not scaled, no ReLU."""
    return functools.partial(residual, scale=1.0, join=operator.add)


def reduction_a(*widths: int) -> Callable[..., nn.Module]:
    """Figure 7; widths are k, l, m and n in Table 1."""
    k, l, m, n = widths  # noqa: E741
    branches = (
        (Unit(n, 3, 2, 0),),
        (Unit(k), Unit(l, 3), Unit(m, 3, 2, 0)),
        (max_pool_2,),
    )
    return functools.partial(Branches, branches)


def reduction_b(second: int, *third: int) -> Callable[..., nn.Module]:
    """Figures 12 and 18; widths are those of the 3x3 convolutions in branches 2, 3."""
    branches = (
        (Unit(256), Unit(384, 3, 2, 0)),
        (Unit(256), Unit(second, 3, 2, 0)),
        (Unit(256), Unit(third[0], 3), Unit(third[1], 3, 2, 0)),
        (max_pool_2,),
    )
    return functools.partial(Branches, branches)


MIXED_5B = functools.partial(
    Branches,
    (
        (Unit(96),),
        (Unit(48), Unit(64, 5)),
        (Unit(64), Unit(96, 3), Unit(96, 3)),
        (inner_avg_pool_1, Unit(64)),
    ),
)


class StemV1(nn.Module):
    """The layers before the first residual module (Figure 14)."""

    conv: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, 299, 299, C] -> [B, 35, 35, 256]."""
        conv = functools.partial(self.conv, padding=0)
        x = conv(32, 3, 2, name="conv1")(x, train=train)  # [B, 149, 149, 32]
        x = conv(32, 3, name="conv2")(x, train=train)  # [B, 147, 147, 32]
        x = self.conv(64, 3, name="conv3")(x, train=train)  # [B, 147, 147, 64]
        x = max_pool(x, 3, 2)  # [B, 73, 73, 64]
        x = conv(80, 1, name="conv4")(x, train=train)  # [B, 73, 73, 80]
        x = conv(192, 3, name="conv5")(x, train=train)  # [B, 71, 71, 192]
        return conv(256, 3, 2, name="conv6")(x, train=train)  # [B, 35, 35, 256]


class Embedding(nn.Module):
    """The end of v1: pool, dropout, linear layer to 512 features, normalisation."""

    conv: Callable[..., nn.Module]
    dropout: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, 512]."""
        x = global_avg_pool(x)[:, None, None]  # [B, 1, 1, C]
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        x = self.conv(512, 1, act=None, name="conv")(x, train=train)  # [B, 1, 1, 512]
        return x[:, 0, 0]  # [B, 512]


class LastConv(nn.Module):
    """The end of v2: 1x1 convolution to 1,536 features, pool, dropout."""

    conv: Callable[..., nn.Module]
    dropout: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, 1536]."""
        x = self.conv(1536, 1, name="conv")(x, train=train)  # [B, H, W, 1536]
        x = global_avg_pool(x)  # [B, 1536]
        return Dropout(self.dropout, name="dropout")(x, train=train)


class InceptionResNet(nn.Module):
    """Stem, three stages of residual Inception modules, features, linear head.

    Attributes:
        stem: Stem class, called as stem(conv).
        stages: Modules of each stage, called as module(conv=...).
        kernel_init: Initializer of the kernels of convolutions and head.
        end: Class of the layers that compute the features [B, C], called as end(conv,
            dropout).
        dropout: Dropout rate of the pooled features.
        norm: Normalisation class, see layers.ConvNorm.
    """

    num_classes: int
    stem: Callable[..., nn.Module]
    stages: Sequence[Sequence[Callable[..., nn.Module]]]
    end: Callable[..., nn.Module]
    dropout: float
    kernel_init: Initializer = torch_uniform
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, H, W, C]."""
        conv = functools.partial(ConvNorm, kernel_init=self.kernel_init, norm=self.norm)
        x = self.stem(conv, name="stem")(images, train=train)
        for i, modules in enumerate(self.stages):
            for j, module in enumerate(modules):
                name = f"stage{i + 1}_block{j + 1}"
                x = module(conv=conv, name=name)(x, train=train)
        name = f"stage{len(self.stages) + 1}_block1"
        x = self.end(conv, self.dropout, name=name)(x, train=train)  # [B, C]
        dense = functools.partial(Dense, kernel_init=self.kernel_init)
        return head(self.num_classes, dense)(x)


V1_C = residual_c(192, 192)
V1_STAGES = (
    (residual_a(32, 32),) * 5,
    (reduction_a(192, 192, 256, 384), *(residual_b(128, 128, 128, 128),) * 10),
    (reduction_b(256, 256, 256), *(V1_C,) * 5, last(V1_C)),
)

V2_C = residual_c(224, 256)
V2_STAGES = (
    (MIXED_5B, *(residual_a(48, 64),) * 10),
    (reduction_a(256, 256, 384, 384), *(residual_b(192, 128, 160, 192),) * 20),
    (reduction_b(288, 288, 320), *(V2_C,) * 9, last(V2_C)),
)

_v2 = functools.partial(
    InceptionResNet, stem=StemV3, stages=V2_STAGES, end=LastConv, dropout=0.2
)

_row = functools.partial(
    Variant,
    paper="Szegedy et al. 2017, https://arxiv.org/abs/1602.07261",
    image_size=299,
)

# top1: that of the authors' weights, in the README of research/slim in
# https://github.com/tensorflow/models.
VARIANTS = {
    "inception_resnet_v1": _row(
        functools.partial(
            InceptionResNet,
            stem=StemV1,
            stages=V1_STAGES,
            end=Embedding,
            dropout=0.6,
        )
    ),
    "inception_resnet_v2": _row(
        _v2,
        top1=80.4,
        top1_source="ImageNet, TF-Slim inception_resnet_v2_2016_08_30",
    ),
    "inception_resnet_v2_keras": _row(
        functools.partial(_v2, kernel_init=glorot_uniform, norm=KerasBatchNorm)
    ),
}
