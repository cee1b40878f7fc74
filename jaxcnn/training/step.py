"""One step of training and of evaluation, as pure functions of their arguments."""

from collections.abc import Callable, Collection, Iterator
import contextlib
import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxcnn import augment
from jaxcnn.tasks import Task
from jaxcnn.training import loss_scale
from jaxcnn.training import state as state_lib
from jaxcnn.training.averaging import Average
from jaxcnn.training.state import TrainState

Batch = dict[str, jax.Array]  # "image" uint8 [B, H, W, C] and the task's target
Metrics = dict[str, jax.Array]  # name -> float32 []
# Called with a batch and a key for each example: augment.augment_batch of a run.
Augmentation = Callable[[Batch, jax.Array], Batch]


def train_step(
    state: TrainState,
    batch: Batch,
    key: jax.Array,
    *,
    model: nn.Module,
    tx: optax.GradientTransformation,
    task: Task,
    augmentation: Augmentation | None,
    aux_weight: float = 0.0,
    trained: Collection[str] | None = None,
    average: Average | None = None,
    num_micro_batches: int = 1,
    unroll: bool = False,
    remat: bool = False,
    compute_dtype: jnp.dtype = jnp.float32,
    matmul_precision: str | None = None,
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
        augmentation: Random changes and the scale of images; each example has a key.
            None: the batch holds what the model takes.
        aux_weight: Of the losses of the logits that auxiliary heads sow.
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
        compute_dtype: Precision of the forward and backward pass. Parameters,
            statistics, loss and update keep the wider of it and float32. Where the
            state has a scale of the loss, a step whose gradients are not finite
            changes nothing but that and the number of steps.
        matmul_precision: Of the products of float32 numbers, "default" or "highest",
            as jax.default_matmul_precision takes it; None: as JAX is set.
        axis_name: pmap axis to average over. None under jit, where the batch is
            already global.
    """
    batch, dropout_key = _prepare(batch, key, state.step, augmentation, axis_name)
    part = state.params if trained is None else state_lib.select(state.params, trained)
    scale = state.loss_scale.scale if state.loss_scale else 1

    def loss_fn(
        part: Any, batch_stats: Any, batch: Batch, dropout_key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, jax.Array, jax.Array]]:
        params = part if trained is None else state_lib.merge(state.params, part)
        params = jax.tree.map(lambda p: p.astype(compute_dtype), params)
        with (
            frozen_as_in_evaluation(state.params, trained),
            recomputed_blocks() if remat else contextlib.nullcontext(),
            jax.default_matmul_precision(matmul_precision),
        ):
            logits, mutated = model.apply(
                {"params": params, "batch_stats": batch_stats},
                batch["image"].astype(compute_dtype),
                train=True,
                mutable=["batch_stats", "intermediates"],
                rngs={"dropout": dropout_key},
            )
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        loss = jnp.mean(task.loss(logits, batch))
        sown = mutated.get("intermediates", {}) if aux_weight else {}
        for aux_logits in jax.tree.leaves(sown):
            loss += aux_weight * jnp.mean(task.loss(aux_logits, batch))
        return loss * scale, (mutated.get("batch_stats", {}), loss, logits)

    grad_fn = functools.partial(jax.grad(loss_fn, has_aux=True), part)
    if num_micro_batches > 1:
        grad_fn = _accumulated(grad_fn, num_micro_batches, unroll)
    grads, (batch_stats, loss, logits) = grad_fn(state.batch_stats, batch, dropout_key)
    grads = jax.tree.map(lambda g: g / scale, grads)
    metrics = {"loss": loss} | task.train_metrics(logits, batch)
    if axis_name is not None:
        metrics, grads, batch_stats = jax.lax.pmean(
            (metrics, grads, batch_stats), axis_name
        )

    updates, opt_state = tx.update(grads, state.opt_state, part)
    part = optax.apply_updates(part, updates)
    new_state = state.replace(
        step=state.step + 1,
        params=part if trained is None else state_lib.merge(state.params, part),
        batch_stats=batch_stats,
        opt_state=opt_state,
    )
    metrics["grad_norm"] = optax.tree.norm(grads)
    if state.loss_scale:
        metrics["loss_scale"] = scale
        finite = loss_scale.all_finite(grads)
        new_state = _unless_skipped(finite, new_state, state)
    if average is not None:
        moved = average(state.average, new_state.variables, new_state.step)
        new_state = new_state.replace(average=moved)
    return new_state, metrics


def _accumulated(grad_fn: Callable, count: int, unroll: bool) -> Callable:
    """grad_fn(batch_stats, batch, key), as the mean over parts of the batch.

    Part i holds the examples i, i + count, i + 2 * count, ...: of any number of devices
    each has its share of every part, and no example moves.
    """

    def accumulated(batch_stats: Any, batch: Batch, key: jax.Array) -> Any:
        def split(x: jax.Array) -> jax.Array:
            return x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1)  # [count, b, ...]

        def add(carry: Any, part: Any) -> Any:
            total, batch_stats = carry
            # Or the compiler may work on several parts at once, in their memory.
            index, batch = part
            images = _after(total, batch["image"])
            grads, (batch_stats, *outputs) = grad_fn(
                batch_stats,
                {**batch, "image": images},
                jax.random.fold_in(key, index),
            )
            total = jax.tree.map(lambda t, g: t + g / count, total, grads)
            return (total, batch_stats), outputs

        parts = jnp.arange(count), jax.tree.map(split, batch)
        first = jax.tree.map(lambda x: x[0], parts[1])
        shapes, _ = jax.eval_shape(grad_fn, batch_stats, first, key)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        (grads, batch_stats), (losses, logits) = jax.lax.scan(
            add, (zeros, batch_stats), parts, unroll=unroll
        )
        logits = logits.swapaxes(0, 1).reshape(-1, *logits.shape[2:])  # [B, K]
        return grads, (batch_stats, jnp.mean(losses), logits)

    return accumulated


def _after(done: Any, x: jax.Array) -> jax.Array:
    """x, which is not there before every array of `done` is.

    Where parts are written out one by one nothing else keeps XLA from working on all at
    once, in the memory of all: on the CPU it drops optimization_barrier before it
    decides on an order. That tanh never passes 2 it does not know.
    """
    number = sum(jnp.ravel(leaf)[0] for leaf in jax.tree.leaves(done))
    return x + (jnp.tanh(number) > 2).astype(x.dtype)


def _unless_skipped(finite: jax.Array, new: TrainState, old: TrainState) -> TrainState:
    """The new state; where the gradients are not finite, the old one a step later."""
    kept = jax.tree.map(
        functools.partial(jnp.where, finite), new, old.replace(step=new.step)
    )
    return kept.replace(loss_scale=old.loss_scale.after(finite))


def _prepare(
    batch: Batch,
    key: jax.Array,
    step: jax.Array,
    augmentation: Augmentation | None,
    axis_name: str | None = None,
) -> tuple[Batch, jax.Array]:
    """The augmented and normalised batch of a step, and its key of dropout."""
    num_examples = batch["image"].shape[0]
    replica = 0 if axis_name is None else jax.lax.axis_index(axis_name)
    augment_key, dropout_key = jax.random.split(key)
    indices = replica * num_examples + jnp.arange(num_examples)  # in the global batch
    if augmentation is not None:
        keys = augment.example_keys(augment_key, step, indices)
        batch = augmentation(batch, keys)
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
    augmentation: Augmentation,
    trained: Collection[str] | None = None,
    compute_dtype: jnp.dtype = jnp.float32,
    matmul_precision: str | None = None,
) -> Any:
    """What BatchNorm sees of a batch in training, as the running statistics would be
    if they forgot all others; those of frozen layer groups stay.

    Args:
        step: int32 [], whose augmentation and dropout are drawn.
        key: As in train_step.
        variables: Parameters and running statistics.
        batch: As in train_step.
        model: A network whose normalisation is its field norm.
        augmentation: As in train_step.
        trained: As in train_step.
        compute_dtype: As in train_step.
        matmul_precision: As in train_step.
    """
    batch, dropout_key = _prepare(batch, key, step, augmentation)
    model = model.clone(norm=functools.partial(model.norm, momentum=0.0))
    params = jax.tree.map(lambda p: p.astype(compute_dtype), variables["params"])
    with (
        frozen_as_in_evaluation(params, trained),
        jax.default_matmul_precision(matmul_precision),
    ):
        _, mutated = model.apply(
            {**variables, "params": params},
            batch["image"].astype(compute_dtype),
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": dropout_key},
        )
    return mutated["batch_stats"]


def frozen_groups(params: Any, trained: Collection[str] | None) -> frozenset[str]:
    """The layer groups of which no parameter is trained; with None all are."""
    if trained is None:
        return frozenset()
    return frozenset(params) - {path.partition("/")[0] for path in trained}


@contextlib.contextmanager
def frozen_as_in_evaluation(
    params: Any, trained: Collection[str] | None
) -> Iterator[None]:
    """Calls the frozen layer groups of a network with train=False.

    Their BatchNorm then uses and keeps its running statistics, and their dropout is
    off, with no switch in any model.
    """
    frozen = frozen_groups(params, trained)

    def call(
        method: Callable, args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        path = context.module.path
        if len(path) == 1 and path[0] in frozen and "train" in kwargs:
            kwargs = {**kwargs, "train": False}
        return method(*args, **kwargs)

    with nn.intercept_methods(call):
        yield


@contextlib.contextmanager
def recomputed_blocks() -> Iterator[None]:
    """Computes the children of a network, but for its head, once more in the backward
    pass, which then has kept nothing of them but their inputs.

    Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016,
    https://arxiv.org/abs/1604.06174, sec. 4, with no switch in any model.
    """

    def call(
        method: Callable, args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        if len(context.module.path) != 1 or "train" not in kwargs:
            return method(*args, **kwargs)

        def block(module: nn.Module, *args: Any) -> Any:
            # Without train, so it comes here for a second time and passes.
            return context.orig_method.func(module, *args, **kwargs)

        return nn.remat(block)(context.module, *args)

    with nn.intercept_methods(call):
        yield


def forward(
    variables: dict[str, Any],
    images: jax.Array,
    *,
    model: nn.Module,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    compute_dtype: jnp.dtype = jnp.float32,
    matmul_precision: str | None = None,
) -> jax.Array:
    """The task's output for uint8 images [B, H, W, C], with running statistics.

    With mean=None the images are what the model takes.
    """
    if mean is not None:
        images = augment.normalise(images, mean, std)
    images = images.astype(compute_dtype)
    params = jax.tree.map(lambda p: p.astype(compute_dtype), variables["params"])
    with jax.default_matmul_precision(matmul_precision):
        output = model.apply({**variables, "params": params}, images, train=False)
    return output.astype(jnp.promote_types(output.dtype, jnp.float32))


def eval_step(
    variables: dict[str, Any],
    batch: Batch,
    *,
    model: nn.Module,
    task: Task,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    compute_dtype: jnp.dtype = jnp.float32,
    matmul_precision: str | None = None,
) -> dict[str, jax.Array]:
    """Sums over the examples with batch["weight"] 1; padding has weight 0.

    Sums, not means: the caller divides once, after the last batch, so that a
    short last batch counts for exactly the examples in it.
    """
    logits = forward(
        variables,
        batch["image"],
        model=model,
        mean=mean,
        std=std,
        compute_dtype=compute_dtype,
        matmul_precision=matmul_precision,
    )
    return task.eval_sums(logits, batch)
