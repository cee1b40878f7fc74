"""What is done to an image before a network restores it: CORRUPTIONS.

Pure functions of one image, its key and a level, computed on the device. Images are
grey levels in [0, 255]; noise is neither rounded nor clipped, as in the papers, so that
its mean is 0 everywhere.
"""

from collections.abc import Callable, Mapping
import dataclasses
import math

import jax
import jax.numpy as jnp

from jaxcnn.errors import UserError

NUM_BOXES = 4


def _none(image: jax.Array, key: jax.Array, level: jax.Array) -> jax.Array:
    """The image as it is: [H, W, C] -> [H, W, C]."""
    return image


def _gaussian(image: jax.Array, key: jax.Array, level: jax.Array) -> jax.Array:
    """Adds Gaussian noise: [H, W, C] -> [H, W, C].

    Args:
        image: Grey levels.
        key: Key of the image.
        level: Standard deviation, grey levels.
    """
    return image + level * jax.random.normal(key, image.shape, image.dtype)


def _masking(image: jax.Array, key: jax.Array, level: jax.Array) -> jax.Array:
    """Sets single numbers to 0: [H, W, C] -> [H, W, C].

    Vincent, Larochelle, Lajoie, Bengio and Manzagol, JMLR 2010, sec. 3.3, who set a
    fixed number of them to 0; each has the same probability here.

    Args:
        image: Grey levels.
        key: Key of the image.
        level: Probability of each number.
    """
    return jnp.where(jax.random.bernoulli(key, level, image.shape), 0, image)


def _boxes(image: jax.Array, key: jax.Array, level: jax.Array) -> jax.Array:
    """Sets NUM_BOXES rectangles to 0: [H, W, C] -> [H, W, C].

    Pathak et al., "Context Encoders: Feature Learning by Inpainting", CVPR 2016, sec.
    3.3, https://arxiv.org/abs/1604.07379: random blocks, which may overlap.

    Args:
        image: Grey levels.
        key: Key of the image.
        level: Sum of their areas, relative to the image; each has its aspect ratio.
    """
    share = jnp.sqrt(level / NUM_BOXES)
    starts = jax.random.uniform(key, (2, NUM_BOXES, 1), image.dtype)
    inside = []
    for start, length in zip(starts, image.shape[:2], strict=True):
        side = jnp.round(share * length)
        first = jnp.floor(start * (length - side + 1))  # [NUM_BOXES, 1]
        places = jnp.arange(length)
        inside.append((places >= first) & (places < first + side))
    rows, columns = inside
    missing = jnp.any(rows[:, :, None] & columns[:, None, :], axis=0)  # [H, W]
    return jnp.where(missing[..., None], 0, image)


def _downsample(image: jax.Array, key: jax.Array, level: float) -> jax.Array:
    """Shrinks by a factor and enlarges again: [H, W, C] -> [H, W, C].

    Both by bicubic interpolation (Keys 1981, a = -0.5), averaged when it shrinks, as
    for single-image super-resolution (Kim, Lee and Lee, "Accurate Image
    Super-Resolution Using Very Deep Convolutional Networks", CVPR 2016, sec. 3.1,
    https://arxiv.org/abs/1511.04587; the network keeps the size of the image).

    Args:
        image: Grey levels.
        key: Unused.
        level: The factor, a whole number.
    """
    height, width, channels = image.shape
    factor = int(level)
    if height % factor or width % factor:
        raise UserError(
            f"task.corruption='downsample' by {factor} needs images whose sides it "
            f"divides, not {height} x {width} pixels."
        )
    small = (height // factor, width // factor, channels)
    return jax.image.resize(
        jax.image.resize(image, small, "cubic"), image.shape, "cubic"
    )


@dataclasses.dataclass(frozen=True)
class Corruption:
    """A row of CORRUPTIONS.

    Attributes:
        apply: Called as apply(image, key, level), with one image, float [H, W, C] in
            [0, 255].
        level: Default level.
        lowest, highest: Levels that are allowed.
        whole: Whether the level is one whole number that is known before compiling.
    """

    apply: Callable[..., jax.Array]
    level: float
    lowest: float
    highest: float
    whole: bool = False

    def check(self, name: str, low: float, high: float) -> None:
        """Raises UserError for levels from low to high that are not allowed."""
        holds = self.lowest <= low <= high <= self.highest
        rule = f"from {self.lowest:g} to {self.highest:g}"
        if self.whole:
            holds = holds and low == high and float(low).is_integer()
            rule = f"one whole number {rule}"
        if not (holds and math.isfinite(high)):
            limits = f"({low:g},)" if low == high else f"({low:g}, {high:g})"
            raise UserError(
                f"Config field task.corruption_level is {limits}; it must be {rule} "
                f"with task.corruption={name!r}."
            )

    def __call__(
        self, images: jax.Array, keys: jax.Array, low: float, high: float
    ) -> jax.Array:
        """Corrupts a batch, each image by a key of its own: float [B, H, W, C].

        Args:
            images: Grey levels in [0, 255].
            keys: Key of each image, [B].
            low: Lowest level.
            high: Highest level; each image draws one between them.
        """

        def corrupted(image: jax.Array, key: jax.Array) -> jax.Array:
            if low == high:
                return self.apply(image, key, low)
            level_key, key = jax.random.split(key)
            level = jax.random.uniform(level_key, (), image.dtype, low, high)
            return self.apply(image, key, level)

        return jax.vmap(corrupted)(images, keys)


CORRUPTIONS: Mapping[str, Corruption] = {
    "none": Corruption(_none, 0.0, 0.0, 0.0),
    "gaussian": Corruption(_gaussian, 25.0, 0.0, 255.0),
    "masking": Corruption(_masking, 0.25, 0.0, 1.0),
    "boxes": Corruption(_boxes, 0.25, 0.0, 1.0),
    "downsample": Corruption(_downsample, 2.0, 2.0, 8.0, whole=True),
}
