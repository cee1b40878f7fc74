"""DnCNN: denoising by a network that predicts the noise.

Paper: Zhang, Zuo, Chen, Meng and Zhang, "Beyond a Gaussian Denoiser: Residual Learning
of Deep CNN for Image Denoising", IEEE Transactions on Image Processing 2017,
https://arxiv.org/abs/1608.03981, sec. III. DnCNN-S, of 17 layers, is trained for noise
of one known level, DnCNN-B, of 20, for levels from 0 to 55, and CDnCNN-B the same for
colour; the noise is chosen by the task (task.corruption), not by the network. The
layers are those of KAIR, by the paper's first author,
https://github.com/cszn/KAIR/blob/master/models/network_dncnn.py: all convolutions have
a bias, and epsilon is 1e-4.

The network takes images of any size in [0, 1], 0 black and 1 white, and returns the
image without the noise, which it subtracts.

Departures: running statistics move by a tenth in each step, as everywhere here, where
KAIR's move by nine tenths; and the last convolution starts at zero instead of at
random, so that the network starts as the identity and the first steps do not undo it.
"""

from collections.abc import Callable
import functools

from flax import linen as nn
import jax

from jaxcnn.errors import UserError
from jaxcnn.models.layers import (
    BatchNorm,
    Conv,
    ConvAct,
    kaiming_normal,
    relu,
)
from jaxcnn.models.variant import Variant

zeros = nn.initializers.zeros
EPSILON = 1e-4


class ConvNormRelu(nn.Module):
    """3x3 convolution with bias, normalisation, ReLU."""

    filters: int
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, filters]."""
        conv = Conv(
            self.filters, 3, kernel_init=kaiming_normal, bias_init=zeros, name="conv"
        )
        x = self.norm(epsilon=EPSILON, name="norm")(conv(x), train=train)
        return relu(x)


class DnCNN(nn.Module):
    """3x3 convolutions of one width at full size; what they give is subtracted.

    Attributes:
        num_classes: Channels of the restored image, as many as the input has unless
            that is grey. 0: the network returns its last features [B, H, W, filters].
        depth: Number of convolutions.
        filters: Filters of each but the last.
        norm: Normalisation class, see layers.ConvNorm.
    """

    num_classes: int
    depth: int = 17
    filters: int = 64
    norm: Callable[..., nn.Module] = BatchNorm

    def __post_init__(self) -> None:
        if self.depth < 2 or self.filters < 1:
            raise UserError(
                "DnCNN has at least 2 layers and 1 filter, not "
                f"depth={self.depth} and filters={self.filters}."
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns restored images [B, H, W, C] for images [B, H, W, C]."""
        channels = images.shape[-1]
        if channels > 1 < self.num_classes != channels:
            raise UserError(
                f"DnCNN cannot give {self.num_classes} channels for images of "
                f"{channels}: it takes as many as it gives, or one."
            )
        stem = ConvAct(
            self.filters, 3, kernel_init=kaiming_normal, bias_init=zeros, name="stem"
        )
        x = stem(images, train=train)
        for j in range(self.depth - 2):
            block = ConvNormRelu(self.filters, self.norm, name=f"stage1_block{j + 1}")
            x = block(x, train=train)
        if self.num_classes == 0:
            return x  # [B, H, W, filters]
        head = Conv(
            self.num_classes, 3, kernel_init=zeros, bias_init=zeros, name="head"
        )
        return images - head(x)  # from a grey image for each channel


_row = functools.partial(
    Variant,
    paper="Zhang et al. 2017, https://arxiv.org/abs/1608.03981",
    image_size=40,
    channels=1,
    num_classes=1,
    scale=(0.0, 1.0),
    reference="KAIR's layers, restated in torch",
    task="restoration",
)

VARIANTS = {
    "dncnn_s": _row(DnCNN),
    "dncnn_b": _row(functools.partial(DnCNN, depth=20)),
    "cdncnn_b": _row(functools.partial(DnCNN, depth=20), channels=3, num_classes=3),
}
