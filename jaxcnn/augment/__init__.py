"""Random changes of the training images, on the device, inside the compiled step.

Pure functions of whole batches. What an example draws depends on its own key alone, so
it is the same on any number of devices and in any slice of the batch. Flip, crop and
noise then give the same bits; the affine warp differs in its rounding where XLA fuses
batches of another size in another way (seen on CPU: 0.001 of a grey level).
"""

from collections.abc import Mapping
import dataclasses
import math

import jax

from jaxcnn.augment.geometry import affine, crop, flip
from jaxcnn.augment.pixels import noise, normalise
from jaxcnn.errors import require

__all__ = [
    "Settings",
    "affine",
    "augment_batch",
    "crop",
    "example_keys",
    "flip",
    "noise",
    "normalise",
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

    def __post_init__(self):
        for name, rule, limit in (
            ("flip", "in [0, 1]", 1.0),
            ("crop_padding_pixels", "0 or more", math.inf),
            ("shift_pixels", "0 or more", math.inf),
            ("rotation_degrees", "in [0, 180]", 180.0),
            ("scale", "0 or more", math.inf),
            ("shear_degrees", "in [0, 80]", 80.0),  # at 90 the image is a line
            ("noise", "0 or more", math.inf),
        ):
            value = getattr(self, name)
            holds = 0 <= value <= limit and value < math.inf
            require(holds, f"augment.{name}", value, rule)


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
    """Flip, crop, affine jitter, noise, normalisation, in this order.

    Args:
        batch: With "image", uint8 [B, H, W, C].
        keys: Key of each example, [B], from example_keys.
        settings: Static: what is 0 there is not traced.

    Returns:
        The batch with "image" of zero mean and unit variance, float [B, H, W, C].
    """
    # Each operation has a key of its own: one that is left out changes no other.
    keys = jax.vmap(jax.random.split, (0, None))(keys, 4)  # [B, 4]
    images = batch["image"]
    if settings.flip:
        images = flip(images, keys[:, 0], settings.flip)
    if settings.crop_padding_pixels:
        images = crop(images, keys[:, 1], settings.crop_padding_pixels)
    jitter = {
        name: getattr(settings, name)
        for name in ("shift_pixels", "rotation_degrees", "scale", "shear_degrees")
    }
    if any(jitter.values()):
        images = affine(images, keys[:, 2], **jitter)
    if settings.noise:
        images = noise(images, keys[:, 3], settings.noise)
    return {**batch, "image": normalise(images, settings.mean, settings.std)}
