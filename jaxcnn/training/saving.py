"""The checkpoints of a run that trains: saved, read back, kept and deleted.

A run keeps the newest checkpoints and the best one by a validation metric. Orbax
writes each under a temporary name and then renames it, so an interrupted save leaves
nothing that looks like a checkpoint. It is read back after that, and older ones are
deleted only then. One that is not what was saved is renamed to STEP.corrupt, and the
one before it is used.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
import contextlib
import dataclasses
import itertools
import json
from pathlib import Path
import shutil
import time
from typing import Any, NamedTuple

import jax
from orbax.checkpoint import v1 as ocp

from jaxcnn import whole_files
from jaxcnn.tasks import Metric
from jaxcnn.training import checkpoint, digests, storage
from jaxcnn.training.checkpoint import CORRUPT, CorruptError, Record, signed

_DELETED, _UNFINISHED = ".deleted", ".orbax-checkpoint-tmp"


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
    with checkpoint.silent_orbax(), ThreadPoolExecutor(1, "read back") as thread:
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


class _Saving(NamedTuple):
    """A save that has been started."""

    step: int
    response: Any  # of Orbax
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
        for step in checkpoint.steps_in(self.directory):
            try:
                self.records[step] = checkpoint.read_record(self.directory / str(step))
            except CorruptError as error:
                self._set_aside(step, error)

    def newest(self, target: Callable[[int], Any]) -> tuple[Record, Any] | None:
        """The newest good checkpoint and its state; None: nothing was ever saved.

        Args:
            target: Called with a step; a pytree of jax.ShapeDtypeStruct with shardings.

        Raises:
            CorruptError: There were checkpoints, and none of them is good.
            UserError: The newest does not fit the target.
        """
        while self.records:
            step = max(self.records)
            with contextlib.suppress(CorruptError):  # it is set aside, with a message
                return self.records[step], self.restore(step, target(step))
        if any(self.directory.glob(f"*{CORRUPT}")):
            raise CorruptError(
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
            restored = checkpoint.restore(
                self.directory / str(step), self.records[step], target
            )
        except CorruptError as error:
            self._set_aside(step, error)
            raise
        self._verified.add(step)
        return restored

    def _set_aside(self, step: int, error: CorruptError) -> None:
        checkpoint.silence_lost_tasks()
        if jax.process_count() > 1:  # all processes must agree; a person decides
            raise error
        self.records.pop(step, None)
        path = self.directory / str(step)
        names = itertools.chain(
            [CORRUPT],
            (f"{CORRUPT}{i}" for i in itertools.count(2)),
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
        return checkpoint.best_step(self.records, self._metric)

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
            custom_metadata=signed(record),
        )
        target = jax.tree.map(checkpoint.empty, state)
        reading = self.thread.submit(self._read_back, record, response, target)
        num_bytes = sum(x.nbytes for x in jax.tree.leaves(target))
        self._saving = _Saving(step, response, reading, num_bytes)

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
        if jax.process_index() == 0:
            file = self.directory / str(step) / checkpoint.METADATA
            values = json.loads(file.read_text()) | {"custom_metadata": signed(record)}
            whole_files.write_text(file, json.dumps(values))
        self.records[step] = record

    def _read_back(self, record: Record, response: Any, target: Any) -> Record:
        """Waits for a save, and compares it with what was to be saved."""
        response.result()
        if jax.process_count() == 1:
            path = self.directory / str(record.step)
            if signed(checkpoint.read_record(path)) != signed(record):
                raise CorruptError(f"Checkpoint {path} reads back otherwise.")
            checkpoint.restore(path, record, target)
        return record

    def wait(self) -> None:
        """Waits for the last save, and deletes the checkpoints that it replaces.

        Raises:
            StorageError: It could not be written, or is not what was to be saved; or
                it could not be read back, and stays.
        """
        if self._saving is None:
            return
        saving, self._saving = self._saving, None
        path = self.directory / str(saving.step)
        size = saving.num_bytes
        try:
            saving.response.result()
        except Exception as error:  # Orbax raises many types
            self._failed = saving.step
            why = storage.cause(error)
            if why is None:
                raise
            raise storage.failure(path, why, self.safe, size) from error
        try:
            record = saving.reading.result()
        except CorruptError as error:
            self._failed = saving.step
            raise storage.failure(path, str(error), self.safe, size) from error
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
        checkpoint.silence_lost_tasks()
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


def _delete(path: Path) -> None:
    """Deletes a checkpoint such that a killed run does not leave a part of it."""
    if jax.process_index() == 0:
        deleted = path.rename(path.with_suffix(_DELETED))
        shutil.rmtree(deleted)
