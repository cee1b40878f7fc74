"""The time-delay neural network.

Paper: Waibel, Hanazawa, Hinton, Shikano and Lang, "Phoneme Recognition Using Time-Delay
Neural Networks", IEEE Transactions on Acoustics, Speech, and Signal Processing 37(3),
1989, https://doi.org/10.1109/29.21701, section II.B and Figure 2.

A spectrogram is an image with one channel, with time along its rows and frequency along
its columns: [B, 15, 16, 1] are the paper's 15 frames of 16 mel-scale coefficients. More
frames are accepted and give more windows to integrate over. The paper's 3 phonemes give
521 parameters.

Departures: logits for a cross-entropy loss, where the paper fits the output of one more
sigmoid by squared error; initial values are PyTorch's. The second hidden layer has one
unit per class, so it depends on the number of classes, like the head. The features
(num_classes=0) are those of the first hidden layer.
"""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.models.layers import Conv, head, sigmoid
from jaxcnn.models.variant import Variant


class TimeDelayLayer(nn.Module):
    """Sigmoid units connected to all frequencies of several adjacent frames.

    Attributes:
        frames: Number of frames that a unit is connected to: one, and its delays.
    """

    units: int
    frames: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, T, F, C] -> [B, T - frames + 1, 1, units]."""
        kernel = (self.frames, x.shape[2])
        return sigmoid(Conv(self.units, kernel, padding=0, name="conv")(x))


class Tdnn(nn.Module):
    """Two time-delay layers; each class sums its unit over time."""

    num_classes: int

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for spectrograms [B, T, F, C]."""
        x = TimeDelayLayer(8, 3, name="stem")(images, train=train)  # [B, T - 2, 1, 8]
        if self.num_classes > 0:
            layer = TimeDelayLayer(self.num_classes, 5, name="stage1_block1")
            x = layer(x, train=train)  # [B, T - 6, 1, num_classes]
        x = jnp.sum(x, axis=(1, 2), keepdims=True)  # [B, 1, 1, C]
        # One weight for all frames, and one bias, for each class.
        alone = functools.partial(Conv, kernel=1, groups=max(self.num_classes, 1))
        return head(self.num_classes, alone)(x)[:, 0, 0]


VARIANTS = {
    # Section III: 98.5% of the phonemes /b/, /d/ and /g/ of three speakers.
    "tdnn": Variant(
        Tdnn,
        "Waibel et al. 1989, https://doi.org/10.1109/29.21701",
        image_size=(15, 16),
        channels=1,
        num_classes=3,
        top1=98.5,
        top1_source="/b, d, g/ of three Japanese speakers, the paper",
        reference="the paper's 6,233 connections and formula",
    )
}
