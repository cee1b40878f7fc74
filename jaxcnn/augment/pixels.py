"""What the pixels are: colour, noise, normalisation, erasing."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxcnn.augment.geometry import rectangle

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601, as in Pillow

# Eigenvalues, and eigenvectors as columns, of the covariance of ImageNet's colours in
# [0, 1]: fb.resnet.torch, datasets/imagenet.lua.
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)

# Of torchvision's RandomErasing, which are those of the paper.
ERASED_AREA = (0.02, 0.33)  # relative to the image
ERASED_ASPECT = (0.3, 3.3)  # height over width
ERASING_TRIES = 10


def luma(image: jax.Array) -> jax.Array:
    """The grey image of a colour one: [..., C] -> float [..., 1]."""
    if image.shape[-1] == 1:
        return image.astype(float)
    return sum(weight * image[..., [i]] for i, weight in enumerate(LUMA))


def blend(other: jax.Array, image: jax.Array, factor: jax.Array) -> jax.Array:
    """other for factor 0, image for 1, and beyond it for more; in [0, 255]."""
    return jnp.clip(other + factor * (image - other), 0.0, 255.0)


def colour_jitter(
    images: jax.Array,
    keys: jax.Array,
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
) -> jax.Array:
    """torchvision's ColorJitter: [B, H, W, C] -> float [B, H, W, C] in [0, 255].

    In an order of its own for each example; what has limit 0 is left out.

    Args:
        images: Grey levels in [0, 255]; one channel, or RGB.
        keys: Key of each example.
        brightness: Its factor is between 1 minus this, at least 0, and 1 plus this.
        contrast: As brightness; about the mean of the grey image.
        saturation: As brightness; about the grey image.
        hue: Largest change each way, turns of the circle of colours.
    """
    rows = (
        (change_brightness, max(0.0, 1.0 - brightness), 1.0 + brightness),
        (change_contrast, max(0.0, 1.0 - contrast), 1.0 + contrast),
        (change_saturation, max(0.0, 1.0 - saturation), 1.0 + saturation),
        (shift_hue, -hue, hue),
    )
    changes, low, high = zip(*(row for row in rows if row[1] < row[2]), strict=True)

    def jitter(image, key):
        order_key, amount_key = jax.random.split(key)
        low_high = jnp.array(low), jnp.array(high)
        amounts = jax.random.uniform(amount_key, (len(changes),), float, *low_high)
        for i in jax.random.permutation(order_key, len(changes)):
            image = jax.lax.switch(i, changes, image, amounts[i])
        return image

    return jax.vmap(jitter)(images.astype(float), keys)


def change_brightness(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Black for factor 0: [H, W, C] -> [H, W, C], as the next two."""
    return blend(jnp.zeros_like(image), image, factor)


def change_contrast(image: jax.Array, factor: jax.Array) -> jax.Array:
    """The mean of the grey image for factor 0."""
    return blend(jnp.mean(luma(image)), image, factor)


def change_saturation(image: jax.Array, factor: jax.Array) -> jax.Array:
    """The grey image for factor 0."""
    return blend(luma(image), image, factor)


def shift_hue(image: jax.Array, turns: jax.Array) -> jax.Array:
    """Turns the hue, saturation and value left: [H, W, 3] -> [H, W, 3].

    The hexagonal model of Smith, "Color Gamut Transform Pairs", SIGGRAPH 1978.
    """
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    value = image.max(axis=-1)
    chroma = value - image.min(axis=-1)
    unit = jnp.where(chroma > 0, chroma, 1.0)
    sixth = jnp.select(
        [value == red, value == green],
        [(green - blue) / unit, 2.0 + (blue - red) / unit],
        4.0 + (red - green) / unit,
    )
    # Red is at 0 sixths of a turn, green at 2, blue at 4; each is full up to 1 sixth
    # from its place, and gone from 2 on.
    sixths = sixth[..., None] + 6.0 * turns - jnp.array([0.0, 2.0, 4.0])
    distance = jnp.abs(sixths - 6.0 * jnp.round(sixths / 6.0))  # [H, W, 3], up to 3
    missing = jnp.clip(distance - 1.0, 0.0, 1.0)
    return value[..., None] - chroma[..., None] * missing


def greyscale(images: jax.Array, keys: jax.Array, probability: float) -> jax.Array:
    """Takes the colour away, with a probability: [B, H, W, 3] -> float [B, H, W, 3]."""
    grey = jax.vmap(lambda key: jax.random.bernoulli(key, probability))(keys)
    return jnp.where(grey[:, None, None, None], luma(images), images.astype(float))


def lighting(images: jax.Array, keys: jax.Array, std: float) -> jax.Array:
    """Adds a random colour to all of an image: [B, H, W, 3] -> float [B, H, W, 3].

    Krizhevsky, Sutskever and Hinton, NeurIPS 2012, sec. 4.1, with std 0.1: along the
    eigenvectors of the covariance of ImageNet's colours, in proportion to their
    eigenvalues. The sum is not clipped.
    """
    axes = 255.0 * jnp.array(EIGENVALUES) * jnp.array(EIGENVECTORS)  # [channel, axis]
    alpha = jax.vmap(lambda key: jax.random.normal(key, (1, 3), float))(keys)
    colours = jnp.sum(std * alpha * axes, axis=-1)  # [B, 3]
    return images.astype(float) + colours[:, None, None]


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


def erase(images: jax.Array, keys: jax.Array, probability: float) -> jax.Array:
    """A rectangle becomes 0, with a probability: [B, H, W, C] -> [B, H, W, C].

    Zhong, Zheng, Kang, Li and Yang, "Random Erasing Data Augmentation", AAAI 2020,
    https://arxiv.org/abs/1708.04896, as torchvision's RandomErasing: of ten rectangles
    the first that fits. Of normalised images 0 is the mean colour.
    """
    size = jnp.array(images.shape[1:3])

    def erased(key):
        area_key, aspect_key, place_key, erase_key = jax.random.split(key, 4)
        tries = (ERASING_TRIES,)
        area = jax.random.uniform(area_key, tries, float, *ERASED_AREA)
        log_aspect = jnp.log(jnp.array(ERASED_ASPECT))
        aspect = jnp.exp(jax.random.uniform(aspect_key, tries, float, *log_aspect))
        sides = jnp.stack([aspect, 1.0 / aspect], axis=-1)  # height, width
        sides = jnp.round(jnp.sqrt(area[:, None] * size.prod() * sides)).astype(int)
        fits = jnp.all(sides < size, axis=-1)
        sides = sides[jnp.argmax(fits)]
        start = jax.random.randint(place_key, (2,), 0, size - sides + 1)
        inside = rectangle(images.shape[1:3], start, start + sides)
        return inside & fits.any() & jax.random.bernoulli(erase_key, probability)

    return jnp.where(jax.vmap(erased)(keys)[..., None], 0, images)
