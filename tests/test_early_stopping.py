"""A run ends when validations stop getting better, however often it was resumed."""

import dataclasses
import json
import signal

import jax.numpy as jnp
import pytest

from jaxcnn import __main__, tasks
from jaxcnn.config import AverageConfig, Config, DataConfig, OptimConfig
from jaxcnn.report import writers
from jaxcnn.training import checkpoint, early_stopping, evaluation, loop, saving
from jaxcnn.training import fit as fit_lib
from jaxcnn.training.run import Run
from tests.interrupted import signalled


def watched(metric, **changes):
    task = tasks.Classification(tuple("0123456789"))
    return early_stopping.make_rule(Config(best_metric=metric, **changes), task)


@pytest.mark.parametrize(
    ("metric", "values", "expected"),
    # By hand; equal values are no improvement, and NaN is better than nothing.
    [
        ("accuracy", [], []),
        ("accuracy", [0.1, 0.3, 0.3, 0.2, 0.4, 0.1], [0, 0, 1, 2, 0, 1]),
        ("loss", [0.1, 0.3, 0.3, 0.2, 0.05, 0.1], [0, 1, 2, 3, 0, 1]),
        ("loss", [float("nan"), 3.0, float("nan"), 2.0], [1, 0, 1, 0]),
    ],
)
def test_validations_since_the_best(metric, values, expected):
    history = [{metric: value} for value in values]
    rule = watched(metric, early_stopping_patience=2)
    for number, since in enumerate(expected, start=1):
        assert rule.since_best(history[:number]) == since
        assert rule.is_over(history[:number]) == (since >= 2)
        assert not watched(metric).is_over(history[:number])


def test_the_metric_may_be_another_than_that_of_the_best_checkpoint():
    rule = watched("accuracy", early_stopping_metric="loss")
    history = [{"accuracy": 0.5, "loss": 1.0}, {"accuracy": 0.6, "loss": 1.1}]
    assert rule.since_best(history) == 1


# Of each validation, that after step 3, 6, 9, ...
LOSSES = [1.0, 0.8, 0.9, 0.7, 0.75, 0.7, 0.72, 0.1, 0.1]
STOPS_AT = 21  # three after the best, of step 12


@pytest.fixture
def steps():
    """The steps that a run takes."""
    return []


@pytest.fixture
def config(steps, monkeypatch):
    """A run of 27 steps whose validations are said to have LOSSES."""
    evaluator = evaluation.evaluator

    def scripted(run, folder):
        evaluate = evaluator(run, folder)

        def measured(split, variables):
            found = evaluate(split, variables)
            if split == "validation":
                found.metrics["loss"] = LOSSES[steps[-1] // 3 - 1]
            return found

        return measured

    train = loop.train

    def counted(*args, after_step, **kwargs):
        def after(number, state, metrics):
            steps.append(number)
            return after_step(number, state, metrics)

        return train(*args, after_step=after, **kwargs)

    monkeypatch.setattr(evaluation, "evaluator", scripted)
    monkeypatch.setattr(loop, "train", counted)
    config = Config(
        model="softmax_regression",
        data=DataConfig(name="digits", image_size=8, batch_size=200),
        optim=OptimConfig(peak_lr=0.1),
        num_epochs=27 * 200 / 808,
        eval_every_epochs=3 * 200 / 808,
        keep_checkpoints=1,
        early_stopping_patience=3,
        early_stopping_metric="loss",
        num_devices=1,
    )
    return config


def fit(config, folder, signal_at=None):
    """The result; a signal is sent after a step where one is given."""
    with signalled(signal_at):
        return fit_lib.fit(config, folder, make_writer=writers.for_trial)


def records(folder, split):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [record for record in found if record["split"] == split]


def test_a_run_ends_early_and_says_so(config, tmp_path, monkeypatch, steps):
    result = fit(config, tmp_path)
    assert result.step == STOPS_AT
    assert result.stopped_early == 3
    assert result.stopped_by is None
    assert result.test is not None
    validations = records(tmp_path, "validation")
    assert [r["since_best"] for r in validations] == [0, 0, 1, 0, 1, 2, 3]
    assert records(tmp_path, "test")[0]["step"] == result.best_step
    # The same command again: nothing is left to do, nor to compile.
    steps.clear()
    monkeypatch.setattr(Run, "compile_train_step", None)
    again = fit(config, tmp_path)
    assert steps == []
    assert (again.step, again.stopped_early) == (STOPS_AT, 3)
    assert again.test == result.test
    assert records(tmp_path, "validation") == validations


@pytest.mark.parametrize("stops", [(13,), (12, 16, 20), (21,)])
def test_a_resumed_run_ends_at_the_same_step(config, tmp_path, stops):
    # Only the newest checkpoint and the best by accuracy are there, and the lines of
    # metrics.jsonl are lost: what is known must be in the checkpoint.
    for stop in stops:
        stopped = fit(config, tmp_path, signal_at=stop)
        assert stopped.step == stop
        assert stopped.stopped_by == signal.SIGTERM
        (tmp_path / "metrics.jsonl").unlink()
    result = fit(config, tmp_path)
    assert (result.step, result.stopped_early) == (STOPS_AT, 3)
    assert result.stopped_by is None
    assert result.test is not None


def unfreeze_at(step):
    return (("head", 0.0), ("stage1.*", step * 200 / 808))


@pytest.mark.slow
def test_the_average_is_watched_where_there_is_one_and_phases_end(
    config, tmp_path, steps
):
    averaged = dataclasses.replace(
        config,
        model="mlp",
        optim=OptimConfig(peak_lr=0.1, unfreeze=unfreeze_at(12)),
        average=AverageConfig("ema"),
        early_stopping_patience=1,
    )
    result = fit(averaged, tmp_path)
    assert (result.step, result.stopped_early) == (9, 1)
    assert "since_best" not in records(tmp_path, "validation")[0]
    found = [r["since_best"] for r in records(tmp_path, "validation_average")]
    assert found == [0, 0, 1]
    at_boundary = dataclasses.replace(
        averaged, optim=OptimConfig(peak_lr=0.1, unfreeze=unfreeze_at(9))
    )
    steps.clear()
    assert fit(at_boundary, tmp_path / "boundary").step == 9
    assert steps == list(range(1, 10))


def test_more_patience_goes_on_with_a_run_that_had_ended(config, tmp_path, steps):
    fit(config, tmp_path)
    patient = dataclasses.replace(config, early_stopping_patience=4)
    steps.clear()
    result = fit(patient, tmp_path)
    assert steps == [22, 23, 24, 25, 26, 27]
    assert (result.step, result.stopped_early) == (27, None)


def test_without_patience_a_run_goes_to_its_end(config, tmp_path):
    result = fit(dataclasses.replace(config, early_stopping_patience=None), tmp_path)
    assert (result.step, result.stopped_early) == (27, None)
    assert "since_best" not in records(tmp_path, "validation")[-1]


def test_a_run_that_is_at_its_end_did_not_end_early(config, tmp_path):
    short = dataclasses.replace(config, num_epochs=STOPS_AT * 200 / 808)
    result = fit(short, tmp_path)
    assert (result.step, result.stopped_early) == (STOPS_AT, None)


def test_validations_of_deleted_checkpoints_are_known(tmp_path):
    metric = tasks.Classification.METRICS["accuracy"]
    with saving.open_checkpoints(tmp_path, keep=1, metric=metric) as checkpoints:
        state = {"step": jnp.int32(0)}
        history = []
        for step in range(1, 5):
            history.append({"accuracy": 1.0 / step})
            checkpoints.save(step, state, history[-1], history)
        checkpoints.wait()
        assert checkpoint.steps_in(checkpoints.directory) == [1, 4]
        assert checkpoints.records[4].validations == history
        assert checkpoints.records[1].validations == history[:1]


def test_the_command_says_that_it_ended_early(config, tmp_path, capsys):
    (tmp_path / "experiment.py").write_text(
        "from jaxcnn.config import *\n"
        f"def get_config():\n    return {dataclasses.replace(config)!r}\n"
    )
    command = ["train", f"--config={tmp_path / 'experiment.py'}"]
    assert __main__.main([*command, f"--workdir={tmp_path / 'run'}"]) == 0
    out = capsys.readouterr().out
    assert "ended early: no improvement in 3 validations" in out
    assert "since_best 3\n" in out
    for flag, text in (
        ("early_stopping_patience=0", "early_stopping_patience must be in [1, "),
        ("early_stopping_metric=f1", "Unknown metric 'f1'"),
    ):
        again = [*command, f"--workdir={tmp_path / 'new'}", f"--config.{flag}"]
        assert __main__.main(again) == 2
        assert text in capsys.readouterr().err
