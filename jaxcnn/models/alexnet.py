"""AlexNet in its original and in its modern form, and ZFNet.

Papers: Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep
Convolutional Neural Networks", NIPS 2012, Figure 2, https://papers.nips.cc/paper/
2012/hash/c399862d3b9d6b76c8436e924a68c45b-Abstract.html; Krizhevsky, "One weird trick
for parallelizing convolutional neural networks", https://arxiv.org/abs/1404.5997;
Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014,
Figure 3, https://arxiv.org/abs/1311.2901.

`alexnet_2012` has the layers of Figure 2, with two groups where the paper has two GPUs
that do not communicate, the response normalisation of section 3.3, overlapping pooling,
and the initial values of section 5. This gives 60,965,224 parameters, which the paper
rounds to 60 million. Two of the paper's numbers are inconsistent: 11x11 filters with
stride 4 give 55x55 outputs for 224 pixels only with padding, which is 2 here; and
55x55x96 outputs are 290,400 units, not 253,440.

`alexnet` is torchvision's: the filters of "One weird trick", no groups, no response
normalisation, dropout before the hidden layers instead of after them.

`zfnet` and `zfnetb` (the paper's model with 512, 1024 and 512 maps) are pytorchcv's,
with its padding, which gives the sizes of Figure 3. It normalises before pooling, where
the figure pools first, and divides alpha by 5 as Caffe does. Initial values are the
paper's.

For images of other sizes, all of them average the last maps to 6x6, as torchvision
does.
"""

from collections.abc import Callable
import functools

from flax import linen as nn
import jax

from jaxcnn.models.layers import (
    ConvAct,
    Dense,
    Dropout,
    Initializer,
    adaptive_avg_pool,
    head,
    local_response_norm,
    max_pool,
    relu,
)
from jaxcnn.models.variant import Variant

gaussian = nn.initializers.normal(0.01)  # section 5
ones = nn.initializers.ones
zeros = nn.initializers.zeros
GaussianDense = functools.partial(Dense, kernel_init=gaussian, bias_init=zeros)


def relu_and_norm(x: jax.Array) -> jax.Array:
    """ReLU and response normalisation, with the constants of section 3.3."""
    return local_response_norm(relu(x), size=5, alpha=1e-4, beta=0.75, k=2.0)


def relu_and_caffe_norm(x: jax.Array) -> jax.Array:
    """ReLU and Caffe's normalisation: alpha scales the mean of the squares."""
    return local_response_norm(relu(x), size=5, alpha=1e-4 / 5, beta=0.75, k=2.0)


class DenseDropout(nn.Module):
    """Linear layer, ReLU, dropout."""

    width: int
    dropout: float
    bias_init: Initializer = ones

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, C] -> [B, width]."""
        x = relu(Dense(self.width, gaussian, self.bias_init, name="dense")(x))
        return Dropout(self.dropout, name="dropout")(x, train=train)


class DropoutDense(nn.Module):
    """Dropout, linear layer, ReLU."""

    width: int
    dropout: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, C] -> [B, width]."""
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        return relu(Dense(self.width, name="dense")(x))


class AlexNet(nn.Module):
    """Stages of convolutions that end with a max-pool, two hidden layers, linear head.

    Attributes:
        stages: Convolutions of each stage, called as layer(name=...). The first stage
            has one convolution, the stem.
        pool: Pooling function, called as pool(x, window, stride).
        dense: Hidden layer class, called as dense(width, dropout).
        dropout: Dropout rate of the inputs or outputs of hidden layers.
        last: Linear layer class of the head.
    """

    num_classes: int
    stages: tuple[tuple[Callable[..., nn.Module], ...], ...]
    pool: Callable[..., jax.Array] = max_pool
    dense: Callable[..., nn.Module] = DenseDropout
    dropout: float = 0.5
    last: Callable[..., nn.Module] = GaussianDense

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, H, W, C]."""
        x = images
        for i, layers in enumerate(self.stages):
            for j, layer in enumerate(layers):
                name = f"stage{i}_block{j + 1}" if i else "stem"
                x = layer(name=name)(x, train=train)
            x = self.pool(x, 3, 2)
        x = adaptive_avg_pool(x, 6)  # [B, 6, 6, C]
        x = x.reshape(len(x), -1)  # [B, 36 * C]
        for j in range(2):
            name = f"stage{len(self.stages)}_block{j + 1}"
            x = self.dense(4096, self.dropout, name=name)(x, train=train)
        return head(self.num_classes, self.last)(x)


_zero_bias = functools.partial(ConvAct, kernel_init=gaussian, bias_init=zeros)
_one_bias = functools.partial(ConvAct, kernel_init=gaussian, bias_init=ones)

FIGURE_2 = (  # Krizhevsky et al. 2012
    (functools.partial(_zero_bias, 96, 11, 4, padding=2, act=relu_and_norm),),
    (functools.partial(_one_bias, 256, 5, groups=2, act=relu_and_norm),),
    (
        functools.partial(_zero_bias, 384, 3),
        functools.partial(_one_bias, 384, 3, groups=2),
        functools.partial(_one_bias, 256, 3, groups=2),
    ),
)

ONE_WEIRD_TRICK = (
    (functools.partial(ConvAct, 64, 11, 4, padding=2),),
    (functools.partial(ConvAct, 192, 5),),
    (
        functools.partial(ConvAct, 384, 3),
        functools.partial(ConvAct, 256, 3),
        functools.partial(ConvAct, 256, 3),
    ),
)

ZFNET_STEM = functools.partial(_zero_bias, 96, 7, 2, padding=1, act=relu_and_caffe_norm)
ZFNET_CONV2 = functools.partial(
    _zero_bias, 256, 5, 2, padding=0, act=relu_and_caffe_norm
)


def zfnet_stages(*filters: int) -> tuple[tuple[Callable[..., nn.Module], ...], ...]:
    """Figure 3 of Zeiler and Fergus, with these filters in layers 3, 4 and 5."""
    last = tuple(functools.partial(_zero_bias, width, 3) for width in filters)
    return (ZFNET_STEM,), (ZFNET_CONV2,), last


_alexnet = functools.partial(
    AlexNet,
    stages=ONE_WEIRD_TRICK,
    dense=DropoutDense,
    last=Dense,
)
_zfnet = functools.partial(
    AlexNet,
    pool=functools.partial(max_pool, ceil_mode=True),
    dense=functools.partial(DenseDropout, bias_init=zeros),
)

_krizhevsky = functools.partial(
    Variant,
    paper="Krizhevsky et al. 2012, https://papers.nips.cc/paper/2012/hash/"
    "c399862d3b9d6b76c8436e924a68c45b-Abstract.html",
    reference="the paper's Figure 2, units and formulas",
)
_zeiler = functools.partial(
    Variant, paper="Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901"
)

# The papers' accuracies are averages over ten crops. top1 of alexnet is acc@1 in the
# metadata of torchvision 0.28's weights.
VARIANTS = {
    "alexnet": Variant(
        _alexnet,
        paper="Krizhevsky 2014, https://arxiv.org/abs/1404.5997",
        top1=56.522,
        top1_source="ImageNet, torchvision IMAGENET1K_V1",
    ),
    "alexnet_2012": _krizhevsky(functools.partial(AlexNet, stages=FIGURE_2)),
    "zfnet": _zeiler(functools.partial(_zfnet, stages=zfnet_stages(384, 384, 256))),
    "zfnetb": _zeiler(functools.partial(_zfnet, stages=zfnet_stages(512, 1024, 512))),
}
