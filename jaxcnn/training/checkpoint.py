"""Checkpoints of a run: Orbax with this project's rules.

The newest ones are kept and the best by one validation metric. A checkpoint holds the
whole TrainState; its step is its position in the data, so there is nothing else to
save. Orbax writes it under a temporary name and renames it, so that a killed save
leaves nothing that looks like a checkpoint.
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
    """The checkpoints of a run that goes on; close it to wait for the last save.

    Args:
        directory: Made if it does not exist; what a killed save left is removed.
        keep: How many of the newest are kept, besides the best.
        metric: Of the metrics saved with a checkpoint, the one that says which is best.
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
                    # Or those without metrics would never be deleted.
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        ),
        cleanup_tmp_directories=True,
    )


def find_step(checkpointer: Checkpointer, which: str, metric: Metric) -> int:
    """The step of a checkpoint: "latest", "best" (the later of equals) or a number.

    Raises:
        UserError: There is none, or not that one.
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
                f"No checkpoint in {checkpointer.directory} was validated yet, so none "
                f"is best; --checkpoint=latest takes the newest, of step {max(steps)}."
            )

        def goodness(step: int) -> tuple[float, int]:
            return metric.goodness(steps[step][metric.name]), step

        return max(measured, key=goodness)
    if which.isdecimal() and int(which) in steps:
        return int(which)
    raise errors.UserError(
        f"No checkpoint {which!r} in {checkpointer.directory}; "
        f"there are best, latest, {', '.join(map(str, sorted(steps)))}."
    )


def save(
    checkpointer: Checkpointer,
    step: int,
    state: Any,
    metrics: dict[str, float] | None = None,
    validations: Sequence[Mapping[str, float]] = (),
) -> None:
    """Starts to save; the error of a save shows at the next one, or at close.

    A step that was saved before is left as it is: its numbers are the same.

    Args:
        checkpointer: From open_checkpoints.
        step: Updates so far.
        state: All that a resumed run needs.
        metrics: Of the validation after this step, where there was one.
        validations: Metrics of all validations so far, for validations().
    """
    checkpointer.wait()  # raises what went wrong with the one before
    if step not in {c.step for c in checkpointer.checkpoints}:
        checkpointer.save_async(
            step,
            state,
            force=True,
            metrics=metrics,
            custom_metadata={"validations": [dict(values) for values in validations]},
        )


def validations(checkpointer: Checkpointer, step: int) -> list[dict[str, float]]:
    """Metrics of all validations that were saved with a checkpoint.

    They go back to the start of the run, whichever checkpoints are deleted since.
    """
    return (checkpointer.metadata(step).custom_metadata or {}).get("validations", [])


def restore(checkpointer: Checkpointer, step: int, target: Any) -> Any:
    """The whole checkpoint of a step, as the arrays that target describes.

    Args:
        checkpointer: From open_checkpoints.
        step: Of a checkpoint that exists.
        target: Pytree of jax.ShapeDtypeStruct with shardings.

    Raises:
        UserError: It does not fit target, with the leaves that are missing, extra or
            of another shape; or it cannot be read.
    """
    return _restore(checkpointer, step, target, whole=True)


def load_part(directory: Path, which: str, metric: Metric, target: Any) -> Any:
    """A part of a checkpoint, such as the model's variables, and its step.

    Args:
        directory: The checkpoints of a run, which may be going on.
        which: As in find_step, or "mean:K", the mean of the newest K.
        metric: As in open_checkpoints.
        target: Pytree of jax.ShapeDtypeStruct with shardings: the part.

    Returns:
        (step, arrays as target describes them).

    Raises:
        UserError: As restore and find_step do.
    """
    if not directory.is_dir():
        raise errors.UserError(f"No checkpoint in {directory} yet.")
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
    """The steps that "mean:K" means, the newest first."""
    steps = sorted((c.step for c in checkpointer.checkpoints), reverse=True)
    count = which.removeprefix("mean:")
    if not (count.isdecimal() and 1 <= int(count) <= len(steps)):
        raise errors.UserError(
            f"--checkpoint={which}: {checkpointer.directory} has {len(steps)} "
            "checkpoints, so mean:K takes a K from 1 to as many; keep_checkpoints says "
            "how many a run keeps."
        )
    return steps[: int(count)]


def _restore(checkpointer: Checkpointer, step: int, target: Any, *, whole: bool) -> Any:
    path = checkpointer.directory / str(step)
    try:
        saved = checkpointer.metadata(step).metadata
        if saved is None:  # what Orbax gives where it cannot read the metadata
            raise OSError("its metadata is damaged")
        saved = _shapes(saved)
        wanted = _shapes(target)
        if not whole:
            saved = {leaf: saved[leaf] for leaf in saved.keys() & wanted.keys()}
        _check_fit(str(path), saved, wanted)
        return checkpointer.load(step, target)
    except errors.UserError:
        raise
    except Exception as error:  # Orbax raises many kinds for damaged files
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise errors.UserError(
            f"Checkpoint {path} cannot be read ({why[:200]}); remove the folder to go "
            "on from the one before."
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
    kinds = {"missing": missing, "extra": extra, "of another shape": other}
    if any(kinds.values()):
        found = "; ".join(f"{k}: {', '.join(v)}" for k, v in kinds.items() if v)
        raise errors.UserError(f"Checkpoint {name} does not fit the model. {found}.")
