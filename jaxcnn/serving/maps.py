"""A network's map of an image of any size, such as a class for each pixel.

The network sees an image in the scale of its evaluation, and its map is brought to the
image's own size. It passes over the image at once, or in overlapping tiles, which need
the memory of one tile and compile for few sizes; at several scales and mirrored, of
which a mean is taken.
"""

from collections.abc import Callable, Iterable, Iterator
import dataclasses
from typing import NamedTuple

import numpy as np

from jaxcnn.data import placement
from jaxcnn.errors import require

ALIGNED = 32  # pixels; tiles begin at multiples of the largest stride of a network

Forward = Callable[[np.ndarray], np.ndarray]  # uint8 [H, W, C] -> float [H, W, K]


@dataclasses.dataclass(frozen=True)
class Passes:
    """How a network passes over an image.

    Attributes:
        tile: Height and width of a tile, pixels. None: the whole image at once.
        overlap: Pixels by which neighbouring tiles overlap. Each pixel is taken from a
            tile in which it is half of that, or more, from every edge that is not the
            image's: the result is that of the whole image where the network sees no
            further.
        scales: Factors of the size in which the network sees the image.
        mirrored: Whether the image is also mirrored, left and right.
    """

    tile: int | None = None
    overlap: int = 128
    scales: tuple[float, ...] = (1.0,)
    mirrored: bool = False

    def __post_init__(self) -> None:
        rule = f"a multiple of {ALIGNED} pixels"
        holds = self.overlap > 0 and self.overlap % ALIGNED == 0
        require(holds, "overlap", self.overlap, rule)
        if self.tile is not None:
            rule = (
                f"a multiple of {ALIGNED} pixels, over overlap, which is {self.overlap}"
            )
            holds = self.tile % ALIGNED == 0 and self.tile > self.overlap
            require(holds, "tile", self.tile, rule)
        holds = len(self.scales) > 0 and all(
            isinstance(scale, int | float) and 0 < scale <= 8 for scale in self.scales
        )
        require(holds, "scales", self.scales, "numbers in (0, 8]")


def predicted(
    forward: Forward,
    image: np.ndarray,
    seen_size: tuple[int, int],
    passes: Passes,
    mean: Callable[[Iterable[np.ndarray]], np.ndarray],
) -> np.ndarray:
    """The network's map of an image, float32 [H, W, K].

    Args:
        forward: The network on images of any size; it compiles for each size.
        image: uint8 [H, W, C].
        seen_size: (height, width) in which it sees the image, pixels.
        passes: Its tiles, scales and mirroring.
        mean: Mean of the maps of several passes, each [H, W, K], made one by one.
    """
    maps = _maps(forward, image, seen_size, passes)
    is_one = len(passes.scales) == 1 and not passes.mirrored
    return next(maps) if is_one else mean(maps)


def _maps(
    forward: Forward, image: np.ndarray, seen_size: tuple[int, int], passes: Passes
) -> Iterator[np.ndarray]:
    """The map of each pass, see predicted; one after another, since all of them may not
    fit into memory."""
    for scale in passes.scales:
        scaled = tuple(max(1, round(scale * side)) for side in seen_size)
        seen = placement.resized(image, scaled)
        for is_mirrored in (False, True)[: 1 + passes.mirrored]:
            flipped = seen[:, ::-1] if is_mirrored else seen
            found = tiled(forward, flipped, passes.tile, passes.overlap)
            found = found[:, ::-1] if is_mirrored else found
            yield placement.resized(found, image.shape[:2])


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
