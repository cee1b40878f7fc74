"""A task of one's own: what it must have, and what it and its network must give."""

import dataclasses
import math

from flax import linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import layers
from jaxcnn.config import Config, DataConfig, TaskConfig
from jaxcnn.errors import UserError
from jaxcnn.serving import measure
from jaxcnn.targets import Target
from jaxcnn.tasks import (
    Classification,
    Metric,
    MultiLabel,
    Regression,
    Task,
    create_task,
    metric_table,
)
from jaxcnn.training import prepare

IMAGES = np.random.default_rng(0).integers(0, 256, (24, 4, 4), np.uint8)
VALUES = np.arange(24, dtype=np.float32)


@dataclasses.dataclass(frozen=True)
class Scaled(Task):
    """One number, in units of a scale."""

    METRICS = metric_table(Metric("error", greater_is_better=False))

    scale: float = 1.0

    @property
    def targets(self):
        return {"value": Target("value", "float32", (1,), names=("height",))}

    @property
    def outputs(self):
        return {"num_classes": 1}

    def loss(self, output, batch):
        return jnp.square(output - batch["value"] / self.scale)[:, 0]

    def eval_sums(self, output, batch):
        error = jnp.abs(self.scale * output - batch["value"])[:, 0]
        return {"error": jnp.sum(batch["weight"] * error)}

    def metrics(self, sums, records):
        return {"error": np.float32(sums["error"])}  # a number as NumPy has it

    def predict(self, output):
        return {"value": self.scale * output}


def net(outputs=1):
    return nn.Sequential([layers.Conv(2, 3), layers.global_avg_pool, nn.Dense(outputs)])


def config(**choices):
    return Config(
        data=DataConfig(image_size=4, batch_size=8),
        num_epochs=1.0,
        log_every_steps=1,
        **choices,
    )


def values():
    return jaxcnn.Dataset.from_arrays(IMAGES, VALUES, test=(IMAGES, VALUES))


def test_the_folder_of_a_run_knows_the_fields_of_its_task(tmp_path):
    task = Scaled(scale=2.0)
    result = jaxcnn.fit(config(), tmp_path, model=net(), dataset=values(), task=task)
    predictor = jaxcnn.load(tmp_path, model=net())
    assert predictor.task == task
    found = predictor(IMAGES)["value"][:, 0]
    assert result.test["error"] == pytest.approx(np.abs(found - VALUES).sum(), rel=1e-5)
    done = jaxcnn.evaluate(tmp_path, model=net(), dataset=values())
    assert done.measured.metrics == result.test
    fields = TaskConfig(name=f"{__name__}:Scaled", fields=(("scale", 2.0),))
    assert create_task(fields, task.targets, {}) == task


@pytest.mark.parametrize(
    ("task", "text"),
    [
        (TaskConfig(name=f"{__name__}:Scaled", fields=(("size", 1),)), "'size'"),
        (TaskConfig(fields=(("size", 1),)), "task.fields must be .. for task 'class"),
    ],
)
def test_fields_that_a_task_does_not_have_are_refused(task, text):
    with pytest.raises(UserError, match=text):
        create_task(task, Scaled().targets, {})


class NoMetrics(Scaled):
    METRICS = {}


class Forgetful(Scaled):
    def metrics(self, sums, records):
        return {"mistake": 0.5}


class Mean(Scaled):
    def loss(self, output, batch):
        return jnp.mean(super().loss(output, batch))


class Each(Scaled):
    def loss(self, output, batch):
        return jnp.square(output - batch["value"])


@pytest.mark.parametrize(
    ("task", "text"),
    [
        (NoMetrics(), "NoMetrics.METRICS must name a metric"),
        (
            Mean(),
            "Mean.loss must give one number for each example, .* gives \\[\\]",
        ),
        (
            Each(),
            "Each.loss must give one number for each example, .* gives \\[1, 1\\]",
        ),
        (Forgetful(), "Forgetful.metrics must give a number 'error', .* gives mistake"),
    ],
)
def test_a_task_that_gives_something_else_is_refused(task, text, tmp_path):
    with pytest.raises(UserError, match=text):
        jaxcnn.fit(config(), tmp_path, model=net(), dataset=values(), task=task)


@pytest.mark.parametrize(
    ("targets", "text"),
    [
        ({}, "Scaled needs target 'value'; the data set has none"),
        (
            {"value": Target("value", "float32", (2,), names=("a", "b"))},
            r"Scaled needs target 'value' with shape \(1,\); .* has \(2,\)",
        ),
        (
            {"value": Target("label", "int32", names=("a", "b"))},
            "Scaled needs target 'value' with kind 'value'; .* has 'label'",
        ),
    ],
)
@pytest.mark.parametrize("given", [Scaled, Scaled()])
def test_a_task_is_refused_for_data_without_its_target(targets, text, given):
    with pytest.raises(UserError, match=text):
        create_task(TaskConfig(name=f"{__name__}:Scaled"), targets, {}, given)


def test_a_task_that_is_an_object_numbers_classes_as_the_data_do():
    targets = {"label": Target("label", "int32", names=("b", "a"))}
    with pytest.raises(
        UserError, match=r"with names \('a', 'b'\); that of the data set"
    ):
        create_task(TaskConfig(), targets, {}, Classification(("a", "b")))
    smoothed = TaskConfig(label_smoothing=0.3)
    with pytest.raises(
        UserError, match="label_smoothing must be 0.0 for a task that is"
    ):
        create_task(smoothed, targets, {}, Classification(("b", "a")))


class Flat(nn.Module):
    """A network that gives a number for each image, and no vector."""

    @nn.compact
    def __call__(self, images):
        return nn.Dense(1)(images.reshape(len(images), -1))[:, 0]


class Two(Flat):
    def __call__(self, images):
        return {"a": images, "b": images[:, 0]}


LABELS = np.arange(24) % 3
SEVERAL = np.eye(3, dtype=np.uint8)[LABELS]


@pytest.mark.parametrize(
    ("name", "targets", "model", "text"),
    [
        ("classification", LABELS, net(5), r"gives \[3\] numbers .* gives \[5\]"),
        ("multi_label", SEVERAL, net(1), r"gives \[3\] numbers .* gives \[1\]"),
        ("regression", VALUES, net(3), r"gives \[1\] numbers .* gives \[3\]"),
        ("regression", VALUES, Flat(), r"gives \[1\] numbers .* gives \[\]"),
        ("regression", VALUES, Two(), r"gives {'a': \[4, 4, 1\], 'b': \[4, 1\]}"),
    ],
)
def test_a_network_that_does_not_fit_its_task_is_refused(name, targets, model, text):
    dataset = jaxcnn.Dataset.from_arrays(IMAGES, targets)
    with pytest.raises(UserError, match=text):
        prepare.prepare(config(task=TaskConfig(name)), dataset=dataset, model=model)


@pytest.mark.parametrize("greater_is_better", [True, False])
def test_nan_is_never_the_best(greater_is_better):
    metric = Metric("loss", greater_is_better)
    assert max([math.nan, -1e30, 1e30], key=metric.goodness) in (-1e30, 1e30)
    assert metric.goodness(math.nan) < metric.goodness(-1e300)


def test_an_evaluation_on_another_target_or_without_test_images_is_refused(tmp_path):
    named = {"age": Target("value", "float32", (1,), names=("age",))}
    other = jaxcnn.Dataset.from_examples(
        Few("age"), named, test=Few("age"), mean=[0.5], std=[0.5], name="ages"
    )
    jaxcnn.fit(
        config(task=TaskConfig("regression")), tmp_path, model=net(), dataset=values()
    )
    with pytest.raises(
        UserError, match="has target 'age'; the run .* trained on value"
    ):
        measure.evaluate(tmp_path, model=net(), dataset=other)


class Few:
    """Twelve examples with a target of some name."""

    def __init__(self, name):
        self.name = name

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return {"image": IMAGES[index][..., None], self.name: VALUES[index : index + 1]}


def test_ready_made_tasks_say_what_they_need():
    assert Classification(("a", "b", "c")).output_shape == (3,)
    assert MultiLabel(("a", "b")).output_shape == (2,)
    assert Regression(("x",), (0.0,), (1.0,)).output_shape == (1,)
