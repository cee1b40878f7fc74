"""What went wrong in a step whose loss or gradients are not finite.

The step is taken once more, from the state before it and with the same batch, key and
augmentation, and each layer is looked at.
"""

import contextlib
from pathlib import Path
from typing import Any

from flax import linen as nn
from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.data.examples import Examples, path_of
from jaxcnn.errors import DivergedError
from jaxcnn.training import feed, intercept, nonfinite
from jaxcnn.training import step as step_lib
from jaxcnn.training.run import Run
from jaxcnn.training.state import TrainState

_MAX_NAMED = 5  # examples


def check(
    run: Run, state: TrainState, folder: Path | None, *, variables: bool = False
) -> None:
    """Waits for the state, and raises DivergedError where a step has failed.

    Args:
        run: The run.
        state: Its newest state.
        folder: The run's folder, where unreadable images are listed. None: they are
            not listed.
        variables: Whether every parameter and statistic must be finite, too: an update
            that is too large shows in the loss of the next step only.
    """
    if state.skips.failed(run.max_skips):
        raise DivergedError(explain(run, state, folder))
    if variables and not _all_finite((state.variables, state.average)):
        flat = traverse_util.flatten_dict(state.variables["params"], sep="/")
        lost = [path for path, x in flat.items() if not _all_finite(x)]
        raise DivergedError(
            f"After step {int(state.step)} {lost[0] if lost else 'an average'} is not "
            f"finite. {_advice(run, state)}"
        )


_all_finite = jax.jit(nonfinite.all_finite)


def explain(run: Run, state: TrainState, folder: Path | None) -> str:
    """One line: the step, the first layer that went wrong, the examples of the batch.

    Args:
        run: The run.
        state: The state before the step that failed.
        folder: The run's folder, where unreadable images are listed. None: they are
            not listed.
    """
    step = int(state.step)
    indices = feed.train_indices(run, step)
    # The examples that are wrong by themselves are named, if some are.
    what, wrong = "its loss or gradients are not finite", np.zeros(len(indices), bool)
    if jax.process_count() == 1:
        what, wrong = _replayed(run, jax.device_get(state), folder)
    examples = run.dataset.splits["train"]
    chosen = indices[wrong] if 0 < wrong.sum() < len(wrong) else indices
    kind = "its batch" if len(chosen) == len(indices) else "those"
    return (
        f"Step {step + 1} failed: {what}; {kind}: training examples "
        f"{_named(examples, chosen)}. {_advice(run, state)}"
    )


def _named(examples: Examples, indices: np.ndarray) -> str:
    names = [path_of(examples, int(i)) or str(int(i)) for i in indices[:_MAX_NAMED]]
    more = len(indices) - _MAX_NAMED
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


def _advice(run: Run, state: TrainState) -> str:
    if state.loss_scale:
        return "compute_dtype='bfloat16' has a wider range than float16."
    advice = "A lower optim.peak_lr, a warm-up or optim.clip_norm may help"
    if run.config.nan_policy == "skip":
        return f"{advice}; {run.config.nan_patience} such steps in a row were skipped."
    return f"{advice}; nan_policy='skip' skips single steps."


def _replayed(
    run: Run, state: TrainState, folder: Path | None
) -> tuple[str, np.ndarray]:
    """What went wrong, and bool [B], the examples that are wrong by themselves."""
    step = int(state.step)
    with contextlib.closing(feed.host_batches(run, folder, step)) as batches:
        batch = next(batches)
    names: list[str] = []

    def note(method: Any, args: Any, kwargs: Any, context: Any) -> Any:
        result = method(*args, **kwargs)
        if context.method_name == "__call__":
            names.append("/".join(context.module.path))
        return result

    choices = {
        "model": run.model,
        "task": run.task,
        "aux_weight": run.config.task.aux_weight,
        "precision": run.precision,
    }

    @jax.jit
    def look(variables: Any, batch: Any, key: jax.Array) -> Any:
        batch, dropout_key = step_lib.prepared(batch, key, np.int32(step), run.augment)
        trained = run.trained(step)
        with intercept.frozen_as_in_evaluation(variables["params"], trained):
            with nn.intercept_methods(note):
                output, seen = run.precision.apply(
                    run.model,
                    variables,
                    batch["image"],
                    train=True,
                    mutable=["batch_stats", "intermediates"],
                    capture_intermediates=True,
                    rngs={"dropout": dropout_key},
                )

            def loss(params: Any) -> jax.Array:
                given = {**variables, "params": params}
                return step_lib.batch_loss(given, batch, dropout_key, **choices)[0]

            gradients = jax.grad(loss)(variables["params"])
        calls = traverse_util.flatten_dict(seen.get("intermediates", {}), sep="/")
        inputs = [_finite_rows(x) for x in jax.tree.leaves(batch)]
        losses = step_lib.example_losses(run.task, step_lib.widened(output), batch)
        return (
            {path: nonfinite.all_finite(value) for path, value in calls.items()},
            [jnp.isfinite(losses), *inputs],
            jax.tree.map(nonfinite.all_finite, gradients),
        )

    calls, rows, gradients = jax.device_get(look(state.variables, batch, run.keys[1]))
    right = np.all(rows, axis=0)
    order = {name: i for i, name in reversed(list(enumerate(names)))}
    wrong = [
        layer
        for path, finite in calls.items()
        if not finite and (layer := path.removesuffix("__call__").rstrip("/")) in order
    ]
    if not np.all(rows[1:]):
        return "an image or a target is not finite", ~np.all(rows[1:], axis=0)
    if wrong:
        first = min(wrong, key=order.__getitem__)
        return f"the output of {first or 'the network'} is not finite", ~right
    if not right.all():
        return "the loss is not finite, though the network's output is", ~right
    flat = traverse_util.flatten_dict(gradients, sep="/")
    lost = [path for path, finite in flat.items() if not finite]
    if lost:
        layer = max(
            (p.rpartition("/")[0] for p in lost), key=lambda n: order.get(n, -1)
        )
        return f"the gradient of {layer} is not finite, though the loss is", ~right
    return "the gradients are too large for their norm", ~right


def _finite_rows(x: jax.Array) -> jax.Array:
    """Whether each example has only finite numbers, bool [B]."""
    return jnp.isfinite(x.reshape(len(x), -1)).all(axis=1)
