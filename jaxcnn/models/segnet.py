"""SegNet: VGG-16 mirrored, with unpooling by the switches of max-pooling.

Paper: Badrinarayanan, Kendall and Cipolla, "SegNet: A Deep Convolutional
Encoder-Decoder Architecture for Image Segmentation", TPAMI 2017,
https://arxiv.org/abs/1511.00561, section 3 and Figures 2 and 3. Unpooling is that of
Zeiler and Fergus (ECCV 2014, https://arxiv.org/abs/1311.2901) and of deconvolution
networks (Noh et al., ICCV 2015, https://arxiv.org/abs/1505.04366).

The encoder is `vgg16_bn` without its hidden layers, with the names and shapes of its
parameters. As in the paper, each encoder has a decoder with as many 3x3 convolutions,
all normalised; the last one of each changes the number of channels, and the very last
one gives the classes.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

from flax import linen as nn
import jax

from jaxcnn.models.layers import (
    BatchNorm,
    Conv,
    kaiming_normal,
    max_pool_switches,
    max_unpool,
)
from jaxcnn.models.variant import Variant
from jaxcnn.models.vgg import ConvNormRelu


class Decoder(nn.Module):
    """For each level: unpooling, 3x3 convolutions.

    Attributes:
        filters: Filters of the convolutions of each level, from the coarsest.
        norm: Normalisation class, see layers.ConvNorm.
    """

    filters: tuple[tuple[int, ...], ...]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(
        self, x: jax.Array, switches: Sequence[jax.Array], *, train: bool
    ) -> jax.Array:
        """Returns a map as large as the images.

        Args:
            x: The last pooled map, [B, H, W, C].
            switches: Those of each level, from the coarsest, and last any array that is
                as large as the images.
            train: Passed on to the normalisation.
        """
        for i, filters in enumerate(self.filters):
            size = switches[i + 1].shape[1:3]
            x = max_unpool(x, switches[i], 2, 2, size=size)
            for j, width in enumerate(filters):
                layer = ConvNormRelu(width, self.norm, name=f"level{i + 1}_conv{j + 1}")
                x = layer(x, train=train)
        return x


class SegNet(nn.Module):
    """Encoders with pooling, decoders with unpooling, a 3x3 convolution as head.

    Attributes:
        num_classes: Number of classes. 0: no head, the output is the last map.
        depths: Convolutions of each encoder and of its decoder.
        filters: Filters of each encoder.
        norm: Normalisation class, see layers.ConvNorm.
        backbone: Name of the classifier that it begins as.
    """

    backbone: ClassVar[str] = "vgg16_bn"

    num_classes: int
    depths: tuple[int, ...] = (2, 2, 3, 3, 3)
    filters: tuple[int, ...] = (64, 128, 256, 512, 512)
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, H, W, num_classes] for images [B, H, W, C]."""
        x, switches = images, [images]
        for i, (depth, filters) in enumerate(
            zip(self.depths, self.filters, strict=True), start=1
        ):
            for j in range(1, depth + 1):
                layer = ConvNormRelu(filters, self.norm, name=f"stage{i}_block{j}")
                x = layer(x, train=train)
            x, places = max_pool_switches(x, 2, 2)  # [B, H/2, W/2, filters]
            switches.append(places)
        mirrored = []
        for i in reversed(range(len(self.depths))):
            filters = (self.filters[i],) * (self.depths[i] - 1)
            # The last convolution of the first level is the head.
            mirrored.append((*filters, self.filters[i - 1]) if i > 0 else filters)
        decoder = Decoder(tuple(mirrored), self.norm, name="decoder")
        x = decoder(x, switches[::-1], train=train)
        if self.num_classes == 0:
            return x
        return Conv(self.num_classes, 3, kernel_init=kaiming_normal, name="head")(x)


VARIANTS = {
    "segnet": Variant(
        SegNet,
        paper="Badrinarayanan et al. 2017, https://arxiv.org/abs/1511.00561",
        reference="the paper's section 3; torch",
        task="segmentation",
        image_size=(360, 480),
        num_classes=11,
    )
}
