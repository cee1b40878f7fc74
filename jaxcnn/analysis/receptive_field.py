"""Receptive fields: the pixels that each unit of a feature map sees, along one axis.

The arithmetic of Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional
Neural Networks", Distill 2019, https://distill.pub/2019/computing-receptive-fields/,
for each unit separately, so that it also holds if windows differ in size or distance.

A field is an interval. It is not clipped at the border of the image: a padded value
sees what a unit in its place would see, pixels outside the image. All units of a layer
therefore have fields of the same size, as in published tables.

A unit that sees nothing has the interval from infinity to minus infinity. An unknown
field is NaN, and so is everything computed from it.
"""

import dataclasses
import math

import numpy as np

LONGEST_PERIOD = 64  # longest period that is searched for where windows differ


@dataclasses.dataclass(frozen=True, eq=False)
class Field:
    """The fields of all units along one axis.

    Attributes:
        first: First pixel that each unit sees, float64 [n].
        last: Last pixel that each unit sees, float64 [n].
        shift: Distance in pixels between units that are `period` units apart, also
            beyond the ends.
        period: Number of units after which the intervals repeat; 1 unless the map was
            enlarged.
    """

    first: np.ndarray
    last: np.ndarray
    shift: float
    period: int = 1

    def __len__(self) -> int:
        return len(self.first)

    @property
    def stride(self) -> float:
        """Mean distance between neighbouring units, in pixels."""
        return self.shift / self.period

    @property
    def size(self) -> float:
        """Size of the largest field, in pixels; NaN: unknown."""
        return max(float(np.max(self.last - self.first)) + 1, 0)

    @property
    def centre(self) -> float:
        """The centre of the first unit's field, where 0 is the centre of the first
        pixel; NaN: unknown, or the unit sees nothing."""
        if self.first[0] > self.last[0]:
            return math.nan
        return float(self.first[0] + self.last[0]) / 2

    @property
    def known(self) -> bool:
        return not np.isnan(self.first).any()

    def take(self, index: slice | np.ndarray, stride: float | None = None) -> "Field":
        """Some of the units.

        Args:
            index: Index of the units.
            stride: Distance between neighbouring ones of them, in pixels. None: it is
                unchanged, since they were neighbours before.
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
        """Adds units at both ends; a negative number cuts units off."""
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
        """Each unit, followed by factor - 1 units that see nothing."""
        count = len(self) * factor
        first, last = np.full(count, np.inf), np.full(count, -np.inf)
        first[::factor], last[::factor] = self.first, self.last
        return Field(first, last, self.shift, self.period * factor)

    def stretch(self, count: int) -> "Field":
        """Repeats each unit `count` times."""
        return Field(
            self.first.repeat(count),
            self.last.repeat(count),
            self.shift,
            self.period * count,
        )

    def slide(self, size: int, stride: int = 1, dilation: int = 1) -> "Field":
        """The fields of a window of `size` units at each of its positions."""
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
        """The fields of linear combinations of the units, such as those of a resize.

        Args:
            used: Whether unit i is part of combination j, bool [n, m].
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
        # The combinations repeat after `period` of them, which are `step` units of this
        # map.
        period, step = (n // math.gcd(count, results) for n in (results, count))
        times = self.period // math.gcd(self.period, step)
        return Field(
            np.array([wide.first[units].min() for units in slices]),
            np.array([wide.last[units].max() for units in slices]),
            self.shift * step * times / self.period,
            period * times,
        )

    def all(self) -> "Field":
        """One unit that sees everything that any unit sees."""
        return self.slide(len(self))

    def repeat(self, count: int) -> "Field":
        """Broadcasts a single unit."""
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
    """Units whose fields are unknown."""
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
    """The units of several maps one after the other; if their distances differ, the
    stride is the rounded mean distance."""
    first = np.concatenate([field.first for field in fields])
    last = np.concatenate([field.last for field in fields])
    field = _regular(first, last)
    if field.period > 1 or math.isnan(field.shift):
        return field
    return dataclasses.replace(field, shift=float(np.round(field.shift)))


def _regular(first: np.ndarray, last: np.ndarray) -> Field:
    """The Field of these intervals. Its stride is exact if they repeat, the mean if
    they are in order, and otherwise unknown."""
    for period in range(1, min(LONGEST_PERIOD, len(first) // 2) + 1):
        shifts = [side[period:] - side[:-period] for side in (first, last)]
        if np.ptp(shifts) == 0:  # False for NaN
            return Field(first, last, float(shifts[0][0]), period)
    centres = (first + last) / 2
    steps = np.diff(centres)
    if (steps >= 0).all() or (steps <= 0).all():
        mean = (centres[-1] - centres[0]) / max(len(steps), 1)
        return Field(first, last, float(mean))
    return Field(first, last, math.nan)


def windows(used: np.ndarray) -> tuple[int, float]:
    """The size of the largest window of linear combinations, and the distance between
    neighbouring windows; NaN if they are not spread evenly.

    Args:
        used: Whether unit i is part of combination j, bool [n, m].
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
    """The windows of a resize on an infinite map instead of one of `count` units.

    Windows that are not parts of repeating windows are returned unchanged.
    """
    results = len(start)
    period, step = (n // math.gcd(count, results) for n in (results, count))
    number, phase = np.divmod(np.arange(results), period)
    middle = results // period // 2
    like = middle * period + phase  # window of the same phase, farthest from both ends
    moved = [side[like] + (number - middle) * step for side in (start, end)]
    cut = [np.clip(side, 0, count - 1) for side in moved]
    if np.array_equal(cut, [start, end]):
        return moved[0], moved[1]
    return start, end
