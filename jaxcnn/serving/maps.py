"""A network's map of a whole image of any size, such as a class for each pixel.

At once, or in overlapping tiles, which need the memory of one tile and compile once; at
several scales and mirrored, of which the mean is taken.
"""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxcnn.errors import require

ALIGNED = 32  # pixels; tiles begin at multiples of the largest stride of a network

Forward = Callable[[np.ndarray], np.ndarray]  # uint8 [H, W, C] -> float [H, W, K]


@dataclasses.dataclass(frozen=True)
class Passes:
    """How the network passes over an image.

    Attributes:
        tile: Height and width of a tile, pixels. None: the whole image at once.
        overlap: Pixels by which neighbouring tiles overlap. Each pixel is taken from a
            tile in which it is half of that, or more, from every edge that is not the
            image's: the result is that of the whole image where the network sees no
            further.
        scales: Sizes of the image, over its own.
        mirrored: Whether the image is also mirrored, left and right.
    """

    tile: int | None = None
    overlap: int = 128
    scales: tuple[float, ...] = (1.0,)
    mirrored: bool = False

    def __post_init__(self) -> None:
        rule = f"a multiple of {2 * ALIGNED} pixels, not 0"
        holds = self.overlap > 0 and self.overlap % (2 * ALIGNED) == 0
        require(holds, "overlap", self.overlap, rule)
        if self.tile is not None:
            rule = f"a multiple of {ALIGNED} pixels, over the overlap of {self.overlap}"
            holds = self.tile % ALIGNED == 0 and self.tile > self.overlap
            require(holds, "tile", self.tile, rule)
        holds = len(self.scales) > 0 and all(0 < s <= 8 for s in self.scales)
        require(holds, "scales", self.scales, "numbers in (0, 8]")


WHOLE = Passes()


def predicted(
    forward: Forward,
    image: np.ndarray,
    passes: Passes,
    mean: Callable[[Sequence[np.ndarray]], np.ndarray],
) -> np.ndarray:
    """The network's map of an image, float32 [H, W, K].

    Args:
        forward: The network on images of any size; it compiles for each size.
        image: uint8 [H, W, C].
        passes: How it passes over the image.
        mean: Mean of the maps of several passes, each [H, W, K].
    """
    size = image.shape[:2]
    maps = []
    for scale in passes.scales:
        scaled = [max(1, round(scale * side)) for side in size]
        seen = resized(image, *scaled)
        for is_mirrored in (False, True)[: 1 + passes.mirrored]:
            flipped = seen[:, ::-1] if is_mirrored else seen
            found = tiled(forward, flipped, passes.tile, passes.overlap)
            found = found[:, ::-1] if is_mirrored else found
            maps.append(resized(found, *size))
    return maps[0] if len(maps) == 1 else mean(maps)


def resized(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """An image or a map in another size, bilinear: [H, W, C] -> [height, width, C].

    What becomes smaller is averaged, as Pillow does.
    """
    if x.shape[:2] == (height, width):
        return x
    dtype = np.uint8 if x.dtype == np.uint8 else np.float32
    planes = [
        Image.fromarray(np.ascontiguousarray(x[..., c], dtype)).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        for c in range(x.shape[-1])
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def tiled(
    forward: Forward, image: np.ndarray, tile: int | None, overlap: int
) -> np.ndarray:
    """The network's map of an image, put together of those of its tiles.

    Args:
        forward: The network.
        image: uint8 [H, W, C].
        tile: See Passes.
        overlap: See Passes.
    """
    if tile is None or max(image.shape[:2]) <= tile:
        return np.asarray(forward(image))
    rows, columns = (spans(side, tile, overlap) for side in image.shape[:2])
    whole = None
    for row in rows:
        for column in columns:
            part = forward(image[row.seen, column.seen])
            if whole is None:
                whole = np.zeros((*image.shape[:2], part.shape[-1]), part.dtype)
            whole[row.kept, column.kept] = part[row.within, column.within]
    return whole


class Span(NamedTuple):
    """Where a tile lies along one axis of an image."""

    seen: slice  # of the image
    kept: slice  # of the image
    within: slice  # what is kept, of what is seen


def spans(side: int, tile: int, overlap: int) -> list[Span]:
    """Tiles along an axis of `side` pixels; what is kept of them covers it once.

    The last tile ends with the image, so it may be smaller, and begins where the stride
    of the network has a pixel, like all others.
    """
    return list(_spans(side, tile, overlap))


def _spans(side: int, tile: int, overlap: int) -> Iterator[Span]:
    start, step = 0, tile - overlap
    while True:
        stop = min(start + tile, side)
        is_last = stop == side
        first = start + overlap // 2 if start else 0
        last = side if is_last else stop - overlap // 2
        yield Span(
            slice(start, stop), slice(first, last), slice(first - start, last - start)
        )
        if is_last:
            return
        start += step
