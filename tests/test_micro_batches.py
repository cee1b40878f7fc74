"""Gradients summed over parts of a batch, and the size of a part that fits."""

import functools
import gc
import json
import os
import pathlib
import sys

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import models, tasks
from jaxcnn.config import Config, DataConfig
from jaxcnn.errors import UserError
from jaxcnn.models.layers import BatchNorm, Dropout, LayerNorm
from jaxcnn.training import fit as fit_lib
from jaxcnn.training import memory, parallel, prepare, state, step
from jaxcnn.training.precision import Precision
from tests import tiny
from tests.interrupted import NoWriter
from tests.tiny import Tiny, augmentation_of

SHAPE = (8, 8, 1)
PLAIN = augmentation_of(mean=(0.3,), std=(0.4,))


def batch_of(num_examples, shape=SHAPE):
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (num_examples, *shape), np.uint8),
        "label": rng.integers(0, 10, num_examples, np.int32),
    }


def make(model, *, count, tx=None, task=None, augmentation=PLAIN, **kwargs):
    """(state, step) with batches in `count` parts."""
    tx = tx or optax.sgd(1.0)  # the update is the gradient
    now = state.create_state(state.init_variables(model, jax.random.key(0), SHAPE), tx)
    run = functools.partial(
        step.train_step,
        model=model,
        tx=tx,
        task=task or tasks.Classification(tuple("0123456789")),
        augment=augmentation,
        num_micro_batches=count,
        precision=Precision(jnp.result_type(float)),
        **kwargs,
    )
    return now, run


@pytest.mark.slow
@pytest.mark.parametrize("unroll", [False, True])
def test_parts_have_the_gradient_of_the_whole_batch(unroll):
    model = Tiny(10, dropout=0.0, norm=LayerNorm)
    settings = augmentation_of(mean=(0.3,), std=(0.4,), flip=0.5, noise=5.0, mixup=0.5)
    make_one = functools.partial(make, model, augmentation=settings)
    batch, key = batch_of(12), jax.random.key(1)
    with jax.enable_x64(True):
        before, run = make_one(count=1)
        whole, expected = jax.jit(run)(before, batch, key)
        _, run = make_one(count=3, unroll=unroll)
        parts, found = jax.jit(run)(before, batch, key)
        gradient = jax.tree.map(jnp.subtract, before.params, whole.params)
        assert all(jnp.abs(g).max() > 1e-4 for g in jax.tree.leaves(gradient))
        for a, b in zip(*map(jax.tree.leaves, (whole, parts)), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, atol=1e-12)
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, atol=1e-12, err_msg=name)


class Normalised(nn.Module):
    """BatchNorm of the pixels, whose mean over each image is the logit of class 0."""

    @nn.compact
    def __call__(self, images, *, train):
        x = BatchNorm(name="norm")(images, train=train)
        x = jnp.mean(x, axis=(1, 2))
        return jnp.concatenate([x, jnp.zeros_like(x)], axis=1)


class Outputs(tasks.Classification):
    """Gives the logits as a metric."""

    def train_metrics(self, logits, batch):
        return {"logits": logits}


def test_each_part_is_normalised_by_itself_and_moves_the_statistics_in_turn():
    batch = batch_of(6)
    with jax.enable_x64(True):
        before, run = make(Normalised(), count=2, task=Outputs(("a", "b")))
        after, metrics = run(before, batch | {"label": np.zeros(6, np.int32)}, KEY)
        x = (batch["image"] / 255 - 0.3) / 0.4
        mean, var, expected = 0.0, 1.0, np.zeros(6)
        for i in 0, 1:  # part i holds every second example from i on
            part = x[i::2]
            mean = 0.9 * mean + 0.1 * part.mean()
            var = 0.9 * var + 0.1 * part.var()
            scaled = (part - part.mean()) / np.sqrt(part.var() + 1e-5)
            expected[i::2] = scaled.mean(axis=(1, 2, 3))
        stats = after.batch_stats["norm"]
        np.testing.assert_allclose(stats["mean"][0], mean, rtol=1e-7)
        np.testing.assert_allclose(stats["var"][0], var, rtol=1e-7)
        np.testing.assert_allclose(metrics["logits"][:, 0], expected, rtol=1e-7)


KEY = jax.random.key(1)


class Mask(nn.Module):
    """Its output is a dropout mask."""

    @nn.compact
    def __call__(self, images, *, train):
        scale = self.param("scale", nn.initializers.ones, (64,))
        return Dropout(0.5)(jnp.broadcast_to(scale, (len(images), 64)), train=train)


@pytest.mark.slow
def test_each_part_draws_a_dropout_mask_of_its_own():
    now, run = make(Mask(), count=2, task=Outputs(tuple(map(str, range(64)))))
    _, metrics = run(now, batch_of(2), KEY)
    first, second = metrics["logits"]
    assert (first != second).any()


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["jit", "fsdp", "pmap"])
def test_two_devices_have_the_parts_of_one(layout, monkeypatch):
    monkeypatch.setattr(parallel, "_MIN_SHARDED", 8)

    def run_on(layout, num_devices):
        mesh, row = parallel.data_mesh(num_devices), parallel.LAYOUTS[layout]
        norm = functools.partial(BatchNorm, axis_name=row.norm_axis)
        model = Tiny(10, dropout=0.0, norm=norm)
        now, run = make(model, count=2, unroll=True, tx=optax.sgd(0.1))
        shardings = row.shardings(now, mesh)
        compiled = row.compile(run, mesh, shardings)
        now = jax.device_put(now, shardings)
        now, _ = compiled(now, row.put(batch_of(16), mesh), KEY)
        return jax.device_get((now.params, now.batch_stats))

    with jax.enable_x64(True):
        one, two = run_on("jit", 1), run_on(layout, 2)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-12), one, two)


@pytest.mark.slow
def test_parts_that_are_written_out_take_less_memory_too():
    def temporary(count):
        now, run = make(Tiny(10), count=count, unroll=True)
        batch = batch_of(64, (32, 32, 1))
        compiled = jax.jit(run, donate_argnums=0).lower(now, batch, KEY).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(4) < 0.6 * temporary(1)


def config(size, **values):
    data = DataConfig(
        name="digits", image_size=64, batch_size=16, micro_batch_size=size
    )
    return Config(model="tiny", data=data, num_devices=4, num_epochs=0.03, **values)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setitem(models.MODELS, "tiny", tiny.VARIANT)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (5, "data.micro_batch_size must be 'auto', None or a divisor .* 16, not 5."),
        (0, "must be 'auto', None or a divisor of data.batch_size, 16, not 0."),
        ("large", "must be 'auto', None or a divisor of .*, not 'large'."),
        (6.0, "must be 'auto', None or a divisor of data.batch_size, 16, not 6.0."),
        (2, "micro_batch_size is 2, which does not divide over 4 devices; .*: 4"),
    ],
)
def test_a_size_that_cannot_be_is_refused(size, text):
    with pytest.raises(UserError, match=text):
        prepare.check_training(prepare.prepare(config(size)))


def test_auto_is_the_largest_size_that_fits(monkeypatch):
    def needs(run, step):
        return {16: 3 * 2**30, 8: 2**31, 4: 2**30}[run.config.data.micro_batch_size]

    def resolved(gib):
        monkeypatch.setattr(memory, "memory", lambda mesh: gib * 2**30)
        return memory.resolve_auto(prepare.prepare(config("auto")))

    monkeypatch.setattr(memory, "_bytes", needs)
    # A tenth of the memory is left free.
    for gib, size in ((4, 16), (3.4, 16), (3, 8), (2, 4)):
        run, [line] = resolved(gib)
        assert run.config.data.micro_batch_size == size
        assert run.num_micro_batches == 16 // size
    expected = (
        "data.micro_batch_size is 4, 4 to a batch: 1.00 GiB on each device, of 1.80"
    )
    assert line.startswith(expected)
    with pytest.raises(UserError, match="no size that fits: with 4 .* takes 1.00 GiB"):
        resolved(1)


def test_the_memory_of_a_cpu_is_its_share_of_the_machine():
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    [total] = [line.split()[1] for line in lines if line.startswith("MemTotal:")]
    assert memory.memory(parallel.data_mesh(2)) == int(total) * 1024 // 2


class Lines(NoWriter):
    """A writer that keeps what is said."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.mark.slow
def test_a_run_keeps_the_size_that_was_chosen(tmp_path, monkeypatch):
    writers = []

    def make_writer(*_):
        writers.append(Lines())
        return writers[-1]

    fit = functools.partial(fit_lib.fit, folder=tmp_path, make_writer=make_writer)
    need = memory._bytes(prepare.prepare(config(8)), 0)
    assert need < memory._bytes(prepare.prepare(config(16)), 0)
    monkeypatch.setattr(memory, "memory", lambda mesh: (need + 1) / 0.9)
    fit(config("auto"))
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["data"]["micro_batch_size"] == 8
    assert "data.micro_batch_size is 8, 2 to a batch" in writers[0].lines[0]
    # More memory later changes nothing: the sums of the run stay what they are.
    monkeypatch.setattr(memory, "memory", lambda mesh: 2**40)
    fit(config("auto"))
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["data"]["micro_batch_size"] == 8
    assert all(line.startswith("Operations: ") for line in writers[1].lines)
    with pytest.raises(UserError, match="data.micro_batch_size: 8 -> 16"):
        fit(config(16))


def test_garbage_is_looked_for_again_after_a_network_is_traced():
    @memory.uncollected()
    def fail():
        with memory.uncollected():
            pass
        assert not gc.isenabled()
        raise KeyError

    assert gc.isenabled()
    with pytest.raises(KeyError):
        fail()
    assert gc.isenabled()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is what keeps memory")
def test_freed_memory_is_given_back():
    def resident():
        pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")

    pieces = [b"x" * (1 << 16) for _ in range(3000)]  # 197 MB, too small for mmap
    last = b"x" * (1 << 16)  # above them, so that they are not the end of the heap
    del pieces
    before = resident()
    memory.give_back()
    assert before - resident() > 150e6
    del last
