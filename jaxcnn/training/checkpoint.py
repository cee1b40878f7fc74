"""Checkpoints of a run, saved by Orbax.

A run keeps the newest checkpoints and the best one by a validation metric. A checkpoint
contains the whole TrainState. The step determines the position in the data, so nothing
else needs to be saved. Orbax writes a checkpoint under a temporary name and then
renames it, so an interrupted save leaves nothing that looks like a checkpoint.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from jaxcnn import errors
from jaxcnn.tasks import Metric

Checkpointer = ocp.training.Checkpointer


def open_checkpoints(directory: Path, *, keep: int, metric: Metric) -> Checkpointer:
    """Opens the checkpoints of a run for writing; close it to wait for the last save.

    Args:
        directory: Folder of the checkpoints. It is created if needed; remains of an
            interrupted save are removed.
        keep: Number of newest checkpoints to keep, in addition to the best.
        metric: Validation metric that determines the best checkpoint.
    """
    policies = ocp.training.preservation_policies
    return Checkpointer(
        directory.absolute(),
        preservation_policy=policies.AnyPreservationPolicy(
            [
                policies.LatestN(keep),
                policies.BestN(
                    get_metric_fn=lambda metrics: metric.goodness(metrics[metric.name]),
                    n=1,
                    # Otherwise checkpoints without metrics would never be deleted.
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        ),
        cleanup_tmp_directories=True,
    )


def find_step(checkpointer: Checkpointer, which: str, metric: Metric) -> int:
    """Finds the step of "latest", "best" (the last of equals) or a step's number.

    Raises:
        UserError: There is no such checkpoint.
    """
    steps = {c.step: c.metrics for c in checkpointer.checkpoints}
    if not steps:
        raise errors.UserError(f"No checkpoint in {checkpointer.directory} yet.")
    if which == "latest":
        return max(steps)
    if which == "best":
        measured = [step for step, metrics in steps.items() if metrics]
        if not measured:
            raise errors.UserError(
                f"No checkpoint in {checkpointer.directory} has been validated yet, so "
                f"there is no best; --checkpoint=latest is step {max(steps)}."
            )

        def goodness(step: int) -> tuple[float, int]:
            return metric.goodness(steps[step][metric.name]), step

        return max(measured, key=goodness)
    if which.isdecimal() and int(which) in steps:
        return int(which)
    raise errors.UserError(
        f"No checkpoint {which!r} in {checkpointer.directory}; "
        f"available: best, latest, {', '.join(map(str, sorted(steps)))}."
    )


def save(
    checkpointer: Checkpointer,
    step: int,
    state: Any,
    metrics: dict[str, float] | None = None,
    validations: Sequence[Mapping[str, float]] = (),
) -> None:
    """Starts an asynchronous save; its errors are raised by the next save or by close.

    A step that has already been saved is not saved again, since its numbers would be
    the same.

    Args:
        checkpointer: Checkpointer returned by open_checkpoints.
        step: Number of updates so far.
        state: State of the run, everything that it needs to resume.
        metrics: Metrics of the validation after this step, if there was one.
        validations: Metrics of all validations so far, returned by validations().
    """
    checkpointer.wait()  # raises the error of the previous save
    if step not in {c.step for c in checkpointer.checkpoints}:
        checkpointer.save_async(
            step,
            state,
            force=True,
            metrics=metrics,
            custom_metadata={"validations": [dict(values) for values in validations]},
        )


def validations(checkpointer: Checkpointer, step: int) -> list[dict[str, float]]:
    """Returns the metrics of all validations that were saved with a checkpoint.

    They go back to the start of the run, even if earlier checkpoints have been deleted.
    """
    return (checkpointer.metadata(step).custom_metadata or {}).get("validations", [])


def restore(checkpointer: Checkpointer, step: int, target: Any) -> Any:
    """Loads a whole checkpoint into the arrays that the target describes.

    Args:
        checkpointer: Checkpointer returned by open_checkpoints.
        step: Step of an existing checkpoint.
        target: Pytree of jax.ShapeDtypeStruct with shardings.

    Raises:
        UserError: The checkpoint cannot be read, or does not fit the target; then the
            error lists leaves that are missing, extra or have the wrong shape.
    """
    return _restore(checkpointer, step, target, whole=True)


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
        UserError: There is no such checkpoint, see find_step, or it cannot be loaded,
            see restore.
    """
    if not directory.is_dir():
        raise errors.UserError(f"No checkpoint in {directory} yet.")
    which = str(which)  # a step may be a number
    context = ocp.Context()
    context.pytree.loading.partial_load = True
    with Checkpointer(directory.absolute(), context=context) as checkpointer:
        if not which.startswith("mean:"):
            step = find_step(checkpointer, which, metric)
            return step, _restore(checkpointer, step, target, whole=False)
        newest = _newest(checkpointer, which)
        parts = [_restore(checkpointer, s, target, whole=False) for s in newest]
        mean = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *parts)
        return newest[0], mean


def _newest(checkpointer: Checkpointer, which: str) -> list[int]:
    """Returns the steps of "mean:K", newest first."""
    steps = sorted((c.step for c in checkpointer.checkpoints), reverse=True)
    count = which.removeprefix("mean:")
    if not (count.isdecimal() and 1 <= int(count) <= len(steps)):
        raise errors.UserError(
            f"--checkpoint={which}: {checkpointer.directory} has {len(steps)} "
            f"checkpoints, so K must be from 1 to {len(steps)}; keep_checkpoints sets "
            "how many a run keeps."
        )
    return steps[: int(count)]


def _restore(checkpointer: Checkpointer, step: int, target: Any, *, whole: bool) -> Any:
    path = checkpointer.directory / str(step)
    try:
        saved = checkpointer.metadata(step).metadata
        if saved is None:  # Orbax returns None if it cannot read the metadata
            raise OSError("its metadata is damaged")
        saved = _shapes(saved)
        wanted = _shapes(target)
        if not whole:
            saved = {leaf: saved[leaf] for leaf in saved.keys() & wanted.keys()}
        _check_fit(str(path), saved, wanted)
        return checkpointer.load(step, target)
    except errors.UserError:
        raise
    except Exception as error:  # Orbax raises many types for damaged files
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise errors.UserError(
            f"Checkpoint {path} cannot be read ({why[:200]}); remove the folder to "
            "resume from the previous checkpoint."
        ) from error


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape)
        for path, leaf in leaves
    }


def _check_fit(
    name: str,
    saved: dict[str, tuple[int, ...]],
    wanted: dict[str, tuple[int, ...]],
) -> None:
    missing = sorted(wanted.keys() - saved.keys())
    extra = sorted(saved.keys() - wanted.keys())
    other = [
        f"{leaf} {saved[leaf]} instead of {wanted[leaf]}"
        for leaf in sorted(saved.keys() & wanted.keys())
        if saved[leaf] != wanted[leaf]
    ]
    kinds = {"missing": missing, "extra": extra, "wrong shape": other}
    if any(kinds.values()):
        differences = "; ".join(f"{k}: {', '.join(v)}" for k, v in kinds.items() if v)
        raise errors.UserError(
            f"Checkpoint {name} does not fit the model. {differences}."
        )
