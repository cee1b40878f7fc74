"""Inception-v3 and Inception-v4.

Papers: Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, "Rethinking the Inception
Architecture for Computer Vision", CVPR 2016, https://arxiv.org/abs/1512.00567, Table 1
and Figures 5 to 8 and 10; Szegedy, Ioffe, Vanhoucke and Alemi, "Inception-v4,
Inception-ResNet and the Impact of Residual Connections on Learning", AAAI 2017,
https://arxiv.org/abs/1602.07261, Figures 3 to 9.

`inception_v3` is torchvision's, with the auxiliary head. Its stem is that of the
network that the authors released, not that of Table 1. torchvision's weights expect
images normalised with mean and standard deviation 0.5, which torchvision does inside
the network (transform_input).

`inception_v3_keras` is Keras': no auxiliary head, average pools that exclude the
padding (torchvision's count it as zeros), BatchNorm without scale.

`inception_v4` is timm's, whose weights are those of the authors. Its average pools are
like Keras'.

A stage begins where the maps become smaller: the stages are the paper's 35x35, 17x17
and 8x8 modules, including the reductions. BatchNorm has epsilon 1e-3, like the
authors'. The auxiliary head sows its logits, see googlenet.py.
"""

from collections.abc import Callable, Sequence
import functools

from flax import linen as nn
import jax

from jaxcnn.models import layers
from jaxcnn.models.branches import Branch, Branches, Fork, Pool, Unit, run_auxiliary
from jaxcnn.models.layers import (
    ConvNorm,
    Dense,
    Dropout,
    avg_pool,
    global_avg_pool,
    head,
    max_pool,
    torch_uniform,
)
from jaxcnn.models.variant import Variant

BatchNorm = functools.partial(layers.BatchNorm, epsilon=1e-3)
KerasBatchNorm = functools.partial(BatchNorm, momentum=0.99, use_scale=False)

glorot_uniform = nn.initializers.glorot_uniform()  # Keras' initial values

max_pool_2 = functools.partial(max_pool, window=3, stride=2)
avg_pool_1 = functools.partial(avg_pool, window=3, stride=1, padding=1)
inner_avg_pool_1 = functools.partial(avg_pool_1, count_include_pad=False)

ROW, COLUMN = (1, 7), (7, 1)


# ---- Inception-v3


def v3_a(proj: int, pool: Pool) -> tuple[Branch, ...]:
    """A module of Figure 5; proj is the width of the branch with the pool."""
    return (
        (Unit(64),),
        (Unit(48), Unit(64, 5)),
        (Unit(64), Unit(96, 3), Unit(96, 3)),
        (pool, Unit(proj)),
    )


def v3_c(width: int, pool: Pool) -> tuple[Branch, ...]:
    """A module of Figure 6 with n = 7; width is that of the narrow convolutions."""
    return (
        (Unit(192),),
        (Unit(width), Unit(width, ROW), Unit(192, COLUMN)),
        (
            Unit(width),
            Unit(width, COLUMN),
            Unit(width, ROW),
            Unit(width, COLUMN),
            Unit(192, ROW),
        ),
        (pool, Unit(192)),
    )


V3_B = (  # to 17x17, as in Figure 10
    (Unit(384, 3, 2, 0),),
    (Unit(64), Unit(96, 3), Unit(96, 3, 2, 0)),
    (max_pool_2,),
)
V3_D = (  # to 8x8
    (Unit(192), Unit(320, 3, 2, 0)),
    (Unit(192), Unit(192, ROW), Unit(192, COLUMN), Unit(192, 3, 2, 0)),
    (max_pool_2,),
)


def v3_e(pool: Pool) -> tuple[Branch, ...]:
    """A module of Figure 7."""
    fork = Fork(Unit(384, (1, 3)), Unit(384, (3, 1)))
    return (
        (Unit(320),),
        (Unit(384), fork),
        (Unit(448), Unit(384, 3), fork),
        (pool, Unit(192)),
    )


def v3_stages(pool: Pool) -> tuple[tuple[tuple[Branch, ...], ...], ...]:
    """Returns the modules of each stage; pool is their 3x3 average pool."""
    return (
        (v3_a(32, pool), v3_a(64, pool), v3_a(64, pool)),
        (V3_B, *(v3_c(width, pool) for width in (128, 160, 160, 192))),
        (V3_D, v3_e(pool), v3_e(pool)),
    )


class StemV3(nn.Module):
    """The layers before the first Inception module."""

    conv: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, 299, 299, C] -> [B, 35, 35, 192]."""
        conv = functools.partial(self.conv, padding=0)
        x = conv(32, 3, 2, name="conv1")(x, train=train)  # [B, 149, 149, 32]
        x = conv(32, 3, name="conv2")(x, train=train)  # [B, 147, 147, 32]
        x = self.conv(64, 3, name="conv3")(x, train=train)  # [B, 147, 147, 64]
        x = max_pool(x, 3, 2)  # [B, 73, 73, 64]
        x = conv(80, 1, name="conv4")(x, train=train)  # [B, 73, 73, 80]
        x = conv(192, 3, name="conv5")(x, train=train)  # [B, 71, 71, 192]
        return max_pool(x, 3, 2)  # [B, 35, 35, 192]


class AuxiliaryV3(nn.Module):
    """Auxiliary head on the last 17x17 maps (Figure 8).

    Attributes:
        conv: Class of the convolutions, see Branches.
    """

    num_classes: int
    conv: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> None:
        """[B, 17, 17, C]; sows logits [B, num_classes]."""
        x = avg_pool(x, 5, 3)  # [B, 5, 5, C]
        x = self.conv(128, 1, name="conv1")(x, train=train)  # [B, 5, 5, 128]
        conv = functools.partial(self.conv, kernel_init=nn.initializers.normal(0.01))
        x = conv(768, 5, padding=0, name="conv2")(x, train=train)  # [B, 1, 1, 768]
        x = global_avg_pool(x)  # [B, 768]
        dense = Dense(self.num_classes, nn.initializers.normal(0.001), name="dense")
        self.sow("intermediates", "logits", dense(x))


# ---- Inception-v4

V4_STEM = (  # Figure 3, from its first filter concatenation on
    ((max_pool_2,), (Unit(96, 3, 2, 0),)),
    (
        (Unit(64), Unit(96, 3, 1, 0)),
        (Unit(64), Unit(64, ROW), Unit(64, COLUMN), Unit(96, 3, 1, 0)),
    ),
    ((Unit(192, 3, 2, 0),), (max_pool_2,)),
)
V4_A = (  # Figure 4
    (Unit(96),),
    (Unit(64), Unit(96, 3)),
    (Unit(64), Unit(96, 3), Unit(96, 3)),
    (inner_avg_pool_1, Unit(96)),
)
V4_REDUCTION_A = (  # Figure 7, with k=192, l=224, m=256, n=384
    (Unit(384, 3, 2, 0),),
    (Unit(192), Unit(224, 3), Unit(256, 3, 2, 0)),
    (max_pool_2,),
)
V4_B = (  # Figure 5
    (Unit(384),),
    (Unit(192), Unit(224, ROW), Unit(256, COLUMN)),
    (Unit(192), Unit(192, COLUMN), Unit(224, ROW), Unit(224, COLUMN), Unit(256, ROW)),
    (inner_avg_pool_1, Unit(128)),
)
V4_REDUCTION_B = (  # Figure 8
    (Unit(192), Unit(192, 3, 2, 0)),
    (Unit(256), Unit(256, ROW), Unit(320, COLUMN), Unit(320, 3, 2, 0)),
    (max_pool_2,),
)
V4_C = (  # Figure 6
    (Unit(256),),
    (Unit(384), Fork(Unit(256, (1, 3)), Unit(256, (3, 1)))),
    (
        Unit(384),
        Unit(448, (3, 1)),
        Unit(512, (1, 3)),
        Fork(Unit(256, (1, 3)), Unit(256, (3, 1))),
    ),
    (inner_avg_pool_1, Unit(256)),
)

V4_STAGES = (
    (V4_A,) * 4,
    (V4_REDUCTION_A, *(V4_B,) * 7),
    (V4_REDUCTION_B, *(V4_C,) * 3),
)


class StemV4(nn.Module):
    """The layers before the first Inception-A module (Figure 3)."""

    conv: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, 299, 299, C] -> [B, 35, 35, 384]."""
        conv = functools.partial(self.conv, padding=0)
        x = conv(32, 3, 2, name="conv1")(x, train=train)  # [B, 149, 149, 32]
        x = conv(32, 3, name="conv2")(x, train=train)  # [B, 147, 147, 32]
        x = self.conv(64, 3, name="conv3")(x, train=train)  # [B, 147, 147, 64]
        for i, branches in enumerate(V4_STEM):
            x = Branches(branches, self.conv, name=f"mixed{i + 1}")(x, train=train)
        return x


class Inception(nn.Module):
    """Stem, three stages of Inception modules, global average pool, linear head.

    Attributes:
        stem: Stem class, called as stem(conv).
        stages: Branches of each module in each stage.
        aux: Class of the auxiliary head after stage 2, called as aux(num_classes,
            conv). None: no auxiliary head.
        kernel_init: Initializer of the kernels of convolutions and head.
        dropout: Dropout rate before the head.
        norm: Normalisation class, see layers.ConvNorm.
    """

    num_classes: int
    stem: Callable[..., nn.Module]
    stages: Sequence[Sequence[Sequence[Branch]]]
    aux: Callable[..., nn.Module] | None = None
    kernel_init: nn.initializers.Initializer = torch_uniform
    dropout: float = 0.2
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, H, W, C]."""
        conv = functools.partial(ConvNorm, kernel_init=self.kernel_init, norm=self.norm)
        x = self.stem(conv, name="stem")(images, train=train)
        for i, modules in enumerate(self.stages):
            for j, branches in enumerate(modules):
                name = f"stage{i + 1}_block{j + 1}"
                x = Branches(branches, conv, name=name)(x, train=train)
            if i == 1 and self.aux and self.num_classes:
                aux = self.aux(self.num_classes, conv, name="aux1")
                run_auxiliary(aux, x, 17, train=train)
        x = global_avg_pool(x)
        x = Dropout(self.dropout, name="stage4_block1")(x, train=train)
        dense = functools.partial(Dense, kernel_init=self.kernel_init)
        return head(self.num_classes, dense)(x)


# top1: acc@1 in the metadata of torchvision 0.28's weights; for the authors' weights,
# the README of research/slim in https://github.com/tensorflow/models.
VARIANTS = {
    "inception_v3": Variant(
        functools.partial(
            Inception,
            stem=StemV3,
            stages=v3_stages(avg_pool_1),
            aux=AuxiliaryV3,
            kernel_init=nn.initializers.normal(0.1),
            dropout=0.5,
        ),
        "Szegedy et al. 2016, https://arxiv.org/abs/1512.00567",
        image_size=299,
        top1=77.294,
        top1_source="ImageNet, torchvision IMAGENET1K_V1",
    ),
    "inception_v3_keras": Variant(
        functools.partial(
            Inception,
            stem=StemV3,
            stages=v3_stages(inner_avg_pool_1),
            kernel_init=glorot_uniform,
            norm=KerasBatchNorm,
        ),
        "Szegedy et al. 2016, https://arxiv.org/abs/1512.00567",
        image_size=299,
    ),
    "inception_v4": Variant(
        functools.partial(Inception, stem=StemV4, stages=V4_STAGES),
        "Szegedy et al. 2017, https://arxiv.org/abs/1602.07261",
        image_size=299,
        top1=80.2,
        top1_source="ImageNet, TF-Slim inception_v4_2016_09_09",
    ),
}
