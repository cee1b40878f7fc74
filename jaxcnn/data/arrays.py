"""From arrays in memory to a Dataset: checks, the validation cut, mean and std."""

from collections.abc import Mapping, Sequence
import hashlib
from typing import Any

import numpy as np
from PIL import Image

from jaxcnn.config import DataConfig
from jaxcnn.data import splits
from jaxcnn.data.examples import (
    ArrayExamples,
    Dataset,
    Examples,
    fields_used,
    make_dataset,
    names_of,
)
from jaxcnn.errors import UserError
from jaxcnn.targets import Targets, classes

Arrays = tuple[np.ndarray, Mapping[str, np.ndarray]]  # uint8 [N, H, W, C], targets


def of_classes(
    name: str,
    class_names: Sequence[str],
    parts: Mapping[str, tuple[np.ndarray, np.ndarray]],
    config: DataConfig,
) -> Dataset:
    """The Dataset of images in memory that have one class each, see dataset().

    Args:
        name: Name of the data set, for errors.
        class_names: Name of each class; the label is the position.
        parts: Split -> uint8 [N, H, W, C] images and int [N] labels.
        config: Gives the number of channels and the cut.
    """
    labelled = {
        part: (images, {"label": labels}) for part, (images, labels) in parts.items()
    }
    return dataset(name, classes(class_names), labelled, config, "label")


def dataset(
    name: str,
    targets: Targets,
    parts: Mapping[str, Arrays],
    config: DataConfig,
    stratify_by: str | None = None,
    by_content: bool = False,
) -> Dataset:
    """The Dataset of images in memory.

    Validation is cut from the training images where parts has none. Mean and std are
    those of the training images that are left after it.

    Args:
        name: Name of the data set, for errors.
        targets: Targets that each example holds besides its image.
        parts: "train", and "validation" and "test" where there are such.
        config: Gives the number of channels and the cut.
        stratify_by: Target whose proportions the cut keeps; None: it keeps none.
        by_content: Whether the content of each image is its name, so that images can
            be added, see data/splits.py. False: the images are a fixed list.

    Raises:
        UserError: A part is empty, a target is not allowed, or config.channels is
            neither 1 nor 3.
    """
    if config.groups is not None:
        raise UserError(
            f"data.groups is {config.groups!r}, but the examples have no names; it "
            "must be None for arrays. Dataset.from_examples takes examples with names."
        )
    digest = hashlib.sha256(b"by content" if by_content else b"")
    examples = {}
    channels = config.channels or parts["train"][0].shape[-1]
    for part, (images, columns) in parts.items():
        if len(images) == 0:
            raise UserError(f"Dataset {name!r}: the {part} split has no images.")
        if config.channels is None and images.shape[-1] != channels:
            raise UserError(
                f"Dataset {name!r}: the {part} images have {images.shape[-1]} channels "
                f"and the training images {channels}; data.channels makes them equal."
            )
        digest.update(f"{part} {images.shape}".encode())
        digest.update(np.ascontiguousarray(images))
        cast = {}
        for target, row in targets.items():
            row.check(columns[target], part)
            cast[target] = row.cast(columns[target])
            _hash(digest, cast[target])
        examples[part] = ArrayExamples(
            with_channels(images, channels),
            cast,
            example_names=_contents(images) if by_content else None,
        )
    completed = splits.complete(examples, targets, config, stratify_by=stratify_by)
    examples = {part: _gathered(chosen) for part, chosen in completed.items()}
    mean, std = channel_statistics(examples["train"].images)
    return make_dataset(
        examples,
        targets=targets,
        channels=channels,
        mean=mean,
        std=std,
        fingerprint=digest.hexdigest(),
        made_with=fields_used(config, validation="validation" not in parts),
        remarks=_copies(examples) if by_content else (),
    )


def _contents(images: np.ndarray) -> list[str]:
    """A digest of each image, equal for equal images."""
    shape = repr(images.shape[1:]).encode()
    return [
        hashlib.blake2b(
            np.ascontiguousarray(image).tobytes() + shape, digest_size=16
        ).hexdigest()
        for image in images
    ]


def _copies(examples: Mapping[str, ArrayExamples]) -> list[str]:
    """A remark for each split that has copies of training images."""
    trained, remarks = set(examples["train"].example_names), []
    for split in examples.keys() - {"train"}:
        number = sum(name in trained for name in examples[split].example_names)
        if number:
            remarks.append(
                f"Warning: {number} of {len(examples[split])} {split} images are "
                "copies of training images."
            )
    return sorted(remarks)


def _hash(digest: Any, column: np.ndarray) -> None:
    if column.dtype != object:
        digest.update(np.ascontiguousarray(column))
        return
    for array in column:  # of shapes that differ
        digest.update(f"{array.shape}".encode())
        digest.update(np.ascontiguousarray(array))


def _gathered(examples: Examples) -> ArrayExamples:
    """Examples in memory, or those of them that a cut chose, as arrays."""
    if isinstance(examples, ArrayExamples):
        return examples
    whole, indices = examples.examples, examples.indices
    columns = {name: column[indices] for name, column in whole.targets.items()}
    names = names_of(examples)
    return ArrayExamples(whole.images[indices], columns, example_names=names)


def with_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """[N, H, W, C] -> [N, H, W, channels], of 1 (grey) or 3 (RGB) channels.

    Grey is repeated; RGB becomes luma as in the image files of images.decode.
    """
    if channels not in (1, 3):
        raise UserError(f"data.channels is {channels}; it must be 1 (grey) or 3 (RGB).")
    if images.shape[-1] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=-1)  # [N, H, W, 3]
    grey = np.empty(images.shape[:-1], np.uint8)
    for image, row in zip(images, grey, strict=True):
        row[...] = Image.fromarray(image).convert("L")
    return grey[..., None]  # [N, H, W, 1]


def channel_statistics(
    images: np.ndarray,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over all pixels, in [0, 1].

    From the counts of the 256 grey levels: exact, and without a float copy.
    """
    levels = np.arange(256) / 255
    mean, std = [], []
    for channel in range(images.shape[-1]):
        counts = np.bincount(images[..., channel].reshape(-1), minlength=256)
        mean.append(float(np.average(levels, weights=counts)))
        variance = np.average((levels - mean[-1]) ** 2, weights=counts)
        std.append(float(np.sqrt(variance)))
    return tuple(mean), tuple(std)
