"""GoogLeNet in its original form and with BatchNorm.

Paper: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015,
https://arxiv.org/abs/1409.4842, Table 1 and Figure 3. Stage 1 has the paper's inception
(3a) and (3b), stage 2 (4a) to (4e), stage 3 (5a) and (5b).

`googlenet_2014` is the paper's, with response normalisation in the stem and two
auxiliary heads. The paper does not give the constants of the normalisation and the
initial values; they are from BVLC's replication in Caffe. Table 1 has misprints: with
the table's filters, the parameters of (4a) to (5b) and the operations of (5a) differ
from those that it lists, and the first layer has 9.2K parameters and 118M operations,
not 2.7K and 34M.

`googlenet` is torchvision's: BatchNorm, 3x3 instead of 5x5 convolutions, no response
normalisation, a 2x2 max-pool before stage 3. It has auxiliary heads with
aux=AdaptiveAuxiliary. torchvision's weights expect images normalised with mean and
standard deviation 0.5, which torchvision does inside the network (transform_input).

An auxiliary head sows its logits as intermediates, only in training:
`model.apply(..., train=True, mutable=["intermediates"])` also gives
{"intermediates": {"aux1": {"logits": (logits,)}, ...}}. The paper adds 0.3 times the
losses of both to that of the head.
"""

from collections.abc import Callable
import functools
from typing import Any

from flax import linen as nn
import jax

from jaxcnn.models import layers
from jaxcnn.models.branches import Branch, Branches, Unit, run_auxiliary
from jaxcnn.models.layers import (
    ConvAct,
    ConvNorm,
    Dense,
    Dropout,
    adaptive_avg_pool,
    avg_pool,
    global_avg_pool,
    head,
    local_response_norm,
    max_pool,
    relu,
)
from jaxcnn.models.variant import Variant

BatchNorm = functools.partial(layers.BatchNorm, epsilon=1e-3)

# #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj
TABLE_1 = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
AUXILIARY = {"stage2_block1": "aux1", "stage2_block4": "aux2"}  # after (4a) and (4d)

max_pool3x3 = functools.partial(max_pool, window=3, stride=1, padding=1)


def inception(
    filters: tuple[int, int, int, int, int, int], largest: int
) -> tuple[Branch, ...]:
    """Returns the branches of an Inception module (Figure 2b).

    Args:
        filters: Numbers of filters, a row of TABLE_1.
        largest: Kernel size of the paper's 5x5 convolutions.
    """
    conv1x1, reduce3x3, conv3x3, reduce5x5, conv5x5, proj = filters
    return (
        (Unit(conv1x1),),
        (Unit(reduce3x3), Unit(conv3x3, 3)),
        (Unit(reduce5x5), Unit(conv5x5, largest)),
        (max_pool3x3, Unit(proj)),
    )


def _response_norm(x: jax.Array) -> jax.Array:
    """Caffe's response normalisation, which divides alpha by size."""
    return local_response_norm(x, size=5, alpha=1e-4 / 5, beta=0.75, k=1.0)


def _unchanged(x: jax.Array) -> jax.Array:
    return x


class Stem(nn.Module):
    """The layers before the first Inception module.

    Attributes:
        conv: Class of the convolutions, see Branches.
        response_norm: Function applied after the first and before the second max-pool.
    """

    conv: Callable[..., nn.Module]
    response_norm: Callable[[jax.Array], jax.Array] = _unchanged

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/8, W/8, 192]."""
        x = self.conv(64, 7, 2, name="conv1")(x, train=train)  # [B, H/2, W/2, 64]
        x = max_pool(x, 3, 2, ceil_mode=True)  # [B, H/4, W/4, 64]
        x = self.response_norm(x)
        x = self.conv(64, 1, name="conv2")(x, train=train)
        x = self.conv(192, 3, name="conv3")(x, train=train)  # [B, H/4, W/4, 192]
        x = self.response_norm(x)
        return max_pool(x, 3, 2, ceil_mode=True)  # [B, H/8, W/8, 192]


class Auxiliary(nn.Module):
    """Auxiliary head of section 5.

    Attributes:
        conv: Class of the convolutions, see Branches.
        pool: Pooling function whose output maps have 4x4 pixels.
        dense: Linear layer class.
    """

    num_classes: int
    conv: Callable[..., nn.Module]
    pool: Callable[[jax.Array], jax.Array]
    dense: Callable[..., nn.Module] = Dense
    dropout: float = 0.7

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> None:
        """[B, H, W, C]; sows logits [B, num_classes]."""
        x = self.pool(x)  # [B, 4, 4, C]
        x = self.conv(128, 1, name="conv")(x, train=train)  # [B, 4, 4, 128]
        x = x.reshape(len(x), -1)  # [B, 2048]
        x = relu(self.dense(1024, name="dense1")(x))
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        logits = self.dense(self.num_classes, name="dense2")(x)
        self.sow("intermediates", "logits", logits)


def _four_by_four(x: jax.Array) -> jax.Array:
    """Average pool of 5x5 with stride 3; images of 224 pixels give 4x4 maps."""
    return adaptive_avg_pool(avg_pool(x, 5, 3), 4)


NormedConv = functools.partial(ConvNorm, kernel_init=nn.initializers.normal(0.01))
NormedDense = functools.partial(Dense, kernel_init=nn.initializers.normal(0.01))
AdaptiveAuxiliary = functools.partial(
    Auxiliary,
    pool=functools.partial(adaptive_avg_pool, size=4),
    dense=NormedDense,
)

# Caffe's "xavier" initialisation, and its biases.
_caffe = {
    "kernel_init": nn.initializers.variance_scaling(1.0, "fan_in", "uniform"),
    "bias_init": nn.initializers.constant(0.2),
}
CaffeDense = functools.partial(Dense, **_caffe)
PaperStem = functools.partial(Stem, response_norm=_response_norm)
PaperAuxiliary = functools.partial(Auxiliary, pool=_four_by_four, dense=CaffeDense)


def plain_conv(*unit: Any, norm: Callable[..., nn.Module], name: str) -> nn.Module:
    """The paper's convolution, without normalisation."""
    return ConvAct(*unit, **_caffe, name=name)


class GoogLeNet(nn.Module):
    """Stem, three stages of Inception modules, global average pool, linear head.

    Attributes:
        conv: Convolution class, called as conv(*unit, norm=..., name=...).
        stem: Stem class, called as stem(conv).
        largest: Kernel size of the paper's 5x5 convolutions.
        windows: Window sizes of the max-pools before stage 2 and stage 3.
        aux: Auxiliary head class, called as aux(num_classes, conv). None: no auxiliary
            heads.
        dense: Linear layer class of the head.
        dropout: Dropout rate before the head.
        norm: Normalisation class of convolutions with one, see layers.ConvNorm.
    """

    num_classes: int
    conv: Callable[..., nn.Module] = NormedConv
    stem: Callable[..., nn.Module] = Stem
    largest: int = 3
    windows: tuple[int, int] = (3, 2)
    aux: Callable[..., nn.Module] | None = None
    dense: Callable[..., nn.Module] = NormedDense
    dropout: float = 0.2
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, H, W, C]."""
        conv = functools.partial(self.conv, norm=self.norm)
        x = self.stem(conv, name="stem")(images, train=train)  # [B, H/8, W/8, 192]
        for i, rows in enumerate(TABLE_1):
            if i > 0:
                x = max_pool(x, self.windows[i - 1], 2, ceil_mode=True)
            for j, filters in enumerate(rows):
                name = f"stage{i + 1}_block{j + 1}"
                block = Branches(inception(filters, self.largest), conv, name=name)
                x = block(x, train=train)
                if self.aux and self.num_classes and name in AUXILIARY:
                    aux = self.aux(self.num_classes, conv, name=AUXILIARY[name])
                    run_auxiliary(aux, x, 14, train=train)
        x = global_avg_pool(x)  # [B, 1024]
        x = Dropout(self.dropout, name="stage4_block1")(x, train=train)
        return head(self.num_classes, self.dense)(x)


_paper = "Szegedy et al. 2015, https://arxiv.org/abs/1409.4842"

# top1: acc@1 of the weights, in the metadata of torchvision 0.28; the README of
# models/bvlc_googlenet in https://github.com/BVLC/caffe.
VARIANTS = {
    "googlenet": Variant(
        GoogLeNet,
        _paper,
        top1=69.778,
        top1_source="ImageNet, torchvision IMAGENET1K_V1",
    ),
    "googlenet_2014": Variant(
        functools.partial(
            GoogLeNet,
            conv=plain_conv,
            stem=PaperStem,
            largest=5,
            windows=(3, 3),
            aux=PaperAuxiliary,
            dense=CaffeDense,
            dropout=0.4,
        ),
        _paper,
        top1=68.7,
        top1_source="ImageNet, BVLC's replication in Caffe",
        reference="the paper's Table 1; SciPy",
    ),
}
