"""Initial values against those that JAX compiles as a whole."""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import Dataset, models
from jaxcnn.config import Config, DataConfig, OptimConfig
from jaxcnn.optim import optimizer as optim
from jaxcnn.training import begin, initial, prepare, state
from jaxcnn.training.state import init_variables
from tests.small_networks import FAMILIES


class Users(nn.Module):
    """A user's network with initial values of several kinds."""

    spread: object = nn.initializers.normal(0.1)

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(3, (3, 3))(x)  # truncated normal
        x = nn.Conv(4, (3, 3), kernel_init=self.spread)(x)
        x = nn.BatchNorm(use_running_average=not train)(x).mean((1, 2))
        kernel_init = nn.initializers.uniform(0.5, jnp.bfloat16)
        return nn.Dense(40, kernel_init=kernel_init, param_dtype=jnp.bfloat16)(x)


def both(monkeypatch, model, key):
    """Values by `evaluate` and by a whole compilation, and how many it compiled so."""
    init = functools.partial(init_variables, model, image_shape=(8, 8, 3))
    expected = jax.device_get(jax.jit(init)(key))
    whole, jit = [], jax.jit

    def counted(function, **options):
        whole.append(function)
        return jit(function, **options)

    with monkeypatch.context() as patch:
        patch.setattr(jax, "jit", counted)
        return initial.evaluate(init, key), expected, len(whole)


def assert_equal(found, expected, tolerance=1e-6):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for ours, theirs in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_allclose(ours, theirs, tolerance, tolerance * 1e-3)


@pytest.mark.parametrize("largest", [16, 1 << 20])
def test_values_are_those_of_a_whole_compilation(monkeypatch, largest):
    monkeypatch.setattr(initial, "_SIZES", (16, largest))
    found, expected, whole = both(monkeypatch, Users(), jax.random.key(3))
    assert not whole
    assert_equal(found, expected)
    assert_equal(
        initial.evaluate(lambda key: jax.random.normal(key, (5, 7)), jax.random.key(1)),
        np.asarray(jax.random.normal(jax.random.key(1), (5, 7))),
        0,
    )


def test_float64_has_all_its_digits(monkeypatch):
    with jax.enable_x64():
        found, expected, whole = both(monkeypatch, Users(), jax.random.key(3))
    assert not whole
    assert expected["params"]["Conv_0"]["kernel"].dtype == np.float64
    assert_equal(found, expected)


def test_what_is_not_known_is_compiled_as_a_whole(monkeypatch):
    orthogonal = Users(nn.initializers.orthogonal())  # by a QR decomposition
    found, expected, whole = both(monkeypatch, orthogonal, jax.random.key(3))
    assert whole == 1
    assert_equal(found, expected, 0)


def test_a_function_with_the_name_of_a_generator_is_none(monkeypatch):
    @jax.jit
    def _normal(key):
        return jnp.full((5,), 7.0) + 0 * jax.random.uniform(key)

    spread = Users(lambda key, shape, dtype: _normal(key)[0] * jnp.ones(shape))
    found, expected, _ = both(monkeypatch, spread, jax.random.key(3))
    assert (found["params"]["Conv_1"]["kernel"] == 7).all()
    assert_equal(found, expected)


def test_another_generator_is_compiled_as_a_whole(monkeypatch):
    key = jax.random.key(3, impl="rbg")  # its numbers depend on how many are drawn
    found, expected, whole = both(monkeypatch, Users(), key)
    assert whole == 1
    assert_equal(found, expected, 0)


def test_a_part_needs_nothing_of_the_rest(monkeypatch):
    def both(key):
        number = jax.random.normal(key, (5,))
        return jnp.linalg.norm(jnp.sin(number)), number  # sin is not known

    key = jax.random.key(1)
    monkeypatch.setattr(jax, "jit", lambda *_, **__: pytest.fail("it is compiled"))
    found = initial.evaluate(both, key, lambda result: result[1])
    np.testing.assert_array_equal(found, jax.random.normal(key, (5,)))


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_no_optimizer_of_ours_is_compiled_for_its_first_state(monkeypatch, name):
    variables = {
        "params": {"head": {"kernel": np.ones((3, 4), np.float32)}},
        "batch_stats": {"norm": {"var": np.full(3, 2, np.float32)}},
    }
    tx = optim.OPTIMIZERS[name](OptimConfig(), optax.constant_schedule(0.1))
    create = functools.partial(state.create_state, tx=tx, average=True, scaled=True)
    expected = jax.device_get(jax.jit(create)(variables))
    monkeypatch.setattr(jax, "jit", lambda *_, **__: pytest.fail("it is compiled"))
    assert_equal(initial.evaluate(create, variables), expected, 0)


class Traced(nn.Module):
    """A user's network that counts how often it is traced."""

    times = 0

    @nn.compact
    def __call__(self, images, *, train):
        Traced.times += 1
        return nn.Dense(10, name="head")(images.reshape(len(images), -1))


def test_a_run_traces_its_network_once_before_the_step():
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
    labels = np.arange(40) % 10
    config = Config(data=DataConfig(image_size=8, batch_size=8), num_epochs=1.0)
    dataset = Dataset.from_arrays(images, labels, config=config.data)
    run = prepare.prepare(config, dataset=dataset, model=Traced())
    begin.begin(run).batches.close()
    assert Traced.times == 1


# The LSTM's orthogonal matrices are.
@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "crnn"])
def test_no_network_of_ours_is_compiled_as_a_whole(monkeypatch, family):
    name, fields, size = FAMILIES[family]
    channels = models.MODELS[name].channels
    init = functools.partial(
        init_variables,
        models.create_model(name, num_classes=10, **fields),
        image_shape=(size, size, channels),
    )
    refuse = functools.partial(pytest.fail, "it is compiled as a whole")
    monkeypatch.setattr(jax, "jit", lambda *_, **__: refuse())
    found = initial.evaluate(init, jax.random.key(0))
    shapes = jax.eval_shape(init, jax.random.key(0))
    assert jax.tree.map(np.shape, found) == jax.tree.map(np.shape, shapes)
