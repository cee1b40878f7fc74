"""What the pixels are: noise, normalisation."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def noise(images: jax.Array, keys: jax.Array, std: float) -> jax.Array:
    """Adds Gaussian noise of std grey levels: [B, H, W, C] -> float [B, H, W, C].

    The sum is clipped to [0, 255], as a camera saturates.
    """
    draw = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:], float))
    return jnp.clip(images.astype(float) + std * draw(keys), 0.0, 255.0)


def normalise(
    images: jax.Array, mean: Sequence[float], std: Sequence[float]
) -> jax.Array:
    """Grey levels to zero mean and unit variance: [B, H, W, C] -> float [B, H, W, C].

    As torchvision's ToTensor and Normalize: float32, or float64 under jax_enable_x64.

    Args:
        images: Grey levels in [0, 255].
        mean: Of each channel, in [0, 1].
        std: Of each channel, in [0, 1].
    """
    return (images.astype(float) / 255.0 - jnp.array(mean)) / jnp.array(std)
