"""Geometric augmentation: flip, crop, warps, rectangles. Zeros outside the image.

Each operation that moves pixels has a second function, named NAME_map, that returns the
map of each example for the same keys: the position in the input, (row, column) of a
pixel's centre, for each position in the output. moving.py moves the targets with it.
"""

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

# matrix [..., 2, 2] and offset [..., 2]: input = matrix @ output + offset, for (row,
# column), which are integers at the centres of pixels.
Map = tuple[jax.Array, jax.Array]


def flip(images: jax.Array, keys: jax.Array, probability: float) -> jax.Array:
    """Mirrors images horizontally at random: [B, H, W, C] -> [B, H, W, C]."""
    flipped = _flipped(keys, probability)
    return jnp.where(flipped[:, None, None, None], images[:, :, ::-1], images)


def flip_map(keys: jax.Array, probability: float, *, size: tuple[int, int]) -> Map:
    """The maps of flip, for images of size (height, width)."""
    flipped = _flipped(keys, probability)
    ones = jnp.ones(flipped.shape)
    matrix = _diagonal(ones, jnp.where(flipped, -1.0, 1.0))
    offset = jnp.where(flipped, size[1] - 1.0, 0.0)
    return matrix, jnp.stack([jnp.zeros_like(offset), offset], axis=-1)


def _flipped(keys: jax.Array, probability: float) -> jax.Array:
    return jax.vmap(lambda key: jax.random.bernoulli(key, probability))(keys)


def _diagonal(row: jax.Array, column: jax.Array) -> jax.Array:
    """[...] and [...] -> [..., 2, 2]."""
    zeros = jnp.zeros_like(row)
    rows = jnp.stack([row, zeros], axis=-1), jnp.stack([zeros, column], axis=-1)
    return jnp.stack(rows, axis=-2)


def crop(images: jax.Array, keys: jax.Array, padding: int) -> jax.Array:
    """Crops a random window of the zero-padded image: [B, H, W, C] -> [B, H, W, C].

    He et al., CVPR 2016, sec. 4.2, https://arxiv.org/abs/1512.03385, with padding 4.
    """
    widths = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = jnp.pad(images, widths)  # [B, H + 2 padding, W + 2 padding, C]

    def window(image, key):
        top, left = _start(key, padding)
        return jax.lax.dynamic_slice(image, (top, left, 0), images.shape[1:])

    return jax.vmap(window)(padded, keys)


def crop_map(keys: jax.Array, padding: int) -> Map:
    """The maps of crop."""
    start = jax.vmap(lambda key: _start(key, padding))(keys)
    ones = jnp.ones(len(keys))
    return _diagonal(ones, ones), start.astype(float) - padding


def _start(key: jax.Array, padding: int) -> jax.Array:
    """First row and column of a window of the padded image: int32 [2]."""
    return jax.random.randint(key, (2,), 0, 2 * padding + 1)


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

    Each is uniform between minus its limit and its limit (for scale, the logarithm is),
    and the four are one warp.

    Args:
        images: Images, or masks, of any dtype.
        keys: Key of each example.
        shift_pixels: Limit of the vertical and of the horizontal shift.
        rotation_degrees: Limit of the rotation.
        scale: Limit of the relative change of size; 0.1 is 1/1.1 to 1.1.
        shear_degrees: Limit of the horizontal shear.
    """

    limits = shift_pixels, rotation_degrees, scale, shear_degrees

    def jitter(image, key):
        return warp(image, *_random_map(key, image.shape[:2], *limits))

    return jax.vmap(jitter)(images, keys)


def affine_map(
    keys: jax.Array,
    *,
    size: tuple[int, int],
    shift_pixels: float,
    rotation_degrees: float,
    scale: float,
    shear_degrees: float,
) -> Map:
    """The maps of affine, for images of size (height, width)."""
    limits = shift_pixels, rotation_degrees, scale, shear_degrees
    return jax.vmap(lambda key: _random_map(key, size, *limits))(keys)


def _random_map(
    key: jax.Array,
    size: tuple[int, int],
    shift_pixels: float,
    rotation_degrees: float,
    scale: float,
    shear_degrees: float,
) -> Map:
    down, right, rotation, growth, shear = jax.random.uniform(
        key, (5,), float, minval=-1.0, maxval=1.0
    )
    return inverse_map(
        size,
        shift=shift_pixels * jnp.stack([down, right]),
        rotation_degrees=rotation_degrees * rotation,
        scale=(1.0 + scale) ** growth,
        shear_degrees=shear_degrees * shear,
    )


def inverse_map(
    size: tuple[int, int],
    *,
    shift: jax.Array,
    rotation_degrees: jax.Array,
    scale: jax.Array,
    shear_degrees: jax.Array,
) -> Map:
    """The map from points (row, column) of the output to points of the input.

    The image is sheared, then rotated, then scaled, all about its centre, then shifted.

    Args:
        size: Height and width, in pixels.
        shift: Shift down and to the right, in pixels, [2].
        rotation_degrees: Counter-clockwise angle in the displayed image.
        scale: Factor of the size; above 1 the image grows.
        shear_degrees: Angle by which a vertical line leans, its lower end to the right.

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
    """Pixels nearest to matrix @ (row, column) + offset: [H, W, ...] -> [H, W, ...].

    For any dtype; 0 outside the image.
    """
    points = _apply(matrix, jnp.indices(image.shape[:2]).astype(float))  # [2, H, W]
    rows, columns = jnp.floor(points + offset[:, None, None] + 0.5).astype(int)
    return image.at[rows, columns].get(
        mode="fill", fill_value=0, wrap_negative_indices=False
    )


def rectangle(size: tuple[int, int], start: jax.Array, stop: jax.Array) -> jax.Array:
    """True from start (row, column) to before stop: bool [H, W]."""
    rows, columns = jnp.indices(size)
    inside_rows = (start[0] <= rows) & (rows < stop[0])
    return inside_rows & (start[1] <= columns) & (columns < stop[1])


def warp(image: jax.Array, matrix: jax.Array, offset: jax.Array) -> jax.Array:
    """Bilinear samples at matrix @ (row, column) + offset: [H, W, C] -> [H, W, C].

    The image is extended by zeros, and samples next to the border are interpolated
    between the border's pixel and zero (SciPy's mode "grid-constant").
    """
    points = _apply(matrix, jnp.indices(image.shape[:2]).astype(float))  # [2, H, W]
    rows, columns = points + offset[:, None, None]

    def sample(channel):
        return map_coordinates(channel, [rows, columns], order=1, mode="constant")

    return jax.vmap(sample, in_axes=-1, out_axes=-1)(image.astype(float))


def outputs(points: jax.Array, matrix: jax.Array, offset: jax.Array) -> jax.Array:
    """Maps points of the input to the output: (row, column), [..., 2] -> [..., 2]."""
    (a, b), (c, d) = matrix
    inverse = jnp.array([[d, -b], [-c, a]]) / (a * d - b * c)
    return jnp.moveaxis(_apply(inverse, jnp.moveaxis(points - offset, -1, 0)), 0, -1)


def _apply(matrix: jax.Array, points: jax.Array) -> jax.Array:
    """matrix @ points along the first axis, term by term.

    A matrix product would have a lower precision on some accelerators.
    """
    row, column = points
    return jnp.stack(
        [
            matrix[0, 0] * row + matrix[0, 1] * column,
            matrix[1, 0] * row + matrix[1, 1] * column,
        ]
    )
