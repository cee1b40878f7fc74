"""Images of any size, and their targets, to one size, on the host.

A transform decides on a placement: which window of an image is shown, how large, and
where on a canvas of height x width pixels. A random transform draws one placement for
an example, and the image and each target are moved by it.

Resizing is Pillow's bilinear, which averages over the source pixels when it shrinks.
The deterministic transforms give an image that has the right size back unchanged, so
arrays of that size are batches as they stand; a transform of your own is asked whether
it does. The random ones take a file that is not decoded yet as well, draw the same
window as from its pixels, and decode no more than they need.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import math
from typing import Any

import numpy as np
from PIL import Image

from jaxcnn import names
from jaxcnn.data.images import Box, Encoded
from jaxcnn.errors import UserError, require
from jaxcnn.targets import (
    MIN_SIDE_PIXELS,
    SPATIAL,
    Scattered,
    Target,
    Targets,
    to_batch,
)

CROP_FRACTION = 0.875  # 224 of 256, the usual evaluation on ImageNet
AREA = (0.08, 1.0)  # of a random crop, relative to the image
ASPECT = (3 / 4, 4 / 3)  # of a random crop, width over height
TRIES = 10
_LARGE = 8  # times the image and the canvas: a resized window is not computed in full


INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}

Size = tuple[int, int]  # height, width


# Placements.


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where an image lies on its canvas, all in pixels.

    Attributes:
        window: Top, left, height and width of the part of the image that is resized.
        resized: Height and width that the window is resized to.
        origin: Row and column of the resized window's first pixel on the canvas;
            negative where its first rows or columns are cut off.
        canvas: Height and width of the result.
    """

    window: tuple[int, int, int, int]
    resized: Size
    origin: tuple[int, int]
    canvas: Size


def _whole(
    shape: Size, resized: Size, origin: tuple[int, int], size: Size
) -> Placement:
    return Placement((0, 0, *shape), resized, origin, size)


def _visible(placement: Placement) -> tuple[slice, slice]:
    """Rows and columns of the resized window that lie on the canvas."""
    rows, columns = (
        slice(max(-start, 0), max(min(length, side - start), 0))
        for start, length, side in zip(
            placement.origin, placement.resized, placement.canvas, strict=True
        )
    )
    return rows, columns


def is_identity(placement: Placement, size: Size) -> bool:
    """Whether an image of that size is left as it is."""
    return placement == _whole(size, size, (0, 0), size)


def resize(shape: Size, size: Size, rng: np.random.Generator | None) -> Placement:
    """The whole image, its aspect ratio not kept."""
    return _whole(shape, size, (0, 0), size)


def center_crop(shape: Size, size: Size, rng: np.random.Generator | None) -> Placement:
    """The centre, after the image is resized to cover size / 0.875.

    For 224 this is the evaluation of torchvision's ImageNet models, Resize(256) and
    CenterCrop(224), with its rounding; only an image of that size is left alone.
    """
    if shape == size:
        return resize(shape, size, rng)
    return _center(shape, size, _enlarged(size, CROP_FRACTION))


def _enlarged(size: Size, crop_ratio: float) -> Size:
    """The size of which a crop is a part; 256 for 224 and 0.875."""
    return round(size[0] / crop_ratio), round(size[1] / crop_ratio)


def _center(shape: Size, size: Size, covered: Size) -> Placement:
    height, width = cover(shape, covered)
    top, left = round((height - size[0]) / 2), round((width - size[1]) / 2)
    return _whole(shape, (height, width), (-top, -left), size)


def cover(shape: Size, size: Size) -> Size:
    """The smallest size of the image, its aspect ratio kept, that covers a size.

    The side that exceeds it is rounded down. To cover a square the shorter side gets
    its length, as in torchvision's Resize.
    """
    height, width = shape
    if size[0] * width >= size[1] * height:
        return size[0], size[0] * width // height
    return size[1] * height // width, size[1]


def random_crop(shape: Size, size: Size, rng: np.random.Generator) -> Placement:
    """A random window, after the image is resized to cover size / 0.875.

    224 of 256, as of Krizhevsky, Sutskever and Hinton, NeurIPS 2012, sec. 4.1, who cut
    the windows from the central square of the image.
    """
    return _anywhere(shape, size, _enlarged(size, CROP_FRACTION), rng)


def random_scale_crop(shape: Size, size: Size, rng: np.random.Generator) -> Placement:
    """As random_crop, but the image is up to twice as large.

    Simonyan and Zisserman, ICLR 2015, sec. 3.1, https://arxiv.org/abs/1409.1556: the
    shorter side is uniform in [256, 512] for windows of 224.
    """
    height, width = _enlarged(size, CROP_FRACTION)
    length = int(rng.integers(height, 2 * height + 1))
    return _anywhere(shape, size, (length, round(width * length / height)), rng)


def _anywhere(
    shape: Size, size: Size, covered: Size, rng: np.random.Generator
) -> Placement:
    height, width = cover(shape, covered)
    top = rng.integers(height - size[0] + 1)
    left = rng.integers(width - size[1] + 1)
    return _whole(shape, (height, width), (-int(top), -int(left)), size)


def random_patch(shape: Size, size: Size, rng: np.random.Generator) -> Placement:
    """A random window of the image as it is, enlarged only where it is smaller.

    40 pixels of a photo, as of Zhang et al., IEEE TIP 2017, sec. IV,
    https://arxiv.org/abs/1608.03981.
    """
    return _anywhere(shape, size, _at_least(shape, size), rng)


def center_patch(shape: Size, size: Size, rng: np.random.Generator | None) -> Placement:
    """The central window of the image as it is, see random_patch."""
    return _center(shape, size, _at_least(shape, size))


def _at_least(shape: Size, size: Size) -> Size:
    """What an image must cover so that a window fits: its own size if larger."""
    is_larger = shape[0] >= size[0] and shape[1] >= size[1]
    return shape if is_larger else size


def pad(shape: Size, size: Size, rng: np.random.Generator | None) -> Placement:
    """The whole image at the centre of a black canvas, shrunk first if it is larger."""
    height, width = shape
    if height > size[0] or width > size[1]:
        scale = min(size[0] / height, size[1] / width)
        height, width = max(1, round(height * scale)), max(1, round(width * scale))
    origin = (size[0] - height) // 2, (size[1] - width) // 2
    return _whole(shape, (height, width), origin, size)


def line(shape: Size, size: Size, rng: np.random.Generator | None) -> Placement:
    """A line of text at the left of a black canvas, as high as it.

    Its aspect ratio is kept, unless it is longer than the canvas: then it is made
    narrower.
    """
    height, width = shape
    width = min(size[1], max(1, round(width * size[0] / height)))
    return _whole(shape, (size[0], width), (0, 0), size)


def random_window(
    height: int, width: int, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """A window (top, left, height, width) of random area and aspect ratio.

    Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, sec. 6,
    https://arxiv.org/abs/1409.4842. As in torchvision the logarithm of the aspect
    ratio is uniform, and after ten windows that do not fit, the largest central one
    with an allowed aspect ratio is taken.
    """
    for _ in range(TRIES):
        area = height * width * rng.uniform(*AREA)
        aspect = math.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
            return int(top), int(left), h, w
    h = min(height, round(width / ASPECT[0]))
    w = min(width, round(height * ASPECT[1]))
    return (height - h) // 2, (width - w) // 2, h, w


def random_resized_crop(shape: Size, size: Size, rng: np.random.Generator) -> Placement:
    """A random window, its aspect ratio not kept."""
    return Placement(random_window(*shape, rng), size, (0, 0), size)


# What is placed.


def place_image(
    image: np.ndarray | Encoded,
    placement: Placement,
    *,
    interpolation: str = "bilinear",
    fill: float = 0,
) -> np.ndarray:
    """[H, W, C] -> [height, width, C] of the canvas, of the same dtype.

    Args:
        image: Pixels, or a file that is not decoded yet, which becomes uint8.
        placement: Position of the image.
        interpolation: A key of INTERPOLATIONS.
        fill: Value outside the image.
    """
    top, left, h, w = placement.window
    if isinstance(image, Encoded):
        image, box = image.window(top, left, h, w, placement.resized)
    else:
        image, box = image[top : top + h, left : left + w], (0, 0, w, h)
    height, width = placement.resized
    rows, columns = _visible(placement)
    if height * width > _LARGE * (h * w + math.prod(placement.canvas)):
        # Of a strip that covers the canvas only the visible part is computed. Others
        # are cut afterwards, since the weights of a part may be rounded differently.
        image = _resampled(
            image,
            rows.stop - rows.start,
            columns.stop - columns.start,
            interpolation,
            _part(box, rows, columns, placement.resized),
        )
    else:
        if image.shape[:2] != (height, width) or box != (0, 0, width, height):
            image = _resampled(image, height, width, interpolation, box)
        image = image[rows, columns]
    return _on_canvas(image, placement, fill)


def resized(image: np.ndarray, size: Size) -> np.ndarray:
    """A whole image, or map of numbers, in another size: [H, W, C] -> [*size, C]."""
    return place_image(image, _whole(image.shape[:2], size, (0, 0), size))


def _part(box: Box, rows: slice, columns: slice, resized: Size) -> Box:
    """The part of a box whose resized rows and columns are shown."""
    left, top, right, bottom = box
    x, y = (right - left) / resized[1], (bottom - top) / resized[0]
    return (
        left + x * columns.start,
        top + y * rows.start,
        min(left + x * columns.stop, right),
        min(top + y * rows.stop, bottom),
    )


def _resampled(
    image: np.ndarray, height: int, width: int, interpolation: str, box: Box
) -> np.ndarray:
    """A box (left, top, right, bottom) of an image as [height, width, C]."""

    def by_pillow(pixels: np.ndarray) -> np.ndarray:
        pixels = Image.fromarray(np.ascontiguousarray(pixels))
        resample = INTERPOLATIONS[interpolation]
        return np.asarray(pixels.resize((width, height), resample, box))

    channels = image.shape[2]
    if image.dtype == np.uint8:
        pixels = image[:, :, 0] if channels == 1 else image
        return by_pillow(pixels).reshape(height, width, channels)
    # Pillow knows other numbers in one channel only, as float32.
    planes = np.moveaxis(image.astype(np.float32), -1, 0)
    resized = np.stack([by_pillow(plane) for plane in planes], axis=-1)
    if np.issubdtype(image.dtype, np.integer):
        limits = np.iinfo(image.dtype)
        resized = np.clip(np.round(resized), limits.min, limits.max)
    return resized.astype(image.dtype)


def place_mask(
    mask: np.ndarray, placement: Placement, *, fill: float = 0
) -> np.ndarray:
    """[H, W, ...] -> [height, width, ...] of the canvas, each pixel of it a copy.

    It is the pixel of the mask in which the centre of the new one lies, as in Pillow's
    nearest neighbour and torchvision's InterpolationMode.NEAREST_EXACT. (torchvision
    resizes masks by NEAREST unless it is told otherwise; that takes the pixel at the
    new one's upper left corner, and moves the mask against its image.)
    """
    top, left, h, w = placement.window
    height, width = placement.resized
    y, x = (np.arange(part.start, part.stop) for part in _visible(placement))
    rows = top + (2 * y + 1) * h // (2 * height)
    columns = left + (2 * x + 1) * w // (2 * width)
    return _on_canvas(mask[rows[:, None], columns], placement, fill)


def place_counts(
    counts: np.ndarray | Scattered, placement: Placement, dtype: str
) -> np.ndarray:
    """Counts [H, W, ...] -> [height, width, ...] of the canvas, none of them split.

    The count of a pixel goes to the pixel in which the centre of the old one lies, and
    counts that meet add up. Those outside the window or the canvas are gone.

    Args:
        counts: The counts.
        placement: Position of their image.
        dtype: An unsigned integer, whose largest number stands for all above it.
    """
    if isinstance(counts, Scattered):
        places, numbers = counts.places, np.ones(len(counts.places), np.int64)
    else:
        places = np.argwhere(counts.reshape(*counts.shape[:2], -1).any(axis=-1))
        numbers = counts[tuple(places.T)]
    start, window = np.split(np.array(placement.window), 2)
    inside = places - start
    moved = (2 * inside + 1) * placement.resized // (2 * window) + placement.origin
    kept = (inside >= 0) & (inside < window) & (moved >= 0)
    kept = np.all(kept & (moved < placement.canvas), axis=1)
    canvas = np.zeros((*placement.canvas, *numbers.shape[1:]), np.int64)
    np.add.at(canvas, tuple(moved[kept].T), numbers[kept])
    return np.minimum(canvas, np.iinfo(dtype).max).astype(dtype)


def _on_canvas(part: np.ndarray, placement: Placement, fill: float) -> np.ndarray:
    """The visible part of a resized window on the canvas, and fill beside it."""
    (top, left), (height, width) = placement.origin, placement.canvas
    if part.shape[:2] == (height, width):
        return part
    canvas = np.full((height, width, *part.shape[2:]), fill, part.dtype)
    top, left = max(top, 0), max(left, 0)
    canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
    return canvas


def move_points(points: np.ndarray, placement: Placement) -> np.ndarray:
    """(y, x), [..., 2] -> [..., 2] on the canvas, float64.

    A point that is outside the canvas keeps its place there: it is below 0, or not
    below the height or width.
    """
    start, window = np.split(np.array(placement.window, float), 2)
    scale = np.array(placement.resized) / window
    return (np.asarray(points, float) - start) * scale + placement.origin


def move_boxes(
    boxes: np.ndarray, placement: Placement
) -> tuple[np.ndarray, np.ndarray]:
    """(y1, x1, y2, x2), [..., 4] -> [..., 4] on the canvas, float64, clipped to it.

    Also returns which boxes have something on the canvas: bool [...].
    """
    boxes = np.asarray(boxes, float)
    corners = move_points(boxes.reshape(*boxes.shape[:-1], 2, 2), placement)
    corners = np.clip(corners, 0.0, np.array(placement.canvas, float))
    seen = np.all(corners[..., 1, :] - corners[..., 0, :] >= MIN_SIDE_PIXELS, axis=-1)
    return corners.reshape(boxes.shape), seen


def _moved(
    value: Any, target: Target, placement: Placement
) -> tuple[Any, np.ndarray | None]:
    """(a target on the canvas, which of its items are seen; None: all)."""
    if target.kind == "mask":
        return place_mask(value, placement, fill=target.fill), None
    if target.kind == "image":
        return place_image(value, placement, fill=target.fill), None
    if target.kind == "counts":
        return place_counts(value, placement, target.dtype), None
    if target.kind == "points":
        points = move_points(target.array(value), placement)
        return points.astype(target.dtype), None
    if target.kind == "boxes":
        boxes, seen = move_boxes(target.array(value), placement)
        return boxes.astype(target.dtype), seen
    return value, None


def place(
    example: Mapping[str, Any], targets: Targets, placement: Placement
) -> dict[str, Any]:
    """The image and the targets of an example as a placement moves them.

    Boxes of which nothing is seen are dropped where there may be any number of them
    (Target.ragged), together with all items that belong to them (Target.of). Where
    their number is fixed such a box is empty.

    Raises:
        UserError: A target is not as high and wide as the image, as it must be.
    """
    shape = example["image"].shape[:2]
    moved = {"image": place_image(example["image"], placement)}
    kept = {}
    for name, target in targets.items():
        value = example[name]
        if target.kind in SPATIAL and value.shape[:2] != shape:
            raise UserError(
                f"Target {name!r} of an example has {value.shape[0]} x "
                f"{value.shape[1]} pixels and its image {shape[0]} x {shape[1]}; they "
                "must be equal."
            )
        moved[name], seen = _moved(value, target, placement)
        if target.ragged and seen is not None:
            seen = seen.all(axis=tuple(range(1, seen.ndim)))
            owner = target.of or name
            kept[owner] = kept.get(owner, True) & seen
    for name, target in targets.items():
        owner = target.of or name
        if owner in kept:
            moved[name] = target.array(moved[name])[kept[owner]]
    return moved


# The table.


@dataclasses.dataclass(frozen=True)
class Transform:
    """A row of TRANSFORMS.

    Attributes:
        place: Called as place(shape, size, rng), with height and width of the image
            and of the canvas; gives a Placement.
        random: Whether it draws from rng and takes files that are not decoded; if not,
            rng may be None.
    """

    place: Callable[[Size, Size, Any], Placement]
    random: bool = False

    def apply(
        self,
        image: np.ndarray | Encoded,
        size: int | Sequence[int],
        rng: np.random.Generator | None,
    ) -> np.ndarray:
        """An image alone: uint8 [H, W, C] -> uint8 [height, width, C]."""
        return apply(self, {"image": image}, {}, size, rng)["image"]


def apply(
    row: Transform,
    example: Mapping[str, Any],
    targets: Targets,
    size: int | Sequence[int],
    rng: np.random.Generator | None,
) -> dict[str, Any]:
    """The image of an example and its targets, moved by one placement; see place.

    Args:
        row: Transform that chooses the placement.
        example: With "image", [H, W, C] or a file that is not decoded yet, and each
            of the targets.
        targets: Targets that the example holds.
        size: Height and width of the result, or one number for both.
        rng: Generator that a random transform draws from.
    """
    placement = row.place(example["image"].shape[:2], height_and_width(size), rng)
    return place(example, targets, placement)


def for_batch(
    row: Transform,
    example: Mapping[str, Any],
    targets: Targets,
    size: int | Sequence[int],
    rng: np.random.Generator | None,
) -> dict[str, np.ndarray]:
    """An example as a batch holds it: transformed, its targets padded and cast."""
    moved = apply(row, example, targets, size, rng)
    return {"image": moved["image"], **to_batch(targets, moved)}


def height_and_width(size: int | Sequence[int]) -> Size:
    """(height, width) of a size, which one number gives for a square."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def check_size(field: str, size: Any) -> None:
    """Raises UserError unless the value of a field is a size of images."""
    sides = size if isinstance(size, tuple) and len(size) == 2 else (size,)
    holds = all(type(side) is int and side >= 1 for side in sides)
    require(holds, field, size, "at least 1, or (height, width)")


def size_text(size: int | Sequence[int]) -> str:
    """A size for people: "32", or "15x16", height first."""
    height, width = height_and_width(size)
    return f"{height}" if height == width else f"{height}x{width}"


def resize_and_crop(
    image: np.ndarray,
    size: int | Sequence[int],
    crop_ratio: float,
    interpolation: str = "bilinear",
) -> np.ndarray:
    """The centre, after the image is resized to cover size / crop_ratio.

    This is Resize(round(size / crop_ratio)) and CenterCrop(size) of torchvision, with
    its rounding, for every image.
    """
    size = height_and_width(size)
    placement = _center(image.shape[:2], size, _enlarged(size, crop_ratio))
    return place_image(image, placement, interpolation=interpolation)


TRANSFORMS = {
    "resize": Transform(resize),
    "center_crop": Transform(center_crop),
    "pad": Transform(pad),
    "center_patch": Transform(center_patch),
    "random_patch": Transform(random_patch, random=True),
    "line": Transform(line),
    "random_crop": Transform(random_crop, random=True),
    "random_scale_crop": Transform(random_scale_crop, random=True),
    "random_resized_crop": Transform(random_resized_crop, random=True),
}


def find(name: str) -> Transform:
    """The transform of that name; UserError for an unknown one, or none."""
    row = names.resolve(name, TRANSFORMS, "transform")
    if not isinstance(row, Transform):
        raise UserError(
            f"The transform {name!r} is of type {type(row).__name__}; it must be a "
            "jaxcnn.data.transforms.Transform."
        )
    return row
