"""Random changes of the training images, on the device, inside the compiled step.

Pure functions of whole batches. What an example draws depends on its own key alone, so
it is the same on any number of devices and in any slice of the batch. Flip, crop and
noise then give the same bits; the affine warp differs in its rounding where XLA fuses
batches of another size in another way (seen on CPU: 0.001 of a grey level). Mixup and
cutmix also need the example to mix with, so they want the global batch.
"""

from collections.abc import Mapping
import dataclasses
import math

import jax

from jaxcnn.augment.geometry import affine, crop, flip
from jaxcnn.augment.mixing import mix
from jaxcnn.augment.pixels import (
    colour_jitter,
    erase,
    greyscale,
    lighting,
    noise,
    normalise,
)
from jaxcnn.augment.policies import MAX_LEVEL, randaugment, trivialaugment
from jaxcnn.errors import require

__all__ = [
    "Settings",
    "affine",
    "augment_batch",
    "colour_jitter",
    "crop",
    "erase",
    "example_keys",
    "flip",
    "greyscale",
    "lighting",
    "mix",
    "noise",
    "normalise",
    "randaugment",
    "trivialaugment",
]


@dataclasses.dataclass(frozen=True)
class Settings:
    """The numbers of augment_batch; 0 leaves an operation out.

    Attributes:
        mean: Of each channel, in [0, 1].
        std: Of each channel, in [0, 1].
        flip: Probability of a horizontal flip.
        crop_padding_pixels: Zeros on each side before a random window is cut.
        shift_pixels: Largest shift each way, both axes.
        rotation_degrees: Largest rotation each way.
        scale: Largest relative change of size; 0.1 is 1/1.1 to 1.1.
        shear_degrees: Largest horizontal shear each way.
        noise: Standard deviation of Gaussian noise, grey levels of 255.
        randaugment: Operations of RandAugment on each image.
        randaugment_magnitude: Strength of each, 0 to 30.
        trivialaugment: Whether each image has one operation of TrivialAugment.
        brightness: Largest relative change of it.
        contrast: Largest relative change of it.
        saturation: Largest relative change of it, of colour images.
        hue: Largest change of it, turns of the circle of colours.
        greyscale: Probability that a colour image loses its colour.
        lighting: Standard deviation of AlexNet's change of colour; 0.1 there.
        erasing: Probability that a random rectangle is erased.
        mixup: Alpha of mixup.
        cutmix: Alpha of cutmix; with mixup, each has half of the examples.

    Raises:
        UserError: A number that is not allowed.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: float = 0.0
    crop_padding_pixels: int = 0
    shift_pixels: float = 0.0
    rotation_degrees: float = 0.0
    scale: float = 0.0
    shear_degrees: float = 0.0
    noise: float = 0.0
    randaugment: int = 0
    randaugment_magnitude: int = 9
    trivialaugment: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    greyscale: float = 0.0
    lighting: float = 0.0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self):
        for name, rule, limit in (
            ("flip", "in [0, 1]", 1.0),
            ("crop_padding_pixels", "0 or more", math.inf),
            ("shift_pixels", "0 or more", math.inf),
            ("rotation_degrees", "in [0, 180]", 180.0),
            ("scale", "0 or more", math.inf),
            ("shear_degrees", "in [0, 80]", 80.0),  # at 90 the image is a line
            ("noise", "0 or more", math.inf),
            ("randaugment", "0 or more", math.inf),
            ("randaugment_magnitude", f"in [0, {MAX_LEVEL}]", MAX_LEVEL),
            ("brightness", "0 or more", math.inf),
            ("contrast", "0 or more", math.inf),
            ("saturation", "0 or more", math.inf),
            ("hue", "in [0, 0.5]", 0.5),  # half a turn each way is every hue
            ("greyscale", "in [0, 1]", 1.0),
            ("lighting", "0 or more", math.inf),
            ("erasing", "in [0, 1]", 1.0),
            ("mixup", "0 or more", math.inf),
            ("cutmix", "0 or more", math.inf),
        ):
            value = getattr(self, name)
            holds = 0 <= value <= limit and value < math.inf
            require(holds, f"augment.{name}", value, rule)
        for name in ("saturation", "hue", "greyscale", "lighting"):
            value = getattr(self, name)
            holds = not value or len(self.mean) == 3
            require(holds, f"augment.{name}", value, "0 for images without colour")


def example_keys(key: jax.Array, step: jax.Array, indices: jax.Array) -> jax.Array:
    """A key for each example of a step: [B] -> [B].

    Args:
        key: Key of the whole run.
        step: Number of the step.
        indices: int32 [B], position of each example in the global batch.
    """
    key = jax.random.fold_in(key, step)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, indices)


def augment_batch(
    batch: Mapping[str, jax.Array], keys: jax.Array, settings: Settings
) -> dict[str, jax.Array]:
    """Everything that the settings ask for, in the order of the lines below.

    Args:
        batch: With "image", uint8 [B, H, W, C], and the targets, [B, ...].
        keys: Key of each example, [B], from example_keys.
        settings: Static: what is 0 there is not traced.

    Returns:
        The batch with "image" of zero mean and unit variance, float [B, H, W, C], and
        what mix adds.
    """
    # Each operation has a key of its own: one that is left out changes no other.
    keys = jax.vmap(jax.random.split, (0, None))(keys, 11)  # [B, 11]
    images = batch["image"]
    if settings.flip:
        images = flip(images, keys[:, 0], settings.flip)
    if settings.crop_padding_pixels:
        images = crop(images, keys[:, 1], settings.crop_padding_pixels)
    if settings.randaugment:
        images = randaugment(
            images,
            keys[:, 4],
            num_operations=settings.randaugment,
            magnitude=settings.randaugment_magnitude,
        )
    if settings.trivialaugment:
        images = trivialaugment(images, keys[:, 5])
    colour = _chosen(settings, "brightness", "contrast", "saturation", "hue")
    if colour:
        images = colour_jitter(images, keys[:, 6], **colour)
    if settings.greyscale:
        images = greyscale(images, keys[:, 7], settings.greyscale)
    shape = _chosen(
        settings, "shift_pixels", "rotation_degrees", "scale", "shear_degrees"
    )
    if shape:
        images = affine(images, keys[:, 2], **shape)
    if settings.lighting:
        images = lighting(images, keys[:, 8], settings.lighting)
    if settings.noise:
        images = noise(images, keys[:, 3], settings.noise)
    images = normalise(images, settings.mean, settings.std)
    if settings.erasing:
        images = erase(images, keys[:, 9], settings.erasing)
    batch = {**batch, "image": images}
    if settings.mixup or settings.cutmix:
        batch = mix(batch, keys[:, 10], mixup=settings.mixup, cutmix=settings.cutmix)
    return batch


def _chosen(settings: Settings, *names: str) -> dict[str, float]:
    """The numbers of these names, or nothing where all are 0."""
    found = {name: getattr(settings, name) for name in names}
    return found if any(found.values()) else {}
