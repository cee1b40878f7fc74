"""Which pixels of the image each unit of a feature map sees, along one axis.

The arithmetic of Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional
Neural Networks", Distill 2019, https://distill.pub/2019/computing-receptive-fields/,
unit by unit, so that it also holds where the windows differ in size or distance.

A field is an interval. It is not cut at the border of the image: a padded value sees
what a unit in its place would see, pixels outside the image, so that all units of a
layer have a field of one size, as published tables count.

A unit that sees nothing has the interval from infinity to minus infinity. A field that
is not known is not a number (NaN), and so is whatever is computed from it.
"""

import dataclasses
import math

import numpy as np

LONGEST_PERIOD = 64  # that is looked for where windows differ


@dataclasses.dataclass(frozen=True, eq=False)
class Field:
    """The fields of all units along one axis.

    Attributes:
        first: float64 [n], the first pixel that each unit sees.
        last: float64 [n], the last one.
        shift: Pixels from one unit to the one that is `period` units later, also
            beyond the ends.
        period: Units after which the intervals repeat; 1 unless the map was made
            larger.
    """

    first: np.ndarray
    last: np.ndarray
    shift: float
    period: int = 1

    def __len__(self) -> int:
        return len(self.first)

    @property
    def stride(self) -> float:
        """Pixels from one unit to the next, on average."""
        return self.shift / self.period

    @property
    def size(self) -> float:
        """Pixels that a unit sees, of the unit that sees most; NaN: not known."""
        return max(float(np.max(self.last - self.first)) + 1, 0)

    @property
    def centre(self) -> float:
        """The centre of the first unit's field; 0 is the centre of the first pixel,
        NaN: not known, or the unit sees nothing."""
        if self.first[0] > self.last[0]:
            return math.nan
        return float(self.first[0] + self.last[0]) / 2

    @property
    def known(self) -> bool:
        return not np.isnan(self.first).any()

    def take(self, index: slice | np.ndarray, stride: float | None = None) -> "Field":
        """Some of the units.

        Args:
            stride: Pixels from one of them to the next. None: as before, for units
                that are neighbours.
        """
        first, last = self.first[index], self.last[index]
        if stride is None:
            return Field(first, last, self.shift, self.period)
        return Field(first, last, stride)

    def skip(self, start: int, stop: int, step: int) -> "Field":
        """Every step-th unit from `start` to before `stop`."""
        units = slice(start, stop, step)
        common = math.gcd(self.period, step)
        shift = self.shift * step / common
        return Field(self.first[units], self.last[units], shift, self.period // common)

    def flip(self) -> "Field":
        """The units in reverse order."""
        return Field(self.first[::-1], self.last[::-1], -self.shift, self.period)

    def pad(self, before: int, after: int) -> "Field":
        """Units added at both ends, or cut off where negative."""
        index = np.arange(-before, len(self) + after)
        period = min(self.period, len(self))
        shift = self.stride * period
        periods = -(index // period) * (index < 0)
        over = np.maximum(index - len(self) + 1, 0)
        periods -= -(-over // period)
        inside = index + periods * period
        return Field(
            self.first[inside] - periods * shift,
            self.last[inside] - periods * shift,
            self.shift,
            self.period,
        )

    def dilate(self, factor: int) -> "Field":
        """Each unit, and behind it factor - 1 units that see nothing."""
        count = len(self) * factor
        first, last = np.full(count, np.inf), np.full(count, -np.inf)
        first[::factor], last[::factor] = self.first, self.last
        return Field(first, last, self.shift, self.period * factor)

    def stretch(self, count: int) -> "Field":
        """Each unit `count` times."""
        return Field(
            self.first.repeat(count),
            self.last.repeat(count),
            self.shift,
            self.period * count,
        )

    def slide(self, size: int, stride: int = 1, dilation: int = 1) -> "Field":
        """What each position of a window of `size` units sees."""
        count = (len(self) - dilation * (size - 1) - 1) // stride + 1
        index = np.arange(count)[:, None] * stride + np.arange(size) * dilation
        common = math.gcd(self.period, stride)
        return Field(
            self.first[index].min(axis=1),
            self.last[index].max(axis=1),
            self.shift * stride / common,
            self.period // common,
        )

    def select(self, used: np.ndarray) -> "Field":
        """What linear combinations of the units see, such as those of a resize.

        Args:
            used: bool [n, m], whether unit i is part of combination j.
        """
        count, results = used.shape
        if not self.known:
            return unknown(results)
        start, end = _ends(used)
        if used.all():
            return self.all().repeat(results)
        if (start > end).any() or not _is_resampling(start, end, count):
            first = np.where(used, self.first[:, None], np.inf).min(axis=0)
            last = np.where(used, self.last[:, None], -np.inf).max(axis=0)
            return _regular(first, last)
        start, end = _uncut(start, end, count)
        before, after = max(0, -int(start.min())), max(0, int(end.max()) + 1 - count)
        wide = self.pad(before, after)
        slices = [
            slice(int(i) + before, int(j) + before + 1)
            for i, j in zip(start, end, strict=True)
        ]
        # So many units later the combinations repeat, so many units of this map later.
        period, step = (n // math.gcd(count, results) for n in (results, count))
        times = self.period // math.gcd(self.period, step)
        return Field(
            np.array([wide.first[units].min() for units in slices]),
            np.array([wide.last[units].max() for units in slices]),
            self.shift * step * times / self.period,
            period * times,
        )

    def all(self) -> "Field":
        """One unit that sees what all see."""
        return self.slide(len(self))

    def repeat(self, count: int) -> "Field":
        """A single unit, broadcast."""
        if count == len(self):
            return self
        if len(self) > 1:
            raise ValueError(f"{len(self)} units cannot become {count}.")
        return self.take(np.zeros(count, int), 0)


def pixels(size: int) -> Field:
    """The image itself."""
    index = np.arange(size, dtype=float)
    return Field(index, index, 1)


def unknown(count: int) -> Field:
    """Units of which it is not known what they see."""
    nothing = np.full(count, math.nan)
    return Field(nothing, nothing, math.nan)


def merge(fields: list[Field]) -> Field:
    """The smallest intervals that cover those of all branches."""
    count = max(map(len, fields))
    fields = [field.repeat(count) for field in fields]
    period = math.lcm(*(field.period for field in fields))
    return Field(
        np.min([field.first for field in fields], axis=0),
        np.max([field.last for field in fields], axis=0),
        float(np.max([field.stride for field in fields])) * period,
        period,
    )


def join(fields: list[Field]) -> Field:
    """Units of several maps one after the other; where their distances differ, the
    stride is the mean distance, rounded."""
    first = np.concatenate([field.first for field in fields])
    last = np.concatenate([field.last for field in fields])
    field = _regular(first, last)
    if field.period > 1 or math.isnan(field.shift):
        return field
    return dataclasses.replace(field, shift=float(np.round(field.shift)))


def _regular(first: np.ndarray, last: np.ndarray) -> Field:
    """The field of such units, with its stride: exact where the intervals repeat, the
    mean where they are in order, and otherwise not known."""
    for period in range(1, min(LONGEST_PERIOD, len(first) // 2) + 1):
        shifts = [side[period:] - side[:-period] for side in (first, last)]
        if np.ptp(shifts) == 0:  # False of what is not a number
            return Field(first, last, float(shifts[0][0]), period)
    centres = (first + last) / 2
    steps = np.diff(centres)
    if (steps >= 0).all() or (steps <= 0).all():
        mean = (centres[-1] - centres[0]) / max(len(steps), 1)
        return Field(first, last, float(mean))
    return Field(first, last, math.nan)


def windows(used: np.ndarray) -> tuple[int, float]:
    """The largest window of linear combinations, and the units from one window to the
    next, NaN where they are not spread evenly.

    Args:
        used: bool [n, m], whether unit i is part of combination j.
    """
    start, end = _ends(used)
    is_even = (start <= end).all() and _is_resampling(start, end, len(used))
    stride = used.shape[0] / used.shape[1]
    return int(np.max(end - start)) + 1, stride if is_even else math.nan


def _ends(used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and last unit of each combination."""
    units = np.arange(len(used))[:, None]
    start = np.where(used, units, np.inf).min(axis=0)
    end = np.where(used, units, -np.inf).max(axis=0)
    return start, end


def _is_resampling(start: np.ndarray, end: np.ndarray, count: int) -> bool:
    """Whether windows of units from `start` to `end` are spread evenly over `count`."""
    scale = count / len(start)
    even = (np.arange(len(start)) + 0.5) * scale - 0.5
    reach = np.max(end - start + 1) / 2
    return bool((np.abs((start + end) / 2 - even) <= max(reach, scale / 2)).all())


def _uncut(
    start: np.ndarray, end: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The windows of a resize as they would be if the map of `count` units did not end,
    where all of them are cuts of windows that repeat; otherwise as they are."""
    results = len(start)
    period, step = (n // math.gcd(count, results) for n in (results, count))
    number, phase = np.divmod(np.arange(results), period)
    middle = results // period // 2
    like = middle * period + phase  # the window of the same phase farthest from the end
    moved = [side[like] + (number - middle) * step for side in (start, end)]
    cut = [np.clip(side, 0, count - 1) for side in moved]
    if np.array_equal(cut, [start, end]):
        return moved[0], moved[1]
    return start, end
