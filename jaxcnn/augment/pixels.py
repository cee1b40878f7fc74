"""Augmentation of pixel values: colour, noise, normalisation, erasing."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxcnn.augment.geometry import rectangle

LUMA = (0.299, 0.587, 0.114)  # weights of R, G and B: ITU-R BT.601, as in Pillow

# Eigenvalues, and eigenvectors as columns, of the covariance of ImageNet's colours in
# [0, 1], from fb.resnet.torch, datasets/imagenet.lua.
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)

# Defaults of torchvision's RandomErasing, which are those of the paper.
ERASED_AREA = (0.02, 0.33)  # fraction of the image
ERASED_ASPECT = (0.3, 3.3)  # height / width
ERASING_TRIES = 10


def luma(image: jax.Array) -> jax.Array:
    """Converts to grey: [..., C] -> float [..., 1]."""
    if image.shape[-1] == 1:
        return image.astype(float)
    return sum(weight * image[..., [i]] for i, weight in enumerate(LUMA))


def blend(other: jax.Array, image: jax.Array, factor: jax.Array) -> jax.Array:
    """Interpolates from other (factor 0) to image (1) and beyond, within [0, 255]."""
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

    The changes are made in a random order for each example; those with limit 0 are left
    out.

    Args:
        images: Grey levels in [0, 255]; one channel, or RGB.
        keys: One key per example.
        brightness: Limit of the brightness change: the factor is uniform in
            [max(0, 1 - brightness), 1 + brightness].
        contrast: Limit of the contrast change, relative to the mean grey level.
        saturation: Limit of the saturation change, relative to the grey image.
        hue: Limit of the hue shift in each direction, in turns of the colour circle.
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
    """Blends with black: [H, W, C] -> [H, W, C]. Factor 1 changes nothing."""
    return blend(jnp.zeros_like(image), image, factor)


def change_contrast(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Blends with the mean grey level: [H, W, C] -> [H, W, C]."""
    return blend(jnp.mean(luma(image)), image, factor)


def change_saturation(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Blends with the grey image: [H, W, C] -> [H, W, C]."""
    return blend(luma(image), image, factor)


def shift_hue(image: jax.Array, turns: jax.Array) -> jax.Array:
    """Shifts the hue and keeps saturation and value: [H, W, 3] -> [H, W, 3].

    Uses the hexcone model of Smith, "Color Gamut Transform Pairs", SIGGRAPH 1978.
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
    # Red is at 0 sixths of a turn, green at 2 and blue at 4. Each is at full strength
    # up to 1 sixth from its position and zero from 2 sixths on.
    sixths = sixth[..., None] + 6.0 * turns - jnp.array([0.0, 2.0, 4.0])
    distance = jnp.abs(sixths - 6.0 * jnp.round(sixths / 6.0))  # [H, W, 3], up to 3
    missing = jnp.clip(distance - 1.0, 0.0, 1.0)
    return value[..., None] - chroma[..., None] * missing


def greyscale(images: jax.Array, keys: jax.Array, probability: float) -> jax.Array:
    """Randomly converts images to grey: [B, H, W, 3] -> float [B, H, W, 3]."""
    grey = jax.vmap(lambda key: jax.random.bernoulli(key, probability))(keys)
    return jnp.where(grey[:, None, None, None], luma(images), images.astype(float))


def lighting(images: jax.Array, keys: jax.Array, std: float) -> jax.Array:
    """Adds a random colour to each image: [B, H, W, 3] -> float [B, H, W, 3].

    Krizhevsky, Sutskever and Hinton, NeurIPS 2012, sec. 4.1, with std 0.1: the colour
    varies along the eigenvectors of the covariance of ImageNet's colours, in proportion
    to their eigenvalues. The sum is not clipped.
    """
    axes = 255.0 * jnp.array(EIGENVALUES) * jnp.array(EIGENVECTORS)  # [channel, axis]
    alpha = jax.vmap(lambda key: jax.random.normal(key, (1, 3), float))(keys)
    colours = jnp.sum(std * alpha * axes, axis=-1)  # [B, 3]
    return images.astype(float) + colours[:, None, None]


def noise(images: jax.Array, keys: jax.Array, std: float) -> jax.Array:
    """Adds Gaussian noise, std in grey levels: [B, H, W, C] -> float [B, H, W, C].

    The sum is clipped to [0, 255], like a camera's sensor.
    """
    draw = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:], float))
    return jnp.clip(images.astype(float) + std * draw(keys), 0.0, 255.0)


def normalise(
    images: jax.Array, mean: Sequence[float], std: Sequence[float]
) -> jax.Array:
    """Scales to zero mean and unit variance: [B, H, W, C] -> float [B, H, W, C].

    Equals torchvision's ToTensor and Normalize. float32, or float64 under
    jax_enable_x64.

    Args:
        images: Grey levels in [0, 255].
        mean: Mean of each channel, in [0, 1].
        std: Standard deviation of each channel, in [0, 1].
    """
    return (images.astype(float) / 255.0 - jnp.array(mean)) / jnp.array(std)


def erase(images: jax.Array, keys: jax.Array, probability: float) -> jax.Array:
    """Randomly sets a rectangle to 0: [B, H, W, C] -> [B, H, W, C].

    Zhong, Zheng, Kang, Li and Yang, "Random Erasing Data Augmentation", AAAI 2020,
    https://arxiv.org/abs/1708.04896. Like torchvision's RandomErasing, it uses the
    first of ten random rectangles that fits. In a normalised image, 0 is the mean
    colour.
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
