"""A step whose loss or gradients are not finite, and what is left of its run."""

import dataclasses
import json

from flax import linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import config_fields
from jaxcnn.config import AugmentConfig, Config, DataConfig, OptimConfig
from jaxcnn.data.examples import ArrayExamples, make_dataset
from jaxcnn.data.order import Stream
from jaxcnn.errors import DivergedError
from jaxcnn.models.layers import BatchNorm, Conv, Dense
from jaxcnn.report import strict_json
from jaxcnn.targets import classes
from jaxcnn.training import begin, divergence, prepare
from jaxcnn.training import step as step_lib
from tests.interrupted import assert_same_bits, last_state, records, signalled

NUM_EXAMPLES, BATCH_SIZE, FAILING_STEP, SEED = 40, 8, 9, 3
IMAGES = np.random.default_rng(0).integers(0, 128, (NUM_EXAMPLES, 6, 6, 1), np.uint8)
STREAM = Stream(NUM_EXAMPLES, "uniform", SEED)


def is_marked(images):
    """Whether the first pixel is white, [B, 1, 1, 1]; no other is that bright."""
    return images[:, :1, :1, :1] > 4.0


def poisoned(batch, keys):
    """An augmentation after which a marked image is NaN."""
    image = batch["image"]
    return {**batch, "image": jnp.where(is_marked(image), jnp.nan, image)}


class Net(nn.Module):
    """A network; `wrong` says what it does to a marked image."""

    num_classes: int
    wrong: str = ""

    @nn.compact
    def __call__(self, images, *, train):
        x = Conv(4, 3, name="stem")(images)
        x = BatchNorm(name="norm")(x, train=train)
        if self.wrong == "output":
            x = Infinite(name="infinite")(x, is_marked(images))
        if self.wrong == "gradient":  # of a square root at 0
            x += jnp.sqrt(jnp.where(is_marked(images), 0.0 * x, 1.0))
        return Dense(self.num_classes, name="head")(x.mean((1, 2)))


class Infinite(nn.Module):
    @nn.compact
    def __call__(self, x, marked):
        return jnp.where(marked, jnp.inf, x)


def dataset(marked=()):
    images = IMAGES.copy()
    images[list(marked), 0, 0] = 255
    labels = {"label": np.arange(NUM_EXAMPLES) % 2}
    clean = ArrayExamples(IMAGES, labels)
    return make_dataset(
        {"train": ArrayExamples(images, labels), "validation": clean, "test": clean},
        targets=classes(("a", "b")),
        channels=1,
        mean=(0.25,),
        std=(0.15,),
        fingerprint="noise",
    )


def make_config(**choices):
    values = {"num_epochs": 3.0, "log_every_steps": 50, "keep_checkpoints": 20}
    return Config(
        data=DataConfig(image_size=6, batch_size=BATCH_SIZE, eval_batch_size=40),
        optim=OptimConfig(peak_lr=0.05),
        num_devices=1,
        seed=SEED,
        **values | choices,
    )


def fit(folder, config, marked=(), wrong=""):
    return jaxcnn.fit(
        config, folder, dataset=dataset(marked), model=Net(2, wrong), writers=["jsonl"]
    )


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ("image", "an image or a target is not finite"),
        pytest.param(
            "output", "the output of infinite is not finite", marks=pytest.mark.slow
        ),
        pytest.param(
            "gradient",
            "the gradient of norm is not finite, though the loss is",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_run_ends_before_the_step_that_fails(wrong, what, tmp_path):
    # In the second epoch; its batch holds the marked example at that place.
    example = STREAM[(FAILING_STEP - 1) * BATCH_SIZE + 2]
    first = [STREAM[i] for i in range(NUM_EXAMPLES)].index(example) // BATCH_SIZE + 1
    config = make_config(save_every_steps=first - 1)
    assert first > 2
    if wrong == "image":
        own = (f"{__name__}:poisoned",)
        config = dataclasses.replace(config, augment=AugmentConfig(own=own))
    with pytest.raises(FloatingPointError, match=f"^Step {first} failed: {what}") as e:
        fit(tmp_path / "run", config, [example], wrong)
    if wrong == "image":
        assert f"; those: training examples {example}. " in str(e.value)
    assert str(example) in str(e.value)
    assert records(tmp_path / "run") == []
    # The same network on examples that are all right.
    fit(tmp_path / "right", config, wrong=wrong)
    expected = last_state(tmp_path / "right", first - 1, newest=False)
    assert_same_bits(last_state(tmp_path / "run", first - 1), expected)


class OfParts(Net):
    """A network that goes wrong in a micro-batch alone."""

    @nn.compact
    def __call__(self, images, *, train):
        x = Infinite(name="infinite")(
            images, is_marked(images) & train & (len(images) == BATCH_SIZE // 2)
        )
        return Dense(self.num_classes, name="head")(x.mean((1, 2)))


def test_a_step_is_replayed_in_its_micro_batches(tmp_path):
    config = config_fields.replace(
        make_config(), {"data.micro_batch_size": BATCH_SIZE // 2}
    )
    example = STREAM[BATCH_SIZE + 3]  # of the second part of the second step
    with pytest.raises(
        DivergedError,
        match="^Step 2 failed: the output of infinite is not finite; those: training "
        f"examples {example}\\.",
    ):
        jaxcnn.fit(
            config, tmp_path, dataset=dataset([example]), model=OfParts(2), writers=()
        )


def test_what_is_not_known_of_a_failed_step_is_not_said(monkeypatch):
    config = config_fields.replace(
        make_config(model="mlp", model_fields=(("hidden", (4, 4)),), remat=True),
        {"data.micro_batch_size": 2, "optim.freeze": ("stage1_block1",)},
    )
    run = prepare.prepare(config, dataset=dataset())
    state = begin.init_state(run)
    line = divergence.explain(run, state, None)
    assert line.startswith(
        "Step 1 failed: its loss or gradients were not finite; taken once more, they "
        "are; its batch: training examples "
    )

    def fail(*args, **kwargs):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(step_lib, "batch_loss", fail)
    assert divergence.explain(run, state, None) == line.replace(
        "were not finite; taken once more, they are",
        "are not finite (it cannot be taken again: RuntimeError: RESOURCE_EXHAUSTED: "
        "Out of memory)",
    )


def test_a_run_goes_on_where_fewer_skips_are_allowed_than_before(tmp_path):
    own = AugmentConfig(own=(f"{__name__}:poisoned",))
    config = make_config(nan_policy="skip", augment=own)
    with signalled(2):  # whose batch holds the example
        assert fit(tmp_path, config, [STREAM[BATCH_SIZE]]).step == 2
    assert last_state(tmp_path, 2)["['skips']['in_a_row']"] == 1
    config = dataclasses.replace(config, nan_policy="error")
    assert fit(tmp_path, config).step == 15
    assert last_state(tmp_path, 15)["['skips']['total']"] == 1


def test_steps_that_fail_are_skipped_and_counted(tmp_path):
    example = STREAM[12]  # in the second step
    own = AugmentConfig(own=(f"{__name__}:poisoned",))
    config = make_config(nan_policy="skip", augment=own, log_every_steps=1)
    result = fit(tmp_path, config, [example])
    assert result.step == 15
    logged = [r for r in records(tmp_path) if r["split"] == "train"]
    order = [STREAM[i] for i in range(15 * BATCH_SIZE)]
    bad = [i // BATCH_SIZE for i, found in enumerate(order) if found == example]
    losses = [record["loss"] for record in logged]
    assert [i for i, loss in enumerate(losses) if loss is None] == bad
    counts = [sum(b <= step for b in bad) for step in range(15)]
    assert [record["skipped_steps"] for record in logged] == counts
    assert all(map(np.isfinite, last_state(tmp_path, 15)["['params']['head']['bias']"]))


def test_a_run_that_skips_gives_up(tmp_path):
    own = AugmentConfig(own=(f"{__name__}:poisoned",))
    config = make_config(nan_policy="skip", nan_patience=3, augment=own)
    with pytest.raises(
        FloatingPointError, match="^Step 4 failed: .*; 3 such steps in a row were skip"
    ):
        fit(tmp_path, config, range(NUM_EXAMPLES))


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ({"nan_policy": "ignore"}, "nan_policy 'ignore'"),
        (
            {"nan_policy": "skip", "nan_patience": 0},
            r"nan_patience must be in \[1, .*, not 0",
        ),
    ],
)
def test_a_policy_is_checked(choice, text, tmp_path):
    with pytest.raises(ValueError, match=text):
        fit(tmp_path, make_config(**choice))


def test_numbers_that_json_does_not_have_are_null():
    values = {"a": float("nan"), "b": [1.0, float("-inf")], "c": (True, None, "NaN")}
    text = strict_json.dumps(values)
    assert json.loads(text) == {"a": None, "b": [1.0, None], "c": [True, None, "NaN"]}


class Overflow(nn.Module):
    """Logits that are NaN for a marked image in evaluation."""

    num_classes: int

    @nn.compact
    def __call__(self, images, *, train):
        y = Dense(self.num_classes, name="head")(images.mean((1, 2)))
        return y if train else jnp.where(is_marked(images)[:, 0, 0], jnp.nan, y)


def test_outputs_that_are_not_finite_have_no_metrics(tmp_path):
    # argmax of NaN is 0, which would be right for half of them.
    data = dataset()
    images = IMAGES.copy()
    images[5:8, 0, 0] = 255
    marked = ArrayExamples(images, data.splits["test"].targets)
    data = dataclasses.replace(data, splits={**data.splits, "validation": marked})
    result = jaxcnn.fit(
        make_config(num_epochs=2.0),
        tmp_path,
        dataset=data,
        model=Overflow(2),
        writers=["jsonl"],
    )
    assert (result.best_step, result.validation, result.test) == (None, None, None)
    with pytest.raises(ValueError, match="has given a number yet.*=latest is step 10"):
        jaxcnn.evaluate(tmp_path, split="test", dataset=data, model=Overflow(2))
    validations = [r for r in records(tmp_path) if r["split"] == "validation"]
    assert [r["accuracy"] for r in validations] == [None, None]
    done = jaxcnn.evaluate(
        tmp_path, "latest", split="validation", dataset=data, model=Overflow(2)
    )
    assert (done.measured.num_examples, done.measured.num_not_finite) == (40, 3)
