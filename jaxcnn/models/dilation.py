"""Dilated VGG-16 and the context module that looks around each place of its map.

Paper: Yu and Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions", ICLR
2016, https://arxiv.org/abs/1511.07122.

The front end (section 4) is VGG-16 without its last two max-pools: what follows one of
them is dilated by 2, what follows both by 4, so that classes are told at every eighth
pixel. Its parameters have the classifier's names and shapes, as in fcn_vgg.py. The
context module (section 3, Table 1) takes the classes' maps and gives better ones. Seven
3x3 convolutions, dilated by 1, 1, 2, 4, 8, 16 and 1, see 67x67 places; a linear layer
follows. It starts as the identity (equations 4 and 5), so that training only improves
what the front end says.

Departure: maps are padded by zeros before each convolution; the paper extends images by
mirroring them and pads nothing.
"""

from collections.abc import Callable
import functools
from typing import ClassVar

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.models.fcn_vgg import HiddenLayer, normal
from jaxcnn.models.layers import Conv, max_pool, relu, resize
from jaxcnn.models.variant import Variant
from jaxcnn.models.vgg import Conv3x3

DILATIONS = (1, 1, 2, 4, 8, 16, 1)  # of the context module's 3x3 convolutions
BASIC = (1, 1, 1, 1, 1, 1, 1)  # channels of each, as multiples of the classes
LARGE = (2, 2, 4, 8, 16, 32, 32)

zeros = nn.initializers.zeros


def identity_kernel(num_classes: int, noise: float = 0.01) -> Callable[..., jax.Array]:
    """Initializer of a convolution that passes each class on (equation 5).

    A filter sees the channels of its own class in the middle of its window: the first
    c / C of c channels are those of the first of C classes, and so are the first f / C
    of f filters. Its weights there are C / f, so that a class is the sum over its
    channels. Everything else is Gaussian noise, or zero where there are C channels and
    C filters (equation 4).

    Args:
        num_classes: C, of which the numbers of channels and filters are multiples.
        noise: Standard deviation of the noise, relative to C / f.
    """

    def init(
        key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32
    ) -> jax.Array:
        height, width, inputs, filters = shape
        class_of_input = np.arange(inputs) * num_classes // inputs
        class_of_filter = np.arange(filters) * num_classes // filters
        passes = np.zeros(shape, bool)
        passes[height // 2, width // 2] = class_of_input[:, None] == class_of_filter
        if inputs == filters == num_classes:
            return jnp.asarray(passes, dtype)
        others = noise * jax.random.normal(key, shape, dtype)
        return jnp.where(passes, 1.0, others) * (num_classes / filters)

    return init


class DilatedConvRelu(nn.Module):
    """3x3 convolution of VGG, dilated, ReLU."""

    filters: int
    dilation: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, filters]."""
        return relu(Conv3x3(self.filters, dilation=self.dilation)(x))


class Classes(nn.Module):
    """A linear layer for each place, and the context module.

    Attributes:
        num_classes: Number of classes.
        context: Filters of the context module's 3x3 convolutions, as multiples of
            num_classes. None: there is no context module.
    """

    num_classes: int
    context: tuple[int, ...] | None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, num_classes]."""
        # Not from zero: no gradient would pass the first ReLU of the context module.
        score = functools.partial(Conv, kernel_init=normal, bias_init=zeros)
        x = score(self.num_classes, 1, name="score")(x)
        if self.context is None:
            return x
        conv = functools.partial(
            Conv, kernel_init=identity_kernel(self.num_classes), bias_init=zeros
        )
        layers = zip(self.context, DILATIONS, strict=True)
        for i, (multiple, dilation) in enumerate(layers, start=1):
            filters = multiple * self.num_classes
            x = relu(conv(filters, 3, dilation=dilation, name=f"context{i}")(x))
        return conv(self.num_classes, 1, name="context8")(x)


class DilatedVGG(nn.Module):
    """The front end and, for each place of its map, the context module.

    Attributes:
        num_classes: Number of classes. 0: no head, the output is the last hidden layer.
        context: See Classes.
        depths, filters: Those of VGG-16, see vgg.VGG.
        hidden: Width of each hidden layer.
        dropout: Dropout rate of the hidden layers.
        backbone: Name of the classifier that it begins as.
    """

    backbone: ClassVar[str] = "vgg16"

    num_classes: int
    context: tuple[int, ...] | None = None
    depths: tuple[int, ...] = (2, 2, 3, 3, 3)
    filters: tuple[int, ...] = (64, 128, 256, 512, 512)
    hidden: tuple[int, ...] = (4096, 4096)
    dropout: float = 0.5

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, H, W, num_classes] for images [B, H, W, C]."""
        x = images
        stages = zip(self.depths, self.filters, strict=True)
        for i, (depth, filters) in enumerate(stages, start=1):
            layer = functools.partial(DilatedConvRelu, filters, 2 if i == 5 else 1)
            for j in range(1, depth + 1):
                x = layer(name=f"stage{i}_block{j}")(x, train=train)
            if i <= 3:
                x = max_pool(x, 2, 2)  # [B, H/8, W/8, filters] in the end
        for j, (width, kernel) in enumerate(zip(self.hidden, (7, 1), strict=True)):
            name = f"stage6_block{j + 1}"
            layer = HiddenLayer(width, kernel, self.dropout, dilation=4, name=name)
            x = layer(x, train=train)  # [B, H/8, W/8, width]
        if self.num_classes:
            x = Classes(self.num_classes, self.context, name="head")(x)
        return resize(x, images.shape[1:3], "bilinear", align_corners=False)


VARIANTS = {
    f"dilated_vgg16{suffix}": Variant(
        functools.partial(DilatedVGG, context=context),
        paper="Yu and Koltun 2016, https://arxiv.org/abs/1511.07122",
        reference="the paper's sections 3 and 4; torch",
        task="segmentation",
        num_classes=21,
    )
    for suffix, context in {"": None, "_basic": BASIC, "_large": LARGE}.items()
}
