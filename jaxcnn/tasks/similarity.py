"""How similar two images are: PSNR and SSIM of each pair of a batch."""

import math

import jax
import jax.numpy as jnp

from jaxcnn.errors import UserError

WINDOW_PIXELS = 11
SIGMA_PIXELS = 1.5
K1, K2 = 0.01, 0.03


def psnr(x: jax.Array, y: jax.Array) -> jax.Array:
    """Peak signal-to-noise ratio, dB: two [B, H, W, C] in [0, 1] -> [B].

    Where both are equal it would be infinite, and so would be the mean over a split; it
    is then that of one number that is wrong by one of 255 grey levels.
    """
    error = jnp.mean(jnp.square(x - y), axis=(1, 2, 3))
    least = 1 / (255**2 * math.prod(x.shape[1:]))
    return -10 * jnp.log10(jnp.where(error > 0, error, least))


def check_size(shape: tuple[int, ...]) -> None:
    """Raises UserError for images [..., H, W, C] that are smaller than a window."""
    height, width, _ = shape[-3:]
    if min(height, width) < WINDOW_PIXELS:
        raise UserError(
            f"SSIM has windows of {WINDOW_PIXELS} x {WINDOW_PIXELS} pixels; images of "
            f"{height} x {width} are too small, choose a larger data.image_size."
        )


def ssim(x: jax.Array, y: jax.Array) -> jax.Array:
    """Mean structural similarity: two [B, H, W, C] in [0, 1] -> [B].

    Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility
    to Structural Similarity", IEEE Transactions on Image Processing 2004, sec. III:
    Gaussian windows of 11x11 pixels, of which only those inside the image count. The
    mean over the channels, as scikit-image with gaussian_weights=True, sigma=1.5 and
    use_sample_covariance=False.

    Raises:
        UserError: The images are smaller than a window.
    """
    check_size(x.shape)
    c1, c2 = K1**2, K2**2
    mean_x, mean_y = _smooth(x), _smooth(y)
    var_x = _smooth(x * x) - mean_x**2
    var_y = _smooth(y * y) - mean_y**2
    covariance = _smooth(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    return jnp.mean(luminance * structure, axis=(1, 2, 3))


def _smooth(x: jax.Array) -> jax.Array:
    """Gaussian means of all windows: [B, H, W, C] -> [B, H - 10, W - 10, C].

    A sum of shifted images, of which the compiler makes one loop.
    """
    centre = WINDOW_PIXELS // 2
    weights = [
        math.exp(-0.5 * ((i - centre) / SIGMA_PIXELS) ** 2)
        for i in range(WINDOW_PIXELS)
    ]
    total = sum(weights)
    for axis in 1, 2:
        length = x.shape[axis] - WINDOW_PIXELS + 1
        x = sum(
            weight / total * jax.lax.slice_in_dim(x, i, i + length, axis=axis)
            for i, weight in enumerate(weights)
        )
    return x
