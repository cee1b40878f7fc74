"""Examples whose images are files of their own."""

from collections.abc import Mapping, Sequence
import dataclasses
import os
from typing import Any

import numpy as np

from jaxcnn.data import images


@dataclasses.dataclass(frozen=True)
class FileExamples:
    """Image files and their targets.

    Attributes:
        paths: Path of each file.
        targets: Name of each target -> [N, ...].
        channels: 1 for grey, 3 for RGB.
        example_names: Name of each file, see Examples.
        file_sizes: Size of each file in bytes, int64 [N].
        max_pixels: Number of pixels above which an image is not decoded.
    """

    paths: Sequence[str]
    targets: Mapping[str, np.ndarray]
    channels: int
    example_names: Sequence[str]
    file_sizes: np.ndarray
    max_pixels: int = images.MAX_PIXELS

    def column(self, target: str) -> np.ndarray:
        return self.targets[target]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return images.decoded(self.encoded(index))

    def encoded(self, index: int) -> dict[str, Any]:
        """The example with an image that is not decoded yet, see examples.encoded."""
        image = images.Encoded(
            self.paths[index], self.channels, max_pixels=self.max_pixels
        )
        row = {name: column[index] for name, column in self.targets.items()}
        return {"image": image, **row}


def size_of(path: str) -> int:
    """Size of a file in bytes; 0 for a link that leads nowhere."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
