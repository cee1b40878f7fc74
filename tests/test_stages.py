"""Training images that grow during a run, and epochs that are counted in steps."""

import contextlib

import numpy as np
from PIL import Image
import pytest

from jaxcnn import models
from jaxcnn.config import AverageConfig, Config, DataConfig, OptimConfig
from jaxcnn.data import order as order_lib
from jaxcnn.errors import UserError
from jaxcnn.training import feature_cache, feed, fit, prepare
from jaxcnn.training.due import DueSteps
from tests import tiny
from tests.interrupted import NoWriter, assert_same_bits, last_state, signalled

NUM_STEPS = 8  # of one epoch: 808 training images in batches of 101


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setitem(models.MODELS, "tiny", tiny.VARIANT)


def make_config(stages, model="tiny", **values):
    data = DataConfig(
        name="digits", image_size=16, batch_size=101, image_size_stages=stages
    )
    return Config(model=model, data=data, num_devices=1, num_epochs=1.0, **values)


def test_batches_grow_at_their_step_and_keep_their_examples():
    # Half and three quarters of eight steps.
    run = prepare.prepare(make_config(((6, 0), (8, 0.5), (12, 0.75))))
    assert run.phases(0) == [(0, 4), (4, 6), (6, 8)]
    with contextlib.closing(feed.train_batches(run, None, 0)) as batches:
        found = list(batches)
    assert [batch["image"].shape[1:3] for batch in found] == [
        *[(6, 6)] * 4,
        *[(8, 8)] * 2,
        *[(12, 12)] * 2,
    ]
    examples = run.dataset.splits["train"]
    order = order_lib.order(0, 0, 808).reshape(8, 101)
    for batch, indices in zip(found, order, strict=True):
        np.testing.assert_array_equal(batch["label"], examples.column("label")[indices])
    # The last batch in Pillow's resize; the fifth as the images are.
    np.testing.assert_array_equal(found[4]["image"], examples.images[order[4]])
    image = examples.images[order[7][3]][..., 0]
    resized = Image.fromarray(image).resize((12, 12), Image.Resampling.BILINEAR)
    difference = np.asarray(found[7]["image"][3, ..., 0], int) - np.asarray(resized)
    assert abs(difference).max() <= 1
    for start in (1, 4, 7):  # a run that goes on
        with contextlib.closing(feed.train_batches(run, None, start)) as batches:
            for batch, expected in zip(batches, found[start:], strict=True):
                np.testing.assert_array_equal(batch["image"], expected["image"])


def test_before_the_first_stage_and_in_evaluation_images_have_their_size():
    run = prepare.prepare(make_config(((8, 0.5),)))
    assert [run.image_size(step) for step in (0, 3, 4, 7)] == [
        *[(16, 16)] * 2,
        *[(8, 8)] * 2,
    ]
    batch = next(feed.eval_batches(run, "validation", None))
    assert batch["image"].shape[1:3] == (16, 16)


class Said(NoWriter):
    def __init__(self):
        self.lines, self.losses = [], {}

    def say(self, line):
        if not line.startswith("Operations: "):
            self.lines.append(line)

    def write(self, split, step, values):
        if split == "train":
            self.losses[step] = values["loss"]


@pytest.mark.slow
def test_a_run_with_stages_goes_on_where_it_was(tmp_path, monkeypatch):
    config = make_config(
        ((8, 0), (12, 0.5)), average=AverageConfig(name="swa"), log_every_steps=1
    )

    def run(folder, stop_at=None):
        writer = Said()
        with signalled(stop_at):
            fit.fit(config, folder, make_writer=lambda *_: writer)
        return writer

    whole = run(tmp_path / "whole")
    first, second = run(tmp_path / "stopped", stop_at=5), run(tmp_path / "stopped")
    line = "step {}: images of {} pixels from here on, for which the step is compiled"
    assert whole.lines == [line.format(0, 8), line.format(4, 12)]
    assert second.lines == [line.format(5, 12)]
    assert first.losses | second.losses == whole.losses
    assert sorted(whole.losses) == list(range(1, NUM_STEPS + 1))

    ends = (last_state(tmp_path / name, NUM_STEPS) for name in ("stopped", "whole"))
    assert_same_bits(*ends)


@pytest.mark.parametrize(
    ("stages", "model", "text"),
    [
        (((8, 0.5), (12, 0.5)), "tiny", "stages must be of ascending epochs, .*, not"),
        (((8, 0.5), (12, 0.25)), "tiny", "stages must be of ascending epochs"),
        (((8, -1.0),), "tiny", "within the run, not"),
        (((8, 1.0),), "tiny", "at least one step apart and within the run, not"),
        (((0, 0),), "tiny", "A size in data.image_size_stages must be at least 1, or"),
        (((8, 0),), "mlp", "mlp has other parameters for images of 8 pixels than for"),
    ],
)
def test_stages_that_cannot_be_are_refused(stages, model, text):
    with pytest.raises(UserError, match=text):
        prepare.check_training(prepare.prepare(make_config(stages, model)))


def test_features_that_are_cached_have_one_size():
    run = prepare.prepare(make_config(((8, 0),), optim=OptimConfig(freeze=("stem",))))
    with pytest.raises(UserError, match="data.image_size_stages changes the size"):
        feature_cache.check(run)


def test_epochs_may_be_steps():
    # The same run in epochs of 8 steps, and in steps.
    def prepared(count, steps_per_epoch):
        choices = OptimConfig(
            warmup_epochs=0.25 * count,
            schedule="step",
            decay_epochs=(0.5 * count, 0.75 * count),
            unfreeze=(("head", 0), (".*", 0.375 * count)),
        )
        config = make_config(((8, 0), (12, 0.625 * count)), optim=choices)
        config.num_epochs = float(count)
        config.steps_per_epoch = steps_per_epoch
        return prepare.prepare(config)

    epochs, steps = prepared(1, None), prepared(8, 1)
    assert epochs.num_steps == steps.num_steps == 8
    assert epochs.phases(0) == steps.phases(0) == [(0, 3), (3, 5), (5, 8)]
    rates = [[float(run.schedule(i)) for i in range(8)] for run in (epochs, steps)]
    np.testing.assert_allclose(rates[0], [0, 0.05, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert rates[0] == rates[1]
    assert list(DueSteps(2.0 * steps.steps_per_epoch, 8)) == [2, 4, 6, 8]
    with pytest.raises(UserError, match=r"steps_per_epoch must be in \[1, .*, not 0"):
        prepared(8, 0)
