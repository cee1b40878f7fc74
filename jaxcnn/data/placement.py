"""Where an image lies on a canvas, and how it and its targets are moved there.

Resizing is Pillow's bilinear, which averages over the source pixels when it shrinks.
"""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any

import numpy as np
from PIL import Image

from jaxcnn.data.images import Box, Encoded
from jaxcnn.errors import UserError
from jaxcnn.targets import MIN_SIDE_PIXELS, SPATIAL, Target, Targets

_LARGE = 8  # times the image and the canvas: a resized window is not computed in full

INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}

Size = tuple[int, int]  # height, width


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


def whole(shape: Size, resized: Size, origin: tuple[int, int], size: Size) -> Placement:
    """The placement of a whole image, which is resized.

    Args:
        shape: Height and width of the image, pixels.
        resized: Height and width that it is resized to.
        origin: Row and column of its first pixel on the canvas.
        size: Height and width of the canvas.
    """
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
    return placement == whole(size, size, (0, 0), size)


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
    return place_image(image, whole(image.shape[:2], size, (0, 0), size))


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
