"""One device and eight make the same update. The devices are simulated on the CPU."""

import dataclasses
import functools
import signal

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import models, tasks
from jaxcnn.config import AugmentConfig, Config, DataConfig, OptimConfig
from jaxcnn.models import mobilenet_v2
from jaxcnn.models.layers import BatchNorm, Dropout
from jaxcnn.report import writers
from jaxcnn.training import fit, parallel, state, step
from jaxcnn.training.precision import Precision
from tests.interrupted import last_state, records, signalled
from tests.tiny import VARIANT, Tiny, augmentation_of

NUM_STEPS, BATCH_SIZE, SHAPE = 5, 32, (16, 16, 1)
AUGMENTATION = augmentation_of(
    mean=(0.5,), std=(0.25,), flip=0.5, shift_pixels=2.0, rotation_degrees=10.0
)


NETWORKS = {
    "tiny": functools.partial(Tiny, 10),
    "resnet": lambda dropout: models.create_model(
        "resnet20_cifar", 10, depths=(1, 1, 1), filters=8, dropout=dropout
    ),
    "vgg": lambda dropout: models.create_model(
        "vgg11_bn",
        10,
        depths=(1, 1, 1),
        filters=(8, 8, 16),
        hidden=(16,),
        dropout=dropout,
    ),
    # More stages than three shrink these images to one pixel, and such batch
    # statistics of few numbers make rounding errors grow a hundredfold a step.
    "mobilenet_v2": lambda dropout: models.create_model(
        "mobilenet_v2",
        10,
        width=0.1,
        dropout=dropout,
        stages=mobilenet_v2.STAGES[:3],
    ),
    "densenet": lambda dropout: models.create_model(
        "densenet100_k12_bc_cifar", 10, depths=(2, 2), growth=4
    ),
}

PEAK_LR = {"mobilenet_v2": 0.03}


def batches(num_steps):
    rng = np.random.default_rng(0)
    for _ in range(num_steps):
        yield {
            "image": rng.integers(0, 256, (BATCH_SIZE, *SHAPE), np.uint8),
            "label": rng.integers(0, 10, BATCH_SIZE, np.int32),
        }


def train(
    layout, num_devices, dropout, name="tiny", num_steps=NUM_STEPS, num_examples=None
):
    """(parameters before, state after some steps), on the host."""
    mesh = parallel.data_mesh(num_devices)
    row = parallel.LAYOUTS[layout]
    norm = functools.partial(BatchNorm, axis_name=row.norm_axis)
    if num_examples is not None:
        norm = functools.partial(BatchNorm, num_examples=num_examples)
    model = NETWORKS[name](dropout).clone(norm=norm)
    tx = optax.sgd(PEAK_LR.get(name, 0.1), momentum=0.9)
    first = state.create_state(
        state.init_variables(model, jax.random.key(0), SHAPE), tx
    )
    before = jax.device_get(first.params)
    train_step = functools.partial(
        step.train_step,
        model=model,
        tx=tx,
        task=tasks.Classification(tuple("0123456789")),
        augment=AUGMENTATION,
        precision=Precision(jnp.result_type(float)),
    )
    shardings = row.shardings(first, mesh)
    compiled = row.compile(train_step, mesh, shardings)
    now = jax.device_put(first, shardings)
    key = jax.random.key(1)
    for batch in batches(num_steps):
        now, _ = compiled(now, row.put(batch, mesh), key)
    assert all(jax.tree.leaves(jax.tree.map(sharded_as, now, shardings)))
    return before, jax.device_get(now)


def sharded_as(array, sharding):
    return array.sharding.is_equivalent_to(sharding, array.ndim)


def distance(ours, theirs):
    """Largest difference of any two numbers of the states, without the step."""
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    return max(np.max(np.abs(a - b)) for a, b in pairs if a.ndim)


def norm_of(tree):
    return float(optax.tree.norm(tree))


@pytest.fixture
def small_arrays_sharded(monkeypatch):
    monkeypatch.setattr(parallel, "_MIN_SHARDED", 8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "dropout"),
    # Under pmap each replica has a dropout key of its own, so it is left out there.
    [("jit", 0.2), ("fsdp", 0.2), ("pmap", 0.0)],
)
def test_eight_devices_make_the_update_of_one(layout, dropout, small_arrays_sharded):
    with jax.enable_x64(True):
        before, one = train("jit", 1, dropout)
        _, eight = train(layout, 8, dropout)
    assert jax.tree.leaves(one.params)[0].dtype == np.float64
    moved = jax.tree.map(np.subtract, one.params, before)
    assert norm_of(moved) > 0.01 * norm_of(before)
    assert distance(one, eight) < 1e-9


@functools.cache
def one_device(name):
    with jax.enable_x64(True):
        return train("jit", 1, 0.0, name, num_steps=10)


# What a network is compared with on one device is trained once, in one process. How far
# apart float32 is, tests/device_distances.py prints.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layout"),
    [
        pytest.param(
            name, layout, marks=pytest.mark.xdist_group(f"ten updates of {name}")
        )
        for name, layouts in {
            "resnet": ("jit", "fsdp", "pmap"),
            # fsdp is jit with other shardings.
            "vgg": ("fsdp", "pmap"),
            "mobilenet_v2": ("fsdp", "pmap"),
            "densenet": ("fsdp", "pmap"),
        }.items()
        for layout in layouts
    ],
)
def test_eight_devices_make_ten_updates_of_one(name, layout, small_arrays_sharded):
    before, one = one_device(name)
    with jax.enable_x64(True):
        _, eight = train(layout, 8, 0.0, name, num_steps=10)
    moved = jax.tree.map(np.subtract, one.params, before)
    assert norm_of(moved) > 0.01 * norm_of(before)
    assert distance(one, eight) < 1e-9


@functools.cache
def tiny_on_one_device(num_examples):
    with jax.enable_x64(True):
        return train("jit", 1, 0.0, num_examples=num_examples)[1]


@pytest.mark.slow
@pytest.mark.xdist_group("groups of batch norm")
@pytest.mark.parametrize(
    ("layout", "num_devices"),
    [
        ("jit", 2),
        *(
            pytest.param(*where, marks=pytest.mark.slow)
            for where in (("jit", 8), ("fsdp", 8), ("pmap", 2))
        ),
    ],
)
def test_groups_of_batch_norm_are_the_same_on_any_devices(layout, num_devices):
    one, whole = tiny_on_one_device(8), tiny_on_one_device(None)
    with jax.enable_x64(True):
        _, many = train(layout, num_devices, 0.0, num_examples=8)
    assert distance(one, many) < 1e-9
    assert distance(one, whole) > 1e-3


def test_groups_of_batch_norm_are_the_replicas_of_unsynchronised_ones():
    # Flax's own BatchNorm, which knows no groups, on four devices without axis name.
    images = np.random.default_rng(0).normal(3, 2, (32, 4, 4, 6)).astype(np.float32)
    theirs = nn.BatchNorm(momentum=0.9, use_running_average=False)
    variables = theirs.init(jax.random.key(0), images)
    variables["params"]["scale"] *= 1.5
    variables["params"]["bias"] += 0.5

    def apply(images):
        y, new = theirs.apply(variables, images, mutable=["batch_stats"])
        return y, jax.lax.pmean(new["batch_stats"], parallel.AXIS)

    expected, stats = jax.pmap(apply, axis_name=parallel.AXIS)(
        images.reshape(4, 8, 4, 4, 6)
    )
    y, new = BatchNorm(num_examples=8).apply(
        variables, images, train=True, mutable=["batch_stats"]
    )
    np.testing.assert_allclose(y, expected.reshape(images.shape), atol=1e-5)
    for name in ("mean", "var"):
        ours = new["batch_stats"][name]
        np.testing.assert_allclose(ours, stats[name][0], rtol=1e-5)


def test_a_batch_norm_over_devices_has_the_variance_of_the_whole_batch():
    # Replicas of different means: the mean of their variances would be far too small.
    images = (
        np.random.default_rng(0).normal(size=(8, 2, 2, 3))
        + 10 * np.arange(8)[:, None, None, None]
    )
    norm = BatchNorm(axis_name=parallel.AXIS)
    variables = BatchNorm().init(jax.random.key(0), images[:1], train=False)

    def apply(images):
        return norm.apply(variables, images, train=True, mutable=["batch_stats"])[1]

    new = jax.pmap(apply, axis_name=parallel.AXIS)(images[:, None].astype(np.float32))
    expected = 0.9 + 0.1 * images.var(axis=(0, 1, 2))
    np.testing.assert_allclose(new["batch_stats"]["var"][0], expected, rtol=1e-4)


def test_fully_sharded_each_of_eight_devices_has_a_sixth_of_resnet50_at_most():
    mesh, row = parallel.data_mesh(8), parallel.LAYOUTS["fsdp"]
    model, tx = models.create_model("resnet50", 1000), optax.sgd(0.1, momentum=0.9)

    def create(key):
        return state.create_state(state.init_variables(model, key, (64, 64, 3)), tx)

    shapes = jax.eval_shape(create, jax.random.key(0))
    whole = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))
    # Parameters and momentum, torchvision's count, and 2 * 26,560 statistics, float32;
    # the step, and two numbers of skipped ones.
    assert whole == 4 * (2 * 25_557_032 + 2 * 26_560 + 3)
    described = parallel.described(shapes, row.shardings(shapes, mesh))
    assert parallel.bytes_per_device(described) <= whole / 6
    everywhere = parallel.LAYOUTS["jit"].shardings(shapes, mesh)
    assert parallel.bytes_per_device(parallel.described(shapes, everywhere)) == whole


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
        task=GatheringTask(tuple(map(str, range(64)))),
        augment=AUGMENTATION,
    )
    batch = {"image": np.ones((2, *SHAPE), np.uint8), "label": np.zeros(2, np.int32)}
    shardings = row.shardings(now, mesh)
    now = jax.device_put(now, shardings)
    compiled = row.compile(train_step, mesh, shardings)
    _, metrics = compiled(now, row.put(batch, mesh), jax.random.key(0))
    first, second = metrics["outputs"]
    assert (first != second).any()


MOVING = Config(
    model="tiny",
    data=DataConfig(name="digits", batch_size=96, image_size=16),
    augment=AugmentConfig(flip=0.5, shift_pixels=2.0, noise=5.0, mixup=0.2),
    optim=OptimConfig(name="adamw", peak_lr=0.01, warmup_epochs=1.0),
    num_epochs=3.0,
    log_every_steps=1,
)


def fitted(folder, num_devices, stop_at, monkeypatch):
    """The state of a run after a stop, or at its end, and its losses so far."""
    with monkeypatch.context() as patch, signalled(stop_at):
        patch.setitem(models.MODELS, "tiny", VARIANT)
        config = dataclasses.replace(MOVING, num_devices=num_devices)
        result = fit.fit(config, folder, make_writer=writers.for_trial)
    assert result.stopped_by == (None if stop_at is None else signal.SIGTERM)
    losses = [record["loss"] for record in records(folder)]
    return last_state(folder, stop_at or 25), losses


@pytest.fixture
def float64():
    """In all threads; jax.enable_x64 is of one, and Orbax reads in others."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.mark.slow
def test_a_run_moves_between_devices(tmp_path, float64, monkeypatch):
    expected, losses = fitted(tmp_path / "one", 1, None, monkeypatch)
    for num_devices, stop_at in ((1, 4), (2, 10), (8, 15), (4, 21), (1, None)):
        folder = tmp_path / "moving"
        state, moved = fitted(folder, num_devices, stop_at, monkeypatch)
    dtypes = {leaf.dtype for leaf in state.values() if leaf.dtype.kind == "f"}
    assert dtypes == {np.dtype(np.float64)}
    assert len(losses) == len(moved) == 25 + 3 + 1
    np.testing.assert_allclose(moved, losses, rtol=1e-9)
    assert state.keys() == expected.keys()
    for path, leaf in expected.items():
        np.testing.assert_allclose(state[path], leaf, atol=1e-9, err_msg=path)


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
    with pytest.raises(ValueError, match="Unknown parallel 'tpu'.*fsdp, jit, pmap"):
        parallel.layout("tpu")
