"""Every experiment builds and takes two steps, on fake data of its shape."""

import dataclasses
import importlib.util
import pathlib

import jax
import numpy as np
import pytest

from jaxcnn import data
from jaxcnn.config import Config
from jaxcnn.data.examples import ArrayExamples, Dataset
from jaxcnn.training import network, setup

FOLDER = pathlib.Path(__file__).parent.parent / "experiments"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))

# Classes and channels of the data sets: their own pages.
SHAPES = {
    "digits": (10, 1),
    "glyphs": (26, 1),
    "cifar10": (10, 3),
    "imagenet2012": (1000, 3),
}


def get_config(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert f"--config=experiments/{name}.py" in module.__doc__
    assert "Result:" in module.__doc__
    return module.get_config()


def fake(config):
    """Random images instead of those that the config names."""
    num_classes, channels = SHAPES[config.name]
    size, rng = config.image_size, np.random.default_rng(0)
    count = max(config.batch_size, num_classes)
    images = rng.integers(0, 256, (count, size, size, channels), np.uint8)
    labels = np.arange(count, dtype=np.int32) % num_classes
    examples = ArrayExamples(images, labels)
    return Dataset(
        class_names=[str(i) for i in range(num_classes)],
        splits={"train": examples, "validation": examples, "test": examples},
        channels=channels,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        fingerprint="fake",
    )


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_takes_two_steps(name, monkeypatch):
    config = get_config(name)
    assert type(config) is Config
    monkeypatch.setattr(data, "load", fake)
    # Few images in a batch, and the steps of a long run.
    small = dataclasses.replace(config.data, batch_size=8)
    config = dataclasses.replace(config, data=small, num_devices=1)
    run = setup.prepare(config)
    run.check_training()
    large = config.data.image_size > 64
    if large:  # compiling would take minutes; the shapes must fit all the same
        batch = {
            "image": np.zeros((8, *network.image_shape(config, run.info)), np.uint8),
            "label": np.zeros(8, np.int32),
        }
        after, metrics = jax.eval_shape(
            run.train_step(), run.state_shapes(0), batch, jax.random.key(0)
        )
        assert jax.tree.map(lambda x: x.shape, after) == jax.tree.map(
            lambda x: x.shape, run.state_shapes(0)
        )
        return
    state = run.init_state()
    step = run.compile_train_step(state)
    batches = run.train_batches(None, 0)
    for _ in range(2):
        state, metrics = step(state, next(batches), run.run_key)
    batches.close()
    assert int(state.step) == 2
    assert np.isfinite(float(metrics["loss"]))
