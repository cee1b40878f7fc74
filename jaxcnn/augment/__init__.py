"""Random changes of the training images, on the device, inside the compiled step.

Pure functions of whole batches. The random numbers of an example depend only on its own
key, so they are the same on any number of devices and in any slice of the batch. Flip,
crop and noise are then equal bit for bit. The affine warp may differ in rounding where
XLA fuses batches of another size differently (on a CPU, by 0.001 of a grey level).
Mixup and cutmix also need another example of the batch, so they need the global batch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn import names
from jaxcnn.augment.geometry import (
    Map,
    affine,
    affine_map,
    crop,
    crop_map,
    flip,
    flip_map,
    nearest,
    warp,
)
from jaxcnn.augment.mixing import mix
from jaxcnn.augment.moving import Sampler, any_moves, move_targets
from jaxcnn.augment.pixels import (
    colour_jitter,
    erase,
    greyscale,
    lighting,
    noise,
    normalise,
)
from jaxcnn.augment.policies import (
    randaugment,
    randaugment_maps,
    trivialaugment,
    trivialaugment_map,
)
from jaxcnn.config import AugmentConfig
from jaxcnn.errors import UserError, require
from jaxcnn.targets import MOVED, Targets

__all__ = [
    "affine",
    "augment_batch",
    "check",
    "colour_jitter",
    "content_keys",
    "crop",
    "erase",
    "example_keys",
    "flip",
    "greyscale",
    "lighting",
    "mix",
    "move_targets",
    "noise",
    "normalise",
    "randaugment",
    "trivialaugment",
]


_COLOUR_FIELDS = ("saturation", "hue", "greyscale", "lighting")


def check(config: AugmentConfig, channels: int, targets: Targets) -> None:
    """Raises UserError for a setting that does not suit the images or the targets.

    Args:
        config: Augmentation settings.
        channels: Number of image channels.
        targets: Targets that a batch holds besides its images.
    """
    for name in _COLOUR_FIELDS:
        value = getattr(config, name)
        holds = not value or channels == 3
        require(holds, f"augment.{name}", value, "0 for images without colour")
    for name in config.own:
        require(callable(_own(name)), "augment.own", name, "the name of a function")
    for name, target in targets.items():
        holds = not config.cutmix or target.kind not in MOVED
        what = f"target {name!r} of kind {target.kind!r}"
        rule = f"0 with {what}, which a rectangle of another image would hide"
        require(holds, "augment.cutmix", config.cutmix, rule)
        holds = not config.flip or target.kind != "text"
        rule = f"0 with {what}, which cannot be read in a mirror"
        require(holds, "augment.flip", config.flip, rule)


def _own(name: str) -> Callable[..., Any]:
    """A user's own function (batch, key of each example) -> batch; its images are
    normalised."""
    return names.resolve(name, {}, "augmentation")


def _changed(
    name: str, batch: dict[str, jax.Array], keys: jax.Array
) -> dict[str, jax.Array]:
    """What a user's own function makes of a batch; UserError if that is no batch."""
    changed = _own(name)(batch, keys)
    shapes, expected = (jax.tree.map(jnp.shape, tree) for tree in (changed, batch))
    if shapes != expected:
        raise UserError(
            f"augment.own: {name} must return a batch with the arrays {expected}, not "
            f"{shapes}."
        )
    return changed


def example_keys(key: jax.Array, step: jax.Array, indices: jax.Array) -> jax.Array:
    """A key for each example of a step: [B] -> [B].

    Args:
        key: Key of the whole run.
        step: Number of the step.
        indices: Position of each example in the global batch, int32 [B].
    """
    key = jax.random.fold_in(key, step)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, indices)


def content_keys(images: jax.Array) -> jax.Array:
    """A key for each image that depends on its pixels alone: [B, H, W, C] -> [B].

    Evaluation draws from it, so that its random numbers are the same with any batch
    size, in any order and on any devices. The key is a multilinear hash of 64 bits
    (Carter and Wegman, "Universal Classes of Hash Functions", 1979), in integers, whose
    sum does not depend on the order of its terms.

    Args:
        images: uint8 [B, H, W, C].
    """
    shape = images.shape[1:]
    values = images.astype(jnp.uint32) + 1

    def word(number: int) -> jax.Array:
        factors = jax.random.bits(jax.random.key(number), shape, jnp.uint32)
        return jnp.sum(values * factors, axis=(1, 2, 3), dtype=jnp.uint32)  # [B]

    fold_in = jax.vmap(jax.random.fold_in)
    keys = jax.vmap(jax.random.key)(word(0))
    return fold_in(keys, word(1))


def augment_batch(
    batch: Mapping[str, jax.Array],
    keys: jax.Array,
    config: AugmentConfig,
    mean: Sequence[float],
    std: Sequence[float],
    targets: Targets,
    inputs: Callable[..., Mapping[str, jax.Array]] | None = None,
) -> dict[str, jax.Array]:
    """Applies everything that the config asks for, in the order of the lines below.

    Flip, crop, affine and the geometric operations of the policies move the targets
    with the image; operations that change grey levels or erase do not.

    Args:
        batch: Batch with "image", uint8 [B, H, W, C], and the targets, each [B, ...].
        keys: Key of each example, [B], from example_keys.
        config: Augmentation settings, see check. They are static: operations that are
            off are not traced.
        mean: Mean of each channel, in [0, 1].
        std: Standard deviation of each channel, in [0, 1].
        targets: Targets that the batch holds, whose kinds say how they move.
        inputs: The task's own change of a batch, see Task.inputs. None: it has none.

    Returns:
        The batch with normalised images (zero mean, unit variance), float [B, H, W, C],
        moved targets, and the entries that mix adds.
    """
    # Each operation has its own key: leaving one out changes no other.
    own_keys, fold_in = keys, jax.vmap(jax.random.fold_in, (0, None))
    keys = jax.vmap(jax.random.split, (0, None))(keys, 12)  # [B, 12]
    images, size = batch["image"], batch["image"].shape[1:3]
    if config.flip:
        images = flip(images, keys[:, 0], config.flip)
    if config.crop_padding_pixels:
        images = crop(images, keys[:, 1], config.crop_padding_pixels)
    if config.randaugment:
        images = randaugment(images, keys[:, 4], **_policy(config))
    if config.trivialaugment:
        images = trivialaugment(images, keys[:, 5])
    colour = _chosen(config, "brightness", "contrast", "saturation", "hue")
    if colour:
        images = colour_jitter(images, keys[:, 6], **colour)
    if config.greyscale:
        images = greyscale(images, keys[:, 7], config.greyscale)
    if _affine_limits(config):
        images = affine(images, keys[:, 2], **_affine_limits(config))
    if config.lighting:
        images = lighting(images, keys[:, 8], config.lighting)
    if config.noise:
        images = noise(images, keys[:, 3], config.noise)
    batch = {**batch, "image": images}
    if any_moves(targets):
        for maps, sample in _maps(config, keys, size):
            batch = move_targets(batch, targets, maps, sample)
    if inputs is not None:
        batch = inputs(batch, keys[:, 11])
    images = normalise(batch["image"], mean, std)
    if config.erasing:
        images = erase(images, keys[:, 9], config.erasing)
    batch = {**batch, "image": images}
    for number, name in enumerate(config.own):
        batch = _changed(name, batch, fold_in(own_keys, number))
    if config.mixup or config.cutmix:
        batch = mix(batch, keys[:, 10], mixup=config.mixup, cutmix=config.cutmix)
    return batch


def _maps(
    config: AugmentConfig, keys: jax.Array, size: tuple[int, int]
) -> Iterator[tuple[Map, Sampler]]:
    """Yields (maps, sampler) for each operation of augment_batch that moves pixels, in
    the same order and with the same keys."""
    if config.flip:
        yield flip_map(keys[:, 0], config.flip, size=size), nearest
    if config.crop_padding_pixels:
        yield crop_map(keys[:, 1], config.crop_padding_pixels), nearest
    if config.randaugment:
        for maps in randaugment_maps(keys[:, 4], size=size, **_policy(config)):
            yield maps, nearest
    if config.trivialaugment:
        yield trivialaugment_map(keys[:, 5], size=size), nearest
    if _affine_limits(config):
        yield affine_map(keys[:, 2], size=size, **_affine_limits(config)), warp


def _policy(config: AugmentConfig) -> dict[str, int]:
    return {
        "num_operations": config.randaugment,
        "magnitude": config.randaugment_magnitude,
    }


def _affine_limits(config: AugmentConfig) -> dict[str, float]:
    """The limits of affine."""
    return _chosen(config, "shift_pixels", "rotation_degrees", "scale", "shear_degrees")


def _chosen(config: AugmentConfig, *names: str) -> dict[str, float]:
    """The values of these fields; {} if all are 0."""
    values = {name: getattr(config, name) for name in names}
    return values if any(values.values()) else {}
