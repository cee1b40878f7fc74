"""What went wrong in a step whose loss or gradients are not finite.

The step is taken once more, on one device, from the state before it and with the same
batch, key, augmentation and micro-batches, and each layer is looked at.
"""

from collections.abc import Callable
import contextlib
from pathlib import Path
from typing import Any

from flax import linen as nn
from flax import struct, traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcnn.data.examples import Examples, path_of
from jaxcnn.errors import DivergedError
from jaxcnn.training import feed, intercept, nonfinite
from jaxcnn.training import state as state_lib
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
    if jax.process_count() == 1 and run.layout.norm_axis is None:
        try:
            what, wrong = _replayed(run, jax.device_get(state), folder)
        except Exception as error:  # often memory; what is known is said all the same
            why = " ".join(str(error).split())[:200]
            what += f" (it cannot be taken again: {type(error).__name__}: {why})"
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
    batch, dropout_key = jax.jit(
        lambda batch, key: step_lib.prepared(batch, key, np.int32(step), run.augment)
    )(batch, run.keys[1])
    look, names = _looks(run, state, step)
    num_examples, count = len(batch["image"]), run.num_micro_batches
    right_inputs, right = np.ones((2, num_examples), bool)
    calls: dict[str, bool] = {}
    loss, gradients, batch_stats = 0.0, None, state.batch_stats
    for index in range(count):  # as in accumulate.py
        key = jax.random.fold_in(dropout_key, index) if count > 1 else dropout_key
        part = jax.tree.map(lambda x, start=index: x[start::count], batch)
        found = look(state.params, batch_stats, part, key)
        batch_stats = found.batch_stats
        right_inputs[index::count] = found.inputs
        right[index::count] = found.inputs & found.losses
        calls = {path: calls.get(path, True) and ok for path, ok in found.calls.items()}
        loss += float(found.loss) / count
        mean = jax.tree.map(lambda g: g / count, found.gradients)
        if gradients is not None:
            mean = jax.tree.map(jnp.add, gradients, mean)
        gradients = mean

    order = {name: i for i, name in reversed(list(enumerate(names)))}
    wrong = [
        layer
        for path, finite in calls.items()
        if not finite and (layer := path.removesuffix("__call__").rstrip("/")) in order
    ]
    if not right_inputs.all():
        return "an image or a target is not finite", ~right_inputs
    if wrong:
        first = min(wrong, key=order.__getitem__)
        return f"the output of {first or 'the network'} is not finite", ~right
    if not right.all():
        return "the loss is not finite, though the network's output is", ~right
    if not np.isfinite(loss):
        return "the loss is not finite, though that of each example is", ~right
    flat = traverse_util.flatten_dict(gradients, sep="/")
    lost = [path for path, gradient in flat.items() if not _all_finite(gradient)]
    if lost:
        layer = max(
            (p.rpartition("/")[0] for p in lost), key=lambda n: order.get(n, -1)
        )
        return f"the gradient of {layer} is not finite, though the loss is", ~right
    if not jnp.isfinite(optax.tree.norm(gradients)):
        return "the gradients are too large for their norm", ~right
    return "its loss or gradients were not finite; taken once more, they are", ~right


class _Seen(struct.PyTreeNode):
    """What a part of a batch makes of a network.

    Attributes:
        calls: Path of a module -> whether its output is finite.
        inputs: Whether each example is finite, [b].
        losses: Whether the loss of each example is finite, [b].
        loss: The loss, [].
        gradients: Its gradients.
        batch_stats: The new running statistics.
    """

    calls: dict[str, jax.Array]
    inputs: jax.Array
    losses: jax.Array
    loss: jax.Array
    gradients: Any
    batch_stats: Any


def _looks(
    run: Run, state: TrainState, step: int
) -> tuple[Callable[..., _Seen], list[str]]:
    """look(params, batch_stats, part of the batch, key of dropout), and the paths of
    the modules in the order of their calls, once it was called."""
    names: list[str] = []
    trained = run.trained(step)
    remat = intercept.recomputed_blocks if run.config.remat else contextlib.nullcontext
    scale = state.loss_scale.scale if state.loss_scale else 1

    def note(method: Any, args: Any, kwargs: Any, context: Any) -> Any:
        result = method(*args, **kwargs)
        if context.method_name == "__call__":
            names.append("/".join(context.module.path))
        return result

    @jax.jit
    def look(params: Any, batch_stats: Any, batch: Any, key: jax.Array) -> _Seen:
        def loss(part: Any) -> tuple[jax.Array, Any]:
            whole = part if trained is None else state_lib.merge(params, part)
            with remat():
                value, new, _ = step_lib.batch_loss(
                    {"params": whole, "batch_stats": batch_stats},
                    batch,
                    key,
                    model=run.model,
                    task=run.task,
                    aux_weight=run.config.task.aux_weight,
                    precision=run.precision,
                )
            return value * scale, (value, new)

        with intercept.frozen_as_in_evaluation(params, trained):
            with nn.intercept_methods(note):
                output, seen = run.precision.apply(
                    run.model,
                    {"params": params, "batch_stats": batch_stats},
                    batch["image"],
                    train=True,
                    mutable=["batch_stats", "intermediates"],
                    capture_intermediates=True,
                    rngs={"dropout": key},
                )
            part = params if trained is None else state_lib.select(params, trained)
            gradients, (value, new) = jax.grad(loss, has_aux=True)(part)
        calls = traverse_util.flatten_dict(seen.get("intermediates", {}), sep="/")
        inputs = [_finite_rows(x) for x in jax.tree.leaves(batch)]
        losses = step_lib.example_losses(run.task, step_lib.widened(output), batch)
        return _Seen(
            calls={path: nonfinite.all_finite(value) for path, value in calls.items()},
            inputs=jnp.all(jnp.array(inputs), axis=0),
            losses=jnp.isfinite(losses),
            loss=value,
            gradients=jax.tree.map(lambda g: g / scale, gradients),
            batch_stats=new,
        )

    return look, names


def _finite_rows(x: jax.Array) -> jax.Array:
    """Whether each example has only finite numbers, bool [B]."""
    return jnp.isfinite(x.reshape(len(x), -1)).all(axis=1)
