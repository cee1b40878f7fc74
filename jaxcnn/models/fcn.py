"""Fully convolutional networks on ResNets, as torchvision has them.

Paper: Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic
Segmentation", CVPR 2015, https://arxiv.org/abs/1411.4038.

Departures, all of torchvision: the backbone is a ResNet with dilation instead of its
last two strides; a 3x3 convolution with normalisation comes before the classes; the
logits at stride 8 are interpolated. In training an auxiliary head on the third stage
sows its logits (Zhao et al., CVPR 2017, https://arxiv.org/abs/1612.01105, section 3.4);
torchvision adds 0.5 times its loss.
"""

from collections.abc import Callable
import functools

from flax import linen as nn
import jax

from jaxcnn.models.backbone import Maps
from jaxcnn.models.layers import BatchNorm, Conv, ConvNorm, Dropout, torch_uniform
from jaxcnn.models.segmenter import Segmenter, bilinear
from jaxcnn.models.variant import Variant


class FCNDecoder(nn.Module):
    """3x3 convolution to a quarter of the channels, dropout.

    Attributes:
        tap: Stride of the map, or path of the module that gives it.
        dropout: Dropout rate.
        norm: Normalisation class, see ConvNorm.
    """

    tap: int | str = 32
    dropout: float = 0.1
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, maps: Maps, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C/4]."""
        x = maps.at(self.tap)
        conv_norm = functools.partial(
            ConvNorm, kernel=3, kernel_init=torch_uniform, norm=self.norm
        )
        x = conv_norm(x.shape[-1] // 4, name="conv")(x, train=train)
        return Dropout(self.dropout, name="dropout")(x, train=train)


class Auxiliary(nn.Module):
    """FCNDecoder and a linear layer for each pixel; sows its logits.

    Attributes:
        tap: See FCNDecoder.
        norm: Normalisation class, see ConvNorm.
    """

    num_classes: int
    tap: int | str = 16
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, maps: Maps, *, train: bool) -> None:
        """Sows logits [B, H, W, num_classes] of the images' size."""
        x = FCNDecoder(self.tap, norm=self.norm, name="decoder")(maps, train=train)
        logits = Conv(self.num_classes, 1, name="head")(x)
        self.sow("intermediates", "logits", bilinear(logits, maps.image_size))


_row = functools.partial(
    Variant,
    paper="Long et al. 2015, https://arxiv.org/abs/1411.4038",
    task="segmentation",
    image_size=520,
    num_classes=21,
)

VARIANTS = {
    f"fcn_{name}": _row(
        functools.partial(Segmenter, backbone=name, decoder=FCNDecoder, aux=Auxiliary)
    )
    for name in ("resnet50", "resnet101")
}
