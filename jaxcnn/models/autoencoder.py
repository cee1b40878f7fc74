"""Autoencoders: networks that reproduce their input through a narrow layer.

Papers: Vincent, Larochelle, Lajoie, Bengio and Manzagol, "Stacked Denoising
Autoencoders: Learning Useful Representations in a Deep Network with a Local Denoising
Criterion", JMLR 2010, https://www.jmlr.org/papers/v11/vincent10a.html, for
`autoencoder`; and Masci, Meier, Ciresan and Schmidhuber, "Stacked Convolutional
Auto-Encoders for Hierarchical Feature Extraction", ICANN 2011,
https://doi.org/10.1007/978-3-642-21735-7_7, for `conv_autoencoder`. An autoencoder
becomes a denoising one by the corruption of its input (task.corruption).

Both take images in [0, 1], 0 black and 1 white, and return such images; the last layer
is a sigmoid, as for images in the first paper (sec. 2.2).

An encoder has the names of a classifier, which starts from it by init_from: the hidden
layers of `autoencoder` are those of `mlp` with the same fields hidden and activation,
and the stages of `conv_autoencoder` those of `vgg11_bn` with the same depths and
filters. init_from.only chooses them, such as ("stage1_block.*",).

Departures: all layers are trained together, without weights that the decoder shares
with the encoder; the papers train layer by layer. `conv_autoencoder` has VGG's layers,
and its decoder repeats pixels before each stage instead of the transposed convolution
(Odena, Dumoulin and Olah, "Deconvolution and Checkerboard Artifacts", Distill 2016,
https://distill.pub/2016/deconv-checkerboard/).
"""

from collections.abc import Callable
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.errors import UserError, unknown
from jaxcnn.models.layers import (
    ACTIVATIONS,
    BatchNorm,
    Conv,
    Dense,
    global_avg_pool,
    max_pool,
    resize,
    sigmoid,
)
from jaxcnn.models.linear import HiddenLayer
from jaxcnn.models.variant import Variant
from jaxcnn.models.vgg import ConvNormRelu


class Autoencoder(nn.Module):
    """Hidden layers on the pixels, the same in reverse, a number for each pixel.

    Attributes:
        num_classes: Channels of the image that it gives. 0: the network returns the
            code.
        hidden: Width of each hidden layer of the encoder; the last is the code.
        activation: Name of the activation, a key of ACTIVATIONS.
    """

    num_classes: int
    hidden: tuple[int, ...] = (1000, 1000, 1000)
    activation: str = "sigmoid"

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise unknown("activation", self.activation, ACTIVATIONS)
        if min(self.hidden, default=0) < 1:
            raise UserError(
                f"An autoencoder has hidden layers of at least 1; hidden={self.hidden}."
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns images [B, H, W, num_classes] for images [B, H, W, C]."""
        x = images.reshape(len(images), -1)  # [B, H * W * C]
        self._check_size(x.shape[-1])
        widths = (self.hidden, self.hidden[-2::-1])  # of encoder and decoder
        for i, part in enumerate(widths if self.num_classes else widths[:1]):
            for j, width in enumerate(part):
                name = f"stage{i + 1}_block{j + 1}"
                layer = HiddenLayer(width, self.activation, name=name)
                x = layer(x, train=train)  # [B, width]
        if self.num_classes == 0:
            return x
        shape = (*images.shape[:3], self.num_classes)
        x = Dense(shape[1] * shape[2] * shape[3], name="head")(x)
        return sigmoid(x).reshape(shape)

    def _check_size(self, number: int) -> None:
        """Raises UserError unless the images are of the size of the first ones."""
        first = self.get_variable("params", "stage1_block1", {}).get("dense", {})
        if "kernel" in first and len(first["kernel"]) != number:
            raise UserError(
                "An autoencoder with hidden layers on the pixels takes images of one "
                f"size: this one of {len(first['kernel'])} numbers, not {number}."
            )


class ConvAutoencoder(nn.Module):
    """Stages of 3x3 convolutions and max-pool, the same in reverse, a last convolution.

    The code is what the last max-pool gives, [B, H/2^n, W/2^n, filters] for n stages.
    Images whose sides 2^n does not divide are filled up by their last row and column.

    Attributes:
        num_classes: Channels of the image that it gives. 0: the network returns its
            pooled code.
        depths: Convolutions of each stage of the encoder.
        filters: Number of filters of each.
        norm: Normalisation class, see layers.ConvNorm.
    """

    num_classes: int
    depths: tuple[int, ...] = (1, 1, 2)
    filters: tuple[int, ...] = (32, 64, 128)
    norm: Callable[..., nn.Module] = BatchNorm

    def __post_init__(self) -> None:
        holds = len(self.depths) == len(self.filters) > 0
        if not holds or min(*self.depths, *self.filters) < 1:
            raise UserError(
                "Each stage of a ConvAutoencoder has at least one convolution and one "
                f"filter, not depths={self.depths} and filters={self.filters}."
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns images [B, H, W, num_classes] for images [B, H, W, C]."""
        stages = list(zip(self.depths, self.filters, strict=True))
        height, width = images.shape[1:3]
        filling = [(0, -side % 2 ** len(stages)) for side in (height, width)]
        x = images
        if any(after for _, after in filling):
            x = jnp.pad(x, ((0, 0), *filling, (0, 0)), mode="edge")
        for i, stage in enumerate(stages):
            x = self._stage(x, i + 1, *stage, train=train)
            x = max_pool(x, 2, 2)  # [B, H/2, W/2, filters]
        if self.num_classes == 0:
            return global_avg_pool(x)
        for i, stage in enumerate(reversed(stages), start=len(stages)):
            size = (2 * x.shape[1], 2 * x.shape[2])
            x = resize(x, size, "nearest")  # [B, 2H, 2W, C]
            x = self._stage(x, i + 1, *stage, train=train)
        x = sigmoid(Conv(self.num_classes, 3, name="head")(x))
        return x[:, :height, :width]

    def _stage(
        self, x: jax.Array, number: int, depth: int, filters: int, *, train: bool
    ) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, filters]."""
        for j in range(depth):
            name = f"stage{number}_block{j + 1}"
            x = ConvNormRelu(filters, self.norm, name=name)(x, train=train)
        return x


_row = functools.partial(
    Variant, scale=(0.0, 1.0), reference="torch, restated", task="restoration"
)

VARIANTS = {
    "autoencoder": _row(
        Autoencoder,
        paper="Vincent et al. 2010, https://www.jmlr.org/papers/v11/vincent10a.html",
        image_size=28,
        channels=1,
        num_classes=1,
    ),
    "conv_autoencoder": _row(
        ConvAutoencoder,
        paper="Masci et al. 2011, https://doi.org/10.1007/978-3-642-21735-7_7",
        image_size=32,
        num_classes=3,
    ),
}
