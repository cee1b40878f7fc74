"""Where the pixels are: flip, crop, warps, rectangles. Zeros outside the image."""

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates


def flip(images: jax.Array, keys: jax.Array, probability: float) -> jax.Array:
    """Mirrors left and right, with a probability: [B, H, W, C] -> [B, H, W, C]."""
    flipped = jax.vmap(lambda key: jax.random.bernoulli(key, probability))(keys)
    return jnp.where(flipped[:, None, None, None], images[:, :, ::-1], images)


def crop(images: jax.Array, keys: jax.Array, padding: int) -> jax.Array:
    """A random window of the image padded with zeros: [B, H, W, C] -> [B, H, W, C].

    He et al., CVPR 2016, sec. 4.2, https://arxiv.org/abs/1512.03385, with padding 4.
    """
    widths = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = jnp.pad(images, widths)  # [B, H + 2 padding, W + 2 padding, C]

    def window(image, key):
        top, left = jax.random.randint(key, (2,), 0, 2 * padding + 1)
        return jax.lax.dynamic_slice(image, (top, left, 0), images.shape[1:])

    return jax.vmap(window)(padded, keys)


def affine(
    images: jax.Array,
    keys: jax.Array,
    *,
    shift_pixels: float,
    rotation_degrees: float,
    scale: float,
    shear_degrees: float,
) -> jax.Array:
    """Random shear, rotation, scale and shift: [B, H, W, C] -> float [B, H, W, C].

    Each is uniform between its limit and minus its limit (the logarithm, for scale),
    and the four make one warp.

    Args:
        images: Of any dtype.
        keys: Key of each example.
        shift_pixels: Limit of the shift down, and of the shift to the right.
        rotation_degrees: Limit of the rotation.
        scale: Limit of the relative change of size; 0.1 is 1/1.1 to 1.1.
        shear_degrees: Limit of the horizontal shear.
    """

    def jitter(image, key):
        down, right, rotation, size, shear = jax.random.uniform(
            key, (5,), float, minval=-1.0, maxval=1.0
        )
        matrix, offset = inverse_map(
            image.shape[:2],
            shift=shift_pixels * jnp.stack([down, right]),
            rotation_degrees=rotation_degrees * rotation,
            scale=(1.0 + scale) ** size,
            shear_degrees=shear_degrees * shear,
        )
        return warp(image, matrix, offset)

    return jax.vmap(jitter)(images, keys)


def inverse_map(
    size: tuple[int, int],
    *,
    shift: jax.Array,
    rotation_degrees: jax.Array,
    scale: jax.Array,
    shear_degrees: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """The point of the input, in row and column, for each point of the output.

    The image is sheared, then rotated, then scaled, all about its centre, then shifted.

    Args:
        size: Height and width, pixels.
        shift: Down and to the right, pixels, [2].
        rotation_degrees: Counter-clockwise as one sees it, rows going down.
        scale: Above 1 the image grows.
        shear_degrees: A vertical line leans by this, its lower end to the right.

    Returns:
        matrix [2, 2] and offset [2]: input = matrix @ output + offset.
    """
    angle, slope = jnp.deg2rad(rotation_degrees), jnp.tan(jnp.deg2rad(shear_degrees))
    cos, sin = jnp.cos(angle) / scale, jnp.sin(angle) / scale
    # inverse of shear @ inverse of rotation and scale, on (row, column)
    matrix = jnp.array([[cos, sin], [-sin - slope * cos, cos - slope * sin]])
    centre = (jnp.array(size) - 1) / 2
    return matrix, centre - _apply(matrix, centre + shift)


def nearest(image: jax.Array, matrix: jax.Array, offset: jax.Array) -> jax.Array:
    """Pixels nearest to matrix @ (row, column) + offset: [H, W, C] -> [H, W, C].

    Of any dtype; zero outside the image.
    """
    points = _apply(matrix, jnp.indices(image.shape[:2]).astype(float))  # [2, H, W]
    rows, columns = jnp.floor(points + offset[:, None, None] + 0.5).astype(int)
    return image.at[rows, columns].get(
        mode="fill", fill_value=0, wrap_negative_indices=False
    )


def rectangle(size: tuple[int, int], start: jax.Array, stop: jax.Array) -> jax.Array:
    """True from start (row, column) up to stop, not with it: bool [H, W]."""
    rows, columns = jnp.indices(size)
    inside_rows = (start[0] <= rows) & (rows < stop[0])
    return inside_rows & (start[1] <= columns) & (columns < stop[1])


def warp(image: jax.Array, matrix: jax.Array, offset: jax.Array) -> jax.Array:
    """Bilinear samples at matrix @ (row, column) + offset: [H, W, C] -> [H, W, C].

    Beyond the border the image goes on as zeros, and a sample next to it is between
    the border's pixel and zero (SciPy's mode "grid-constant").
    """
    points = _apply(matrix, jnp.indices(image.shape[:2]).astype(float))  # [2, H, W]
    rows, columns = points + offset[:, None, None]

    def sample(channel):
        return map_coordinates(channel, [rows, columns], order=1, mode="constant")

    return jax.vmap(sample, in_axes=-1, out_axes=-1)(image.astype(float))


def _apply(matrix: jax.Array, points: jax.Array) -> jax.Array:
    """matrix @ points along the first axis, term by term.

    Not by a matrix product: on some accelerators that is in a lower precision.
    """
    row, column = points
    return jnp.stack(
        [
            matrix[0, 0] * row + matrix[0, 1] * column,
            matrix[1, 0] * row + matrix[1, 1] * column,
        ]
    )
