"""Random access to images and their targets: what every source of data gives.

The pipeline asks an Examples for numbers and indices only, so a source is a class with
three members, and nothing else needs to know of it.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, Protocol

import numpy as np

from jaxcnn.targets import Targets


class BadImageError(Exception):
    """An image that cannot be decoded. Its text is 'where: why', in one line."""


class Examples(Protocol):
    """The examples of one split, in an order of their own that never changes."""

    def column(self, target: str) -> np.ndarray:
        """One target of all examples, [N, ...]; an object array where shapes differ.

        It may read the whole split, and is cached.
        """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One example: "image", uint8 [H, W, C] of any size, and each target.

        Raises:
            BadImageError: The image cannot be decoded.
        """


@dataclasses.dataclass(frozen=True)
class ArrayExamples:
    """Examples in memory, all of one size.

    Attributes:
        images: uint8 [N, H, W, C].
        targets: Name of each target -> [N, ...].
    """

    images: np.ndarray
    targets: Mapping[str, np.ndarray]

    def column(self, target: str) -> np.ndarray:
        return self.targets[target]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = {name: column[index] for name, column in self.targets.items()}
        return {"image": self.images[index], **row}


@dataclasses.dataclass(frozen=True)
class Subset:
    """Some examples of another Examples, such as those left for training.

    Attributes:
        examples: The whole.
        indices: int64 [N], which of them, in order.
    """

    examples: Examples
    indices: np.ndarray

    def column(self, target: str) -> np.ndarray:
        return self.examples.column(target)[self.indices]

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

    def column(self, target: str) -> np.ndarray:
        return np.concatenate([part.column(target) for part in self.parts])

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
class DatasetInfo:
    """A data set without its examples: what a run's folder keeps of it.

    Attributes:
        targets: What each example holds besides its image.
        num_examples: Split -> number of its examples.
        channels: Number of channels of every image: 1 grey, 3 RGB.
        mean: Mean of each channel over training images, in [0, 1].
        std: Standard deviation of each channel over training images, in [0, 1].
        fingerprint: Changes when the examples do, for runs that are resumed.
        decoder: Name and version of what turns files into pixels; None for arrays.
        statistics: What the task learned of the training targets, as JSON has it;
            {} before a task has looked at them.
    """

    targets: Targets
    num_examples: Mapping[str, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    decoder: str | None = None
    statistics: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set, split.

    Attributes:
        info: What is known of it.
        splits: "train" and "validation", and "test" where there is one.
    """

    info: DatasetInfo
    splits: Mapping[str, Examples]

    def with_splits(self, splits: Mapping[str, Examples]) -> "Dataset":
        """The same with other examples, whose numbers info then has."""
        info = dataclasses.replace(self.info, num_examples=_lengths(splits))
        return Dataset(info, splits)


def make_dataset(splits: Mapping[str, Examples], **info: Any) -> Dataset:
    """A Dataset of splits, and of the fields of DatasetInfo but num_examples."""
    return Dataset(DatasetInfo(num_examples=_lengths(splits), **info), splits)


def _lengths(splits: Mapping[str, Examples]) -> dict[str, int]:
    return {name: len(examples) for name, examples in splits.items()}
