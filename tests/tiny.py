"""A network with everything that a training step must get right, in few numbers."""

from collections.abc import Callable
import functools

from flax import linen as nn
import jax

from jaxcnn import augment
from jaxcnn.config import AugmentConfig
from jaxcnn.models.layers import BatchNorm, ConvNorm, Dense, Dropout, global_avg_pool
from jaxcnn.models.variant import Variant


class Block(nn.Module):
    filters: int
    dropout: float
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = ConvNorm(self.filters, 3, 2, norm=self.norm, name="conv1")(x, train=train)
        return Dropout(self.dropout, name="dropout")(x, train=train)


class Tiny(nn.Module):
    """Two convolutions with BatchNorm, dropout after each, a linear head."""

    num_classes: int
    dropout: float = 0.2
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        x = Block(8, self.dropout, self.norm, name="stem")(images, train=train)
        x = Block(16, self.dropout, self.norm, name="stage1_block1")(x, train=train)
        return Dense(self.num_classes, name="head")(global_avg_pool(x))


VARIANT = Variant(Tiny, paper="none", image_size=16, channels=1)


def augmentation_of(mean, std, targets=None, **choices):
    """What a step does to the images of a batch; choices are those of AugmentConfig."""
    return functools.partial(
        augment.augment_batch,
        config=AugmentConfig(**choices),
        mean=mean,
        std=std,
        targets=targets or {},
    )
