"""DeepGaze II: where people look, read out of the features of a classifier.

Paper: Kuemmerer, Wallis and Bethge, "DeepGaze II: Reading Fixations from Deep Features
Trained on Object Recognition", 2016, https://arxiv.org/abs/1610.01563, section 2.1.

Five maps of VGG-19 (conv5_1, relu5_1, relu5_2, conv5_3, relu5_4) are brought to half
the size of the image; four 1x1 convolutions with 16, 32, 2 and 1 filters read out a map
O, which is blurred by a Gaussian whose width is learned. The centre bias and the
softmax are in the task, see tasks/saliency.py. The paper keeps VGG-19 as it was trained
on ImageNet; optim.freeze=("stage.*",) does so here.

Any other classifier can be the backbone; without `also`, its maps at the two largest
strides are read.

Departures:
  * The last convolution has no ReLU: O is the logarithm of a density up to a constant.
  * The first convolution is applied before its maps are enlarged, which gives the same
    numbers, since both are linear, and needs a hundredth of the memory.
  * The filters of VGG-19 are not rescaled to unit variance, which the first convolution
    can do.
  * The Gaussian is normalised over the pixels that lie in the image.
"""

from collections.abc import Callable
import functools
import math

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.models.backbone import Maps
from jaxcnn.models.layers import BatchNorm, Conv, convolve, he_uniform, relu
from jaxcnn.models.segmenter import Segmenter, bilinear
from jaxcnn.models.variant import Variant

STRIDE = 2  # of the map that is read out, pixels: that of VGG-19's conv2_1
VGG19_MAPS = (
    "stage5_block1/conv",
    "stage5_block1",
    "stage5_block2",
    "stage5_block3/conv",
    "stage5_block4",
)

zeros = nn.initializers.zeros
Conv1x1 = functools.partial(Conv, kernel=1, kernel_init=he_uniform, bias_init=zeros)


class Readout(nn.Module):
    """1x1 convolutions of feature maps that are brought to one size, each with ReLU.

    Attributes:
        filters: Filters of each convolution.
        norm: Unused, since the network of the paper does not normalise.
    """

    filters: tuple[int, ...] = (16, 32, 2)
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, maps: Maps, *, train: bool) -> jax.Array:
        """Returns a map [B, H/2, W/2, filters[-1]] for images of H x W pixels."""
        read = list(maps.by_path.values())
        read = read or [maps.at(stride) for stride in [*maps.by_stride][-2:]]
        size = tuple(-(-side // STRIDE) for side in maps.image_size)
        x = 0
        for i, features in enumerate(read, start=1):
            # Together they are one convolution of all channels.
            conv = Conv1x1(self.filters[0], bias=i == 1, name=f"conv1_map{i}")
            x = x + bilinear(conv(features), size)
        x = relu(x)
        for i, filters in enumerate(self.filters[1:], start=2):
            x = relu(Conv1x1(filters, name=f"conv{i}")(x))
        return x


class Blurred(nn.Module):
    """1x1 convolution, Gaussian blur of learned width.

    Attributes:
        start_pixels: Standard deviation of the Gaussian at the start, pixels of the map
            that is blurred.
    """

    num_classes: int
    start_pixels: float = 8.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, num_classes]."""
        x = Conv1x1(self.num_classes, name="conv")(x)
        start = nn.initializers.constant(math.log(self.start_pixels))
        log_sigma = self.param("log_sigma", start, (), jnp.float32)
        # Sums over a line need more digits than bfloat16 has.
        wide = jnp.promote_types(log_sigma.dtype, jnp.float32)
        sigma, groups = jnp.exp(log_sigma.astype(wide)), x.shape[-1]
        lines = [_gaussian(side, sigma) for side in x.shape[1:3]]
        for line, shape in zip(lines, ((-1, 1), (1, -1)), strict=True):
            kernel = jnp.tile(line.reshape(*shape, 1, 1), groups).astype(x.dtype)
            x = convolve(x, kernel, groups=groups)
        inside = jnp.outer(*map(_inside, lines)).astype(x.dtype)
        return x / inside[..., None]


def _gaussian(side: int, sigma: jax.Array) -> jax.Array:
    """Values of a Gaussian that reaches over a line of pixels, [2 * side - 1]."""
    line = jnp.exp(-0.5 * jnp.square(jnp.arange(1 - side, side) / sigma))
    return line / jnp.sum(line)


def _inside(line: jax.Array) -> jax.Array:
    """Share of a Gaussian around each pixel of a line that lies on the line, [side]."""
    side = (len(line) + 1) // 2
    up_to = jnp.concatenate([jnp.zeros(1), jnp.cumsum(line)])
    return up_to[side:] - up_to[:side]


_row = functools.partial(
    Variant,
    paper="Kuemmerer et al. 2016, https://arxiv.org/abs/1610.01563",
    image_size=(384, 512),
    num_classes=1,
    task="saliency",
)
_deepgaze = functools.partial(
    Segmenter, decoder=Readout, output_stride=32, head=Blurred
)

VARIANTS = {
    "deepgaze2": _row(
        functools.partial(_deepgaze, backbone="vgg19", also=VGG19_MAPS),
        reference="the paper's section 2.1; torch",
    ),
    **{
        f"deepgaze2_{name}": _row(
            functools.partial(_deepgaze, backbone=name),
            reference="its parts: deepgaze2, and the backbone",
        )
        for name in ("mobilenet_v2", "resnet50")
    },
}
