"""The learning-rate range test."""

import csv
import dataclasses
import json

import numpy as np
from PIL import Image
import pytest

from jaxcnn import __main__
from jaxcnn.config import AverageConfig, Config, DataConfig, OptimConfig
from jaxcnn.errors import UserError
from jaxcnn.studies import find_lr
from jaxcnn.training import begin, feed, prepare
from jaxcnn.training.run import Run


def make_config(**optim):
    return Config(
        model="softmax_regression",
        data=DataConfig(name="digits", image_size=8, batch_size=64),
        # None of these may show: the test has a schedule of its own.
        optim=OptimConfig(
            name="sgd", schedule="step", decay_epochs=(1.0,), warmup_epochs=0.5, **optim
        ),
        num_devices=1,
    )


def test_the_average_weighs_each_step_back_by_098():
    losses = np.random.default_rng(0).normal(2, 1, 40)
    expected = [
        np.average(losses[: n + 1], weights=0.98 ** np.arange(n, -1, -1))
        for n in range(40)
    ]
    np.testing.assert_allclose(find_lr.smooth(losses), expected, rtol=1e-12)


def test_the_steepest_descent_is_over_the_logarithm_of_the_rate():
    # The loss falls by a logistic curve in log(rate), steepest at its middle, 0.01;
    # over the rate itself it would be steepest at a lower one.
    rates = np.logspace(-5, 0, 501)
    losses = 3 - 2 / (1 + np.exp(-2 * np.log(rates / 0.01)))
    assert find_lr.steepest(rates, losses) == pytest.approx(0.01, rel=0.02)
    assert find_lr.steepest(rates, np.linspace(1, 2, 501)) is None
    # A case by hand: log(rate) rises by 1 and by 2, the loss falls by 1 and by 1.5.
    by_hand = find_lr.steepest(np.exp([0.0, 1.0, 3.0]), np.array([4.0, 3.0, 1.5]))
    assert by_hand == 1.0


@pytest.fixture
def compiled(monkeypatch):
    """Each entry is a compilation of the step."""
    calls = []
    compile_train_step = Run.compile_train_step

    def counted(run, state, step):
        calls.append(run)
        return compile_train_step(run, state, step)

    monkeypatch.setattr(Run, "compile_train_step", counted)
    return calls


def test_the_rate_rises_as_in_fastai_and_one_step_is_compiled(compiled):
    test = find_lr.find_lr(make_config(), low=1e-4, high=1e-1, num_steps=30)
    # fastai's SchedExp: start * (end / start) ** (step / steps).
    expected = 1e-4 * (1e-1 / 1e-4) ** (np.arange(30) / 30)
    np.testing.assert_allclose(test.rates, expected, rtol=1e-4)
    assert len(compiled) == 1
    assert not test.diverged
    assert test.careful == pytest.approx(test.rates[3:25][-1] / 10)  # still falling


@pytest.mark.slow
def test_what_is_unfrozen_later_is_trained_and_what_is_frozen_is_not(compiled):
    config = make_config(unfreeze=(("head", 0.0), ("stage1.*", 1.0)))
    config = dataclasses.replace(
        config, model="mlp", average=AverageConfig("swa", start_epoch=5.0)
    )
    find_lr.find_lr(config, low=1e-4, high=1e-1, num_steps=30)
    config = dataclasses.replace(
        config, optim=OptimConfig(freeze=("stage1.*",), lr_decay=0.3)
    )
    find_lr.find_lr(config, low=1e-4, high=1e-1, num_steps=30)
    everything, head = compiled  # though epochs end within the test
    assert everything.phases(0) == [(0, 30)]
    assert everything.trained(0) is None
    assert head.trained(0) == {"head/kernel", "head/bias"}


@pytest.mark.slow
def test_the_steps_are_those_of_the_run():
    # Plain gradient descent by hand on softmax regression, batch after batch.
    config = make_config(momentum=0.0)
    test = find_lr.find_lr(config, low=1e-2, high=1e2, num_steps=20)
    run = prepare.prepare(dataclasses.replace(config, num_epochs=2.0))
    head = begin.init_state(run).params["head"]
    kernel = np.asarray(head["kernel"], np.float64)
    bias = np.asarray(head["bias"], np.float64)
    batches = feed.train_batches(run, None, 0)
    for rate, loss, batch in zip(test.rates, test.losses, batches, strict=False):
        pixels = np.asarray(batch["image"], np.float64).reshape(64, 64) / 255
        x = (pixels - run.info.mean[0]) / run.info.std[0]
        one_hot = np.eye(10)[np.asarray(batch["label"])]
        logits = x @ kernel + bias
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        expected = -np.mean(np.log((p * one_hot).sum(axis=1)))
        assert loss == pytest.approx(expected, rel=2e-3)
        kernel -= rate * x.T @ (p - one_hot) / 64
        bias -= rate * np.mean(p - one_hot, axis=0)
    batches.close()


@pytest.mark.slow
def test_the_test_ends_where_the_loss_diverges(monkeypatch):
    config = make_config(momentum=0.9)
    test = find_lr.find_lr(config, low=1e-4, high=1e6, num_steps=120)
    assert test.diverged
    assert len(test.rates) < 120
    assert test.smoothed[-1] > 4 * test.smoothed.min()
    before = test.smoothed[:-1]
    assert (before <= 4 * np.minimum.accumulate(before)).all()
    # The suggested rate learns, a hundredth of it hardly, a thousand times it diverges.
    last = {}
    for factor in (0.01, 1.0):
        rate = factor * test.suggestion
        flat = find_lr.find_lr(config, low=rate, high=1.0001 * rate, num_steps=60)
        last[factor] = np.mean(flat.losses[-10:])
    assert last[1.0] < 0.5 * last[0.01]
    with pytest.raises(UserError, match="The loss diverged after"):
        find_lr.find_lr(config, low=1000 * rate, high=1001 * rate)


def test_rates_that_make_no_test_are_refused():
    for arguments, text in (
        ({"low": 0.0}, r"low and high must be 0 < low < high, not \(0.0, 10.0\)"),
        ({"low": 2.0, "high": 1.0}, "0 < low < high"),
        ({"num_steps": 19}, "steps must be at least 20, not 19"),
    ):
        with pytest.raises(UserError, match=text):
            find_lr.find_lr(make_config(), **arguments)
    with pytest.raises(UserError, match="lr_for_batch_size must be None.*, not 256"):
        find_lr.find_lr(make_config(lr_for_batch_size=256))


CONFIG = """
from jaxcnn.config import Config, DataConfig, OptimConfig

def get_config():
    return Config(
        model="softmax_regression",
        data=DataConfig(name="digits", image_size=8, batch_size=64),
        optim=OptimConfig(name="sgd"),
    )
"""


@pytest.mark.slow
def test_the_command_writes_points_and_a_plot_and_no_run(tmp_path, capsys):
    (tmp_path / "experiment.py").write_text(CONFIG)
    output = tmp_path / "found"
    command = ["find_lr", f"--config={tmp_path / 'experiment.py'}", "--steps=40"]
    assert __main__.main([*command, f"--output={output}"]) == 0
    out = capsys.readouterr().out
    names = sorted(path.name for path in output.iterdir())
    assert names == ["find_lr.csv", "find_lr.json", "find_lr.png"]
    written = json.loads((output / "find_lr.json").read_text())
    assert f"optim.peak_lr  {written['suggestion']:.2g}, where the loss" in out
    rows = list(csv.DictReader((output / "find_lr.csv").open()))
    assert [int(row["step"]) for row in rows] == list(range(1, len(rows) + 1))
    for name in ("learning_rate", "loss", "smoothed_loss"):
        assert [float(row[name]) for row in rows] == written[name]
    with Image.open(output / "find_lr.png") as picture:
        assert min(picture.size) > 500
        red = np.asarray(picture.convert("RGB")) == (0xC6, 0x28, 0x28)
    assert red.all(axis=2).sum() > 200  # the line of the suggestion

    assert __main__.main([*command, f"--output={output}", "--format=json"]) == 0
    assert json.loads(capsys.readouterr().out) == written

    assert __main__.main(command) == 2
    assert "--output=DIR is missing" in capsys.readouterr().err
    assert __main__.main([*command, f"--output={output}", "--low=-1"]) == 2
    assert "low and high must be 0 < low < high" in capsys.readouterr().err
