"""U-Net: a contracting path, an expanding path, and copies between them.

Paper: Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical
Image Segmentation", MICCAI 2015, https://arxiv.org/abs/1505.04597, Figure 1.

`unet_2015` is the paper's: valid 3x3 convolutions without normalisation, 2x2
up-convolutions, cropped copies; 31,030,658 parameters with one channel and two classes.
It sees 92 pixels and more around what it segments. Here the network itself extends its
images by mirroring, as the paper does at the border of an image, so that its logits
have the size of the images, and cutting an image into overlapping tiles changes
nothing. Departure: the paper does not say where the dropout "at the end of the
contracting path" is; here it is behind the last two levels, as in the authors' Caffe
files.

`unet_*` is the U-Net of segmentation-models-pytorch: any classifier contracts, nearest
neighbours expand, and each level has two 3x3 convolutions with padding and
normalisation. Where the size of an image does not divide by 32, a map is expanded to
the size of the copy; theirs refuses such images.
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
    ConvAct,
    ConvNorm,
    ConvTranspose,
    Dropout,
    he_uniform,
    head,
    max_pool,
    relu,
    resize,
)
from jaxcnn.models.segmenter import Segmenter
from jaxcnn.models.variant import Variant

STRIDES = (16, 8, 4, 2)  # of the copies

nearest = functools.partial(resize, method="nearest")
zeros = nn.initializers.zeros
he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")  # section 3


class UNetDecoder(nn.Module):
    """For each level: nearest neighbours, copy, two 3x3 convolutions.

    Attributes:
        filters: Filters of each level, down to that of the images' size, of which a
            backbone whose largest stride is below 32 uses the last.
        centre: Number of 3x3 convolutions before the first level.
        norm: Normalisation class, see ConvNorm.
    """

    filters: tuple[int, ...] = (256, 128, 64, 32, 16)
    centre: int = 0
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, maps: Maps, *, train: bool) -> jax.Array:
        """Returns a map [B, H, W, filters[-1]] of the images' size."""
        stride = max(maps.by_stride)
        x = maps.at(stride)
        unit = functools.partial(
            ConvNorm, kernel=3, kernel_init=he_uniform, norm=self.norm
        )
        for i in range(self.centre):
            x = unit(x.shape[-1], name=f"centre_conv{i + 1}")(x, train=train)
        num_levels = stride.bit_length() - 1
        for i, filters in enumerate(self.filters[-num_levels:], start=1):
            stride //= 2
            size = tuple(-(-side // stride) for side in maps.image_size)
            copy = maps.by_stride.get(stride) if stride in STRIDES else None
            x = nearest(x, size if copy is None else copy.shape[1:3])
            if copy is not None:
                x = jnp.concatenate([x, copy], axis=-1)
            x = unit(filters, name=f"block{i}_conv1")(x, train=train)
            x = unit(filters, name=f"block{i}_conv2")(x, train=train)
        return x


ValidConv = functools.partial(
    ConvAct, kernel=3, padding=0, kernel_init=he_normal, bias_init=zeros
)


class TwoConvs(nn.Module):
    """Two valid 3x3 convolutions, dropout."""

    filters: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H - 4, W - 4, filters]."""
        x = ValidConv(self.filters, name="conv1")(x, train=train)
        x = ValidConv(self.filters, name="conv2")(x, train=train)
        return Dropout(self.dropout, name="dropout")(x, train=train)


class UpAndCopy(nn.Module):
    """2x2 up-convolution, ReLU, cropped copy, two valid 3x3 convolutions."""

    filters: int

    @nn.compact
    def __call__(self, x: jax.Array, copy: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, 2F], [B, H', W', F] -> [B, 2H - 4, 2W - 4, F] for F filters."""
        up = ConvTranspose(
            self.filters, 2, 2, kernel_init=he_normal, bias_init=zeros, name="up"
        )
        x = relu(up(x))  # [B, 2H, 2W, F]
        height, width = x.shape[1:3]
        top, left = (copy.shape[1] - height) // 2, (copy.shape[2] - width) // 2
        copy = copy[:, top : top + height, left : left + width]
        x = jnp.concatenate([copy, x], axis=-1)  # [B, 2H, 2W, 2F]
        return TwoConvs(self.filters, name="convs")(x, train=train)


class UNet2015(nn.Module):
    """The network of Figure 1, of images that are extended by mirroring.

    Attributes:
        num_classes: Number of classes. 0: no head, the output is the last map.
        filters: Filters of each level, from the finest.
        dropout: Dropout rate behind the last two levels of the contracting path.
    """

    num_classes: int
    filters: tuple[int, ...] = (64, 128, 256, 512, 1024)
    dropout: float = 0.5

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, H, W, num_classes] for images [B, H, W, C]."""
        levels = len(self.filters)
        pads = [margins(side, levels) for side in images.shape[1:3]]
        pads = ((0, 0), *pads, (0, 0))
        x, copies = jnp.pad(images, pads, mode="reflect"), []
        for i, filters in enumerate(self.filters):
            if i > 0:
                x = max_pool(x, 2, 2)
            dropout = self.dropout if i >= levels - 2 else 0.0
            x = TwoConvs(filters, dropout, name=f"stage{i + 1}_block1")(x, train=train)
            copies.append(x)
        for i, filters in enumerate(self.filters[-2::-1], start=1):
            up = UpAndCopy(filters, name=f"stage{levels + i}_block1")
            x = up(x, copies[levels - 1 - i], train=train)
        x = x[:, : images.shape[1], : images.shape[2]]
        linear = functools.partial(Conv, kernel=1, kernel_init=he_normal)
        return head(self.num_classes, linear)(x)


def margins(side: int, levels: int) -> tuple[int, int]:
    """Pixels that the paper's U-Net must see before and behind an image.

    Args:
        side: Height or width of the image, pixels.
        levels: Number of levels of the network.
    """
    step = 2 ** (levels - 1)
    # With b pixels behind the lowest convolutions the output has step * b - lost.
    lost = 4 * (step - 1)
    bottom = -(-(side + lost) // step)
    seen = step * (bottom + 4) + lost
    before = (seen - (step * bottom - lost)) // 2
    return before, seen - side - before


_unet = functools.partial(
    Segmenter,
    decoder=UNetDecoder,
    output_stride=32,
    head=functools.partial(Conv, kernel=3),
)
_row = functools.partial(
    Variant,
    paper="Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597",
    task="segmentation",
    image_size=256,
    num_classes=21,
)

VARIANTS = {
    "unet_2015": _row(
        UNet2015,
        image_size=388,
        channels=1,
        num_classes=2,
        reference="the paper's Figure 1; torch",
    ),
    **{
        f"unet_{name}": _row(functools.partial(_unet, backbone=name))
        for name in ("resnet18", "resnet34", "resnet50", "mobilenet_v2")
    },
    "unet_vgg16": _row(
        functools.partial(
            _unet, backbone="vgg16", decoder=functools.partial(UNetDecoder, centre=2)
        )
    ),
}
