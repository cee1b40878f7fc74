"""Examples decoded once and kept in memory, where they fit."""

from collections.abc import Mapping
import concurrent.futures
import dataclasses
import threading
from typing import Any

import numpy as np

from jaxcnn import targets as targets_lib
from jaxcnn.config import DataConfig
from jaxcnn.data import placement, transforms
from jaxcnn.data.bad_images import BadImages
from jaxcnn.data.examples import (
    ArrayExamples,
    BadImageError,
    Examples,
    check_example,
)
from jaxcnn.data.transforms import Transform
from jaxcnn.errors import UserError
from jaxcnn.targets import Targets


@dataclasses.dataclass(frozen=True)
class DecodedExamples(ArrayExamples):
    """Examples as a batch holds them, with the errors of those that are bad.

    Attributes:
        errors: Index -> text of its BadImageError; its pixels are zero.
    """

    errors: Mapping[int, str] = dataclasses.field(default_factory=dict)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index in self.errors:
            raise BadImageError(self.errors[index])
        return super().__getitem__(index)

    def take(self, indices: np.ndarray) -> "DecodedExamples":
        """Some of them, in this order."""
        errors = {
            new: self.errors[old]
            for new, old in enumerate(indices.tolist())
            if old in self.errors
        }
        columns = {name: column[indices] for name, column in self.targets.items()}
        return DecodedExamples(self.images[indices], columns, errors)


def in_memory(
    examples: Examples,
    transform: Transform,
    config: DataConfig,
    targets: Targets,
    bad_images: BadImages,
    channels: int,
) -> Examples:
    """The examples decoded, transformed and kept, if they can be; else as they are.

    They can if the transform is not random and they fit into config.in_memory_mib.
    Call it once for a split; train_batches and eval_batches then only gather.

    Args:
        examples: Examples of one split.
        transform: The transform of their batches.
        config: Its image_size, in_memory_mib and num_threads are used.
        targets: Targets that a batch holds besides images.
        bad_images: Handling of unreadable images.
        channels: Number of channels of every image.

    Raises:
        UserError: An image is unreadable, or an example is not allowed.
    """
    size = transforms.height_and_width(config.image_size)
    if transform.random or len(examples) == 0:
        return examples
    if is_gatherable(examples, transform, config, targets):
        return examples
    number = len(examples)
    shapes = targets_lib.batch_shapes(targets, *size)
    shapes["image"] = (*size, channels), np.dtype(np.uint8)
    num_bytes = sum(
        number * np.prod(shape, dtype=np.int64) * dtype.itemsize
        for shape, dtype in shapes.values()
    )
    if num_bytes > config.in_memory_mib * 2**20:
        return examples
    arrays = {
        name: np.zeros((number, *shape), dtype)
        for name, (shape, dtype) in shapes.items()
    }
    errors = {}

    def decode(index: int) -> None:
        try:
            example = examples[index]
        except BadImageError as error:
            bad_images.handle(error)
            errors[index] = str(error)
            return
        check_example(example, targets, channels, bad_images.split, index)
        moved = transforms.for_batch(transform, example, targets, size, None)
        for name, value in moved.items():
            arrays[name][index] = value

    given_up = threading.Event()

    def decode_block(block: range) -> None:  # one task an image would cost more
        for index in block:
            if given_up.is_set():
                return
            decode(index)

    indices = range(number)
    blocks = [indices[i : i + 64] for i in indices[::64]]
    threads = concurrent.futures.ThreadPoolExecutor(max(1, config.num_threads))
    try:
        for _ in threads.map(decode_block, blocks):
            pass
    except BaseException:  # a signal does not wait for images that are being read
        given_up.set()
        threads.shutdown(wait=False, cancel_futures=True)
        raise
    threads.shutdown()
    if len(errors) == number:
        raise UserError(f"No image of the {bad_images.split} split is readable.")
    images = arrays.pop("image")
    return DecodedExamples(images, arrays, dict(sorted(errors.items())))


def is_gatherable(
    examples: Examples, transform: Transform, config: DataConfig, targets: Targets
) -> bool:
    """Whether batches are rows of arrays, as they are."""
    if isinstance(examples, DecodedExamples):
        return True
    size = transforms.height_and_width(config.image_size)
    return (
        isinstance(examples, ArrayExamples)
        and not transform.random
        and examples.images.shape[1:3] == size
        and placement.is_identity(transform.place(size, size, None), size)
        and not any(target.ragged for target in targets.values())
    )


def readable(examples: ArrayExamples) -> np.ndarray:
    """Indices of the examples that are readable."""
    bad = list(getattr(examples, "errors", ()))
    return np.delete(np.arange(len(examples)), bad)
