"""One step of training and of evaluation, as pure functions of their arguments."""

from collections.abc import Callable, Collection
import contextlib
import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxcnn.augment import content_keys, example_keys
from jaxcnn.tasks import Task, changes_inputs
from jaxcnn.training import accumulate, intercept, loss_scale
from jaxcnn.training import state as state_lib
from jaxcnn.training.averaging import Average
from jaxcnn.training.precision import FLOAT32, Precision, widened
from jaxcnn.training.state import TrainState

Batch = dict[str, Any]  # "image" uint8 [B, H, W, C] and the task's targets
Metrics = dict[str, jax.Array]  # name -> float32 []
Augment = Callable[[Batch, jax.Array], Batch]  # (batch, key of each example)
Normalise = Callable[[jax.Array], jax.Array]

NOT_FINITE = "outputs that are not finite"  # a sum of each evaluation


def train_step(
    state: TrainState,
    batch: Batch,
    key: jax.Array,
    *,
    model: nn.Module,
    tx: optax.GradientTransformation,
    task: Task,
    augment: Augment | None,
    aux_weight: float = 0.0,
    trained: Collection[str] | None = None,
    average: Average | None = None,
    num_micro_batches: int = 1,
    unroll: bool = False,
    remat: bool = False,
    max_skips: int = 0,
    precision: Precision = FLOAT32,
    axis_name: str | None = None,
) -> tuple[TrainState, Metrics]:
    """Applies one update and returns the new state and this batch's metrics.

    Args:
        state: State before the update.
        batch: The global batch under jit, one replica's share of it under pmap.
        key: Key of the whole run; step, example and replica are folded in here.
        model: Called as model(images, train=True).
        tx: Optimizer whose state is state.opt_state.
        task: Gives the loss of each example, and the metrics.
        augment: Changes a batch at random, with a key for each example, and normalises
            its images; None: the batch holds what the model takes.
        aux_weight: Weight of the loss of each output that an auxiliary head sows.
        trained: Paths of the parameters that are updated; None: all. Layer groups
            without one of them behave as in evaluation.
        average: Moves state.average; None: the run keeps none.
        num_micro_batches: Equal parts of the batch that pass forward and backward one
            after the other; their gradients are averaged. BatchNorm normalises each
            by itself, and its running statistics move with each.
        unroll: Whether they are written out one by one instead of in a loop: faster on
            a CPU, which computes convolutions within a loop slowly, but longer to
            compile.
        remat: Whether only what comes out of each block is kept for the backward pass.
        max_skips: Steps in a row whose loss or gradients may be not finite, see
            nonfinite.py. They change only their own number, the average, and the scale
            of the loss. Overflow that a smaller scale may help does not count.
        precision: Precision of the forward and backward pass. Parameters, statistics,
            loss and update keep the wider of its dtype and float32.
        axis_name: pmap axis to average over. None under jit, where the batch is
            already global.
    """
    batch, dropout_key = prepared(batch, key, state.step, augment, axis_name)
    part = state.params if trained is None else state_lib.select(state.params, trained)
    scale = state.loss_scale.scale if state.loss_scale else 1

    def loss_fn(
        part: Any, batch_stats: Any, batch: Batch, dropout_key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, jax.Array, Any]]:
        params = part if trained is None else state_lib.merge(state.params, part)
        with (
            intercept.frozen_as_in_evaluation(state.params, trained),
            intercept.recomputed_blocks() if remat else contextlib.nullcontext(),
        ):
            loss, batch_stats, output = batch_loss(
                {"params": params, "batch_stats": batch_stats},
                batch,
                dropout_key,
                model=model,
                task=task,
                aux_weight=aux_weight,
                precision=precision,
            )
        return loss * scale, (batch_stats, loss, output)

    grad_fn = functools.partial(jax.grad(loss_fn, has_aux=True), part)
    if num_micro_batches > 1:
        grad_fn = accumulate.accumulated(grad_fn, num_micro_batches, unroll)
    grads, (batch_stats, loss, output) = grad_fn(state.batch_stats, batch, dropout_key)
    if state.loss_scale:
        grads = jax.tree.map(lambda g: g / scale, grads)
    metrics = {"loss": loss} | task.train_metrics(output, batch)
    if axis_name is not None:
        metrics, grads, batch_stats = jax.lax.pmean(
            (metrics, grads, batch_stats), axis_name
        )

    metrics["grad_norm"] = optax.tree.norm(grads)
    finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])
    bad = ~finite
    if state.loss_scale:
        metrics["loss_scale"] = scale
        overflow = jnp.isfinite(metrics["loss"]) & (scale > loss_scale.SMALLEST)
        bad &= ~overflow  # a smaller scale of the loss may help
    skips = state.skips.after(bad, max_skips)

    updates, opt_state = tx.update(grads, state.opt_state, part)
    failed = skips.failed(max_skips)
    old = {
        "params": part,
        "batch_stats": state.batch_stats,
        "opt_state": state.opt_state,
    }
    new = {"params": optax.apply_updates(part, updates)}
    new |= {"batch_stats": batch_stats, "opt_state": opt_state}
    # One choice for both conditions, so that XLA compiles one for each array.
    new = _where(finite & ~failed, new, old)
    if trained is not None:
        new["params"] = state_lib.merge(state.params, new["params"])
    new_state = state.replace(**new, step=jnp.where(failed, state.step, state.step + 1))
    if state.loss_scale:
        moved = state.loss_scale.after(finite)
        new_state = new_state.replace(
            loss_scale=_where(~failed, moved, state.loss_scale)
        )
    if average is not None:
        moved = average(state.average, new_state.variables, state.step + 1)
        new_state = new_state.replace(average=_where(~failed, moved, state.average))
    if max_skips:
        metrics["skipped_steps"] = skips.total
    return new_state.replace(skips=skips), metrics


def _where(condition: jax.Array, new: Any, old: Any) -> Any:
    """Arrays of the one or the other tree, which have the same dtypes."""
    return jax.tree.map(functools.partial(jax.lax.select, condition), new, old)


def batch_loss(
    variables: dict[str, Any],
    batch: Batch,
    dropout_key: jax.Array,
    *,
    model: nn.Module,
    task: Task,
    aux_weight: float,
    precision: Precision,
) -> tuple[jax.Array, Any, Any]:
    """The mean loss of a batch in training.

    Args:
        variables: Parameters and running statistics.
        batch: The augmented and normalised batch.
        dropout_key: Key of dropout.
        model: The network, see train_step.
        task: Gives the loss of each example.
        aux_weight: Weight of the loss of each output that an auxiliary head sows.
        precision: Precision of the forward pass.

    Returns:
        The loss [], the new running statistics, and the task's output.
    """
    output, mutated = precision.apply(
        model,
        variables,
        batch["image"],
        train=True,
        mutable=["batch_stats", "intermediates"],
        rngs={"dropout": dropout_key},
    )
    output = widened(output)
    loss = jnp.mean(example_losses(task, output, batch))
    sown = mutated.get("intermediates", {}) if aux_weight else {}
    for aux_output in jax.tree.leaves(sown):
        loss += aux_weight * jnp.mean(example_losses(task, aux_output, batch))
    return loss, mutated.get("batch_stats", {}), output


def example_losses(task: Task, output: Any, batch: Batch) -> jax.Array:
    """The loss of each example, [B].

    Where two examples are mixed, see augment/mixing.py, the targets of the smaller
    part are batch["other"], and both losses count in the shares of the mixture.
    """
    loss = task.loss(output, batch)
    if "other" not in batch:
        return loss
    other, share = task.loss(output, {**batch, **batch["other"]}), batch["other_share"]
    return (1 - share) * loss + share * other


def prepared(
    batch: Batch,
    key: jax.Array,
    step: jax.Array,
    augment: Augment | None,
    axis_name: str | None = None,
) -> tuple[Batch, jax.Array]:
    """The augmented and normalised batch of a step, and its key of dropout."""
    num_examples = batch["image"].shape[0]
    replica = 0 if axis_name is None else jax.lax.axis_index(axis_name)
    augment_key, dropout_key = jax.random.split(key)
    indices = replica * num_examples + jnp.arange(num_examples)  # in the global batch
    if augment is not None:
        batch = augment(batch, example_keys(augment_key, step, indices))
    dropout_key = jax.random.fold_in(dropout_key, step)
    if axis_name is not None:  # or every replica would draw the same mask
        dropout_key = jax.random.fold_in(dropout_key, replica)
    return batch, dropout_key


def batch_statistics(
    step: jax.Array,
    key: jax.Array,
    variables: dict[str, Any],
    batch: Batch,
    *,
    model: nn.Module,
    augment: Augment,
    trained: Collection[str] | None = None,
    precision: Precision = FLOAT32,
) -> Any:
    """What BatchNorm sees of a batch in training, as the running statistics would be
    if they forgot all others; those of frozen layer groups stay.

    Args:
        step: int32 [], number of the step whose augmentation and dropout are drawn.
        key: Key of the whole run.
        variables: Parameters and running statistics.
        batch: The global batch, see train_step.
        model: A network whose normalisation is its field norm.
        augment: Changes the batch at random and normalises it, see train_step.
        trained: Paths of the parameters that are updated; None: all.
        precision: Precision of the forward pass.
    """
    batch, dropout_key = prepared(batch, key, step, augment)
    model = model.clone(norm=functools.partial(model.norm, momentum=0.0))
    with intercept.frozen_as_in_evaluation(variables["params"], trained):
        _, mutated = precision.apply(
            model,
            variables,
            batch["image"],
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": dropout_key},
        )
    return mutated["batch_stats"]


def forward(
    variables: dict[str, Any],
    images: jax.Array,
    *,
    model: nn.Module,
    normalise: Normalise | None,
    precision: Precision = FLOAT32,
) -> Any:
    """The task's output for images [B, H, W, C], with running statistics.

    Args:
        variables: Parameters and running statistics.
        images: uint8, or what the model takes where normalise is None.
        model: The network.
        normalise: Gives images zero mean and unit variance; None: they are as they are.
        precision: Precision of the forward pass.
    """
    if normalise is not None:
        images = normalise(images)
    return widened(precision.apply(model, variables, images, train=False))


def eval_step(
    variables: dict[str, Any],
    batch: Batch,
    *,
    model: nn.Module,
    task: Task,
    normalise: Normalise | None,
    precision: Precision = FLOAT32,
) -> dict[str, Any]:
    """What a batch adds to an evaluation, see eval_result."""
    batch = evaluated(batch, task)
    output = forward(
        variables, batch["image"], model=model, normalise=normalise, precision=precision
    )
    return eval_result(task, output, batch)


def evaluated(batch: Batch, task: Task) -> Batch:
    """The batch as the task changes it in evaluation, see Task.inputs.

    What it draws for an image depends on the image alone.
    """
    if not changes_inputs(task):
        return batch
    return task.inputs(batch, content_keys(batch["image"]))


def eval_result(task: Task, output: Any, batch: Batch) -> dict[str, Any]:
    """What a batch adds to an evaluation.

    Sums, not means: the caller divides once, after the last batch, so that a short last
    batch counts for exactly the examples in it.

    Returns:
        "sums", over the examples with batch["weight"] 1, since padding has 0; one of
        them, NOT_FINITE, is the number of outputs that are not finite;
        "records" of each example, [B, ...]; "weight" float [B].
    """
    finite = [
        jnp.isfinite(x).all(axis=tuple(range(1, x.ndim)))
        for x in jax.tree.leaves(output)
    ]
    lost = batch["weight"] * ~jnp.all(jnp.array(finite), axis=0)
    return {
        "sums": task.eval_sums(output, batch) | {NOT_FINITE: jnp.sum(lost)},
        "records": task.eval_records(output, batch),
        "weight": batch["weight"],
    }
