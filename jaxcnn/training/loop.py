"""The training loop, and the run around it."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import functools
import itertools
import math
from pathlib import Path
import time
from typing import Any, Protocol

import jax

from jaxcnn.config import Config
from jaxcnn.tasks import METRICS
from jaxcnn.training import (
    checkpoint,
    compilation,
    early_stopping,
    feature_cache,
    hosts,
    loss_scale,
    micro_batch,
    profile,
    setup,
    workdir,
)
from jaxcnn.training.meter import Meter
from jaxcnn.training.signals import StopRequest
from jaxcnn.training.state import TrainState

_MAX_STEPS_AHEAD = 2  # of the device: bounds the batches that wait in its memory


def train(
    state: TrainState,
    batches: Iterator[Any],
    key: jax.Array,
    *,
    step: Callable[..., tuple[TrainState, Any]],
    num_steps: int,
    after_step: Callable[[int, TrainState, Any], bool],
) -> TrainState:
    """Trains from state.step until num_steps updates, or until after_step says stop.

    Args:
        state: A fresh state, or the one that the newest checkpoint held.
        batches: Those that follow state.step. The order of data depends on seed and
            step alone, so a run that was stopped and started again is the same run,
            bit for bit.
        key: Key of the whole run; step folds the step number into it.
        step: Compiled step(state, batch, key), which consumes its state.
        num_steps: Updates of the whole run, those before a resume included.
        after_step: Called as after_step(number, state, metrics) for logging,
            evaluation and saving; returns True to stop. Reading metrics waits for
            the device, so it does that rarely.
    """
    numbers = range(int(state.step) + 1, num_steps + 1)
    running = deque()
    for number, batch in zip(numbers, batches, strict=False):
        with jax.profiler.StepTraceAnnotation("train", step_num=number):
            state, metrics = step(state, batch, key)
        running.append(metrics)
        if len(running) > _MAX_STEPS_AHEAD:
            jax.block_until_ready(running.popleft())
        if after_step(number, state, metrics):
            break
    return state


class Writer(Protocol):
    """Where the numbers of a run go."""

    def begin(self, run: setup.Setup, first_step: int) -> None:
        """Takes what a run is going to do, before the step after first_step."""

    def say(self, line: str) -> None:
        """Takes a line about how the run goes on, for people to read."""

    def write(self, split: str, step: int, values: Mapping[str, float]) -> None:
        """Takes the values of a split after a step: "train", "validation", "test",
        "validation_average" of the average of the parameters, and "compile" of the
        compilation of what comes next."""

    def close(self) -> None:
        """Makes sure that all of it is on disk."""


@dataclasses.dataclass(frozen=True)
class Result:
    """How a run ended.

    Attributes:
        step: Updates taken in all.
        stopped_by: Number of the signal that stopped it; None when it is done.
        best_step: Step of the best checkpoint; None before the first validation.
        validation: Metrics of the best checkpoint, single numbers; None without one.
        test: Metrics of the best checkpoint on the test split; None without one, or
            when the run was stopped.
        stopped_early: Validations without a better value that ended the run before
            its last step; None if none did.
        seconds: Of this call, from the first batch to the last save.
        data_wait: Share of the training time spent waiting for data.
    """

    step: int
    stopped_by: int | None
    best_step: int | None
    validation: dict[str, float] | None
    test: dict[str, Any] | None
    stopped_early: int | None
    seconds: float
    data_wait: float


def steps_of(every_epochs: float, steps_per_epoch: float, num_steps: int) -> set[int]:
    """The first step at or after each multiple of every_epochs, and the last step."""
    every = every_epochs * steps_per_epoch
    # Floats: three times 0.1 epochs of ten steps is 3.0000000000000004.
    due = (math.ceil(k * every - 1e-6) for k in range(1, int(num_steps / every) + 1))
    return {*due, num_steps}


def fit(
    config: Config,
    folder: str | Path,
    *,
    make_writer: Callable[[Path, int, int], Writer],
    measure_test: bool = True,
    profile_steps: profile.Steps | None = None,
) -> Result:
    """Trains, or goes on with, the run in a folder; then tests its best checkpoint.

    Args:
        config: Of the run; where the folder holds one already, with the same numbers.
        folder: The run's folder, made if it does not exist.
        make_writer: Called as make_writer(folder, start step, number of steps).
        measure_test: Whether to test; a search must not see how runs do there.
        profile_steps: (first, stop): the steps first to stop - 1, counted from 1, are
            traced into the run's folder; None: none.

    Raises:
        UserError: A mistake in config, data or folder: before anything is compiled.
            An image that is found unreadable later on.
        FloatingPointError: The loss is no longer finite.
    """
    folder = Path(folder)
    config = workdir.settled(folder, config)
    workdir.check(folder, config)
    run = setup.prepare(config, workdir.begun(folder))
    run.check_training()
    if profile_steps is not None:
        profile.check(profile_steps, run.num_steps)
    if config.cache_features:
        feature_cache.check(run)
    workdir.check(folder, config, run.info)
    with (
        hosts.named_failure(),
        StopRequest() as stop,
        checkpoint.open_checkpoints(
            folder / workdir.CHECKPOINTS,
            keep=config.keep_checkpoints,
            metric=METRICS[config.best_metric],
        ) as checkpoints,
        contextlib.closing(
            profile.Profiler(folder / workdir.PROFILE, profile_steps)
        ) as profiler,
    ):
        return _fit(run, folder, checkpoints, stop, make_writer, measure_test, profiler)


def _fit(
    run: setup.Setup,
    folder: Path,
    checkpoints: checkpoint.Checkpointer,
    stop: StopRequest,
    make_writer: Callable[[Path, int, int], Writer],
    measure_test: bool,
    profiler: profile.Profiler,
) -> Result:
    config = run.config
    start = 0 if checkpoints.latest is None else checkpoints.latest.step
    validations = []
    if start:
        state = checkpoint.restore(checkpoints, start, run.state_shapes(start))
        validations = checkpoint.validations(checkpoints, start)
    over = early_stopping.is_over(config, validations)
    batches = run.train_batches(folder, start)
    # The first batch is drawn before anything is compiled: it may show a mistake.
    first = [] if over else list(itertools.islice(batches, 1))
    run, lines = micro_batch.settle(run)
    config = run.config
    if not start:
        state = run.init_state()
    if hosts.is_first():
        workdir.write(folder, config, run.info)
    if config.cache_features:
        batches.close()
        run = feature_cache.cached(run, state, folder)
        batches = run.train_batches(folder, start)
        first = []
    evaluate, finish_average = run.evaluator(folder), run.averager(folder)
    begin = time.perf_counter()
    meter = Meter(start, run.num_steps, config.data.batch_size)
    eval_steps = steps_of(config.eval_every_epochs, run.steps_per_epoch, run.num_steps)

    def log(number: int, metrics: Any) -> None:
        values = {name: float(x) for name, x in metrics.items()}
        check_loss(number, values["loss"])
        check_scale(number, values)
        values["epoch"] = number / run.steps_per_epoch
        values["learning_rate"] = float(run.schedule(number - 1))
        writer.write("train", number, values | meter.read(number))

    def validate(number: int, state: TrainState) -> tuple[TrainState, dict[str, float]]:
        """The state with all that its average needs, and the metrics that choose."""
        split, measured = "validation", scalars(evaluate("validation", state.variables))
        if run.average is not None:
            writer.write(split, number, measured)
            state = finish_average(state)
            measured = scalars(evaluate("validation", state.average))
            split = "validation_average"
        validations.append(measured)
        since = {}
        if config.early_stopping_patience is not None:
            since["since_best"] = early_stopping.since_best(config, validations)
        writer.write(split, number, measured | since)
        return state, measured

    stopping = False

    def after_step(number: int, state: TrainState, metrics: Any) -> bool:
        nonlocal stopping
        stop.poll(number)
        if number % config.log_every_steps == 0 or number == run.num_steps:
            log(number, metrics)
        measured = None
        with meter.paused():
            profiler.reached(number, state)
            if number in eval_steps:
                state, measured = validate(number, state)
            extra = config.save_every_steps
            due = extra is not None and number % extra == 0
            if measured or due or stop.received:
                checkpoint.save(checkpoints, number, state, measured, validations)
        over = measured is not None and early_stopping.is_over(config, validations)
        stopping = over or stop.received is not None
        return stopping

    with (
        contextlib.closing(batches),
        contextlib.closing(make_writer(folder, start, run.num_steps)) as writer,
    ):
        writer.begin(run, start)
        for line in lines:
            writer.say(line)
        timed = meter.wait_for(itertools.chain(first, batches))
        for before, after in () if over else run.phases(start):
            if config.data.image_size_stages:
                writer.say(
                    f"step {before}: images of {run.image_size(before)} pixels from "
                    "here on, for which the step is compiled"
                )
            with meter.paused():
                state = run.enter(state, before)
                step, compiled = compilation.timed(
                    functools.partial(run.compile_train_step, state, before)
                )
                writer.write("compile", before, compiled.values)
                profiler.reached(before, state)
            state = train(
                state,
                timed,
                run.run_key,
                step=step,
                num_steps=after,
                after_step=after_step,
            )
            if stopping:
                break
        checkpoints.wait()
        seconds = time.perf_counter() - begin
        best, validation, test = _test_best(
            run, checkpoints, evaluate, measure_test and stop.received is None
        )
        if test is not None:
            writer.write("test", best, scalars(test))
    number = int(state.step)
    over = number < run.num_steps and early_stopping.is_over(config, validations)
    return Result(
        step=number,
        stopped_by=stop.received,
        best_step=best,
        validation=validation,
        test=test,
        stopped_early=early_stopping.since_best(config, validations) if over else None,
        seconds=seconds,
        data_wait=meter.data_wait,
    )


def _test_best(
    run: setup.Setup,
    checkpoints: checkpoint.Checkpointer,
    evaluate: Callable[[str, Any], dict[str, Any]],
    measure_test: bool,
) -> tuple[int | None, dict[str, float] | None, dict[str, Any] | None]:
    """(step of the best checkpoint, its metrics on validation and test split)."""
    validated = {c.step: c.metrics for c in checkpoints.checkpoints if c.metrics}
    if not validated:
        return None, None, None
    metric = METRICS[run.config.best_metric]
    best = checkpoint.find_step(checkpoints, "best", metric)
    if not measure_test or "test" not in run.dataset.splits:
        return best, validated[best], None
    state = checkpoint.restore(checkpoints, best, run.state_shapes(best))
    return best, validated[best], evaluate("test", state.averaged)


def check_loss(number: int, loss: float) -> None:
    """Raises FloatingPointError unless the loss of a step is finite."""
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"The loss of step {number} is {loss}; a lower optim.peak_lr, a warm-up or "
            "optim.clip_norm may help."
        )


def check_scale(number: int, values: Mapping[str, float]) -> None:
    """Raises FloatingPointError where no scale of the loss helps float16."""
    skipped = not math.isfinite(values["grad_norm"])
    if skipped and values.get("loss_scale") == loss_scale.SMALLEST:
        raise FloatingPointError(
            f"The gradients of step {number} do not fit into float16 with any scale of "
            "the loss; compute_dtype='bfloat16' has a wider range."
        )


def scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The metrics that are one number, without those of each class."""
    return {k: value for k, value in metrics.items() if isinstance(value, float)}
