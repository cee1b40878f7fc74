"""One device and eight make the same update. The devices are simulated on the CPU."""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import augment, tasks
from jaxcnn.models.layers import BatchNorm, Dropout
from jaxcnn.training import parallel, state, step
from tests.tiny import Tiny

NUM_STEPS, BATCH_SIZE, SHAPE = 5, 32, (16, 16, 1)
AUGMENTATION = augment.Settings(
    mean=(0.5,), std=(0.25,), flip=0.5, shift_pixels=2.0, rotation_degrees=10.0
)


def batches():
    rng = np.random.default_rng(0)
    for _ in range(NUM_STEPS):
        yield {
            "image": rng.integers(0, 256, (BATCH_SIZE, *SHAPE), np.uint8),
            "label": rng.integers(0, 10, BATCH_SIZE, np.int32),
        }


def train(layout, num_devices, dropout):
    """(parameters before, state after five steps), on the host."""
    mesh = parallel.data_mesh(num_devices)
    row = parallel.LAYOUTS[layout]
    model = Tiny(10, dropout, functools.partial(BatchNorm, axis_name=row.norm_axis))
    tx = optax.sgd(0.1, momentum=0.9)
    first = state.create_state(
        state.init_variables(model, jax.random.key(0), SHAPE), tx
    )
    before = jax.device_get(first.params)
    train_step = functools.partial(
        step.train_step,
        model=model,
        tx=tx,
        task=tasks.Classification(10),
        augmentation=AUGMENTATION,
        compute_dtype=jnp.result_type(float),
    )
    compiled = row.compile(train_step, mesh)
    now = jax.device_put(first, parallel.replicated(mesh))
    key = jax.random.key(1)
    for batch in batches():
        now, _ = compiled(now, row.put(batch, mesh), key)
    return before, jax.device_get(now)


def distance(ours, theirs):
    """Largest difference of any two numbers of the states, without the step."""
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    return max(np.max(np.abs(a - b)) for a, b in pairs if a.ndim)


def norm_of(tree):
    return float(optax.tree.norm(tree))


@pytest.mark.parametrize(
    ("layout", "dropout"),
    # Under pmap each replica has a dropout key of its own, so it is left out there.
    [("jit", 0.2), ("pmap", 0.0)],
)
def test_eight_devices_make_the_update_of_one(layout, dropout, capsys):
    with jax.enable_x64(True):
        before, one = train("jit", 1, dropout)
        _, eight = train(layout, 8, dropout)
    assert jax.tree.leaves(one.params)[0].dtype == np.float64
    moved = jax.tree.map(np.subtract, one.params, before)
    assert norm_of(moved) > 0.01 * norm_of(before)
    assert distance(one, eight) < 1e-9
    float32 = distance(train("jit", 1, dropout)[1], train(layout, 8, dropout)[1])
    with capsys.disabled():
        print(f"\n{layout}, 8 devices against 1, float32: {float32:.1e}")


class GatheredDropout(nn.Module):
    """Its output is the dropout mask itself."""

    @nn.compact
    def __call__(self, images, *, train):
        scale = self.param("scale", nn.initializers.ones, (64,))
        return Dropout(0.5)(jnp.broadcast_to(scale, (len(images), 64)), train=train)


class GatheringTask(tasks.Classification):
    """Gives the outputs of all replicas as a metric."""

    def train_metrics(self, logits, batch):
        return {"outputs": jax.lax.all_gather(logits, parallel.AXIS)}


def test_dropout_differs_between_the_replicas_of_pmap():
    mesh, row = parallel.data_mesh(2), parallel.LAYOUTS["pmap"]
    model, tx = GatheredDropout(), optax.sgd(0.1)
    now = state.create_state(state.init_variables(model, jax.random.key(0), SHAPE), tx)
    train_step = functools.partial(
        step.train_step,
        model=model,
        tx=tx,
        task=GatheringTask(64),
        augmentation=augment.Settings(mean=(0.0,), std=(1.0,)),
    )
    batch = {"image": np.ones((2, *SHAPE), np.uint8), "label": np.zeros(2, np.int32)}
    now = jax.device_put(now, parallel.replicated(mesh))
    compiled = row.compile(train_step, mesh)
    _, metrics = compiled(now, row.put(batch, mesh), jax.random.key(0))
    first, second = metrics["outputs"]
    assert (first != second).any()


def test_a_batch_that_does_not_divide_is_refused_with_the_nearest_sizes():
    mesh = parallel.data_mesh(8)
    parallel.check_batch_size("data.batch_size", 64, mesh)
    with pytest.raises(ValueError, match="is 60, .* 8 devices; nearest .*: 56, 64"):
        parallel.check_batch_size("data.batch_size", 60, mesh)
    with pytest.raises(ValueError, match="nearest that do: 8"):
        parallel.check_batch_size("data.batch_size", 3, mesh)


def test_devices_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match="num_devices is 9; .* 1 to 8"):
        parallel.data_mesh(9)


def test_an_unknown_layout_is_refused():
    with pytest.raises(ValueError, match="Unknown parallel 'fsdp'.*jit, pmap"):
        parallel.layout("fsdp")
