"""SqueezeNet: few parameters, by squeezing the channels before each 3x3 convolution.

Paper: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters
and <0.5MB model size", 2016, https://arxiv.org/abs/1602.07360. `squeezenet1_0` is its
Table 1 and Figure 2, left; `squeezenet1_1` is a later version by the authors,
https://github.com/forresti/SqueezeNet, with earlier pooling.

Padding and initial values (He uniform) are torchvision's. The first convolution has no
padding, so 224 pixels give 109; the table's 111 would need 227. Pooling windows may
extend beyond the border, as in Caffe.

The head is the paper's last 1x1 convolution. It is applied at each pixel, followed by a
ReLU and the average over the pixels. Because of the ReLU it cannot be applied after the
average, and logits are never negative.
"""

from collections.abc import Callable
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.models.layers import (
    Conv,
    Dense,
    Dropout,
    global_avg_pool,
    head,
    max_pool,
    relu,
)
from jaxcnn.models.variant import Variant

HeConv = functools.partial(
    Conv,
    kernel_init=nn.initializers.variance_scaling(2.0, "fan_in", "uniform"),
    bias_init=nn.initializers.zeros,
)
LinearHead = functools.partial(
    Dense,
    kernel_init=nn.initializers.normal(0.01),
    bias_init=nn.initializers.zeros,
)


class Fire(nn.Module):
    """1x1 squeeze, then 1x1 and 3x3 expand in parallel (Figure 1).

    Attributes:
        squeeze: Number of filters of the squeeze convolution.
        expand: Number of filters of each expand convolution.
    """

    squeeze: int
    expand: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, 2 * expand]."""
        x = relu(HeConv(self.squeeze, 1, name="squeeze")(x))  # [B, H, W, squeeze]
        y = [
            relu(HeConv(self.expand, 1, name="expand1")(x)),
            relu(HeConv(self.expand, 3, name="expand3")(x)),
        ]
        return jnp.concatenate(y, axis=-1)


class Stem(nn.Module):
    """Convolution with stride 2 and without padding."""

    filters: int
    kernel: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, (H - kernel)/2 + 1, (W - kernel)/2 + 1, filters]."""
        return relu(HeConv(self.filters, self.kernel, 2, padding=0, name="conv")(x))


class SqueezeNet(nn.Module):
    """Stem, stages of max-pool and fire modules, dropout, head, ReLU, average pool.

    Attributes:
        num_classes: Number of classes. 0: no head, the output is the features [B, C].
        stem: Stem class, called as stem(name="stem").
        stages: Values (squeeze, expand) of each fire module in each stage.
        dropout: Dropout rate of the input of the head.
    """

    num_classes: int
    stem: Callable[..., nn.Module]
    stages: tuple[tuple[tuple[int, int], ...], ...]
    dropout: float = 0.5

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, H, W, C]."""
        x = self.stem(name="stem")(images, train=train)
        for i, stage in enumerate(self.stages):
            x = max_pool(x, 3, 2, ceil_mode=True)
            for j, (squeeze, expand) in enumerate(stage):
                fire = Fire(squeeze, expand, name=f"stage{i + 1}_block{j + 1}")
                x = fire(x, train=train)
        dropout = Dropout(self.dropout, name=f"stage{len(self.stages) + 1}_block1")
        x = dropout(x, train=train)
        x = relu(head(self.num_classes, LinearHead)(x))  # [B, H, W, num_classes]
        return global_avg_pool(x)


_row = functools.partial(
    Variant,
    paper="Iandola et al. 2016, https://arxiv.org/abs/1602.07360",
    top1_source="ImageNet, torchvision IMAGENET1K_V1",
)

VARIANTS = {
    "squeezenet1_0": _row(
        functools.partial(
            SqueezeNet,
            stem=functools.partial(Stem, 96, 7),
            stages=(
                ((16, 64), (16, 64), (32, 128)),
                ((32, 128), (48, 192), (48, 192), (64, 256)),
                ((64, 256),),
            ),
        ),
        top1=58.092,
    ),
    "squeezenet1_1": _row(
        functools.partial(
            SqueezeNet,
            stem=functools.partial(Stem, 64, 3),
            stages=(
                ((16, 64), (16, 64)),
                ((32, 128), (32, 128)),
                ((48, 192), (48, 192), (64, 256), (64, 256)),
            ),
        ),
        top1=58.178,
    ),
}
