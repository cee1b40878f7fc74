"""Moves targets with their image, on the device: masks, counts, boxes and points."""

from collections.abc import Callable, Mapping
import functools

import jax
import jax.numpy as jnp

from jaxcnn.augment.geometry import Map, nearest, outputs
from jaxcnn.targets import MIN_SIDE_PIXELS, MOVED, Target, Targets, mask_name

Sampler = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]  # warp or nearest


def move_targets(
    batch: Mapping[str, jax.Array],
    targets: Targets,
    maps: Map,
    sample: Sampler = nearest,
) -> dict[str, jax.Array]:
    """Moves every target of a batch as an operation has moved its image.

    Boxes become the smallest upright boxes around their moved corners, clipped to the
    image. Boxes that are completely outside are dropped if their number may vary
    (Target.ragged), together with the items that belong to them (Target.of): their mask
    becomes false and their numbers 0. If the number of boxes is fixed, such a box
    becomes empty. A point outside the image keeps its position there; counts outside it
    are gone.

    Args:
        batch: Batch with "image" [B, H, W, C] and each target.
        targets: Targets of the batch.
        maps: Map of each example, as returned by geometry.NAME_map.
        sample: Sampler for targets of kind "image": the one used for their image.
    """
    size = batch["image"].shape[1:3]
    moved, seen = dict(batch), {}
    for name, target in targets.items():
        if target.kind == "mask":
            moved[name] = _each(nearest, target)(batch[name], *maps)
        elif target.kind == "image":
            moved[name] = _each(sample, target)(batch[name], *maps)
        elif target.kind == "counts":
            moved[name] = jax.vmap(_counts)(batch[name], *maps)
        elif target.kind == "points":
            moved[name] = jax.vmap(_points)(batch[name], *maps)
        elif target.kind == "boxes":
            move = functools.partial(_boxes, size=size)
            moved[name], seen[name] = jax.vmap(move)(batch[name], *maps)
    for name in seen:
        if targets[name].ragged:
            of_items = seen[name].reshape(*seen[name].shape[:2], -1).all(axis=-1)
            moved[mask_name(name, targets[name])] &= of_items
    for name, target in targets.items():
        if target.ragged:
            x, mask = moved[name], moved[mask_name(name, target)]
            moved[name] = jnp.where(
                mask.reshape(*mask.shape, *[1] * (x.ndim - 2)), x, 0
            )
    return moved


def any_moves(targets: Targets) -> bool:
    """Whether any target moves with the image."""
    return any(target.kind in MOVED for target in targets.values())


def _each(sample: Sampler, target: Target) -> Callable[..., jax.Array]:
    """A sampler for a batch, with the target's fill value and dtype."""

    def move(x: jax.Array, matrix: jax.Array, offset: jax.Array) -> jax.Array:
        # warp and nearest fill with zeros.
        moved = sample(x - target.fill if target.fill else x, matrix, offset)
        moved = moved + target.fill if target.fill else moved
        if jnp.issubdtype(x.dtype, jnp.integer):
            moved = jnp.round(moved)
        return moved.astype(x.dtype)

    return jax.vmap(move)


def _counts(counts: jax.Array, matrix: jax.Array, offset: jax.Array) -> jax.Array:
    """[H, W, ...] -> [H, W, ...], see data.placement.place_counts."""
    size, most = counts.shape[:2], jnp.iinfo(counts.dtype).max
    pixels = jnp.stack(jnp.indices(size), axis=-1).astype(float)
    places = jnp.floor(outputs(pixels, matrix, offset) + 0.5).astype(int)
    empty = jnp.zeros(counts.shape, jnp.int32)  # whose sums do not depend on the order
    moved = empty.at[places[..., 0], places[..., 1]].add(
        counts.astype(jnp.int32), mode="drop", wrap_negative_indices=False
    )
    return jnp.minimum(moved, most).astype(counts.dtype)


def _points(points: jax.Array, matrix: jax.Array, offset: jax.Array) -> jax.Array:
    """(y, x), [..., 2] -> [..., 2]."""
    # The centre of a pixel is half a pixel from its number.
    return (outputs(points - 0.5, matrix, offset) + 0.5).astype(points.dtype)


def _boxes(
    boxes: jax.Array, matrix: jax.Array, offset: jax.Array, *, size: tuple[int, int]
) -> tuple[jax.Array, jax.Array]:
    """((y1, x1, y2, x2) [..., 4] -> [..., 4], whether each is partly in the image)."""
    corners = jnp.stack(
        [boxes[..., [y, x]] for y in (0, 2) for x in (1, 3)], axis=-2
    )  # [..., 4, 2]
    corners = _points(corners, matrix, offset)
    limit = jnp.array(size, boxes.dtype)
    low = jnp.clip(corners.min(axis=-2), 0, limit)  # [..., 2]
    high = jnp.clip(corners.max(axis=-2), 0, limit)
    seen = jnp.all(high - low >= MIN_SIDE_PIXELS, axis=-1)
    return jnp.concatenate([low, high], axis=-1), seen
