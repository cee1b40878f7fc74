"""Batches for training and evaluation.

Training reads an endless stream: epoch after epoch, each in an order of its own. The
example at a position of the stream, and what a random transform draws for it, are a
function of the seed and the position alone, so seed and step are all that a resumed run
needs, on any number of hosts, threads and workers. Step s takes positions
s * batch_size to (s + 1) * batch_size; host i of n takes the i-th of n equal pieces of
them.

Examples in memory are gathered by NumPy; all others pass through Grain. Both give the
same batches.
"""

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import multiprocessing
import operator
import os
import threading
from typing import Any

from absl import flags
import grain
import numpy as np

from jaxcnn import targets as targets_lib
from jaxcnn.config import DataConfig
from jaxcnn.data import memory, transforms
from jaxcnn.data.bad_images import BadImages
from jaxcnn.data.examples import (
    ArrayExamples,
    BadImageError,
    Examples,
    check_example,
    encoded,
)
from jaxcnn.data.order import SAMPLING, Stream
from jaxcnn.data.transforms import TRANSFORMS, Transform
from jaxcnn.errors import UserError, require, unknown
from jaxcnn.targets import Targets

Batch = dict[str, np.ndarray]  # "image", each target, and "weight" in evaluation


def check_training(
    examples: Examples, config: DataConfig, process_count: int = 1
) -> None:
    """Raises UserError where train_batches cannot work with the settings."""
    BadImages(config.bad_images, "train")  # knows which policies there are
    transform = transforms.find(config.train_transform)
    if config.scaled_decoding and not transform.random:
        scaling = [name for name, row in TRANSFORMS.items() if row.random]
        raise UserError(
            f"Config field data.train_transform is {config.train_transform!r}; with "
            f"data.scaled_decoding it must be one of {', '.join(scaling)}."
        )
    if config.sampling not in SAMPLING:
        raise unknown("sampling", config.sampling, SAMPLING)
    require(config.repeats >= 1, "data.repeats", config.repeats, "at least 1")
    _check_sizes(examples, "batch_size", config.batch_size, process_count, "train")
    if config.batch_size > len(examples):
        raise UserError(
            f"Config field data.batch_size is {config.batch_size}, more than the "
            f"{len(examples)} training examples; it may be at most that."
        )


def check_evaluation(
    examples: Examples, config: DataConfig, split: str, process_count: int = 1
) -> None:
    """Raises UserError where eval_batches cannot work with the settings."""
    _check_sizes(
        examples, "eval_batch_size", config.eval_batch_size, process_count, split
    )
    if transforms.find(config.eval_transform).random:
        fixed = [name for name, row in TRANSFORMS.items() if not row.random]
        raise UserError(
            f"Config field data.eval_transform is {config.eval_transform!r}, which is "
            f"random; allowed: {', '.join(fixed)}."
        )


def _check_sizes(
    examples: Examples, field: str, size: int, process_count: int, split: str
) -> None:
    if len(examples) == 0:
        raise UserError(f"The {split} split is empty.")
    if size < 1 or size % process_count:
        raise UserError(
            f"Config field data.{field} is {size}; it must be a multiple of the number "
            f"of hosts, {process_count}."
        )


def train_batches(
    examples: Examples,
    config: DataConfig,
    targets: Targets,
    *,
    seed: int,
    channels: int,
    num_steps: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    strata: np.ndarray | None = None,
    bad_images: BadImages | None = None,
) -> Iterator[Batch]:
    """This host's share of the batches of steps start_step to num_steps.

    The shares of all hosts, in the order of process_index, are the batch that one host
    alone would get. A bad image that is skipped is replaced by the next readable
    example of the split. Close the iterator if it is not read to its end.

    Args:
        examples: The training split, best passed through memory.in_memory.
        config: Data settings of the run.
        targets: Targets that a batch holds besides images.
        seed: Seed of the order and of random transforms, at least 0.
        channels: Number of channels of every image.
        num_steps: Steps of the whole run.
        start_step: Steps that were taken before.
        process_index: Number of this host, from 0.
        process_count: Number of hosts.
        strata: int [N], the stratum of each example, for balanced sampling.
        bad_images: Handling of unreadable images; None: config.bad_images, and
            no list is written.

    Yields:
        "image", uint8 [b, H, W, C], and the targets, [b, ...], for b = batch_size /
        process_count and H, W of image_size.

    Raises:
        UserError: At once for settings that cannot work; while reading for a bad
            image or target.
    """
    check_training(examples, config, process_count)
    if seed < 0:
        raise UserError(f"The seed is {seed}; it must be 0 or more.")
    if SAMPLING[config.sampling].needs_strata and strata is None:
        raise UserError(
            f"data.sampling={config.sampling!r} needs examples of distinct classes, "
            "which this task does not have; 'uniform' needs none."
        )
    transform = transforms.find(config.train_transform)
    bad_images = bad_images or BadImages(config.bad_images, "train")
    stream = Stream(len(examples), config.sampling, seed, config.repeats, strata)
    steps = range(start_step, num_steps)
    share = config.batch_size // process_count
    if memory.is_gatherable(examples, transform, config, targets):
        _check_columns(examples, targets, channels, "train")
        starts = ((step * process_count + process_index) * share for step in steps)
        return _gathered_train(examples, stream, targets, starts, share)
    draw = _Draw(
        examples,
        stream,
        transform,
        transforms.height_and_width(config.image_size),
        encoded if config.scaled_decoding else operator.getitem,
        channels,
        targets,
        bad_images,
    )
    batches = (
        grain.MapDataset.range(num_steps * config.batch_size)
        .random_map(draw, seed=seed)
        .batch(share)[process_index::process_count]  # after the random transforms
    )
    return _read(batches[start_step:], config)


def eval_batches(
    examples: Examples,
    config: DataConfig,
    targets: Targets,
    *,
    channels: int,
    split: str = "validation",
    process_index: int = 0,
    process_count: int = 1,
    bad_images: BadImages | None = None,
) -> Iterator[Batch]:
    """This host's share of the batches that hold each example once, in order.

    Every host gets the same number of batches of the same shape; the last ones are
    filled up with zeros. A bad image that is skipped becomes such filling.

    Args:
        examples: Examples of one split, best passed through memory.in_memory.
        config: Data settings of the run.
        targets: Targets that a batch holds besides images.
        channels: Number of channels of every image.
        split: Name of the split, for errors.
        process_index: Number of this host, from 0.
        process_count: Number of hosts.
        bad_images: Handling of unreadable images; None: config.bad_images, and
            no list is written.

    Yields:
        "image", uint8 [b, H, W, C], the targets, [b, ...], and "weight", float32 [b],
        1 for examples and 0 for filling, for b = eval_batch_size / process_count.

    Raises:
        UserError: At once for settings that cannot work; while reading for a bad
            image or target.
    """
    check_evaluation(examples, config, split, process_count)
    transform, size = transforms.find(config.eval_transform), config.eval_batch_size
    bad_images = bad_images or BadImages(config.bad_images, split)
    share = size // process_count
    num_batches = -(-len(examples) // size)
    if memory.is_gatherable(examples, transform, config, targets):
        _check_columns(examples, targets, channels, split)
        starts = range(process_index * share, num_batches * size, size)
        return _gathered_eval(examples, targets, starts, share)
    source = _EvalSource(
        examples,
        num_batches * size,
        transforms.height_and_width(config.image_size),
        transform,
        channels,
        targets,
        bad_images,
    )
    batches = grain.MapDataset.source(source).batch(share)
    return _read(batches[process_index::process_count], config)


@dataclasses.dataclass
class _Draw:
    """Position of the stream -> transformed example.

    A bad one is replaced by the next readable, which gets the same random numbers.
    """

    examples: Examples
    stream: Stream
    transform: Transform
    size: tuple[int, int]
    read: Callable[[Examples, int], dict[str, Any]]
    channels: int
    targets: Targets
    bad_images: BadImages

    def __call__(self, position: int, rng: np.random.Generator) -> dict[str, Any]:
        examples, index = self.examples, self.stream[position]
        start = rng.bit_generator.state
        while True:  # ends: too many bad images are an error
            try:
                example = self.read(examples, index)
                check_example(example, self.targets, self.channels, "train", index)
                return transforms.for_batch(
                    self.transform, example, self.targets, self.size, rng
                )
            except BadImageError as error:
                self.bad_images.handle(error, len(examples))
                index = (index + 1) % len(examples)
                rng.bit_generator.state = start


@dataclasses.dataclass
class _EvalSource:
    """Position -> transformed example with its weight, or filling."""

    examples: Examples
    length: int
    size: tuple[int, int]
    transform: Transform
    channels: int
    targets: Targets
    bad_images: BadImages

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, position: int) -> dict[str, Any]:
        if position < len(self.examples):
            try:
                example = self.examples[position]
            except BadImageError as error:
                self.bad_images.handle(error, len(self.examples))
            else:
                split = self.bad_images.split
                check_example(example, self.targets, self.channels, split, position)
                moved = transforms.for_batch(
                    self.transform, example, self.targets, self.size, None
                )
                return moved | {"weight": np.float32(1)}
        shapes = targets_lib.batch_shapes(self.targets, *self.size)
        filling = {
            name: np.zeros(shape, dtype) for name, (shape, dtype) in shapes.items()
        }
        image = np.zeros((*self.size, self.channels), np.uint8)
        return {"image": image, **filling, "weight": np.float32(0)}


def _check_columns(
    examples: ArrayExamples, targets: Targets, channels: int, split: str
) -> None:
    if isinstance(examples, memory.DecodedExamples):  # each was checked when decoded
        return
    check_example(examples[0], targets, channels, split, 0)
    for name, target in targets.items():
        target.check(examples.column(name), split)


def _gathered_train(
    examples: ArrayExamples,
    stream: Stream,
    targets: Targets,
    starts: Iterator[int],
    share: int,
) -> Iterator[Batch]:
    """What the chain of train_batches gives, for examples in memory."""
    whole = {"image": examples.images, **_columns(examples, targets)}
    good = memory.readable(examples)
    positions = np.searchsorted(good, np.arange(len(examples))) % len(good)
    readable = good[positions]  # the example itself, or the next one that is readable
    for start in starts:
        indices = readable[stream.slice(start, start + share)]
        yield {name: column[indices] for name, column in whole.items()}


def _gathered_eval(
    examples: ArrayExamples, targets: Targets, starts: range, share: int
) -> Iterator[Batch]:
    """What the chain of eval_batches gives, for examples in memory."""
    weights = np.zeros(len(examples), np.float32)
    weights[memory.readable(examples)] = 1
    whole = {"image": examples.images, **_columns(examples, targets)}
    for name in whole.keys() - {"image"}:  # an unreadable image has no target
        column = whole[name]
        good = weights.reshape(-1, *[1] * (column.ndim - 1)) == 1
        whole[name] = np.where(good, column, np.zeros((), column.dtype))
    whole["weight"] = weights
    for start in starts:
        stop = start + share
        yield {name: _filled(x[start:stop], share) for name, x in whole.items()}


def _columns(examples: ArrayExamples, targets: Targets) -> dict[str, np.ndarray]:
    """The columns of the targets, and the masks of those that are ragged."""
    shapes = targets_lib.batch_shapes(targets, 0, 0)
    return {
        name: np.asarray(examples.targets[name], dtype)
        for name, (_, dtype) in shapes.items()
    }


def _filled(x: np.ndarray, length: int) -> np.ndarray:
    """[n, ...] -> [length, ...], with zeros at the end."""
    return np.pad(x, [(0, length - len(x))] + [(0, 0)] * (x.ndim - 1))


def _read(batches: grain.MapDataset, config: DataConfig) -> Iterator[Batch]:
    """Reads batches ahead, in order, by threads or by worker processes."""
    threads = max(1, config.num_threads)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    dataset = batches.to_iter_dataset(options)
    if config.num_workers:
        if not flags.FLAGS.is_parsed():  # Grain's workers read flags of their own
            flags.FLAGS.mark_as_parsed()
        dataset = dataset.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=config.num_workers),
            worker_init_fn=_end_with_parent,
        )
    return _closing(dataset)


def _end_with_parent(worker: int, num_workers: int) -> None:
    """Ends a worker process when its parent is killed, which cannot tell it."""

    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _closing(dataset: grain.IterDataset) -> Iterator[Batch]:
    with contextlib.closing(iter(dataset)) as iterator:
        yield from iterator
