"""A training step against hand computation, and what it promises."""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special

from jaxcnn import models, tasks
from jaxcnn.config import Config, TaskConfig
from jaxcnn.errors import UserError
from jaxcnn.training import parallel, prepare, state, step
from jaxcnn.training.precision import Precision
from tests.tiny import Tiny, augmentation_of

MEAN, STD = (0.25,), (0.5,)
PLAIN = augmentation_of(MEAN, STD)
FLOAT64 = Precision(jnp.float64)


def batch_of(num_examples, shape, num_classes=10, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (num_examples, *shape), np.uint8),
        "label": rng.integers(0, num_classes, num_examples, np.int32),
    }


def create_state(model, tx, shape):
    return state.create_state(state.init_variables(model, jax.random.key(0), shape), tx)


def train_step(model, tx, num_classes=10, augmentation=PLAIN, **kwargs):
    return functools.partial(
        step.train_step,
        model=model,
        tx=tx,
        task=tasks.Classification(tuple("0123456789"[:num_classes])),
        augment=augmentation,
        **kwargs,
    )


def test_a_step_of_softmax_regression_is_the_formula_in_numpy():
    # Gradient of the mean cross entropy: x^T (softmax(x W + b) - y) / N.
    model, tx = models.create_model("softmax_regression", 3), optax.sgd(0.5)
    batch = batch_of(4, (2, 2, 1), 3)
    with jax.enable_x64(True):
        before = create_state(model, tx, (2, 2, 1))
        key = jax.random.key(1)
        run = train_step(model, tx, 3, precision=FLOAT64)
        after, metrics = run(before, batch, key)
        head, new = before.params["head"], after.params["head"]
        x = (batch["image"].reshape(4, 4) / 255 - 0.25) / 0.5
        logits = x @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        error = (p - np.eye(3)[batch["label"]]) / 4
        np.testing.assert_allclose(
            new["kernel"], head["kernel"] - 0.5 * x.T @ error, rtol=1e-9, atol=1e-12
        )
        np.testing.assert_allclose(new["bias"], head["bias"] - 0.5 * error.sum(0))
        loss = -np.log(p[np.arange(4), batch["label"]]).mean()
        np.testing.assert_allclose(metrics["loss"], loss)
        accuracy = (logits.argmax(1) == batch["label"]).mean()
        np.testing.assert_allclose(metrics["accuracy"], accuracy)
        norm = np.sqrt(((x.T @ error) ** 2).sum() + (error.sum(0) ** 2).sum())
        np.testing.assert_allclose(metrics["grad_norm"], norm)
    assert int(after.step) == 1


class WithAuxiliary(nn.Module):
    """Softmax regression twice; the second is an auxiliary head."""

    @nn.compact
    def __call__(self, images, *, train):
        x = images.reshape(len(images), -1)
        self.sow("intermediates", "logits", nn.Dense(3, name="aux1")(x))
        return nn.Dense(3, name="head")(x)


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_auxiliary_heads_have_their_weight_in_the_loss(weight):
    # Szegedy et al. 2015, sec. 5: the losses of auxiliary heads count 0.3 times.
    model, tx = WithAuxiliary(), optax.sgd(1.0)
    batch = batch_of(4, (2, 2, 1), 3)
    with jax.enable_x64(True):
        before = create_state(model, tx, (2, 2, 1))
        run = train_step(model, tx, 3, aux_weight=weight, precision=FLOAT64)
        after, metrics = run(before, batch, jax.random.key(1))
        x, y = (
            (batch["image"].reshape(4, 4) / 255 - 0.25) / 0.5,
            np.eye(3)[batch["label"]],
        )
        loss = 0.0
        for group, factor in (("head", 1.0), ("aux1", weight)):
            old, new = before.params[group], after.params[group]
            p = special.softmax(x @ np.asarray(old["kernel"]) + old["bias"], axis=1)
            loss += factor * -np.log(p[y == 1]).mean()
            np.testing.assert_allclose(
                new["kernel"], old["kernel"] - factor * x.T @ (p - y) / 4, atol=1e-12
            )
        np.testing.assert_allclose(metrics["loss"], loss)


@pytest.mark.parametrize(
    ("weight", "text"),
    [
        (0.3, "task.aux_weight must be 0 for lenet5, which has no auxiliary head, not"),
        (-1.0, r"task.aux_weight must be in \[0, .*, not -1.0."),
    ],
)
def test_a_weight_of_auxiliary_heads_that_cannot_be_is_refused(weight, text):
    config = Config(task=TaskConfig(aux_weight=weight))
    with pytest.raises(UserError, match=text):
        prepare.prepare(config)


def test_batch_statistics_move_and_dropout_and_augmentation_follow_the_step():
    model, tx = Tiny(10, dropout=0.5), optax.sgd(0.0)  # parameters stay
    settings = augmentation_of(mean=(0.5,), std=(0.25,), shift_pixels=3.0)
    first = create_state(model, tx, (16, 16, 1))
    run = jax.jit(train_step(model, tx, augmentation=settings))
    batch, key = batch_of(8, (16, 16, 1)), jax.random.key(1)
    second, metrics = run(first, batch, key)
    _, again = run(first, batch, key)
    _, other_step = run(second, batch, key)
    _, other_key = run(first, batch, jax.random.key(2))
    assert metrics["loss"] == again["loss"]
    assert metrics["loss"] != other_step["loss"]
    assert metrics["loss"] != other_key["loss"]
    moved = jax.tree.map(
        lambda a, b: bool((a != b).any()), *(s.batch_stats for s in (first, second))
    )
    assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_step_computes_in_16_bits_and_keeps_the_state_in_float32(dtype):
    model, tx = Tiny(10), optax.sgd(0.1, momentum=0.9)
    first = create_state(model, tx, (16, 16, 1))
    run = train_step(model, tx, precision=Precision(jnp.dtype(dtype)))
    batch, key = batch_of(8, (16, 16, 1)), jax.random.key(1)
    after, metrics = jax.eval_shape(run, first, batch, key)
    for leaf in jax.tree.leaves((after.params, after.batch_stats, after.opt_state)):
        assert leaf.dtype == jnp.float32
    assert metrics["loss"].dtype == jnp.float32
    text = str(jax.make_jaxpr(run)(first, batch, key))
    convolutions = [line for line in text.splitlines() if "conv_general_di" in line]
    short = {"bfloat16": "bf16", "float16": "f16"}[dtype]
    assert convolutions
    assert all(f":{short}[" in line for line in convolutions)


def test_the_step_compiles_once():
    model, tx = Tiny(10), optax.adam(0.1)
    mesh = parallel.data_mesh(2)
    row = parallel.LAYOUTS["jit"]
    compiled = row.compile(train_step(model, tx), mesh, parallel.replicated(mesh))
    now = create_state(model, tx, (16, 16, 1))
    now = jax.device_put(now, parallel.replicated(mesh))
    for seed in range(3):
        batch = row.put(batch_of(8, (16, 16, 1), seed=seed), mesh)
        before = now
        now, _ = compiled(now, batch, jax.random.key(1))
    assert compiled._cache_size() == 1
    # Donated: the memory of the state before is used for the state after.
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before.params))


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("name", ["softmax_regression", "mlp", "lenet5", "resnet18"])
def test_a_step_of_each_family_lowers_for(name, platform):
    # Nothing in a step works on the CPU only.
    model, tx = models.create_model(name, 10), optax.adamw(0.1)
    settings = augmentation_of(
        mean=(0.5,),
        std=(0.25,),
        flip=0.5,
        crop_padding_pixels=4,
        randaugment=1,
        shift_pixels=2.0,
        erasing=0.5,
        mixup=0.2,
        cutmix=1.0,
    )
    shapes = jax.eval_shape(lambda: create_state(model, tx, (32, 32, 1)))
    run = jax.jit(train_step(model, tx, augmentation=settings), donate_argnums=0)
    traced = run.trace(shapes, batch_of(4, (32, 32, 1)), jax.random.key(1))
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert "stablehlo.convolution" in text or "stablehlo.dot_general" in text
