"""Training in bfloat16 and float16 beside float32, and the scale of float16's loss."""

import dataclasses
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn import datasets

from jaxcnn import tasks
from jaxcnn.config import Config, DataConfig
from jaxcnn.training import fit as fit_lib
from jaxcnn.training import loss_scale, network, prepare, state, step
from jaxcnn.training.precision import Precision
from tests.interrupted import NoWriter, assert_same_bits, last_state, signalled
from tests.tiny import Tiny, augmentation_of

NUM_STEPS, BATCH_SIZE = 200, 64
SHAPE = (8, 8, 1)
PLAIN = augmentation_of(mean=(0.3,), std=(0.37,))


def make_step(model, tx, dtype, **kwargs):
    return functools.partial(
        step.train_step,
        model=model,
        tx=tx,
        task=tasks.Classification(tuple("0123456789")),
        augment=PLAIN,
        precision=Precision(dtype),
        **kwargs,
    )


def fresh(model, tx, dtype, shape=SHAPE):
    variables = state.init_variables(model, jax.random.key(0), shape)
    return state.create_state(variables, tx, scaled=dtype == jnp.float16)


def losses_of(dtype):
    """float64 [NUM_STEPS], loss of each batch of scikit-learn's digits."""
    digits = datasets.load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    order = np.random.default_rng(0).permutation(len(images))
    model, tx = Tiny(10), optax.sgd(0.05, momentum=0.9, nesterov=True)
    run = jax.jit(make_step(model, tx, dtype), donate_argnums=0)
    now, losses = fresh(model, tx, dtype), []
    for i in range(NUM_STEPS):
        rows = np.take(order, range(i * BATCH_SIZE, (i + 1) * BATCH_SIZE), mode="wrap")
        batch = {"image": images[rows], "label": digits.target[rows].astype(np.int32)}
        now, metrics = run(now, batch, jax.random.key(1))
        losses.append(metrics["loss"])
    return np.array(losses, np.float64)


@pytest.fixture(scope="module")
def float32_losses():
    return losses_of(jnp.float32)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_losses_of_200_steps_stay_near_those_of_float32(dtype, float32_losses, capsys):
    losses = losses_of(dtype)
    difference = losses - float32_losses
    windows = difference.reshape(-1, 20).mean(1) / float32_losses.reshape(-1, 20).mean(
        1
    )
    name = jnp.dtype(dtype).name
    with capsys.disabled():
        print(
            f"\n{name} against float32, {NUM_STEPS} steps: a loss differs by at "
            f"most {abs(difference).max():.3f}, mean of 20 by {abs(windows).max():.1%}"
        )
    assert float32_losses[-20:].mean() < 0.25 * float32_losses[0]
    assert abs(difference).max() < 0.1
    assert abs(windows).max() < 0.04


class Counting(nn.Module):
    """One weight, which starts at 1, and a count of the calls in training."""

    @nn.compact
    def __call__(self, images, *, train):
        weight = self.param("weight", nn.initializers.ones, (1,))
        count = self.variable("batch_stats", "count", jnp.zeros, ())
        if train:
            count.value += 1
        return jnp.broadcast_to(weight, (len(images), 1))


@dataclasses.dataclass
class Steep:
    """A loss with a gradient."""

    gradient: float

    def loss(self, logits, batch):
        return self.gradient * logits[:, 0]

    def train_metrics(self, logits, batch):
        return {}


def test_an_overflow_skips_the_step_and_halves_the_scale():
    # The largest number of float16 is 65504. With a scale of 65536 and of 32768 the
    # gradient of the output is 131072 and 65536, with 16384 it is 32768.
    model, tx = Counting(), optax.sgd(0.25, momentum=0.5)
    run = make_step(model, tx, jnp.float16)
    run = jax.jit(functools.partial(run, task=Steep(2.0)))
    batch = {"image": np.zeros((1, 1, 1, 1), np.uint8)}
    now, seen = fresh(model, tx, jnp.float16, (1, 1, 1)), []
    for _ in range(4):
        now, metrics = run(now, batch, jax.random.key(0))
        [velocity] = jax.tree.leaves(now.opt_state)
        seen.append(
            [
                int(now.step),
                float(metrics["loss_scale"]),
                float(now.loss_scale.scale),
                int(now.loss_scale.good_steps),
                float(metrics["loss"]),
                float(now.params["weight"][0]),
                float(velocity[0]),
                float(now.batch_stats["count"]),
            ]
        )
    assert seen == [
        # step, scale, next scale, good steps, loss, weight, velocity, count
        [1, 65536, 32768, 0, 2.0, 1.0, 0.0, 0],
        [2, 32768, 16384, 0, 2.0, 1.0, 0.0, 0],
        [3, 16384, 16384, 1, 2.0, 0.5, 2.0, 1],
        [4, 16384, 16384, 2, 1.0, -0.25, 3.0, 2],
    ]
    assert metrics["grad_norm"] == 2.0


def test_the_scale_goes_up_and_down_as_in_pytorch():
    # torch._amp_update_scale_ of PyTorch 2.x, from 8 with a growth interval of 3.
    scale, found = loss_scale.LossScale(jnp.float32(8), jnp.int32(0)), []
    for good in "1111110111011110":
        scale = scale.after(jnp.bool_(good == "1"), growth_interval=3)
        found.append((float(scale.scale), int(scale.good_steps)))
    scales, good_steps = zip(*found, strict=True)
    assert scales == (8, 8, 16, 16, 16, 32, 16, 16, 16, 32, 16, 16, 16, 32, 32, 16)
    assert good_steps == (1, 2, 0, 1, 2, 0, 0, 1, 2, 0, 0, 1, 2, 0, 1, 0)
    assert loss_scale.LossScale(jnp.float32(1), 0).after(jnp.bool_(False)).scale == 1


def test_gradients_that_no_scale_helps_fail_the_step():
    model, tx = Counting(), optax.sgd(0.25)
    run = make_step(model, tx, jnp.float16)
    run = jax.jit(functools.partial(run, task=Steep(70_000.0)))
    batch = {"image": np.zeros((1, 1, 1, 1), np.uint8)}
    now = fresh(model, tx, jnp.float16, (1, 1, 1))
    for scale, taken in (2.0, 1), (1.0, 1), (1.0, 1):
        now = now.replace(
            loss_scale=loss_scale.LossScale(jnp.float32(scale), jnp.int32(0))
        )
        now, metrics = run(now, batch, jax.random.key(0))
        assert metrics["loss"] == 70_000
        assert int(now.step) == taken
        assert now.skips.failed(0) == (scale == 1)


def test_only_float16_has_a_scale_in_its_state():
    for dtype, count in (("float32", 0), ("bfloat16", 0), ("float16", 2)):
        run = prepare.prepare(Config(model="softmax_regression", compute_dtype=dtype))
        assert len(jax.tree.leaves(run.state_shapes(0).loss_scale)) == count


def test_a_run_in_float16_goes_on_with_its_scale(tmp_path, monkeypatch):
    monkeypatch.setattr(loss_scale, "START", 2.0**20)  # too large for the first steps
    config = Config(
        model="softmax_regression",
        data=DataConfig(name="digits", image_size=8, batch_size=101),
        num_devices=1,
        compute_dtype="float16",
        num_epochs=1.0,
    )
    fit = functools.partial(fit_lib.fit, config, make_writer=lambda *_: NoWriter())

    assert fit(tmp_path / "whole").step == 8
    with signalled(3):
        assert fit(tmp_path / "stopped").step == 3
    assert fit(tmp_path / "stopped").step == 8
    whole = last_state(tmp_path / "whole", 8)
    assert 1 < whole["['loss_scale']['scale']"] < 2.0**20
    assert whole["['loss_scale']['good_steps']"] > 0
    assert_same_bits(last_state(tmp_path / "stopped", 8), whole)


@pytest.mark.parametrize(("tf32", "expected"), [(True, "DEFAULT"), (False, "HIGHEST")])
def test_one_field_says_whether_products_may_lose_digits(tf32, expected):
    run = prepare.prepare(Config(tf32=tf32, data=DataConfig(image_size=32), ops="lax"))
    images = np.zeros((2, *network.image_shape(run.config, run.info)), np.uint8)
    batch = {"image": images, "label": np.zeros(2, np.int32)}
    now = run.state_shapes(0)
    train = jax.jit(run.train_step()).lower(now, batch, run.run_key)
    predict = jax.jit(run.forward).lower(now.variables, images)
    for text in (train.as_text(), predict.as_text()):
        products = [
            line
            for line in text.splitlines()
            if "stablehlo.convolution" in line or "stablehlo.dot_general" in line
        ]
        assert len(products) >= 4
        assert all(line.count(expected) == 2 for line in products)
