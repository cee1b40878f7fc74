"""Images of any size to squares of one size, on the host.

A transform is a function (image uint8 [H, W, C], size, rng) -> uint8 [size, size, C].
Resizing is Pillow's bilinear, which averages over the source pixels when it shrinks.
The deterministic transforms give an image that has the right size back unchanged, so
images can be transformed once and kept. The random ones take a file that is not decoded
yet as well, draw the same window as from its pixels, and decode no more than they need.
"""

from collections.abc import Callable, Mapping
import dataclasses
import math
from typing import Any

import numpy as np
from PIL import Image

from jaxcnn import names
from jaxcnn.data.images import Encoded
from jaxcnn.targets import Targets, to_batch

CROP_FRACTION = 0.875  # 224 of 256, the usual evaluation on ImageNet
AREA = (0.08, 1.0)  # of a random crop, relative to the image
ASPECT = (3 / 4, 4 / 3)  # of a random crop, width over height
TRIES = 10


INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def _resize(
    image: np.ndarray | Encoded,
    height: int,
    width: int,
    interpolation: str = "bilinear",
    window: tuple[int, int, int, int] | None = None,
) -> np.ndarray:
    """[H, W, C], or its window (top, left, height, width), -> [height, width, C]."""
    top, left, h, w = window or (0, 0, *image.shape[:2])
    if isinstance(image, Encoded):
        image, box = image.window(top, left, h, w, (height, width))
    else:
        image, box = image[top : top + h, left : left + w], (0, 0, w, h)
    if image.shape[:2] == (height, width) and box == (0, 0, width, height):
        return image
    pixels = image[:, :, 0] if image.shape[2] == 1 else image
    resized = Image.fromarray(np.ascontiguousarray(pixels)).resize(
        (width, height), INTERPOLATIONS[interpolation], box
    )
    return np.asarray(resized).reshape(height, width, image.shape[2])


def resize(image: np.ndarray, size: int, rng: np.random.Generator | None) -> np.ndarray:
    """The whole image, its aspect ratio not kept."""
    return _resize(image, size, size)


def center_crop(
    image: np.ndarray, size: int, rng: np.random.Generator | None
) -> np.ndarray:
    """The centre, after the shorter side is resized to size / 0.875.

    For 224 this is the evaluation of torchvision's ImageNet models, Resize(256) and
    CenterCrop(224), with its rounding; only an image of size x size is left alone.
    """
    if image.shape[:2] == (size, size):
        return image
    return resize_and_crop(image, size, CROP_FRACTION)


def resize_and_crop(
    image: np.ndarray, size: int, crop_ratio: float, interpolation: str = "bilinear"
) -> np.ndarray:
    """The centre, after the shorter side is resized to size / crop_ratio.

    This is Resize(round(size / crop_ratio)) and CenterCrop(size) of torchvision, with
    its rounding, for every image.
    """
    image = _resize_shorter(image, round(size / crop_ratio), interpolation)
    height, width, _ = image.shape
    top, left = round((height - size) / 2), round((width - size) / 2)
    return image[top : top + size, left : left + size]


def _resize_shorter(
    image: np.ndarray | Encoded, length: int, interpolation: str = "bilinear"
) -> np.ndarray:
    """The whole image, its shorter side of a length; the longer is rounded down."""
    height, width, _ = image.shape
    shorter = min(height, width)
    height, width = length * height // shorter, length * width // shorter
    return _resize(image, height, width, interpolation)


def random_crop(
    image: np.ndarray | Encoded, size: int, rng: np.random.Generator
) -> np.ndarray:
    """A random window, after the shorter side is resized to size / 0.875.

    224 of 256, as of Krizhevsky, Sutskever and Hinton, NeurIPS 2012, sec. 4.1, who cut
    the windows from the central square of the image.
    """
    return _random_square(
        _resize_shorter(image, round(size / CROP_FRACTION)), size, rng
    )


def random_scale_crop(
    image: np.ndarray | Encoded, size: int, rng: np.random.Generator
) -> np.ndarray:
    """As random_crop, but the image is up to twice as large.

    Simonyan and Zisserman, ICLR 2015, sec. 3.1, https://arxiv.org/abs/1409.1556: the
    shorter side is uniform in [256, 512] for windows of 224.
    """
    shortest = round(size / CROP_FRACTION)
    length = int(rng.integers(shortest, 2 * shortest + 1))
    return _random_square(_resize_shorter(image, length), size, rng)


def _random_square(
    image: np.ndarray, size: int, rng: np.random.Generator
) -> np.ndarray:
    height, width, _ = image.shape
    top, left = rng.integers(height - size + 1), rng.integers(width - size + 1)
    return image[top : top + size, left : left + size]


def pad(image: np.ndarray, size: int, rng: np.random.Generator | None) -> np.ndarray:
    """The whole image at the centre of a black square, shrunk first if it is larger."""
    height, width, channels = image.shape
    if max(height, width) > size:
        scale = size / max(height, width)
        height, width = max(1, round(height * scale)), max(1, round(width * scale))
        image = _resize(image, height, width)
    canvas = np.zeros((size, size, channels), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    canvas[top : top + height, left : left + width] = image
    return canvas


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


def random_resized_crop(
    image: np.ndarray | Encoded, size: int, rng: np.random.Generator
) -> np.ndarray:
    """A random window, its aspect ratio not kept."""
    window = random_window(*image.shape[:2], rng)
    return _resize(image, size, size, window=window)


@dataclasses.dataclass(frozen=True)
class Transform:
    """A row of TRANSFORMS.

    Attributes:
        apply: Called as apply(image, size, rng).
        random: Whether it draws from rng and takes files that are not decoded; if not,
            rng may be None.
    """

    apply: Callable[..., np.ndarray]
    random: bool = False


TRANSFORMS = {
    "resize": Transform(resize),
    "center_crop": Transform(center_crop),
    "pad": Transform(pad),
    "random_crop": Transform(random_crop, random=True),
    "random_scale_crop": Transform(random_scale_crop, random=True),
    "random_resized_crop": Transform(random_resized_crop, random=True),
}


def apply(
    transform: Transform,
    example: Mapping[str, Any],
    targets: Targets,
    size: int,
    rng: np.random.Generator | None,
) -> dict[str, np.ndarray]:
    """An example as a batch holds it: the image transformed, and its targets."""
    image = transform.apply(example["image"], size, rng)
    return {"image": image, **to_batch(targets, example)}


def find(name: str) -> Transform:
    """The transform of that name; UserError for an unknown one."""
    return names.resolve(name, TRANSFORMS, "transform")
