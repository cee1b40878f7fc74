"""Examples whose images are files of their own."""

from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import os
from typing import Any

import numpy as np

from jaxcnn.config import DataConfig
from jaxcnn.data import groups, images, splits
from jaxcnn.data.examples import Dataset, Examples, fields_used, make_dataset
from jaxcnn.targets import Targets


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


def dataset(
    parts: Mapping[str, Examples],
    targets: Targets,
    channels: int,
    config: DataConfig,
    *,
    missing: Sequence[str],
    about: str,
    made_with: Sequence[str] = (),
    remarks: Sequence[str] = (),
) -> Dataset:
    """The Dataset of image files whose targets fall into no classes.

    Args:
        parts: Split -> its examples, which are FileExamples or Subsets of such.
        targets: Targets of each example.
        channels: 1 for grey, 3 for RGB.
        config: Gives the cuts.
        missing: Splits that are cut off train, see splits.complete.
        about: Text that changes when the examples do.
        made_with: Fields of config, besides max_pixels, that the parts depend on.
        remarks: Messages for the log of a run.

    Raises:
        UserError: A cut is not possible.
    """
    mean, std = images.STATISTICS[channels]
    digest = hashlib.sha256(f"{about} {groups.digest(config.groups)}".encode())
    return make_dataset(
        splits.complete(parts, targets, config, stratify_by=None, missing=missing),
        targets=targets,
        channels=channels,
        mean=mean,
        std=std,
        fingerprint=digest.hexdigest(),
        made_with=fields_used(
            config,
            *("max_pixels", *made_with),
            validation="validation" in missing and "validation" not in parts,
            test="test" in missing and "test" not in parts,
        ),
        decoder=images.decoder(),
        remarks=remarks,
    )
