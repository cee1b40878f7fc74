"""A run from begin to end."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import functools
from pathlib import Path
import time
from typing import Any, Protocol

from jaxcnn import folders
from jaxcnn.config import Config
from jaxcnn.data.examples import Dataset
from jaxcnn.data.transforms import size_text
from jaxcnn.errors import UserError, unknown
from jaxcnn.training import (
    checkpoint,
    divergence,
    early_stopping,
    evaluation,
    given,
    hosts,
    lock,
    loop,
    prepare,
    profile,
    saving,
    storage,
    used,
    workdir,
)
from jaxcnn.training.begin import Resumed, Started, begin, start_phase
from jaxcnn.training.due import DueSteps
from jaxcnn.training.evaluation import Measured
from jaxcnn.training.meter import Meter
from jaxcnn.training.run import Run
from jaxcnn.training.signals import Stopped, StopRequest
from jaxcnn.training.state import TrainState


class RunLog(Protocol):
    """Where the numbers of a run go."""

    def begin(self, run: Run, first_step: int) -> None:
        """Takes what a run is going to do, before the step after first_step."""

    def say(self, line: str) -> None:
        """Prints a message about progress."""

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
        stopped_by: Number of the signal that stopped it; None: no signal did.
        stop_reason: Why it ended before its last step; None: it did not.
        best_step: Step of the best checkpoint; None before the first validation that
            gives a number.
        validation: Metrics of the best checkpoint, single numbers; None without one.
        test: Metrics of the best checkpoint on the test split; None without one, or
            when a signal stopped it.
        stopped_early: Validations without a better value that ended the run before
            its last step; None if none did.
        seconds: Time of this call, from the first batch to the last save.
        data_wait: Share of the training time spent waiting for data.
        history: Split -> what was written of it in this call, in order: the values and
            their "step".
    """

    step: int
    stopped_by: int | None
    stop_reason: str | None
    best_step: int | None
    validation: dict[str, float] | None
    test: dict[str, Any] | None
    stopped_early: int | None
    seconds: float
    data_wait: float
    history: dict[str, list[dict[str, float]]]


class Callback:
    """What is called during a run; a subclass overrides what it needs.

    In a run of several processes each of them calls it, and all must decide alike, or
    the run hangs.
    """

    def on_step(self, session: "Session", metrics: Mapping[str, Any]) -> None:
        """After each update; reading a metric waits for the device."""

    def on_validation(self, session: "Session", metrics: Mapping[str, float]) -> None:
        """After each validation, with its metrics, before the checkpoint."""

    def on_checkpoint(self, session: "Session") -> None:
        """After a save of the current step was started."""

    def on_end(self, session: "Session", result: Result) -> None:
        """After the last save and the test."""


def fit(
    config: Config,
    folder: str | Path,
    *,
    make_writer: Callable[[Path, int, int], RunLog],
    model: Any = None,
    dataset: Dataset | None = None,
    task: Any = None,
    callbacks: Sequence[Callback] = (),
    measure_test: bool = True,
    profile_steps: profile.Steps | None = None,
) -> Result:
    """Trains, or resumes, the run in a folder; then tests its best checkpoint.

    Args:
        config: The run's choices; where the folder holds a run already, with the same
            numbers.
        folder: The run's folder, made if it does not exist.
        make_writer: Called as make_writer(folder, start step, number of steps).
        model: A Linen module, or a class or function that gives one; None: the one
            that config.model names.
        dataset: The examples; None: those that config.data names.
        task: A task, or its class; None: the one that config.task names.
        callbacks: Called while the run goes on, one after the other.
        measure_test: Whether to test; a search must not see how runs do there.
        profile_steps: (first, stop): the steps first to stop - 1, counted from 1, are
            traced into the run's folder; None: none.

    Raises:
        UserError: A mistake in config, data or folder: before anything is compiled.
            An image that is found unreadable later on.
        FloatingPointError: A step's loss or gradients are not finite, see nonfinite.py.
    """
    _check_callbacks(callbacks)
    folder = Path(folder)
    folders.check_writable(folder, "The folder of the run")
    config = given.named(config, model=model, dataset=dataset, task=task)
    begun = workdir.begun(folder)
    existing = workdir.existing_run(folder)
    info = check_targets = None
    if existing is not None:
        old_config, info = existing
        config = workdir.resolve_auto(config, old_config)
        workdir.check_config(folder, old_config, config)
        if config.task != old_config.task:  # such as by another lexicon
            info = dataclasses.replace(info, statistics={})
        # Before what the task learned of the targets is used for others.
        check_targets = functools.partial(workdir.check_targets, folder, info.targets)
    run = prepare.prepare(
        config, info, dataset, model=model, task=task, check_targets=check_targets
    )
    if profile_steps is not None:
        profile.check(profile_steps, run.num_steps)
    if info is not None:
        workdir.check_dataset(folder, info, run.info)
    with contextlib.ExitStack() as stack:
        stack.enter_context(hosts.named_failure())
        if hosts.is_first():
            stack.enter_context(storage.named_failure(folder))
        session = Session(run, folder, stack, callbacks)
        try:
            session.begin(make_writer, profile_steps, begun)
        except Stopped as error:  # before the first step, nothing is there to save
            return session.stopped_before(error.number)
        session.train()
        return session.end(measure_test)


def _check_callbacks(callbacks: Any) -> None:
    """Raises UserError for what is no callback, or would never be called."""
    if not isinstance(callbacks, Sequence):
        raise UserError(f"callbacks must be a list, not {callbacks!r}.")
    known = [name for name in vars(Callback) if name.startswith("on_")]
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise UserError(
                f"Callbacks must be instances of jaxcnn.Callback, not {callback!r}."
            )
        for name in dir(callback):
            if name.startswith("on_") and name not in known:
                where = f"method of {type(callback).__name__}"
                raise unknown(where, name, known)


class Session:
    """A run in progress.

    After each update, in this order:

      1. callbacks: on_step, which may stop the run after this step;
      2. log: looks whether a step has failed, which ends the run; where the step is not
         logged, but measured or saved, that is looked at before it;
      3. validate: measures the state that is saved next, with which its metrics are
         kept;
      4. save: before the run may stop, so that a run that stops has lost no step;
      5. stop: for a signal, a callback, or early stopping, which counts this step's
         validation.

    Attributes:
        run: The parts of the run.
        folder: The run's folder.
        step: Updates so far.
        state: The state after them. The next step consumes its arrays: who wants to
            keep one copies it.
        batch: The batch of the last step, on the devices; None before the first.
        validations: Metrics of all validations so far.
        stop_reason: Why the run stops after this step; None: it goes on.
    """

    def __init__(
        self,
        run: Run,
        folder: Path,
        stack: contextlib.ExitStack,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.run, self.folder, self.step = run, folder, 0
        self.batch: dict[str, Any] | None = None
        self.validations: list[dict[str, float]] = []
        self.stop_reason: str | None = None
        self._remarks: list[str] = []
        self._stack, self._callbacks = stack, callbacks
        self._metric = run.task.metric(run.config.best_metric)
        self._stopping_rule = early_stopping.make_rule(run.config, run.task)
        self._signal = stack.enter_context(StopRequest())
        self._history: dict[str, list[dict[str, float]]] = {}

    def stop(self, reason: str) -> None:
        """Ends the run after this step, which is saved; the first reason counts."""
        self.stop_reason = self.stop_reason or reason

    # Before the first step.

    def begin(
        self,
        make_writer: Callable[[Path, int, int], RunLog],
        profile_steps: profile.Steps | None,
        begun: tuple[bytes, bool],
    ) -> None:
        """Does all that comes before the first step.

        Args:
            make_writer: See fit.
            profile_steps: See fit.
            begun: workdir.begun(folder) when its run was compared with this one.
        """
        run, stack = self.run, self._stack
        resume = functools.partial(self._resume, begun)
        with self._signal.interruptible():
            started = begin(run, self.folder, resume=resume)
        stack.enter_context(contextlib.closing(started.batches))
        self._adopt(started)
        if hosts.is_first():
            workdir.write(self.folder, self.run.config, self.run.info)
            used.write(self.folder, run.dataset.splits)
        profiler = profile.Profiler(self.folder / workdir.PROFILE, profile_steps)
        self._profiler = stack.enter_context(contextlib.closing(profiler))
        writer = make_writer(self.folder, self._start, self.run.num_steps)
        self._writer = stack.enter_context(contextlib.closing(writer))
        self._writer.begin(self.run, self._start)
        remarks = (*self._checkpoints.messages, *self._remarks, *started.remarks)
        for line in remarks:
            self._writer.say(line)

    def stopped_before(self, number: int) -> Result:
        """The result of a run that a signal stopped before its first step."""
        return Result(
            step=self.step,
            stopped_by=number,
            stop_reason=f"signal {number}",
            best_step=None,
            validation=None,
            test=None,
            stopped_early=None,
            seconds=0.0,
            data_wait=0.0,
            history={},
        )

    def _resume(self, begun: tuple[bytes, bool]) -> Resumed:
        """Opens the checkpoints, and takes the newest."""
        config, run = self.run.config, self.run
        if hosts.is_first():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._stack.enter_context(lock.locked(self.folder))
            if workdir.begun(self.folder) != begun:
                raise UserError(
                    f"Another run began in {self.folder} while this one started; "
                    "start it again."
                )
        self._checkpoints = self._stack.enter_context(
            saving.open_checkpoints(
                self.folder / workdir.CHECKPOINTS,
                keep=config.keep_checkpoints,
                metric=self._metric,
            )
        )
        newest = self._checkpoints.newest(run.state_shapes)
        if newest is None:
            if workdir.was_written(self.folder):
                self._remarks.append(
                    "The run in this folder has saved no checkpoint; it starts anew."
                )
            return Resumed()
        record, state = newest
        self.step = record.step
        self.validations = record.validations
        is_over = self._stopping_rule.is_over(self.validations)
        return Resumed(record.step, state, is_over)

    def _adopt(self, started: Started) -> None:
        self._started, run = started, started.run
        self.run, self.state, self.step = run, started.state, started.start
        self._start = started.start
        self._evaluate = evaluation.evaluator(run, self.folder)
        self._finish_average = evaluation.average_finisher(run, self.folder)
        self._begin_time = time.perf_counter()
        self._meter = Meter(started.start, run.num_steps, run.config.data.batch_size)
        self._eval_steps = DueSteps(
            run.config.eval_every_epochs * run.steps_per_epoch, run.num_steps
        )

    # The steps.

    def train(self) -> None:
        """Takes the steps that are left, phase by phase."""
        if self._start in self._eval_steps and not self._is_validated(self._start):
            self._validate_again()
        if self._stopping_rule.is_over(self.validations):
            self.stop("early stopping")
        batches = self._meter.wait_for(self._batches())
        for before, after in self.run.phases(self._start):
            if self.stop_reason is not None:
                break
            divergence.check(self.run, self.state, self.folder)
            step = self._start_phase(before)
            try:
                self.state = loop.train(
                    self.state,
                    batches,
                    self.run.run_key,
                    step=step,
                    ahead=loop.steps_ahead(step),
                    num_steps=after,
                    after_step=self._after_step,
                )
            except Stopped as error:  # while it waited for a batch
                self.stop(f"signal {error.number}")
                if not self._checkpoints.has(self.step) and self.step > 0:
                    divergence.check(self.run, self.state, self.folder, variables=True)
                    self._save(None)

    def _batches(self) -> Iterator[Any]:
        """The batches, each kept; a signal while one is waited for raises Stopped."""
        for batch in self._signal.each(self._started.batches):
            self.batch = batch
            yield batch

    def _is_validated(self, step: int) -> bool:
        return self._checkpoints.records[step].metrics is not None

    def _validate_again(self) -> None:
        """Validates the step that is resumed: a signal ended its validation."""
        measured = self._validate()
        if measured is not None:
            self._checkpoints.add_metrics(self.step, measured, self.validations)

    def _start_phase(self, step: int) -> Callable[..., tuple[TrainState, Any]]:
        """Compiles the step of the phase that begins after `step` updates."""
        if self.run.config.data.image_size_stages:
            self._writer.say(
                f"step {step}: images of {size_text(self.run.image_size(step))} pixels "
                "from here on, for which the step is compiled"
            )
        with self._meter.paused():
            self.state, compiled, compile_time = start_phase(self.run, self.state, step)
            self._write("compile", compile_time.values, step)
            self._profiler.reached(step, self.state)
        return compiled

    def _after_step(self, number: int, state: TrainState, metrics: Any) -> bool:
        """What follows an update; the class says in which order and why."""
        self.step, self.state = number, state
        if self._signal.poll(number) is not None:
            self.stop(f"signal {self._signal.received}")
        for callback in self._callbacks:
            callback.on_step(self, metrics)
        config, validates = self.run.config, number in self._eval_steps
        if number % config.log_every_steps == 0 or number == self.run.num_steps:
            self._log(metrics)
        every = config.save_every_steps
        saves = validates or (every is not None and number % every == 0)
        with self._meter.paused():
            self._profiler.reached(number, state)
            if saves or self.stop_reason is not None:
                divergence.check(self.run, self.state, self.folder, variables=True)
                self._save(self._validate() if validates else None)
        if validates and self._stopping_rule.is_over(self.validations):
            self.stop("early stopping")
        return self.stop_reason is not None

    def _log(self, metrics: Any) -> None:
        divergence.check(self.run, self.state, self.folder)
        values = {name: float(x) for name, x in metrics.items()}
        values["epoch"] = self.step / self.run.steps_per_epoch
        values["learning_rate"] = float(self.run.schedule(self.step - 1))
        self._write("train", values | self._meter.read(self.step))

    def _validate(self) -> dict[str, float] | None:
        """Validates; returns the metrics by which the best checkpoint is chosen.

        Also updates the average's running statistics. None: a signal came meanwhile;
        the validation is made up for when the run is resumed. That of stochastic weight
        averaging is finished, since it changes the state that is saved.
        """
        is_swa = self.run.config.average.name == "swa"
        try:
            with contextlib.nullcontext() if is_swa else self._signal.interruptible():
                measured = self._measure()
        except Stopped as error:
            self.stop(f"signal {error.number}")
            return None
        *others, (split, watched) = measured.items()
        for name, values in others:
            self._write(name, values)
        self.validations.append(watched)
        since = {}
        if self.run.config.early_stopping_patience is not None:
            since["since_best"] = self._stopping_rule.since_best(self.validations)
        self._write(split, watched | since)
        for callback in self._callbacks:
            callback.on_validation(self, watched)
        return watched

    def _measure(self) -> dict[str, dict[str, float]]:
        """Name in the log -> metrics, those by which the best is chosen last."""
        raw = self._evaluate("validation", self.state.variables).scalars
        if self.run.average is None:
            return {"validation": raw}
        self.state = self._finish_average(self.state)
        averaged = self._evaluate("validation", self.state.average).scalars
        return {"validation": raw, "validation_average": averaged}

    def _save(self, measured: dict[str, float] | None) -> None:
        self._checkpoints.save(self.step, self.state, measured, self.validations)
        for callback in self._callbacks:
            callback.on_checkpoint(self)

    def _write(
        self, split: str, values: Mapping[str, float], step: int | None = None
    ) -> None:
        step = self.step if step is None else step
        self._history.setdefault(split, []).append({"step": step, **values})
        self._writer.write(split, step, values)

    # After the last step.

    def end(self, measure_test: bool) -> Result:
        """Waits for the last save, and tests the best checkpoint."""
        self._checkpoints.wait()
        seconds = time.perf_counter() - self._begin_time
        measure_test = measure_test and self._signal.received is None
        best, validation, test = self._test_best(measure_test)
        if test is not None:
            self._write("test", test.scalars, best)
        is_early = self.step < self.run.num_steps and self._stopping_rule.is_over(
            self.validations
        )
        result = Result(
            step=self.step,
            stopped_by=self._signal.received,
            stop_reason=self.stop_reason if self.step < self.run.num_steps else None,
            best_step=best,
            validation=validation,
            test=None if test is None else test.metrics,
            stopped_early=self._stopping_rule.since_best(self.validations)
            if is_early
            else None,
            seconds=seconds,
            data_wait=self._meter.data_wait,
            history=self._history,
        )
        for callback in self._callbacks:
            callback.on_end(self, result)
        return result

    def _test_best(
        self, measure_test: bool
    ) -> tuple[int | None, dict[str, float] | None, Measured | None]:
        """(step of the best checkpoint, its validation metrics, those of the test)."""
        checkpoints = self._checkpoints
        while (best := checkpoints.best()) is not None:
            validation = checkpoints.records[best].metrics
            if not measure_test or "test" not in self.run.dataset.splits:
                return best, validation, None
            try:
                state = checkpoints.restore(best, self.run.state_shapes(best))
            except checkpoint.CorruptError:  # it is set aside; the next best is tested
                self._writer.say(checkpoints.messages[-1])
                continue
            try:
                with self._signal.interruptible():
                    return best, validation, self._evaluate("test", state.averaged)
            except Stopped:
                return best, validation, None
        return None, None, None
