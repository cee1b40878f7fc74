"""Windows of images, taken apart into their taps.

Tap (i, j) of all windows is one strided slice of the padded image.
"""

from collections.abc import Iterator, Mapping, Sequence

import jax
from jax import lax as xla
import jax.numpy as jnp

Pair = tuple[int, int]  # (rows, columns)
Padding = tuple[Pair, Pair]  # (top, bottom), (left, right)

ONE: Pair = (1, 1)
NONE: Padding = ((0, 0), (0, 0))

Tap = tuple[int, int]


def pad(x: jax.Array, padding: Padding, value: float = 0.0) -> jax.Array:
    """[B, H, W, C] with pixels of a value on each side; negative ones are cut off."""
    if padding == NONE:
        return x
    config = ((0, 0, 0), *((*sides, 0) for sides in padding), (0, 0, 0))
    return xla.pad(x, jnp.asarray(value, x.dtype), config)


def num_windows(
    size: Pair, window: Pair, stride: Pair, padding: Padding, dilation: Pair
) -> Pair:
    """Rows and columns of windows."""
    rows, columns = (
        (n + sum(p) - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, window, stride, padding, dilation, strict=True)
    )
    return rows, columns


def positions(window: Pair) -> Iterator[Tap]:
    """The taps of a window, by rows."""
    return ((i, j) for i in range(window[0]) for j in range(window[1]))


def take_tap(
    padded: jax.Array, tap: Tap, windows: Pair, stride: Pair, dilation: Pair = ONE
) -> jax.Array:
    """One pixel of each window, [B, H', W', C]."""
    start = [d * t for d, t in zip(dilation, tap, strict=True)]
    stop = [a + s * (n - 1) + 1 for a, s, n in zip(start, stride, windows, strict=True)]
    return xla.slice(
        padded,
        (0, *start, 0),
        (padded.shape[0], *stop, padded.shape[3]),
        (1, *stride, 1),
    )


def put_taps(
    taps: Mapping[Tap, jax.Array], size: Pair, stride: Pair, padding: Padding
) -> jax.Array:
    """The sum of what is put back where take_tap took it, [B, H, W, C].

    Args:
        taps: [B, H', W', C] by the place in the window, dilation included.
        size: H and W, without padding.
        stride: Distance of neighbouring windows, pixels.
        padding: Pixels on each side that are cut off.
    """
    dy = next(iter(taps.values()))
    padded = [n + sum(p) for n, p in zip(size, padding, strict=True)]
    parts = [-(-n // s) for n, s in zip(padded, stride, strict=True)]

    def part(row: int, column: int) -> jax.Array:
        total = jnp.zeros((len(dy), *parts, dy.shape[3]), dy.dtype)
        for tap, share in taps.items():
            shift, place = zip(*map(divmod, tap, stride), strict=True)
            if place == (row, column):
                sides = zip(shift, parts, dy.shape[1:3], strict=True)
                total += pad(share, tuple((a, n - a - m) for a, n, m in sides))
        return total

    whole = interleave(
        [[part(r, c) for c in range(stride[1])] for r in range(stride[0])], padded
    )
    return pad(whole, tuple((-a, -b) for a, b in padding))


def interleave(parts: Sequence[Sequence[jax.Array]], size: Sequence[int]) -> jax.Array:
    """Puts the pixels of parts[r][c] at rows r, r + number of rows, ... and so on.

    Args:
        parts: Each [B, h, w, C].
        size: Rows and columns of the result, at most those that the parts give.
    """
    if len(parts) == len(parts[0]) == 1:
        return parts[0][0]
    stacked = jnp.stack([jnp.stack(row, axis=3) for row in parts], axis=2)
    batch, rows, strides, columns, others, channels = stacked.shape
    whole = stacked.reshape(batch, rows * strides, columns * others, channels)
    return whole[:, : size[0], : size[1]]
