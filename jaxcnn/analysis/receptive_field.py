"""Which pixels of the image each unit of a feature map sees, along one axis.

The arithmetic of Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional
Neural Networks", Distill 2019, https://distill.pub/2019/computing-receptive-fields/,
unit by unit, so that it also holds where the windows differ in size or distance.

A field is an interval. It is not cut at the border of the image: a padded value sees
what a unit in its place would see, pixels outside the image, so that all units of a
layer have a field of one size, as published tables count.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Field:
    """The fields of all units along one axis.

    Attributes:
        first: int64 [n], the first pixel that each unit sees.
        last: int64 [n], the last one.
        stride: Pixels from one unit to the next, also beyond the ends.
    """

    first: np.ndarray
    last: np.ndarray
    stride: int

    def __len__(self) -> int:
        return len(self.first)

    @property
    def size(self) -> int:
        """Pixels that a unit sees, of the unit that sees most."""
        return int(np.max(self.last - self.first)) + 1

    @property
    def centre(self) -> float:
        """Of the field of the first unit, where 0 is the centre of the first pixel."""
        return float(self.first[0] + self.last[0]) / 2

    def take(self, index: slice | np.ndarray, stride: int | None = None) -> "Field":
        """Some of the units."""
        stride = self.stride if stride is None else stride
        return Field(self.first[index], self.last[index], stride)

    def pad(self, before: int, after: int) -> "Field":
        """Units added at both ends, or cut off where negative."""
        index = np.arange(-before, len(self) + after)
        inside = np.clip(index, 0, len(self) - 1)
        outside = (index - inside) * self.stride
        return Field(
            self.first[inside] + outside, self.last[inside] + outside, self.stride
        )

    def slide(self, size: int, stride: int = 1, dilation: int = 1) -> "Field":
        """What each position of a window of `size` units sees."""
        count = (len(self) - dilation * (size - 1) - 1) // stride + 1
        index = np.arange(count)[:, None] * stride + np.arange(size) * dilation
        return Field(
            self.first[index].min(axis=1),
            self.last[index].max(axis=1),
            self.stride * stride,
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
    index = np.arange(size)
    return Field(index, index, 1)


def merge(fields: list[Field]) -> Field:
    """The smallest intervals that cover those of all branches."""
    count = max(map(len, fields))
    fields = [field.repeat(count) for field in fields]
    return Field(
        np.min([field.first for field in fields], axis=0),
        np.max([field.last for field in fields], axis=0),
        max(field.stride for field in fields),
    )


def join(fields: list[Field]) -> Field:
    """Units of several maps one after the other; their mean distance is the stride."""
    first = np.concatenate([field.first for field in fields])
    last = np.concatenate([field.last for field in fields])
    way = (first[-1] + last[-1] - first[0] - last[0]) / 2
    return Field(first, last, round(way / max(len(first) - 1, 1)))
