"""Starts a run.

Training, dry run, find_lr, cross_validate and benchmark all begin here.
"""

from collections.abc import Callable
import dataclasses
import functools
import itertools
from pathlib import Path
import time
from typing import Any

import jax

from jaxcnn import augment, models
from jaxcnn.data.datasets import SLOW_SECONDS
from jaxcnn.data.examples import Examples
from jaxcnn.ops import backends
from jaxcnn.training import (
    compilation,
    feature_cache,
    feed,
    ignored,
    initial,
    memory,
)
from jaxcnn.training.prepare import check_training
from jaxcnn.training.run import Run
from jaxcnn.training.state import TrainState

_NUM_IMPRINTED = 256  # training images that a network may look at before the first step


@dataclasses.dataclass(frozen=True)
class Started:
    """A run whose next step can be taken.

    Attributes:
        run: The run, with a number for each choice that was "auto", and with features
            for images where they are cached.
        state: Its state after `start` updates.
        start: Updates that were taken before.
        batches: Those that follow, on the devices; to be closed.
        remarks: Messages for the log, of the data and the task, of what the config has
            without effect, and of the chosen micro-batch size.
    """

    run: Run
    state: TrainState
    start: int
    batches: "Batches"
    remarks: list[str]


class Batches:
    """Training batches of which the first ones may have been drawn beforehand."""

    def __init__(self, run: Run, folder: Path | None, start: int) -> None:
        self._coming = feed.train_batches(run, folder, start)
        self._drawn: list[Any] = []

    def draw(self, number: int) -> list[Any]:
        """Makes the next batches, which may show a mistake, and keeps them."""
        self._drawn += itertools.islice(self._coming, number - len(self._drawn))
        return list(self._drawn)

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> Any:
        return self._drawn.pop(0) if self._drawn else next(self._coming)

    def close(self) -> None:
        """Ends the threads and processes that make batches."""
        self._coming.close()


@dataclasses.dataclass(frozen=True)
class Resumed:
    """Where a run goes on.

    Attributes:
        start: Updates that were taken before.
        state: The state after them; None: a fresh one.
        is_over: Whether no step is left to take, so that no batch need be drawn.
    """

    start: int = 0
    state: TrainState | None = None
    is_over: bool = False


def begin(
    run: Run,
    folder: Path | None = None,
    *,
    resume: Callable[[], Resumed] = Resumed,
    cached: dict[str, Examples] | None = None,
) -> Started:
    """Does all that comes before the first step of a run.

    In this order, so that a mistake shows before anything is compiled: the checks of
    training, the newest checkpoint, the first batch, what is "auto", a fresh state,
    cached features.

    Args:
        run: Run returned by prepare.
        folder: The run's folder, where unreadable images are listed. None: they are
            not listed.
        resume: Called after the checks; says where the run goes on.
        cached: Splits whose features are computed, where they are cached; None: all.

    Raises:
        UserError: A choice that is not allowed, or an unreadable image.
    """
    check_training(run)
    resumed = resume()
    start, state = resumed.start, resumed.state
    batches = Batches(run, folder, start)
    try:
        of_data = [*run.dataset.remarks, *run.task.remarks(run.config.task)]
        begin_time = time.perf_counter()
        if not resumed.is_over:
            batches.draw(1)
        seconds = time.perf_counter() - begin_time
        if seconds > SLOW_SECONDS:
            of_data.append(
                f"The first batch took {seconds:.1f} s; images that are kept in memory "
                "are decoded before it."
            )
        run, remarks = memory.resolve_auto(run)
        remark = backends.remark(run.config.ops, run.mesh.size)
        remarks = [*ignored.lines(run.config), *remarks, *filter(None, [remark])]
        if state is None:
            state = init_state(run)
        else:
            state = state.replace(skips=state.skips.resumed(run.max_skips))
        if run.config.cache_features:
            batches.close()
            run = feature_cache.cached(run, state, folder, cached)
            batches = Batches(run, folder, start)
    except BaseException:
        batches.close()
        raise
    return Started(run, state, start, batches, [*of_data, *remarks])


@memory.uncollected()
def start_phase(
    run: Run, state: TrainState, step: int
) -> tuple[TrainState, jax.stages.Compiled, compilation.Compilation]:
    """What the phase that begins after `step` updates needs.

    Returns:
        The state, extended by what is trained from there on; the compiled step; how
        its compilation went.
    """
    state = run.extend_optimizer_state(state, step)
    compiled, compile_time = compilation.timed(
        functools.partial(run.compile_train_step, state, step)
    )
    memory.give_back()
    return state, compiled, compile_time


@memory.uncollected()
def init_state(run: Run) -> TrainState:
    """The state before the first step, on the devices."""
    variables = initial.evaluate(run.init, run.keys[0], lambda result: result[1])
    imprint = models.imprint(run.model)
    if imprint is not None:
        key = jax.random.fold_in(run.keys[0], 1)
        images = feed.some_images(run, _NUM_IMPRINTED)
        images = augment.normalise(images, run.info.mean, run.info.std)
        variables = imprint(variables, images, key)
    if run.start is not None:
        variables = run.start.fill(variables)
    # Also on the host, where nothing is compiled for it, and weights were filled in.
    state = initial.evaluate(run.create_state(0), jax.device_get(variables))
    return jax.device_put(state, run.layout.shardings(state, run.mesh))
