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

from collections.abc import Callable, Iterator, Mapping
import concurrent.futures
import contextlib
import dataclasses
import operator
from typing import Any

from absl import flags
import grain
import numpy as np

from jaxcnn.config import DataConfig
from jaxcnn.data.bad_images import BadImages
from jaxcnn.data.examples import ArrayExamples, BadImageError, Examples, encoded
from jaxcnn.data.transforms import TRANSFORMS, Transform
from jaxcnn.errors import UserError, require, unknown

Batch = dict[str, np.ndarray]  # "image", "label", and "weight" in evaluation


def check_labels(labels: np.ndarray, num_classes: int, what: str) -> None:
    """Raises UserError for the first label that is no class.

    JAX would train on it: one_hot gives zeros and a gather clamps.

    Args:
        labels: int [N].
        num_classes: Labels are 0 to num_classes - 1.
        what: Whose labels they are, for the error.
    """
    bad = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(bad):
        raise _label_error(labels[bad[0]], bad[0], num_classes, what)


def _label_error(label: int, index: int, num_classes: int, what: str) -> UserError:
    return UserError(
        f"Label {label} of example {index} of the {what} split is out of range; with "
        f"{num_classes} classes it must be 0 to {num_classes - 1}."
    )


# The order of examples.


def _rng(seed: int, epoch: int) -> np.random.Generator:
    sequence = np.random.SeedSequence(seed, spawn_key=(epoch,))
    return np.random.Generator(np.random.Philox(sequence))


def order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """int64 [num_examples], a permutation: the examples of an epoch, in order."""
    return _rng(seed, epoch).permutation(num_examples)


def balanced_order(seed: int, epoch: int, labels: np.ndarray) -> np.ndarray:
    """int64 [len(labels)], drawn with replacement so that classes are equally often.

    What len(labels) / classes leaves over goes to random classes, one each.
    """
    rng = _rng(seed, epoch)
    classes = rng.permutation(np.unique(labels))
    share, rest = divmod(len(labels), len(classes))
    drawn = [
        rng.choice(np.flatnonzero(labels == label), share + (i < rest))
        for i, label in enumerate(classes)
    ]
    return rng.permutation(np.concatenate(drawn))


SAMPLING: Mapping[str, Callable[[int, int, Examples], np.ndarray]] = {
    "uniform": lambda seed, epoch, examples: order(seed, epoch, len(examples)),
    "balanced": lambda seed, epoch, examples: balanced_order(
        seed, epoch, np.asarray(examples.labels)
    ),
}


@dataclasses.dataclass
class Stream:
    """Which example stands at each position of the endless stream of training.

    Attributes:
        examples: One epoch of the stream is len(examples) long.
        sampling: A name in SAMPLING.
        seed: Of the order.
        repeats: Times that an example stands there in a row, to be augmented anew
            (Hoffer et al., "Augment Your Batch", CVPR 2020,
            https://arxiv.org/abs/1901.09335). As in torchvision's RASampler an epoch
            is no longer for that: it ends before the last examples of its order.
        orders: Of the last two epochs that were asked for; threads share it.
    """

    examples: Examples
    sampling: str
    seed: int
    repeats: int = 1
    orders: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)

    def __getitem__(self, position: int) -> int:
        epoch, offset = divmod(position, len(self.examples))
        return int(self._order(epoch)[offset])

    def slice(self, start: int, stop: int) -> np.ndarray:
        """int64 [stop - start]; at most one epoch long."""
        epoch, offset = divmod(start, len(self.examples))
        end = offset + stop - start
        first = self._order(epoch)[offset:end]
        if end <= len(self.examples):
            return first
        return np.append(first, self._order(epoch + 1)[: end - len(self.examples)])

    def _order(self, epoch: int) -> np.ndarray:
        found = self.orders.get(epoch)
        if found is None:
            found = SAMPLING[self.sampling](self.seed, epoch, self.examples)
            found = np.repeat(found, self.repeats)[: len(self.examples)]
            kept = {e: o for e, o in list(self.orders.items()) if abs(e - epoch) == 1}
            self.orders = kept | {epoch: found}
        return found


# Examples in memory.


@dataclasses.dataclass(frozen=True)
class DecodedExamples(ArrayExamples):
    """Decoded and transformed images, with the errors of those that are bad.

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
        return DecodedExamples(self.images[indices], self.labels[indices], errors)


def in_memory(
    examples: Examples,
    transform: str,
    config: DataConfig,
    bad_images: BadImages,
) -> Examples:
    """The examples decoded, transformed and kept, if they can be; else as they are.

    They can if the transform is not random and they fit into config.in_memory_mib.
    Call it once for a split; train_batches and eval_batches then only gather.

    Args:
        examples: Of one split.
        transform: A name in TRANSFORMS, config.train_transform for training.
        config: Its image_size, in_memory_mib and num_threads are used.
        bad_images: What to do with unreadable images.

    Raises:
        UserError: As train_batches.
    """
    row = _transform(transform)
    if row.random or len(examples) == 0 or _gatherable(examples, row, config):
        return examples
    size = config.image_size
    shape = (len(examples), size, size, _channels(examples, bad_images))
    if np.prod(shape, dtype=np.int64) > config.in_memory_mib * 2**20:
        return examples
    images, labels = np.zeros(shape, np.uint8), np.zeros(len(examples), np.int32)
    errors = {}

    def decode(index: int) -> None:
        try:
            example = examples[index]
        except BadImageError as error:
            bad_images.handle(error, len(examples))
            errors[index] = str(error)
            return
        images[index] = row.apply(example["image"], size, None)
        labels[index] = example["label"]

    def decode_block(block: range) -> None:  # one task an image would cost more
        for index in block:
            decode(index)

    indices = range(len(examples))
    blocks = [indices[i : i + 64] for i in indices[::64]]
    with concurrent.futures.ThreadPoolExecutor(max(1, config.num_threads)) as threads:
        for _ in threads.map(decode_block, blocks):
            pass
    for index in errors:  # balanced sampling counts them
        labels[index] = examples.labels[index]
    return DecodedExamples(images, labels, dict(sorted(errors.items())))


def _channels(examples: Examples, bad_images: BadImages) -> int:
    """Channels of the first readable image."""
    for index in range(len(examples)):
        try:
            return examples[index]["image"].shape[2]
        except BadImageError as error:
            bad_images.handle(error, len(examples))
    raise UserError(f"No image of the {bad_images.split} split is readable.")


def _gatherable(examples: Examples, transform: Transform, config: DataConfig) -> bool:
    """Whether batches are images of an array, as they are."""
    return isinstance(examples, DecodedExamples) or (
        isinstance(examples, ArrayExamples)
        and not transform.random
        and examples.images.shape[1:3] == (config.image_size, config.image_size)
    )


# Batches.


def check_training(
    examples: Examples, config: DataConfig, process_count: int = 1
) -> None:
    """Raises UserError where train_batches cannot work with the settings."""
    BadImages(config.bad_images, "train")  # knows which policies there are
    row = _transform(config.train_transform)
    if config.scaled_decoding and not row.random:
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
    if _transform(config.eval_transform).random:
        fixed = [name for name, row in TRANSFORMS.items() if not row.random]
        raise UserError(
            f"Config field data.eval_transform is {config.eval_transform!r}, which is "
            f"random; allowed: {', '.join(fixed)}."
        )


def train_batches(
    examples: Examples,
    config: DataConfig,
    *,
    seed: int,
    num_steps: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    num_classes: int | None = None,
    bad_images: BadImages | None = None,
) -> Iterator[Batch]:
    """This host's share of the batches of steps start_step to num_steps.

    The shares of all hosts, in the order of process_index, are the batch that one host
    alone would get. A bad image that is skipped is replaced by the next readable
    example of the split. Close the iterator if it is not read to its end.

    Args:
        examples: The training split, best passed through in_memory.
        config: How batches are made.
        seed: Of the order and of random transforms, from 0.
        num_steps: Steps of the whole run.
        start_step: Steps that were taken before.
        process_index: Which host this is.
        process_count: Number of hosts.
        num_classes: Every label must be below it; None: labels are not checked.
        bad_images: What to do with unreadable images; None: config.bad_images, and
            no list is written.

    Yields:
        {"image": uint8 [b, S, S, C], "label": int32 [b]}, b = batch_size /
        process_count and S = image_size.

    Raises:
        UserError: At once for settings that cannot work; while reading for a bad
            image or label.
    """
    check_training(examples, config, process_count)
    if seed < 0:
        raise UserError(f"The seed is {seed}; it must be 0 or more.")
    row = TRANSFORMS[config.train_transform]
    bad_images = bad_images or BadImages(config.bad_images, "train")
    stream = Stream(examples, config.sampling, seed, config.repeats)
    steps = range(start_step, num_steps)
    share = config.batch_size // process_count
    if _gatherable(examples, row, config):
        if num_classes is not None:
            check_labels(examples.labels, num_classes, "train")
        starts = ((step * process_count + process_index) * share for step in steps)
        return _gathered_train(stream, starts, share)
    draw = _Draw(
        stream,
        row,
        config.image_size,
        encoded if config.scaled_decoding else operator.getitem,
        num_classes,
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
    *,
    split: str = "validation",
    process_index: int = 0,
    process_count: int = 1,
    num_classes: int | None = None,
    bad_images: BadImages | None = None,
) -> Iterator[Batch]:
    """This host's share of the batches that hold each example once, in order.

    Every host gets the same number of batches of the same shape; the last ones are
    filled up with zeros. A bad image that is skipped becomes such filling.

    Args:
        examples: Of one split, best passed through in_memory.
        config: How batches are made.
        split: Name of the split, for errors.
        process_index: As in train_batches.
        process_count: As in train_batches.
        num_classes: As in train_batches.
        bad_images: As in train_batches.

    Yields:
        {"image": uint8 [b, S, S, C], "label": int32 [b], "weight": float32 [b]}, b =
        eval_batch_size / process_count, weight 1 for examples and 0 for filling.

    Raises:
        UserError: As train_batches.
    """
    check_evaluation(examples, config, split, process_count)
    row, size = TRANSFORMS[config.eval_transform], config.eval_batch_size
    bad_images = bad_images or BadImages(config.bad_images, split)
    share = size // process_count
    num_batches = -(-len(examples) // size)
    if _gatherable(examples, row, config):
        if num_classes is not None:
            check_labels(examples.labels, num_classes, split)
        starts = range(process_index * share, num_batches * size, size)
        return _gathered_eval(examples, starts, share)
    source = _EvalSource(
        examples,
        num_batches * size,
        config.image_size,
        row,
        _channels(examples, bad_images),
        num_classes,
        bad_images,
    )
    batches = grain.MapDataset.source(source).batch(share)
    return _read(batches[process_index::process_count], config)


def _transform(name: str) -> Transform:
    if name not in TRANSFORMS:
        raise unknown("transform", name, TRANSFORMS)
    return TRANSFORMS[name]


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


@dataclasses.dataclass
class _Draw:
    """Position of the stream -> transformed example.

    A bad one is replaced by the next readable, which gets the same random numbers.
    """

    stream: Stream
    transform: Transform
    size: int
    read: Callable[[Examples, int], dict[str, Any]]
    num_classes: int | None
    bad_images: BadImages

    def __call__(self, position: int, rng: np.random.Generator) -> dict[str, Any]:
        examples, index = self.stream.examples, self.stream[position]
        start = rng.bit_generator.state
        while True:  # ends: too many bad images are an error
            try:
                example = self.read(examples, index)
                example = _checked(example, index, self.num_classes, "train")
                return _apply(self.transform, self.size, example, rng)
            except BadImageError as error:
                self.bad_images.handle(error, len(examples))
                index = (index + 1) % len(examples)
                rng.bit_generator.state = start


@dataclasses.dataclass
class _EvalSource:
    """Position -> transformed example with its weight, or filling."""

    examples: Examples
    length: int
    size: int
    transform: Transform
    channels: int
    num_classes: int | None
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
                example = _checked(example, position, self.num_classes, split)
                example = _apply(self.transform, self.size, example, None)
                return example | {"weight": np.float32(1)}
        image = np.zeros((self.size, self.size, self.channels), np.uint8)
        return {"image": image, "label": np.int32(0), "weight": np.float32(0)}


def _checked(
    example: dict[str, Any], index: int, num_classes: int | None, split: str
) -> dict[str, Any]:
    label = example["label"]
    if num_classes is not None and not 0 <= label < num_classes:
        raise _label_error(label, index, num_classes, split)
    return example


def _apply(
    transform: Transform,
    size: int,
    example: dict[str, Any],
    rng: np.random.Generator | None,
) -> dict[str, Any]:
    image = transform.apply(example["image"], size, rng)
    return {"image": image, "label": np.int32(example["label"])}


def _gathered_train(
    stream: Stream, starts: Iterator[int], share: int
) -> Iterator[Batch]:
    """As the chain of train_batches, for examples in memory."""
    images, labels = stream.examples.images, stream.examples.labels
    good = _good(stream.examples)
    positions = np.searchsorted(good, np.arange(len(labels))) % len(good)
    readable = good[positions]  # the example itself, or the next one that is readable
    for start in starts:
        indices = readable[stream.slice(start, start + share)]
        yield {"image": images[indices], "label": labels[indices]}


def _gathered_eval(
    examples: ArrayExamples, starts: range, share: int
) -> Iterator[Batch]:
    """As the chain of eval_batches, for examples in memory."""
    weights = np.zeros(len(examples), np.float32)
    weights[_good(examples)] = 1
    labels = np.where(weights == 1, examples.labels, 0)
    whole = {"image": examples.images, "label": labels, "weight": weights}
    for start in starts:
        stop = start + share
        yield {name: _filled(x[start:stop], share) for name, x in whole.items()}


def _good(examples: ArrayExamples) -> np.ndarray:
    """Indices of the examples that are readable."""
    bad = list(getattr(examples, "errors", ()))
    return np.delete(np.arange(len(examples)), bad)


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
            grain.MultiprocessingOptions(num_workers=config.num_workers)
        )
    return _closing(dataset)


def _closing(dataset: grain.IterDataset) -> Iterator[Batch]:
    with contextlib.closing(iter(dataset)) as iterator:
        yield from iterator
