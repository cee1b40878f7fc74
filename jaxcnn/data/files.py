"""Examples whose images are files of their own."""

from collections.abc import Mapping, Sequence
import dataclasses
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
    """

    paths: Sequence[str]
    targets: Mapping[str, np.ndarray]
    channels: int

    def column(self, target: str) -> np.ndarray:
        return self.targets[target]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return images.decoded(self.encoded(index))

    def encoded(self, index: int) -> dict[str, Any]:
        """The example with an image that is not decoded yet, see examples.encoded."""
        image = images.Encoded(self.paths[index], self.channels)
        row = {name: column[index] for name, column in self.targets.items()}
        return {"image": image, **row}
