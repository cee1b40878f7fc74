"""PilotNet: from the image of a camera to the steering of a car.

Paper: Bojarski, Del Testa, Dworakowski, Firner, Flepp, Goyal, Jackel, Monfort, Muller,
Zhang, Zhang, Zhao and Zieba, "End to End Learning for Self-Driving Cars", 2016,
https://arxiv.org/abs/1604.07316, section 4 and Figure 4. The network is called PilotNet
in the same group's https://arxiv.org/abs/1704.07911. It gives 1/r, the inverse of the
turning radius (section 3), for images of 66x200 pixels: 252,219 parameters and 27
million connections. The "1164 neurons" of Figure 4 are the 1,152 values of the last
map, flattened, and no layer of their own, as the number of parameters shows.

Images come as RGB in [0, 1]; the paper's first layer, a normalisation that is not
trained, makes them YUV in [-1, 1]. What the paper does not say: the activations, ReLU
here, the scale of YUV, that of ITU-R BT.601, and initial values, He's here, with biases
of 0.
"""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.errors import UserError
from jaxcnn.models.layers import (
    ConvAct,
    Dense,
    convolve,
    he_uniform,
    head,
    named,
    relu,
)
from jaxcnn.models.variant import Variant

_inits = {"kernel_init": he_uniform, "bias_init": nn.initializers.zeros}
ValidConv = functools.partial(ConvAct, padding=0, **_inits)


# ITU-R BT.601: the share of each colour in Y, and the largest U and V.
LUMA = np.array([0.299, 0.587, 0.114])
RED, _, BLUE = np.eye(3)
LARGEST_U, LARGEST_V = 0.436, 0.615


@named
def to_yuv(images: jax.Array) -> jax.Array:
    """RGB in [0, 1] -> 2Y - 1, 2U and 2V, [B, H, W, 3] -> [B, H, W, 3].

    It is the scale of 8-bit YUV over 127.5, minus 1; the largest V are beyond 1.
    """
    u = LARGEST_U / (1 - LUMA[2]) * (BLUE - LUMA)
    v = LARGEST_V / (1 - LUMA[0]) * (RED - LUMA)
    kernel = 2 * np.stack([LUMA, u, v], axis=-1)  # [3, 3]
    kernel = jnp.asarray(kernel, images.dtype)[None, None]
    bias = jnp.asarray([-1, 0, 0], images.dtype)
    return convolve(images, kernel, bias=bias)


class DenseLayer(nn.Module):
    """Linear layer, ReLU."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, C] -> [B, width]."""
        return relu(Dense(self.width, **_inits, name="dense")(x))


class PilotNet(nn.Module):
    """Normalisation, five convolutions without padding, three hidden layers, a head.

    Attributes:
        num_classes: Number of values, 1 in the paper. 0: the network returns its last
            features [B, 10].
    """

    num_classes: int

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns values [B, num_classes] for images [B, 66, 200, 3]."""
        if images.shape[-1] != 3:
            raise UserError(
                f"PilotNet takes RGB images, of 3 channels, not {images.shape[-1]}."
            )
        x = to_yuv(images)
        x = ValidConv(24, 5, 2, name="stem")(x, train=train)  # [B, 31, 98, 24]
        x = ValidConv(36, 5, 2, name="stage1_block1")(x, train=train)  # [B, 14, 47, 36]
        x = ValidConv(48, 5, 2, name="stage1_block2")(x, train=train)  # [B, 5, 22, 48]
        x = ValidConv(64, 3, name="stage2_block1")(x, train=train)  # [B, 3, 20, 64]
        x = ValidConv(64, 3, name="stage2_block2")(x, train=train)  # [B, 1, 18, 64]
        x = x.reshape(len(x), -1)  # [B, 1152]
        x = DenseLayer(100, name="stage3_block1")(x, train=train)
        x = DenseLayer(50, name="stage3_block2")(x, train=train)
        x = DenseLayer(10, name="stage3_block3")(x, train=train)
        return head(self.num_classes, functools.partial(Dense, **_inits))(x)


VARIANTS = {
    "pilotnet": Variant(
        PilotNet,
        "Bojarski et al. 2016, https://arxiv.org/abs/1604.07316",
        image_size=(66, 200),
        num_classes=1,
        scale=(0.0, 1.0),
        reference="the paper's layers, restated in torch",
        task="regression",
    )
}
