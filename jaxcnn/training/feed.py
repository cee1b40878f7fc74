"""Batches of a run: from its examples onto its devices."""

from collections.abc import Callable, Generator, Iterator
import contextlib
import functools
import itertools
from pathlib import Path

import jax
import numpy as np

from jaxcnn.config import DataConfig
from jaxcnn.data import batches as batches_lib
from jaxcnn.data import memory, transforms
from jaxcnn.data.bad_images import BadImages
from jaxcnn.data.examples import Examples, Subset
from jaxcnn.data.order import SAMPLING, Stream
from jaxcnn.training.prefetch import prefetch
from jaxcnn.training.run import Run
from jaxcnn.training.workdir import BAD_IMAGES


def train_batches(
    run: Run, folder: Path | None, start_step: int
) -> Generator[dict[str, jax.Array], None, None]:
    """The batches that follow start_step, on the devices; to be closed.

    Args:
        run: The run.
        folder: The run's folder, where unreadable images are listed. None: they are
            not listed.
        start_step: Updates that were taken before.
    """
    put = functools.partial(run.layout.put, mesh=run.mesh)
    return prefetch(host_batches(run, folder, start_step), put)


def host_batches(
    run: Run, folder: Path | None, start_step: int
) -> Generator[batches_lib.Batch, None, None]:
    """This host's share of the batches, of one size of images after another."""
    later = (step for step, _ in run.stages if start_step < step < run.num_steps)
    cuts = itertools.pairwise([start_step, *later, run.num_steps])
    for before, after in cuts:
        batches = _batches_of_size(run, folder, before, after)
        with contextlib.closing(batches):
            yield from batches


def _batches_of_size(
    run: Run, folder: Path | None, before: int, after: int
) -> Iterator[batches_lib.Batch]:
    """The batches of the updates from `before` to `after`, of one size."""
    data_config, examples = run.data_config(before), run.dataset.splits["train"]
    bad_images = _bad_images(data_config, "train", folder)
    return batches_lib.train_batches(
        memory.in_memory(
            examples,
            transforms.find(data_config.train_transform),
            data_config,
            run.task.targets,
            bad_images,
            run.info.channels,
        ),
        data_config,
        run.task.targets,
        channels=run.info.channels,
        seed=run.config.seed,
        num_steps=after,
        start_step=before,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        strata=_strata(run, examples),
        bad_images=bad_images,
    )


def _strata(run: Run, examples: Examples) -> np.ndarray | None:
    """The strata of the training examples, where the order needs them."""
    row = SAMPLING.get(run.config.data.sampling)
    needed = row is not None and row.needs_strata
    return run.task.strata(examples.column) if needed else None


def train_indices(run: Run, step: int) -> np.ndarray:
    """int64 [B], the training examples of the update after `step` updates.

    Where one of them cannot be read and is skipped, the next one stands for it.
    """
    config, examples = run.config.data, run.dataset.splits["train"]
    stream = Stream(
        len(examples),
        config.sampling,
        run.config.seed,
        config.repeats,
        _strata(run, examples),
    )
    return stream.slice(step * config.batch_size, (step + 1) * config.batch_size)


def decoder(run: Run, folder: Path | None) -> Callable[[str], Examples]:
    """decode(split) -> its examples, decoded once where they fit into memory.

    Args:
        run: The run.
        folder: The run's folder, where unreadable images are listed. None: they are
            not listed.
    """

    @functools.cache
    def decode(split: str) -> Examples:
        data_config = run.config.data
        return memory.in_memory(
            run.dataset.splits[split],
            transforms.find(data_config.eval_transform),
            data_config,
            run.task.targets,
            _bad_images(data_config, split, folder),
            run.info.channels,
        )

    return decode


def eval_batches(
    run: Run, split: str, folder: Path | None, examples: Examples | None = None
) -> Iterator[batches_lib.Batch]:
    """This host's share of the batches that hold each example of a split once.

    Args:
        run: The run.
        split: Name of the split.
        folder: The run's folder, where unreadable images are listed. None: they are
            not listed.
        examples: Result of decoder for the split; None: it is decoded now.
    """
    return batches_lib.eval_batches(
        decoder(run, folder)(split) if examples is None else examples,
        run.eval_data_config,
        run.task.targets,
        channels=run.info.channels,
        split=split,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        bad_images=_bad_images(run.config.data, split, folder),
    )


def some_images(run: Run, number: int) -> np.ndarray:
    """Training images at equal distances, uint8 [N, H, W, C], N at most `number`."""
    examples = run.dataset.splits["train"]
    number = min(len(examples), number)
    rows = np.linspace(0, len(examples) - 1, number).astype(int)
    data_config = run.eval_data_config
    batches = batches_lib.eval_batches(
        Subset(examples, rows),
        data_config,
        run.task.targets,
        channels=run.info.channels,
        split="train",
        bad_images=_bad_images(data_config, "train", None),
    )
    with contextlib.closing(batches):
        return np.concatenate([b["image"][b["weight"] > 0] for b in batches])


def _bad_images(config: DataConfig, split: str, folder: Path | None) -> BadImages:
    path = None if folder is None else folder / BAD_IMAGES
    return BadImages(config.bad_images, split, path)
