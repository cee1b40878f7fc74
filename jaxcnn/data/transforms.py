"""Images of any size, and their targets, to one size, on the host.

A transform decides on a placement: which window of an image is shown, how large, and
where on a canvas of height x width pixels. A random transform draws one placement for
an example, and the image and each target are moved by it, see placement.py.

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

from jaxcnn import names
from jaxcnn.data.images import Encoded
from jaxcnn.data.placement import Placement, Size, place, place_image, whole
from jaxcnn.errors import UserError, require
from jaxcnn.targets import Targets, to_batch

CROP_FRACTION = 0.875  # 224 of 256, the usual evaluation on ImageNet
AREA = (0.08, 1.0)  # of a random crop, relative to the image
ASPECT = (3 / 4, 4 / 3)  # of a random crop, width over height
TRIES = 10


def resize(shape: Size, size: Size, rng: np.random.Generator | None) -> Placement:
    """The whole image, its aspect ratio not kept."""
    return whole(shape, size, (0, 0), size)


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
    return whole(shape, (height, width), (-top, -left), size)


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
    return whole(shape, (height, width), (-int(top), -int(left)), size)


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
    return whole(shape, (height, width), origin, size)


def line(shape: Size, size: Size, rng: np.random.Generator | None) -> Placement:
    """A line of text at the left of a black canvas, as high as it.

    Its aspect ratio is kept, unless it is longer than the canvas: then it is made
    narrower.
    """
    height, width = shape
    width = min(size[1], max(1, round(width * size[0] / height)))
    return whole(shape, (size[0], width), (0, 0), size)


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
