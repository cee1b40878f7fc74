"""Checkpoints of a run, saved by Orbax and checked by us.

A run keeps the newest checkpoints and the best one by a validation metric. A checkpoint
contains the whole TrainState. The step determines the position in the data, so nothing
else needs to be saved. Orbax writes a checkpoint under a temporary name and then
renames it, so an interrupted save leaves nothing that looks like a checkpoint.

A checkpoint is good if its arrays have the digests that were taken of the state before
it was saved. Each is read back after the save, and older ones are deleted only after
that. One that is not good is renamed to STEP.corrupt, and the one before it is used.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
import contextlib
import dataclasses
import itertools
import json
import logging
from pathlib import Path
import shutil
import time
from typing import Any, NamedTuple

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from jaxcnn import errors
from jaxcnn.tasks import Metric
from jaxcnn.training import digests, storage

_METADATA = "_CHECKPOINT_METADATA"  # Orbax's file
CORRUPT, _DELETED, _UNFINISHED = ".corrupt", ".deleted", ".orbax-checkpoint-tmp"


class CorruptError(errors.UserError):
    """A checkpoint that is not what was saved. Its text names it and says why."""


@dataclasses.dataclass(frozen=True)
class Record:
    """What a checkpoint says of itself.

    Attributes:
        step: Number of updates.
        metrics: Metrics of the validation after this step; None if there was none.
        validations: Metrics of all validations so far, back to the start of the run,
            even if earlier checkpoints have been deleted.
        leaves: (dtype, shape, SHA-256) of each leaf of the state, by its path.
    """

    step: int
    metrics: dict[str, float] | None
    validations: list[dict[str, float]]
    leaves: dict[str, list[Any]]


@contextlib.contextmanager
def open_checkpoints(
    directory: Path, *, keep: int, metric: Metric
) -> Iterator["Checkpoints"]:
    """Opens the checkpoints of a run for writing; leaving it waits for the last save.

    Args:
        directory: Folder of the checkpoints. It is created if needed; remains of an
            interrupted save are removed.
        keep: Number of newest checkpoints to keep, in addition to the best.
        metric: Validation metric that determines the best checkpoint.
    """
    if jax.process_index() == 0:
        for path in directory.glob(f"*{_DELETED}"):
            shutil.rmtree(path)
    with _silent_orbax(), ThreadPoolExecutor(1, "read back") as thread:
        checkpoints = Checkpoints(directory.absolute(), keep, metric, thread)
        checkpoints.checkpointer = ocp.training.Checkpointer(
            checkpoints.directory, cleanup_tmp_directories=True
        )
        try:
            yield checkpoints
        finally:
            try:
                checkpoints.wait()
            finally:
                checkpoints.close()


@contextlib.contextmanager
def _silent_orbax() -> Iterator[None]:
    """Keeps Orbax from logging the errors, with tracebacks, that it raises as well."""
    loggers = [logging.getLogger(name) for name in (None, "absl")]
    for logger in loggers:
        logger.addFilter(_is_other)
    try:
        yield
    except BaseException:
        _silence_lost_tasks()
        raise
    finally:
        for logger in loggers:
            logger.removeFilter(_is_other)


def _silence_lost_tasks() -> None:
    """Orbax's tasks go on for a moment after an error, and fail without being asked;
    asyncio would log that at any time later."""
    logging.getLogger("asyncio").addFilter(_is_other)


def _is_other(record: logging.LogRecord) -> bool:
    """Whether a record is neither Orbax's nor of its tasks."""
    return "orbax" not in record.pathname and record.name != "asyncio"


class _Saving(NamedTuple):
    """A save that has been started."""

    step: int
    reading: Future[Record]
    num_bytes: int


class Checkpoints:
    """The checkpoints of a run that is training.

    Attributes:
        directory: Their folder.
        records: Records of the checkpoints that are not corrupt, by step.
        messages: Messages about corrupt checkpoints, one each.
        checkpointer: Orbax's, which writes them.
        thread: Thread in which they are read back.
    """

    checkpointer: ocp.training.Checkpointer

    def __init__(
        self, directory: Path, keep: int, metric: Metric, thread: ThreadPoolExecutor
    ) -> None:
        self.directory, self.thread = directory, thread
        self.records: dict[int, Record] = {}
        self.messages: list[str] = []
        self._keep, self._metric = keep, metric
        self._verified: set[int] = set()
        self._saving: _Saving | None = None
        self._failed: int | None = None
        for step in steps_in(self.directory):
            try:
                self.records[step] = read_record(self.directory / str(step))
            except CorruptError as error:
                self._set_aside(step, error)

    def newest(self, target: Callable[[int], Any]) -> tuple[Record, Any] | None:
        """The newest good checkpoint and its state; None: nothing was ever saved.

        Args:
            target: Called with a step; a pytree of jax.ShapeDtypeStruct with shardings.

        Raises:
            UserError: There were checkpoints, and none of them is good; or the newest
                does not fit the target.
        """
        while self.records:
            step = max(self.records)
            with contextlib.suppress(CorruptError):  # it is set aside, with a message
                return self.records[step], self.restore(step, target(step))
        if any(self.directory.glob(f"*{CORRUPT}")):
            raise errors.UserError(
                f"No checkpoint in {self.directory} can be read: "
                f"{'; '.join(self.messages) or f'all are set aside as *{CORRUPT}'}. "
                "Start the run anew in another --workdir."
            )
        return None

    def restore(self, step: int, target: Any) -> Any:
        """Loads a whole checkpoint into the arrays that the target describes.

        Raises:
            CorruptError: The checkpoint is not what was saved. It has been set aside.
            UserError: It does not fit the target: the error lists the leaves that are
                missing, extra or have the wrong shape.
        """
        try:
            restored = _restore(self.directory / str(step), self.records[step], target)
        except CorruptError as error:
            self._set_aside(step, error)
            raise
        self._verified.add(step)
        return restored

    def _set_aside(self, step: int, error: CorruptError) -> None:
        _silence_lost_tasks()
        if jax.process_count() > 1:  # all processes must agree; a person decides
            raise error
        self.records.pop(step, None)
        path = self.directory / str(step)
        names = itertools.chain(
            [CORRUPT], (f"{CORRUPT}{i}" for i in itertools.count(2))
        )
        aside = next(a for a in map(path.with_suffix, names) if not a.exists())
        path.rename(aside)
        self.messages.append(f"{error} It is set aside as {aside.name}.")

    def has(self, step: int) -> bool:
        """Whether a step has been saved, or is being saved."""
        saving = self._saving is not None and self._saving.step == step
        return saving or step in self.records

    def best(self) -> int | None:
        """The step of the best checkpoint, the last of equals; None: none has
        metrics."""
        return best_step(self.records, self._metric)

    def save(
        self,
        step: int,
        state: Any,
        metrics: dict[str, float] | None = None,
        validations: Sequence[Mapping[str, float]] = (),
    ) -> None:
        """Starts an asynchronous save; its errors are raised by the next save or wait.

        A step that has already been saved is not saved again, since its numbers would
        be the same.

        Args:
            step: Number of updates so far.
            state: State of the run, everything that it needs to resume.
            metrics: Metrics of the validation after this step, if there was one.
            validations: Metrics of all validations so far.
        """
        self.wait()
        if self.has(step):
            return
        record = Record(
            step, metrics, [dict(v) for v in validations], digests.of_leaves(state)
        )
        response = self.checkpointer.save_async(
            step,
            state,
            force=True,
            custom_metadata=_signed(record),
        )
        target = jax.tree.map(_empty, state)
        reading = self.thread.submit(self._read_back, record, response, target)
        num_bytes = sum(x.nbytes for x in jax.tree.leaves(target))
        self._saving = _Saving(step, reading, num_bytes)

    def add_metrics(
        self,
        step: int,
        metrics: dict[str, float],
        validations: Sequence[Mapping[str, float]],
    ) -> None:
        """Adds the metrics of a checkpoint that was saved before it was validated.

        Args:
            step: Step of the checkpoint.
            metrics: Metrics of the validation after this step.
            validations: Metrics of all validations so far.
        """
        record = dataclasses.replace(
            self.records[step], metrics=metrics, validations=[*map(dict, validations)]
        )
        file = self.directory / str(step) / _METADATA
        values = json.loads(file.read_text()) | {"custom_metadata": _signed(record)}
        unfinished = file.with_suffix(".tmp")
        unfinished.write_text(json.dumps(values))
        unfinished.replace(file)
        self.records[step] = record

    def _read_back(self, record: Record, response: Any, target: Any) -> Record:
        """Waits for a save, and compares it with what was to be saved."""
        response.result()
        if jax.process_count() == 1:
            path = self.directory / str(record.step)
            if _signed(read_record(path)) != _signed(record):
                raise CorruptError(f"Checkpoint {path} reads back otherwise.")
            _restore(path, record, target)
        return record

    def wait(self) -> None:
        """Waits for the last save, and deletes the checkpoints that it replaces.

        Raises:
            StorageError: It could not be written, or is not what was to be saved.
        """
        if self._saving is None:
            return
        saving, self._saving = self._saving, None
        path = self.directory / str(saving.step)
        try:
            record = saving.reading.result()
        except Exception as error:  # Orbax raises many types
            self._failed = saving.step
            why = storage.cause(error)
            if why is None and not isinstance(error, CorruptError):
                raise
            raise storage.failure(
                path, why or str(error), self.safe, saving.num_bytes
            ) from error
        self.records[saving.step] = record
        self._verified.add(saving.step)
        for old in self._replaced():
            del self.records[old]
            _delete(self.directory / str(old))

    def close(self) -> None:
        """Ends Orbax's threads, and removes what a save that has failed has left."""
        if self._failed is None:
            self.checkpointer.close()
            return
        with contextlib.suppress(Exception):  # the error of the save once more
            self.checkpointer.close()
        _silence_lost_tasks()
        path = self.directory / str(self._failed)
        for _ in range(5):
            time.sleep(0.2)
            for left in path, path.with_name(f"{path.name}{_UNFINISHED}"):
                shutil.rmtree(left, ignore_errors=True)

    @property
    def safe(self) -> str:
        """What is not lost, for messages."""
        if not self.records:
            return "No checkpoint has been saved yet."
        return f"The checkpoint of step {max(self.records)} is safe."

    def _replaced(self) -> list[int]:
        """Steps older than the newest ones that are good, but the best."""
        good = sorted(self._verified & self.records.keys(), reverse=True)
        if len(good) < self._keep:
            return []
        oldest, best = good[self._keep - 1], self.best()
        return [step for step in self.records if step < oldest and step != best]


def _signed(record: Record) -> dict[str, Any]:
    return digests.signed(dataclasses.asdict(record))


def steps_in(directory: Path) -> list[int]:
    """The steps of the checkpoints in a folder, ascending, corrupt ones among them."""
    names = (path.name for path in directory.glob("*") if path.is_dir())
    return sorted(int(name) for name in names if name.isdecimal())


def _delete(path: Path) -> None:
    """Deletes a checkpoint such that a killed run does not leave a part of it."""
    if jax.process_index() == 0:
        deleted = path.rename(path.with_suffix(_DELETED))
        shutil.rmtree(deleted)


def read_record(path: Path) -> Record:
    """What the checkpoint in a folder says of itself.

    Raises:
        CorruptError: It cannot be read, or has been altered.
    """
    try:
        values = ocp.metadata(path).custom_metadata
    except Exception as error:  # Orbax raises many types for damaged files
        raise _corrupt(path, _first_line(error)) from error
    if not digests.is_intact(values):
        raise _corrupt(path, f"{_METADATA} has been altered")
    record = Record(**{f.name: values[f.name] for f in dataclasses.fields(Record)})
    if str(record.step) != path.name:
        raise _corrupt(path, f"it is that of step {record.step}")
    return record


def _corrupt(path: Path, why: str) -> CorruptError:
    return CorruptError(f"Checkpoint {path} is corrupt ({why}).")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]


def _restore(path: Path, record: Record, target: Any, *, whole: bool = True) -> Any:
    """Loads a checkpoint, or a part of it, and checks it.

    Args:
        path: Its folder.
        record: Its record.
        target: Pytree of jax.ShapeDtypeStruct with shardings, or of NumPy arrays.
        whole: Whether the target must have every leaf.

    Raises:
        CorruptError: It cannot be read, or has been altered.
        UserError: It does not fit the target.
    """
    saved = {n: f"{dtype} {shape}" for n, (dtype, shape, _) in record.leaves.items()}
    wanted = {
        name: f"{x.dtype.name} {list(x.shape)}"
        for name, x in digests.leaf_names(target).items()
    }
    if not whole:
        saved = {name: saved[name] for name in saved.keys() & wanted.keys()}
    _check_fit(str(path), saved, wanted)
    context = ocp.Context()
    context.pytree.loading.partial_load = not whole
    try:
        with context:
            restored = ocp.load(path, target)
    except Exception as error:  # Orbax raises many types for damaged files
        raise _corrupt(path, _first_line(error)) from error
    for name, found in digests.of_leaves(restored).items():
        if found != record.leaves[name]:
            raise _corrupt(path, f"{name} has been altered")
    return restored


def _check_fit(
    name: str,
    saved: dict[str, str],
    wanted: dict[str, str],
) -> None:
    missing = sorted(wanted.keys() - saved.keys())
    extra = sorted(saved.keys() - wanted.keys())
    other = [
        f"{leaf} {saved[leaf]} instead of {wanted[leaf]}"
        for leaf in sorted(saved.keys() & wanted.keys())
        if saved[leaf] != wanted[leaf]
    ]
    kinds = {"missing": missing, "extra": extra, "different": other}
    if any(kinds.values()):
        differences = "; ".join(f"{k}: {', '.join(v)}" for k, v in kinds.items() if v)
        raise errors.UserError(
            f"Checkpoint {name} does not fit the model. {differences}."
        )


def load_all(path: Path) -> Any:
    """Loads the whole checkpoint in a folder, as NumPy arrays.

    Raises:
        CorruptError: It cannot be read, or has been altered.
    """
    record = read_record(path)
    try:
        tree = ocp.metadata(path).metadata
    except Exception as error:  # Orbax raises many types for damaged files
        raise _corrupt(path, _first_line(error)) from error
    return _restore(path, record, jax.tree.map(_empty, tree))


def _empty(x: Any) -> np.ndarray:
    return np.empty(x.shape, x.dtype)


def find_step(directory: Path, which: str, metric: Metric) -> int:
    """Finds the step of "latest", "best" (the last of equals) or a step's number.

    Raises:
        UserError: There is no such checkpoint.
    """
    steps = steps_in(directory)
    if not steps:
        raise errors.UserError(f"No checkpoint in {directory} yet.")
    if which == "latest":
        return max(steps)
    if which == "best":
        records = {step: read_record(directory / str(step)) for step in steps}
        best = best_step(records, metric)
        if best is None:
            raise errors.UserError(
                f"No checkpoint in {directory} has been validated yet, so there is no "
                f"best; --checkpoint=latest is step {max(steps)}."
            )
        return best
    if which.isdecimal() and int(which) in steps:
        return int(which)
    raise errors.UserError(
        f"No checkpoint {which!r} in {directory}; "
        f"available: best, latest, {', '.join(map(str, steps))}."
    )


def best_step(records: Mapping[int, Record], metric: Metric) -> int | None:
    """The step of the best checkpoint, the last of equals; None: none has metrics."""
    measured = {step: record.metrics for step, record in records.items()}

    def goodness(step: int) -> tuple[float, int]:
        return metric.goodness(measured[step][metric.name]), step

    return max((s for s in measured if measured[s]), key=goodness, default=None)


def load_part(directory: Path, which: str, metric: Metric, target: Any) -> Any:
    """Loads a part of a checkpoint, such as the model's variables.

    Args:
        directory: Folder of the checkpoints of a run, which may still be training.
        which: Name of a checkpoint, see find_step, or "mean:K", the mean of the newest
            K checkpoints.
        metric: Validation metric that determines the best checkpoint.
        target: Pytree of jax.ShapeDtypeStruct with shardings that describes the part.

    Returns:
        (step, arrays as described by the target).

    Raises:
        UserError: There is no such checkpoint, see find_step, it is corrupt, or it does
            not fit the target.
    """
    with _silent_orbax():
        return _load(directory.absolute(), str(which), metric, target)


def _load(directory: Path, which: str, metric: Metric, target: Any) -> Any:
    if which.startswith("mean:"):
        newest = _newest(directory, which)
        parts = [_load_part(directory / str(step), target) for step in newest]
        mean = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *parts)
        return newest[0], mean
    while True:
        step = find_step(directory, which, metric)
        try:
            return step, _load_part(directory / str(step), target)
        except CorruptError:
            if step in steps_in(directory):  # and not deleted by the run meanwhile
                raise


def _load_part(path: Path, target: Any) -> Any:
    return _restore(path, read_record(path), target, whole=False)


def _newest(directory: Path, which: str) -> list[int]:
    """Returns the steps of "mean:K", newest first."""
    steps = steps_in(directory)[::-1]
    count = which.removeprefix("mean:")
    if not (count.isdecimal() and 1 <= int(count) <= len(steps)):
        raise errors.UserError(
            f"--checkpoint={which}: {directory} has {len(steps)} "
            f"checkpoints, so K must be from 1 to {len(steps)}; keep_checkpoints sets "
            "how many a run keeps."
        )
    return steps[: int(count)]
