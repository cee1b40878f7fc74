"""SalNet: the deep one of the two networks for saliency prediction of Pan et al.

Paper: Pan, McGuinness, Sayrol, O'Connor and Giro-i-Nieto, "Shallow and Deep
Convolutional Networks for Saliency Prediction", CVPR 2016,
https://arxiv.org/abs/1603.00598, section 3.2: ten layers, 25.8 million parameters. The
layers are those of the authors' Caffe file,
https://github.com/imatge-upc/saliency-2016-cvpr/blob/master/deploy.prototxt; the first
three are those of VGG-CNN-M (Chatfield et al., BMVC 2014,
https://arxiv.org/abs/1405.3531), here with the strides of SalNet. `stem` is conv1,
`stage<i>_block1` is conv<i>, and `head` is conv9 with the transposed convolution.

Departures:
  * The network gives the logarithm of a density, see tasks/saliency.py, which the loss
    of the task is made for; the paper's is trained by squared error on maps.
  * Without the weights of VGG-CNN-M all layers start at random; the transposed
    convolution starts as bilinear interpolation.
  * Where the size of an image does not divide by 4, its map is resized to it.
"""

import functools

from flax import linen as nn
import jax

from jaxcnn.models.layers import (
    Conv,
    ConvAct,
    ConvTranspose,
    bilinear_kernel,
    he_uniform,
    local_response_norm,
    max_pool,
    resize,
)
from jaxcnn.models.variant import Variant

zeros = nn.initializers.zeros
unit = functools.partial(ConvAct, kernel_init=he_uniform, bias_init=zeros)


class Stem(nn.Module):
    """7x7 convolution, ReLU, normalisation over five channels, max-pool."""

    filters: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/2, W/2, filters]."""
        x = unit(self.filters, 7, name="conv1")(x, train=train)
        # Caffe divides alpha by the number of channels.
        x = local_response_norm(x, 5, alpha=1e-4 / 5, beta=0.75, k=1.0)
        return max_pool(x, 3, 2, ceil_mode=True)


class Upsampled(nn.Module):
    """13x13 convolution, transposed convolution with stride 4."""

    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, 4H, 4W, num_classes]."""
        conv = Conv(
            self.num_classes, 13, kernel_init=he_uniform, bias_init=zeros, name="conv"
        )
        up = ConvTranspose(
            self.num_classes,
            8,
            4,
            padding=2,
            bias=False,
            kernel_init=bilinear_kernel,
            name="up",
        )
        return up(conv(x))


class SalNet(nn.Module):
    """Convolutions with ever larger kernels at a quarter of the size of the images.

    Attributes:
        num_classes: Numbers for each pixel, 1 for saliency. 0: no head, the output is
            the last map [B, H/4, W/4, 32].
        filters: Filters of each convolution but the last.
        kernels: Size of its kernel.
    """

    num_classes: int
    filters: tuple[int, ...] = (96, 256, 512, 512, 512, 256, 128, 32)
    kernels: tuple[int, ...] = (7, 5, 3, 5, 5, 7, 11, 11)

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, H, W, num_classes] for images [B, H, W, C]."""
        x = Stem(self.filters[0], name="stem")(images, train=train)
        layers = zip(self.filters[1:], self.kernels[1:], strict=True)
        for i, (filters, kernel) in enumerate(layers, start=2):
            x = unit(filters, kernel, name=f"stage{i}_block1")(x, train=train)
            if i == 2:
                x = max_pool(x, 3, 2, ceil_mode=True)  # [B, H/4, W/4, filters]
        if self.num_classes == 0:
            return x
        x = Upsampled(self.num_classes, name="head")(x)
        size = images.shape[1:3]
        return x if x.shape[1:3] == size else resize(x, size)


VARIANTS = {
    "salnet": Variant(
        SalNet,
        paper="Pan et al. 2016, https://arxiv.org/abs/1603.00598",
        image_size=(240, 320),
        num_classes=1,
        reference="the authors' Caffe file; torch",
        task="saliency",
    )
}
