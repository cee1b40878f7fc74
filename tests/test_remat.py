"""Blocks computed again in the backward pass: the same numbers in less memory."""

import functools
import re

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import models, tasks
from jaxcnn.config import AverageConfig, Config, DataConfig, OptimConfig
from jaxcnn.models.layers import ConvNorm, Dense, global_avg_pool
from jaxcnn.models.variant import Variant
from jaxcnn.report import beginning
from jaxcnn.training import compilation, prepare, state, step
from jaxcnn.training.precision import Precision
from jaxcnn.training.run import Run
from tests.tiny import Tiny, augmentation_of

PLAIN = augmentation_of(mean=(0.3,), std=(0.4,))


def run_step(model, shape, *, trained=None, aux_weight=0.0, remat):
    """(state before, step) of a network."""
    tx = optax.sgd(1.0)  # the update is the gradient
    variables = state.init_variables(model, jax.random.key(0), shape)
    now = state.create_state(variables, tx, trained)
    run = functools.partial(
        step.train_step,
        model=model,
        tx=tx,
        task=tasks.Classification(tuple("0123456789")),
        augment=PLAIN,
        aux_weight=aux_weight,
        trained=trained,
        remat=remat,
        precision=Precision(jnp.result_type(float)),
    )
    return now, run


def batch_of(num_examples, shape):
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (num_examples, *shape), np.uint8),
        "label": rng.integers(0, 10, num_examples, np.int32),
    }


@pytest.mark.slow
@pytest.mark.parametrize("frozen", ["", "stem"])
def test_gradients_statistics_and_dropout_stay_the_same(frozen):
    model, shape = Tiny(10, dropout=0.3), (8, 8, 1)
    batch, key = batch_of(8, shape), jax.random.key(1)
    trained = None
    if frozen:
        trained = {"stage1_block1/conv1/conv/kernel", "head/kernel"}
    with jax.enable_x64(True):
        before, run = run_step(model, shape, trained=trained, remat=False)
        kept = jax.jit(run)(before, batch, key)
        _, run = run_step(model, shape, trained=trained, remat=True)
        assert "remat" in str(jax.make_jaxpr(run)(before, batch, key))
        options = compilation.options("cpu", remat=True, deterministic=False)
        again = jax.jit(run, compiler_options=options)(before, batch, key)
        moved = jax.tree.map(jnp.subtract, kept[0].params, before.params)
        assert optax.tree.norm(moved) > 0.1
        for a, b in zip(*map(jax.tree.leaves, (kept, again)), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)


class Sowing(nn.Module):
    """A layer that sows auxiliary logits."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = x.reshape(len(x), -1)
        self.sow("intermediates", "logits", Dense(10, name="fc")(x))
        return x


class WithAuxiliary(nn.Module):
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        return Dense(10, name="head")(Sowing(name="aux1")(images, train=train))


def test_auxiliary_heads_are_still_heard():
    shape, key = (2, 2, 1), jax.random.key(1)
    after = []
    for remat in False, True:
        now, run = run_step(WithAuxiliary(), shape, aux_weight=0.3, remat=remat)
        after.append(jax.jit(run)(now, batch_of(4, shape), key)[0].params)
    moved = after[1]["aux1"]["fc"]["kernel"] - now.params["aux1"]["fc"]["kernel"]
    assert jnp.abs(moved).max() > 1e-3
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), *after)


class Deep(nn.Module):
    """Four convolutions with BatchNorm, and four once more."""

    num_classes: int

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        x = DeepBlock(name="stage1_block1")(images, train=train)
        x = DeepBlock(name="stage1_block2")(x, train=train)
        return Dense(self.num_classes, name="head")(global_avg_pool(x))


class DeepBlock(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        for i in range(4):
            x = ConvNorm(8, 3, name=f"conv{i}")(x, train=train)
        return x


def make_config(model, **values):
    data = DataConfig(name="digits", image_size=32, batch_size=64)
    return Config(model=model, data=data, num_devices=1, **values)


@pytest.mark.slow
def test_the_memory_of_a_step_falls(monkeypatch):
    variant = Variant(Deep, paper="none", image_size=32, channels=1)
    monkeypatch.setitem(models.MODELS, "deep", variant)

    def sizes(remat):
        run = prepare.prepare(make_config("deep", remat=remat))
        compiled = run.compile_train_step(run.state_shapes(0))
        temporary = compiled.memory_analysis().temp_size_in_bytes
        return temporary, compiled.cost_analysis()["flops"]

    (kept, flops), (again, more_flops) = sizes(False), sizes(True)
    assert again < 0.75 * kept
    assert more_flops > 1.2 * flops  # forward, forward once more, and twice backward


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_new_state_takes_the_memory_of_the_old_one(dtype):
    average = AverageConfig(name="ema")
    run = prepare.prepare(
        make_config("softmax_regression", average=average, compute_dtype=dtype)
    )
    compiled = run.compile_train_step(run.state_shapes(0))
    leaves = jax.tree.leaves(run.state_shapes(0))
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    assert compiled.memory_analysis().alias_size_in_bytes >= size


def test_parameters_and_moments_are_updated_where_they_are():
    run = prepare.prepare(
        make_config("softmax_regression", optim=OptimConfig(name="adamw"))
    )
    text = run.compile_train_step(run.state_shapes(0)).as_text()
    kernel = run.state_shapes(0).params["head"]["kernel"].shape
    copies = re.findall(rf"f32\[{kernel[0]},{kernel[1]}\]\S* copy\(", text)
    assert not copies


def test_only_a_gpu_needs_to_be_told_to_be_deterministic():
    options = functools.partial(compilation.options, remat=False)
    assert options("gpu", deterministic=False) == {}
    assert options("cpu", deterministic=True) == options("cpu", deterministic=False)
    assert options("tpu", deterministic=True) == {}
    told = options("gpu", deterministic=True)
    assert told == {"xla_gpu_deterministic_ops": True, "xla_gpu_autotune_level": 0}
    # XLA knows all options on every platform, and refuses names that it does not know.
    lowered = jax.jit(jnp.sin).lower(1.0)
    lowered.compile(compiler_options=told)
    with pytest.raises(jax.errors.JaxRuntimeError, match="xla_gpu_deterministic_opps"):
        lowered.compile(compiler_options={"xla_gpu_deterministic_opps": True})


def test_a_run_on_a_gpu_says_that_it_is_not_reproducible(monkeypatch):
    def said(platform, deterministic):
        run = prepare.prepare(
            make_config("softmax_regression", deterministic=deterministic)
        )
        monkeypatch.setattr(Run, "platform", platform)
        new, resumed = beginning.beginning(run), beginning.devices(run)
        assert resumed in new
        return "not reproducible bit for bit" in resumed

    assert said("gpu", False)
    assert not said("gpu", True)
    assert not said("cpu", False)
