"""VGG networks.

Paper: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", ICLR 2015, https://arxiv.org/abs/1409.1556. VARIANTS follows its Table 1:
vgg11 is column A, vgg13 B, vgg16 D, vgg19 E. `stage3_block2` is the paper's conv3-2,
`stage6_block1` and `stage6_block2` are its first two fully connected layers.

Departures, all shared with torchvision:
  * Initial values: N(0, 2/fan_out) for convolutions, N(0, 0.01^2) for linear layers.
    The paper uses N(0, 0.01), where 0.01 is the variance, and initialises the deeper
    networks from column A.
  * The networks with _bn have a BatchNorm after each convolution, which keeps its bias.
  * For images of other sizes the last maps are averaged, or repeated, to 7x7; the paper
    applies the fully connected layers at all positions (section 3.2).
"""

from collections.abc import Callable
import functools

from flax import linen as nn
import jax

from jaxcnn.models.layers import (
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    adaptive_avg_pool,
    head,
    kaiming_normal,
    max_pool,
    relu,
)
from jaxcnn.models.variant import Variant

zeros = nn.initializers.zeros
Conv3x3 = functools.partial(
    Conv, kernel=3, kernel_init=kaiming_normal, bias_init=zeros, name="conv"
)
LinearLayer = functools.partial(
    Dense, kernel_init=nn.initializers.normal(0.01), bias_init=zeros
)


class ConvRelu(nn.Module):
    """3x3 convolution, ReLU.

    Attributes:
        norm: Unused, since the networks of the paper do not normalise.
    """

    filters: int
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, filters]."""
        return relu(Conv3x3(self.filters)(x))


class ConvNormRelu(nn.Module):
    """3x3 convolution with bias, normalisation, ReLU."""

    filters: int
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, filters]."""
        x = Conv3x3(self.filters)(x)
        return relu(self.norm(name="norm")(x, train=train))


class DenseLayer(nn.Module):
    """Linear layer, ReLU, dropout."""

    width: int
    dropout: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, C] -> [B, width]."""
        x = relu(LinearLayer(self.width, name="dense")(x))
        return Dropout(self.dropout, name="dropout")(x, train=train)


class VGG(nn.Module):
    """Five stages of 3x3 convolutions, each with a max-pool, hidden layers, head.

    Attributes:
        depths: Convolutions per stage.
        layer: Convolution class, called as layer(filters, norm).
        filters: Number of filters of each stage.
        hidden: Width of each hidden layer.
        dropout: Dropout rate of the hidden layers.
        norm: Normalisation class of layers with one, see layers.ConvNorm.
    """

    num_classes: int
    depths: tuple[int, ...]
    layer: Callable[..., nn.Module] = ConvRelu
    filters: tuple[int, ...] = (64, 128, 256, 512, 512)
    hidden: tuple[int, ...] = (4096, 4096)
    dropout: float = 0.5
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, H, W, C]."""
        x = images
        stages = zip(self.depths, self.filters, strict=True)
        for i, (depth, filters) in enumerate(stages):
            for j in range(depth):
                name = f"stage{i + 1}_block{j + 1}"
                x = self.layer(filters, self.norm, name=name)(x, train=train)
            x = max_pool(x, 2, 2)  # [B, H/2, W/2, filters]
        x = adaptive_avg_pool(x, 7)  # [B, 7, 7, C]
        x = x.reshape(len(x), -1)  # [B, 49 * C]
        for j, width in enumerate(self.hidden):
            name = f"stage{len(self.depths) + 1}_block{j + 1}"
            x = DenseLayer(width, self.dropout, name=name)(x, train=train)
        return head(self.num_classes, LinearLayer)(x)


_a = functools.partial(VGG, depths=(1, 1, 2, 2, 2))
_b = functools.partial(VGG, depths=(2, 2, 2, 2, 2))
_d = functools.partial(VGG, depths=(2, 2, 3, 3, 3))
_e = functools.partial(VGG, depths=(2, 2, 4, 4, 4))

# top1: acc@1 in the metadata of torchvision 0.28's weights.
_row = functools.partial(
    Variant,
    paper="Simonyan and Zisserman 2015, https://arxiv.org/abs/1409.1556",
    top1_source="ImageNet, torchvision IMAGENET1K_V1",
)

VARIANTS = {
    "vgg11": _row(_a, top1=69.020),
    "vgg11_bn": _row(functools.partial(_a, layer=ConvNormRelu), top1=70.370),
    "vgg13": _row(_b, top1=69.928),
    "vgg13_bn": _row(functools.partial(_b, layer=ConvNormRelu), top1=71.586),
    "vgg16": _row(_d, top1=71.592),
    "vgg16_bn": _row(functools.partial(_d, layer=ConvNormRelu), top1=73.360),
    "vgg19": _row(_e, top1=72.376),
    "vgg19_bn": _row(functools.partial(_e, layer=ConvNormRelu), top1=74.218),
}
