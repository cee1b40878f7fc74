"""LR-ASPP: segmentation on MobileNetV3 with a light decoder.

Paper: Howard et al., "Searching for MobileNetV3", ICCV 2019,
https://arxiv.org/abs/1905.02244, section 6.4 and Figure 10.

Departures, of torchvision: the gate is the mean of all pixels instead of a 49x49
window; the layers of the backbone that lose their stride are dilated, too.
"""

from collections.abc import Callable
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.models.backbone import Maps
from jaxcnn.models.layers import (
    BatchNorm,
    Conv,
    ConvNorm,
    global_avg_pool,
    sigmoid,
    torch_uniform,
)
from jaxcnn.models.segmenter import Segmenter, bilinear
from jaxcnn.models.variant import Variant

LOW = "stage3_block1"  # the first block at stride 8


class LRASPPDecoder(nn.Module):
    """1x1 convolution times a gate for each channel, next to a finer map.

    Attributes:
        filters: Filters of the convolution.
        norm: Normalisation class, see ConvNorm.
    """

    filters: int = 128
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, maps: Maps, *, train: bool) -> jax.Array:
        """Returns [B, H/8, W/8, C + filters], the finer map first."""
        high, low = maps.at(32), maps.at(LOW)
        conv = ConvNorm(
            self.filters, 1, kernel_init=torch_uniform, norm=self.norm, name="conv"
        )
        pooled = global_avg_pool(high)[:, None, None]  # [B, 1, 1, C]
        gate = Conv(self.filters, 1, bias=False, name="gate")(pooled)
        high = conv(high, train=train) * sigmoid(gate)  # [B, H/16, W/16, filters]
        return jnp.concatenate([low, bilinear(high, low.shape[1:3])], axis=-1)


class TwoMaps(nn.Module):
    """The sum of a linear layer for each of two maps.

    Attributes:
        filters: Channels of the second map.
    """

    num_classes: int
    filters: int = 128

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C + filters] -> [B, H, W, num_classes]."""
        low, high = x[..., : -self.filters], x[..., -self.filters :]
        linear = functools.partial(Conv, self.num_classes, 1)
        return linear(name="low")(low) + linear(name="high")(high)


VARIANTS = {
    "lraspp_mobilenet_v3_large": Variant(
        functools.partial(
            Segmenter,
            backbone="mobilenet_v3_large",
            decoder=LRASPPDecoder,
            head=TwoMaps,
            output_stride=16,
            dilate_strided=True,
            also=(LOW,),
        ),
        paper="Howard et al. 2019, https://arxiv.org/abs/1905.02244",
        task="segmentation",
        image_size=520,
        num_classes=21,
    )
}
