"""PSPNet: pyramid pooling on a dilated ResNet.

Paper: Zhao, Shi, Qi, Wang and Jia, "Pyramid Scene Parsing Network", CVPR 2017,
https://arxiv.org/abs/1612.01105, section 3.2 and Figure 3.

Departures: the decoder is that of segmentation-models-pytorch, with a 1x1 convolution
instead of a 3x3 one behind the pyramid, a 3x3 one for the classes, and no normalisation
of the coarsest bin; the auxiliary head (section 3.4) is that of fcn.py.
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
    ConvAct,
    ConvNorm,
    Dropout,
    adaptive_avg_pool,
    he_uniform,
)
from jaxcnn.models.segmenter import Segmenter, aligned
from jaxcnn.models.variant import Variant

BINS = (1, 2, 3, 6)  # per axis


class PyramidPooling(nn.Module):
    """The means of ever smaller bins, each upsampled, before the map itself.

    Attributes:
        tap: Stride of the map that is pooled.
        filters: Filters of the result.
        bins: Bins per axis of each level.
        dropout: Dropout rate of the result.
        norm: Normalisation class, see ConvNorm.
    """

    tap: int = 32
    filters: int = 512
    bins: tuple[int, ...] = BINS
    dropout: float = 0.2
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, maps: Maps, *, train: bool) -> jax.Array:
        """Returns [B, H', W', filters] from a map [B, H', W', C]."""
        x = maps.at(self.tap)
        conv_norm = functools.partial(
            ConvNorm, kernel=1, kernel_init=he_uniform, norm=self.norm
        )
        # With one pixel there is nothing to normalise by.
        conv = functools.partial(ConvAct, kernel=1, kernel_init=he_uniform)
        levels = []
        for bins in self.bins:
            unit = conv if bins == 1 else conv_norm
            unit = unit(x.shape[-1] // len(self.bins), name=f"bins{bins}")
            pooled = unit(adaptive_avg_pool(x, bins), train=train)
            levels.append(aligned(pooled, x.shape[1:3]))
        y = jnp.concatenate([*levels, x], axis=-1)  # [B, H', W', 2C]
        y = conv_norm(self.filters, name="conv")(y, train=train)
        return Dropout(self.dropout, name="dropout")(y, train=train)


VARIANTS = {
    f"pspnet_{name}": Variant(
        functools.partial(
            Segmenter,
            backbone=name,
            decoder=PyramidPooling,
            head=functools.partial(Conv, kernel=3),
            aux=Auxiliary,
            upsample=aligned,
        ),
        paper="Zhao et al. 2017, https://arxiv.org/abs/1612.01105",
        task="segmentation",
        image_size=473,
        num_classes=21,
    )
    for name in ("resnet50", "resnet101")
}
