"""DeepLabv3 and DeepLabv3+: parallel dilated convolutions on a dilated backbone.

Papers: Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation",
2017, https://arxiv.org/abs/1706.05587 (`deeplabv3_*`: section 3.3, Figure 5); Chen et
al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
Segmentation", ECCV 2018, https://arxiv.org/abs/1802.02611 (`deeplabv3plus_*`: Figure
2).

Departures: `deeplabv3_*` is torchvision's, whose ResNet has an output stride of 8 and
no multi-grid, with a 3x3 convolution behind the pyramid and an auxiliary head as in
fcn.py. On MobileNetV3 the layers that lose their stride are dilated, too.
`deeplabv3plus_*` is that of segmentation-models-pytorch: a ResNet with an output stride
of 16, whose pyramid is followed by one more separable convolution, and a decoder with
one separable convolution, where the paper has two 3x3 ones.
"""

from collections.abc import Callable
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.models.backbone import Maps
from jaxcnn.models.fcn import Auxiliary
from jaxcnn.models.layers import (
    BatchNorm,
    Conv,
    ConvNorm,
    Dropout,
    global_avg_pool,
    relu,
    torch_uniform,
)
from jaxcnn.models.segmenter import Segmenter, aligned
from jaxcnn.models.variant import Variant

RATES = (12, 24, 36)  # of an output stride of 8


class SeparableConvNorm(nn.Module):
    """Depthwise and 1x1 convolution, normalisation, ReLU."""

    filters: int
    kernel: int
    dilation: int = 1
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, filters]."""
        channels = x.shape[-1]
        depthwise = Conv(
            channels,
            self.kernel,
            groups=channels,
            dilation=self.dilation,
            bias=False,
            name="depthwise",
        )
        x = Conv(self.filters, 1, bias=False, name="conv")(depthwise(x))
        return relu(self.norm(name="norm")(x, train=train))


Unit = functools.partial(ConvNorm, kernel_init=torch_uniform)


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling (DeepLabv3, Figure 5).

    A 1x1 convolution, one 3x3 convolution for each rate, and the mean of all pixels,
    projected to `filters` channels together.

    Attributes:
        filters: Filters of each branch.
        rates: Dilations, pixels of the map.
        conv: Convolution class of the dilated branches, called as
            conv(filters, 3, dilation=..., norm=..., name=...)(x, train=...).
        dropout: Dropout rate of the result.
        norm: Normalisation class, see ConvNorm.
    """

    filters: int = 256
    rates: tuple[int, ...] = RATES
    conv: Callable[..., nn.Module] = Unit
    dropout: float = 0.5
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, filters]."""
        unit = functools.partial(Unit, self.filters, 1, norm=self.norm)
        branches = [unit(name="branch1")(x, train=train)]
        for i, rate in enumerate(self.rates, start=2):
            conv = functools.partial(self.conv, dilation=rate, norm=self.norm)
            conv = conv(self.filters, 3, name=f"branch{i}")
            branches.append(conv(x, train=train))
        pooled = global_avg_pool(x)[:, None, None]  # [B, 1, 1, C]
        pooled = unit(name="pool")(pooled, train=train)
        shape = (*x.shape[:3], self.filters)
        branches.append(jnp.broadcast_to(pooled, shape))
        y = jnp.concatenate(branches, axis=-1)  # [B, H, W, branches * filters]
        y = unit(name="project")(y, train=train)
        return Dropout(self.dropout, name="dropout")(y, train=train)


class DeepLabV3Decoder(nn.Module):
    """Pyramid, 3x3 convolution."""

    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, maps: Maps, *, train: bool) -> jax.Array:
        """Returns [B, H', W', 256] from the map of stride 32."""
        x = Pyramid(norm=self.norm, name="pyramid")(maps.at(32), train=train)
        return Unit(256, 3, norm=self.norm, name="conv")(x, train=train)


class DeepLabV3PlusDecoder(nn.Module):
    """Separable pyramid, joined with the map of stride 4 (DeepLabv3+, Figure 2)."""

    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, maps: Maps, *, train: bool) -> jax.Array:
        """Returns [B, H/4, W/4, 256] from the maps of strides 4 and 32."""
        separable = functools.partial(SeparableConvNorm, 256, norm=self.norm)
        pyramid = Pyramid(conv=SeparableConvNorm, norm=self.norm, name="pyramid")
        x = pyramid(maps.at(32), train=train)
        x = separable(3, name="conv1")(x, train=train)
        low = maps.at(4)
        x = aligned(x, low.shape[1:3])
        low = Unit(48, 1, norm=self.norm, name="low")(low, train=train)
        x = jnp.concatenate([x, low], axis=-1)  # [B, H/4, W/4, 304]
        return separable(3, name="conv2")(x, train=train)


_v3 = functools.partial(Segmenter, decoder=DeepLabV3Decoder)
_v3_plus = functools.partial(
    Segmenter,
    decoder=DeepLabV3PlusDecoder,
    output_stride=16,
    dilate_strided=True,
    upsample=aligned,
)
_row = functools.partial(
    Variant,
    paper="Chen et al. 2017, https://arxiv.org/abs/1706.05587",
    task="segmentation",
    image_size=520,
    num_classes=21,
)
_plus_row = functools.partial(
    _row,
    paper="Chen et al. 2018, https://arxiv.org/abs/1802.02611",
    image_size=512,
)

VARIANTS = {
    **{
        f"deeplabv3_{name}": _row(functools.partial(_v3, backbone=name, aux=Auxiliary))
        for name in ("resnet50", "resnet101")
    },
    "deeplabv3_mobilenet_v3_large": _row(
        functools.partial(
            _v3,
            backbone="mobilenet_v3_large",
            output_stride=16,
            dilate_strided=True,
            also=("stage3_block1",),
            aux=functools.partial(Auxiliary, tap="stage3_block1"),
        )
    ),
    **{
        f"deeplabv3plus_{name}": _plus_row(functools.partial(_v3_plus, backbone=name))
        for name in ("resnet34", "resnet50")
    },
}
