"""Random access to labelled images: what every source of data gives.

The pipeline asks an Examples for numbers and indices only, so a source is a class with
three members, and nothing else needs to know of it.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, Protocol

import numpy as np


class BadImageError(Exception):
    """An image that cannot be decoded. Its text is 'where: why', in one line."""


class Examples(Protocol):
    """The examples of one split, in an order of their own that never changes."""

    @property
    def labels(self) -> np.ndarray:
        """int32 [N], class of each example. May read the whole split; it is cached."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]:
        """{"image": uint8 [H, W, C], of any size, "label": int} of one example.

        Raises:
            BadImageError: The image cannot be decoded.
        """


@dataclasses.dataclass(frozen=True)
class ArrayExamples:
    """Examples in memory, all of one size.

    Attributes:
        images: uint8 [N, H, W, C].
        labels: int32 [N].
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": self.images[index], "label": int(self.labels[index])}


@dataclasses.dataclass(frozen=True)
class Subset:
    """Some examples of another Examples, such as those left for training.

    Attributes:
        examples: The whole.
        indices: int64 [N], which of them, in order.
    """

    examples: Examples
    indices: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        return self.examples.labels[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.examples[int(self.indices[index])]


@dataclasses.dataclass(frozen=True)
class Joined:
    """Several Examples, one after another.

    Attributes:
        parts: The Examples.
    """

    parts: Sequence[Examples]

    @property
    def labels(self) -> np.ndarray:
        return np.concatenate([part.labels for part in self.parts])

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, index: int) -> dict[str, Any]:
        part, index = self.part(index)
        return part[index]

    def part(self, index: int) -> tuple[Examples, int]:
        """The part that an example is in, and its index there."""
        for part in self.parts:
            if index < len(part):
                return part, index
            index -= len(part)
        raise IndexError(f"There are {len(self)} examples.")


def _source(examples: Examples, index: int) -> tuple[Examples, int]:
    """What a Subset or Joined has an example from, and its index there."""
    while True:
        if isinstance(examples, Subset):
            examples, index = examples.examples, int(examples.indices[index])
        elif isinstance(examples, Joined):
            examples, index = examples.part(index)
        else:
            return examples, index


def path_of(examples: Examples, index: int) -> str | None:
    """The file of an example; None where the examples are not files of their own."""
    source, index = _source(examples, index)
    paths = getattr(source, "paths", None)
    return None if paths is None else paths[index]


def encoded(examples: Examples, index: int) -> dict[str, Any]:
    """examples[index], but the image is an images.Encoded where it is a file.

    A source of image files has a method encoded(index) that gives this.

    Raises:
        BadImageError: The header of the file cannot be decoded.
    """
    source, index = _source(examples, index)
    read = getattr(source, "encoded", source.__getitem__)
    return read(index)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set, split, with what a run's folder keeps of it.

    Attributes:
        class_names: Name of each class; the label is the position.
        splits: "train" and "validation", and "test" where there is one.
        channels: Of every image that the splits give: 1 grey, 3 RGB.
        mean: Of each channel over training images, in [0, 1].
        std: Of each channel over training images, in [0, 1].
        fingerprint: Changes when the images do, for runs that are resumed.
        decoder: Name and version of what turns files into pixels; None for arrays.
    """

    class_names: Sequence[str]
    splits: Mapping[str, Examples]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    decoder: str | None = None
