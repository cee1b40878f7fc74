"""What data sets whose images are drawn when they are asked for have in common."""

from collections.abc import Mapping
import hashlib

import numpy as np
import PIL
from PIL import features

from jaxcnn.config import DataConfig
from jaxcnn.data import arrays
from jaxcnn.data.examples import Dataset, Examples, fields_used, make_dataset
from jaxcnn.data.transforms import check_size, height_and_width
from jaxcnn.errors import require
from jaxcnn.targets import Targets

_MEASURED = 256  # training images that mean and std are of


def size_of_images(config: DataConfig, smallest: int) -> tuple[int, int]:
    """Height and width of the RGB images of a data set whose examples have no names.

    Args:
        config: Its data.image_size is the size.
        smallest: Smallest height and width that are allowed, pixels.

    Raises:
        UserError: A smaller size, grey images, or groups.
    """
    check_size("data.image_size", config.image_size)
    size = height_and_width(config.image_size)
    holds, rule = min(size) >= smallest, f"at least {smallest} x {smallest}"
    require(holds, "data.image_size", config.image_size, rule)
    rule = f"None for {config.name}, whose examples have no names"
    require(config.groups is None, "data.groups", config.groups, rule)
    holds, rule = config.channels in (3, None), f"3 or None for {config.name}"
    require(holds, "data.channels", config.channels, rule)
    return size


def dataset(
    parts: Mapping[str, Examples],
    targets: Targets,
    config: DataConfig,
    fingerprint: str | None = None,
) -> Dataset:
    """The Dataset of RGB images of data.image_size.

    Args:
        parts: Split -> its examples.
        targets: Targets that each example holds besides its image.
        config: Configuration that they were made with.
        fingerprint: Digest of what is drawn. None: that of some of the images, where
            another version of FreeType may draw others.
    """
    train = parts["train"]
    number = min(len(train), _MEASURED)
    first = np.stack([train[i]["image"] for i in range(number)])
    mean, std = arrays.channel_statistics(first)
    decoder = f"Pillow {PIL.__version__}, FreeType {features.version('freetype2')}"
    return make_dataset(
        {**parts},
        targets=targets,
        channels=3,
        mean=mean,
        std=std,
        fingerprint=fingerprint or hashlib.sha256(first).hexdigest(),
        made_with=fields_used(config, "image_size"),
        decoder=None if fingerprint else decoder,
    )
