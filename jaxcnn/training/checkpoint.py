"""A checkpoint in its folder: what it says of itself, and its arrays, checked.

A checkpoint contains the whole TrainState. The step determines the position in the
data, so nothing else needs to be saved. It is good if its arrays have the digests that
were taken of the state before it was saved; no other is ever loaded.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import functools
import logging
import math
from pathlib import Path
import sys
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from jaxcnn import errors
from jaxcnn.tasks import Metric
from jaxcnn.training import digests, storage

METADATA = "_CHECKPOINT_METADATA"  # Orbax's file
CORRUPT = ".corrupt"  # the end of the name of one that is set aside


class CorruptError(errors.StorageError):
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
def silent_orbax() -> Iterator[None]:
    """Keeps Orbax from reporting, with tracebacks, errors that it raises as well."""
    loggers = [logging.getLogger(name) for name in (None, "absl")]
    for logger in loggers:
        logger.addFilter(_is_other)
    hook = sys.unraisablehook
    sys.unraisablehook = functools.partial(_report_other, hook)
    try:
        yield
    except BaseException:
        silence_lost_tasks()
        raise
    else:
        sys.unraisablehook = hook
    finally:
        for logger in loggers:
            logger.removeFilter(_is_other)


def silence_lost_tasks() -> None:
    """Orbax's tasks go on for a moment after an error, and fail without being asked;
    asyncio would log that at any time later."""
    logging.getLogger("asyncio").addFilter(_is_other)


def _is_other(record: logging.LogRecord) -> bool:
    """Whether a record is neither Orbax's nor of its tasks."""
    return "orbax" not in record.pathname and record.name != "asyncio"


def _report_other(hook: Callable[[Any], None], unraisable: Any) -> None:
    """Reports with a hook what is not of a lost task, whose event loop is closed."""
    if "Event loop is closed" not in str(unraisable.exc_value):
        hook(unraisable)


def signed(record: Record) -> dict[str, Any]:
    return digests.signed(dataclasses.asdict(record))


def steps_in(directory: Path) -> list[int]:
    """The steps of the checkpoints in a folder, ascending, corrupt ones among them."""
    names = (path.name for path in directory.glob("*") if path.is_dir())
    return sorted(int(name) for name in names if name.isdecimal())


def read_record(path: Path) -> Record:
    """What the checkpoint in a folder says of itself.

    Raises:
        CorruptError: It cannot be read, or has been altered.
    """
    try:
        values = ocp.metadata(path).custom_metadata
    except Exception as error:  # Orbax raises many types for damaged files
        storage.check_readable(path, error)
        raise _corrupt(path, _first_line(error)) from error
    if not digests.is_intact(values):
        raise _corrupt(path, f"{METADATA} has been altered")
    record = Record(**{f.name: values[f.name] for f in dataclasses.fields(Record)})
    if str(record.step) != path.name:
        raise _corrupt(path, f"it is that of step {record.step}")
    return record


def _corrupt(path: Path, why: str) -> CorruptError:
    return CorruptError(f"Checkpoint {path} is corrupt ({why}).")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]


def restore(path: Path, record: Record, target: Any, *, whole: bool = True) -> Any:
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
        storage.check_readable(path, error)
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
        storage.check_readable(path, error)
        raise _corrupt(path, _first_line(error)) from error
    return restore(path, record, jax.tree.map(empty, tree))


def empty(x: Any) -> np.ndarray:
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
        records = {}
        for step in steps:
            with _unless_deleted(directory, {step}):
                records[step] = read_record(directory / str(step))
        best = best_step(records, metric)
        if best is None:
            raise errors.UserError(
                f"No validation in {directory} has given a number yet, so there is no "
                f"best checkpoint; --checkpoint=latest is step {max(steps)}."
            )
        return best
    named = {str(step): step for step in steps}
    if which in named:
        return named[which]
    raise errors.UserError(
        f"No checkpoint {errors.shown(which)} in {directory}; "
        f"available: best, latest, {', '.join(map(str, steps))}."
    )


def best_step(records: Mapping[int, Record], metric: Metric) -> int | None:
    """The step of the best checkpoint, the last of equals; None: none has a number."""
    values = {
        step: record.metrics[metric.name]
        for step, record in records.items()
        if record.metrics and not math.isnan(record.metrics[metric.name])
    }
    return max(values, key=lambda s: (metric.goodness(values[s]), s), default=None)


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
    with silent_orbax():
        return _load(directory.absolute(), str(which), metric, target)


def _load(directory: Path, which: str, metric: Metric, target: Any) -> Any:
    while True:
        if which.startswith("mean:"):
            steps = _newest(directory, which)
        else:
            steps = [find_step(directory, which, metric)]
        with _unless_deleted(directory, {*steps}):
            parts = [_load_part(directory / str(step), target) for step in steps]
            mean = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *parts)
            return steps[0], mean if len(parts) > 1 else parts[0]


@contextlib.contextmanager
def _unless_deleted(directory: Path, steps: set[int]) -> Iterator[None]:
    """Passes over a CorruptError if the run has deleted one of the steps meanwhile."""
    try:
        yield
    except CorruptError:
        if steps <= {*steps_in(directory)}:
            raise


def _load_part(path: Path, target: Any) -> Any:
    return restore(path, read_record(path), target, whole=False)


def _newest(directory: Path, which: str) -> list[int]:
    """Returns the steps of "mean:K", newest first."""
    steps = steps_in(directory)[::-1]
    count = which.removeprefix("mean:")
    if count not in map(str, range(1, len(steps) + 1)):
        raise errors.UserError(
            f"--checkpoint={which[:80]}: {directory} has {len(steps)} "
            f"checkpoints, so K must be from 1 to {len(steps)}; keep_checkpoints sets "
            "how many a run keeps."
        )
    return steps[: int(count)]
