"""The convolutional recurrent network that reads lines of text.

Paper: Shi, Bai and Yao, "An End-to-End Trainable Neural Network for Image-based
Sequence Recognition and Its Application to Scene Text Recognition", TPAMI 39(11), 2017,
https://arxiv.org/abs/1507.05717. The layers are those of its Table 1. `stage3_block2`
is its sixth convolution with the batch normalisation and the pooling that follow,
`stage5_block1` the first of its two bidirectional LSTMs.

The height of an image must be 32 pixels, of which one row is left; the width is free.
An image of W pixels gives W // 4 - 1 frames: the third and the fourth max-pool halve
the height alone, and the last convolution has a kernel of two columns and no padding.

`crnn_resnet` has the residual convolutions of Cheng et al., "Focusing Attention:
Towards Accurate Text Recognition in Natural Images", ICCV 2017,
https://arxiv.org/abs/1709.02054, before the same LSTMs. An image of W pixels gives
W // 4 + 1 frames. Baek et al., "What Is Wrong With Scene Text Recognition Model
Comparisons?", ICCV 2019, https://arxiv.org/abs/1904.01906, compare both kinds of
convolutions, and list the layers in their Table 6.

What Table 1 leaves open is as in the authors' code,
https://github.com/bgshih/crnn: ReLU after each convolution, before it the
normalisation, and a linear layer that joins both directions of the first LSTM to as
many numbers as one of them has. With it the network has the 8.3 million parameters of
the paper's Table 4. (The code pads its last two max-pools, which gives two more frames,
and has its batch normalisations at other convolutions than Table 1.)

Departure: an LSTM of Flax has one bias for each gate, where those of the authors and of
PyTorch have two that are added. Initial values, which the paper does not give, are
those of He et al. (ICCV 2015) for convolutions, Flax's for LSTMs (orthogonal matrices
between their units) and PyTorch's for linear layers. (With PyTorch's, the signal of an
image shrinks to a hundredth on its way through the first four convolutions.)
"""

from collections.abc import Callable
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.errors import UserError
from jaxcnn.models.layers import (
    BatchNorm,
    Conv,
    ConvNorm,
    Dense,
    Size,
    head,
    lstm,
    max_pool,
    relu,
)
from jaxcnn.models.resnet import BasicBlock
from jaxcnn.models.variant import Variant

HEIGHT = 32  # pixels
VALID = {"kernel": 2, "padding": 0}


class ConvPool(nn.Module):
    """Convolution, normalisation, ReLU, max-pool.

    Attributes:
        kernel: Side of the kernel; 3 keeps the size, of 2 there is no padding.
        norm: Normalisation class. None: there is no normalisation.
        pool: Window and stride of the max-pool, (rows, columns). None: no max-pool.
    """

    filters: int
    kernel: int = 3
    norm: Callable[..., nn.Module] | None = None
    pool: Size | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/rows, W/columns, filters]."""
        conv = Conv(
            self.filters,
            self.kernel,
            kernel_init=nn.initializers.he_normal(),
            bias_init=nn.initializers.zeros,
            name="conv",
        )
        x = conv(x)
        if self.norm is not None:
            x = self.norm(name="norm")(x, train=train)
        x = relu(x)
        return x if self.pool is None else max_pool(x, self.pool, self.pool)


class BiLSTM(nn.Module):
    """Two LSTMs over the columns of maps that are one row high, from left to right and
    from right to left.

    Attributes:
        hidden: Units of each direction.
        joined: Units of a linear layer after them. None: none, so that both directions
            stand one after the other.
    """

    hidden: int
    joined: int | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, 1, W, C] -> [B, 1, W, joined or 2 * hidden]."""
        frames = x[:, 0]  # [B, W, C]
        forward = lstm(self.hidden, "forward")(frames)
        backward = lstm(self.hidden, "backward", reverse=True)(frames)
        y = jnp.concatenate([forward, backward], axis=-1)  # [B, W, 2 * hidden]
        if self.joined is not None:
            y = Dense(self.joined, name="join")(y)
        return y[:, None]


def read(x: jax.Array, hidden: int, num_classes: int, *, train: bool) -> jax.Array:
    """Two bidirectional LSTMs and a linear layer, layers of the module that calls it.

    Args:
        x: [B, 1, T, C].
        hidden: Units of each direction of an LSTM.
        num_classes: Characters and the blank; 0: there is no linear layer.
        train: Whether the network is trained.

    Returns:
        [B, T, num_classes or 2 * hidden].
    """
    x = BiLSTM(hidden, hidden, name="stage5_block1")(x, train=train)
    x = BiLSTM(hidden, name="stage5_block2")(x, train=train)
    return head(num_classes)(x[:, 0])


def check_size(images: jax.Array) -> None:
    """Raises UserError for images that a CRNN cannot read."""
    height, width = images.shape[1:3]
    if height != HEIGHT or width < 8:
        raise UserError(
            f"CRNN reads images that are {HEIGHT} pixels high and at least 8 wide, "
            f"not {height}x{width}."
        )


class CRNN(nn.Module):
    """Seven convolutions, two bidirectional LSTMs, a linear layer for each frame.

    Attributes:
        num_classes: Characters and the blank of CTC; 0: features [B, T, 2 * hidden].
        filters: Number of filters of each convolution.
        hidden: Units of each direction of an LSTM.
        norm: Normalisation class of the fifth and the sixth convolution, see
            layers.ConvNorm.
    """

    num_classes: int
    filters: tuple[int, ...] = (64, 128, 256, 256, 512, 512, 512)
    hidden: int = 256
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, T, num_classes], T = W // 4 - 1, for images
        [B, 32, W, C]."""
        check_size(images)
        square, flat = (2, 2), (2, 1)
        norm = self.norm
        layers = {
            "stem": {"pool": square},
            "stage1_block1": {"pool": square},
            "stage2_block1": {},
            "stage2_block2": {"pool": flat},
            "stage3_block1": {"norm": norm},
            "stage3_block2": {"norm": norm, "pool": flat},
            "stage4_block1": {"kernel": 2},
        }
        x = images
        for (name, fields), filters in zip(layers.items(), self.filters, strict=True):
            x = ConvPool(filters, **fields, name=name)(x, train=train)
        # [B, 1, T, filters[-1]]
        return read(x, self.hidden, self.num_classes, train=train)


class Stem(nn.Module):
    """Two 3x3 convolutions, each with normalisation and ReLU."""

    filters: tuple[int, ...]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, filters[1]]."""
        for i, filters in enumerate(self.filters, start=1):
            x = ConvNorm(filters, 3, norm=self.norm, name=f"conv{i}")(x, train=train)
        return x


class ResNetCRNN(nn.Module):
    """Two convolutions, four stages of residual blocks that end in one or two more
    convolutions, two bidirectional LSTMs, a linear layer for each frame.

    Attributes:
        num_classes: Characters and the blank of CTC; 0: features [B, T, 2 * hidden].
        filters: Number of filters of the two convolutions and of each stage.
        depths: Number of residual blocks of each stage.
        hidden: Units of each direction of an LSTM.
        norm: Normalisation class, see layers.ConvNorm.
    """

    num_classes: int
    filters: tuple[int, ...] = (32, 64, 128, 256, 512, 512)
    depths: tuple[int, ...] = (1, 2, 5, 3)
    hidden: int = 256
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, T, num_classes], T = W // 4 + 1, for images
        [B, 32, W, C]."""
        check_size(images)
        conv = functools.partial(ConvNorm, norm=self.norm)
        # The third pool, and a convolution later, halve the height alone, but see a
        # column more.
        flat = {"stride": (2, 1), "padding": (0, 1)}
        x = Stem(self.filters[:2], self.norm, name="stem")(images, train=train)
        stages = zip(self.filters[2:], self.depths, strict=True)
        for i, (filters, depth) in enumerate(stages, start=1):
            if i <= 2:
                x = max_pool(x, 2, 2)
            elif i == 3:
                x = max_pool(x, 2, **flat)
            for j in range(1, depth + 1):
                block = BasicBlock(filters, 1, self.norm, name=f"stage{i}_block{j}")
                x = block(x, train=train)
            ends = [{"kernel": 3}] if i < 4 else [{"kernel": 2, **flat}, VALID]
            for j, fields in enumerate(ends, start=depth + 1):
                x = conv(filters, **fields, name=f"stage{i}_block{j}")(x, train=train)
        # [B, 1, T, filters[-1]]
        return read(x, self.hidden, self.num_classes, train=train)


_row = functools.partial(
    Variant,
    image_size=(HEIGHT, 100),
    channels=1,
    num_classes=37,  # 36 letters and digits, and the blank
    task="text",
)

VARIANTS = {
    "crnn": _row(
        CRNN,
        "Shi, Bai and Yao 2015, https://arxiv.org/abs/1507.05717",
        reference="PyTorch layers as in the paper's Table 1",
    ),
    "crnn_resnet": _row(
        ResNetCRNN,
        "Cheng et al. 2017, https://arxiv.org/abs/1709.02054",
        reference="PyTorch layers as Baek et al. list them",
    ),
}
