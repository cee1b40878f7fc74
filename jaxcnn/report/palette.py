"""Colours that people with colour-blindness can tell apart, of classes and numbers."""

import functools

import matplotlib
import numpy as np

# Okabe and Ito, "Color Universal Design", 2008, https://jfly.uni-koeln.de/color/:
# black, orange, sky blue, bluish green, yellow, blue, vermilion, reddish purple.
OKABE_ITO = (
    (0, 0, 0),
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)


def heat(shares: np.ndarray) -> np.ndarray:
    """The colour of each number from 0 to 1: [...] -> uint8 [..., 3].

    From dark blue over green to yellow: "viridis" of Matplotlib, whose lightness grows
    evenly (van der Walt and Smith, 2015, https://bids.github.io/colormap).
    """
    colour_map = matplotlib.colormaps["viridis"]
    return np.array(colour_map(np.asarray(shares, np.float64), bytes=True))[..., :3]


@functools.cache
def colours(number: int) -> np.ndarray:
    """The colour of each of a number of classes, uint8 [number, 3].

    The first eight are those of Okabe and Ito, class 0, often the background, in black.
    The next ones are their seven other colours again and again, halfway to white,
    halfway to black, then at quarters, eighths, ... between: all differ, but more than
    eight are hard to tell apart for anyone.
    """
    made = [
        OKABE_ITO[k] if k < 8 else _shade(OKABE_ITO[1 + (k - 8) % 7], (k - 8) // 7)
        for k in range(number)
    ]
    array = np.array(made, np.uint8).reshape(-1, 3)
    array.flags.writeable = False  # it is kept for the next call
    return array


def _shade(colour: tuple[int, int, int], number: int) -> np.ndarray:
    """A colour moved to white (even numbers) or black (odd ones) by 1/2, 1/4, 3/4, 1/8,
    ..., van der Corput's sequence."""
    index, amount, step = number // 2 + 1, 0.0, 0.5
    while index:
        amount += step * (index % 2)
        index, step = index // 2, step / 2
    end = 255 if number % 2 == 0 else 0
    return np.round((1 - amount) * np.array(colour) + amount * end)
