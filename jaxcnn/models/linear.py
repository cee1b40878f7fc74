"""Softmax regression and the multi-layer perceptron.

The two simplest classifiers of LeCun, Bottou, Bengio and Haffner, "Gradient-Based
Learning Applied to Document Recognition", Proceedings of the IEEE 1998,
http://yann.lecun.com/exdb/publis/pdf/lecun-01a.pdf, sections III.C.1 and III.C.5.

Departures: logits for a cross-entropy loss instead of targets fitted by squared error,
and a ReLU instead of a scaled tanh. Initial values are PyTorch's.
"""

import functools

from flax import linen as nn
import jax

from jaxcnn import errors
from jaxcnn.models.layers import ACTIVATIONS, Dense, head
from jaxcnn.models.variant import Variant


class SoftmaxRegression(nn.Module):
    """One linear layer on the pixels."""

    num_classes: int

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, H, W, C]."""
        x = images.reshape(len(images), -1)  # [B, H * W * C]
        return head(self.num_classes)(x)


class HiddenLayer(nn.Module):
    """Linear layer and activation."""

    width: int
    activation: str

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, C] -> [B, width]."""
        return ACTIVATIONS[self.activation](Dense(self.width, name="dense")(x))


class Mlp(nn.Module):
    """Hidden layers on the pixels, linear head.

    Attributes:
        hidden: Width of each hidden layer.
        activation: Name of the activation, a key of ACTIVATIONS.
    """

    num_classes: int
    hidden: tuple[int, ...] = (300, 100)
    activation: str = "relu"

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise errors.unknown("activation", self.activation, ACTIVATIONS)
        if min(self.hidden, default=1) < 1:
            raise errors.UserError(f"Widths must be at least 1; hidden={self.hidden}.")
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, H, W, C]."""
        x = images.reshape(len(images), -1)  # [B, H * W * C]
        for j, width in enumerate(self.hidden):
            layer = HiddenLayer(width, self.activation, name=f"stage1_block{j + 1}")
            x = layer(x, train=train)  # [B, width]
        return head(self.num_classes)(x)


_row = functools.partial(
    Variant,
    paper="LeCun et al. 1998, http://yann.lecun.com/exdb/publis/pdf/lecun-01a.pdf",
    image_size=28,
    channels=1,
    num_classes=10,
)

VARIANTS = {
    "softmax_regression": _row(SoftmaxRegression, reference="its formula"),
    "mlp": _row(Mlp, reference="scikit-learn's MLPClassifier; 267K parameters"),
}
