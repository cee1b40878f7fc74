"""A sweep: every choice once, compared by validation, stopped and resumed."""

import csv
import dataclasses
import io
import json
import math
import os
import pathlib
import signal

import jax
import numpy as np
import pytest

from jaxcnn import __main__
from jaxcnn.config import Config, DataConfig, OptimConfig
from jaxcnn.errors import DivergedError, UserError
from jaxcnn.report import sweep as sweep_report
from jaxcnn.report import writers
from jaxcnn.studies import search, sweep
from jaxcnn.training import feed, fit
from jaxcnn.training.run import Run
from tests.interrupted import NoWriter, signalled

CONFIG = """
from jaxcnn.config import Config, DataConfig, OptimConfig

def get_config():
    return Config(
        model="softmax_regression",
        data=DataConfig(name="digits", image_size=8, batch_size=101),
        optim=OptimConfig(name="sgd"),
        num_epochs=1.0,
        num_devices=1,
    )
"""
VARY = ("--vary=optim.peak_lr=0.3,0.001", "--vary=seed=0,1")


@pytest.fixture
def call(tmp_path, capsys):
    """call(*flags): (exit code, standard output, standard error)."""
    (tmp_path / "experiment.py").write_text(CONFIG)
    config = f"--config={tmp_path / 'experiment.py'}"

    def called(*flags):
        code = __main__.main(
            ["sweep", config, f"--output={tmp_path / 'sweep'}", *flags]
        )
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return called


@pytest.fixture
def steps(monkeypatch):
    """(rate, seed, step) of each training step that is taken."""
    taken = []
    train_batches = feed.train_batches

    def counted(run, folder, start_step):
        step = start_step
        for batch in train_batches(run, folder, start_step):
            step += 1
            taken.append((run.config.optim.peak_lr, run.config.seed, step))
            yield batch

    monkeypatch.setattr(feed, "train_batches", counted)
    return taken


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").open()]


@pytest.mark.slow
def test_a_grid_is_run_and_sorted_by_validation(call, tmp_path, steps):
    code, out, _ = call(*VARY)
    assert code == 0
    grid = [(rate, seed) for rate in (0.3, 0.001) for seed in (0, 1)]
    assert steps == [(*choice, step) for choice in grid for step in range(1, 9)]
    result = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    accuracies = [trial["validation"]["accuracy"] for trial in result["trials"]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert result["trials"][-1]["values"]["optim.peak_lr"] == 0.001
    for trial in result["trials"]:
        # Validation, as the run's own log has it, and never the test images.
        logged = records(tmp_path / "sweep" / trial["folder"])
        splits = {record["split"] for record in logged}
        assert splits == {"compile", "train", "validation"}
        assert logged[-1]["accuracy"] == trial["validation"]["accuracy"]
        config = json.loads(
            (tmp_path / "sweep" / trial["folder"] / "config.json").read_text()
        )
        assert config["seed"] == trial["values"]["seed"]
        assert config["optim"]["peak_lr"] == trial["values"]["optim.peak_lr"]
    for seed in (0, 1):
        assert f"optim.peak_lr=0.3  seed={seed}  accuracy 0." in out
    of_rate = [
        trial["validation"]["accuracy"]
        for trial in result["trials"]
        if trial["values"]["optim.peak_lr"] == 0.3
    ]
    over_seeds = out[out.index("Over seeds") :].splitlines()
    mean, std = np.mean(of_rate), np.std(of_rate, ddof=1)
    assert over_seeds[3].split() == ["0.3", f"{mean:.4f}", "±", f"{std:.4f}", "2"]

    # The same command once more: nothing is run, and the table is the same.
    steps.clear()
    _, again, _ = call(*VARY, "--format=csv")
    assert steps == []
    rows = list(csv.DictReader(io.StringIO(again)))
    assert [row["trial"] for row in rows] == [t["folder"] for t in result["trials"]]
    assert [float(row["accuracy"]) for row in rows] == accuracies
    assert again == (tmp_path / "sweep" / "sweep.csv").read_text()
    _, printed, _ = call(*VARY, "--format=json")
    assert json.loads(printed) == result
    # A larger grid: only what is new is run.
    call("--vary=seed=2,1", "--vary=optim.peak_lr=0.3")
    assert [choice[:2] for choice in steps] == 8 * [(0.3, 2)]
    names = sorted(path.name for path in (tmp_path / "sweep").glob("trial_*"))
    assert names == [f"trial_00{i}" for i in range(1, 6)]
    # Runs that differ in the seed alone may be tested, also those that are finished.
    steps.clear()
    _, out, _ = call("--vary=optim.peak_lr=0.3", "--vary=seed=0,1,2", "--test")
    assert steps == []
    result = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    tested = [trial["test"]["accuracy"] for trial in result["trials"]]
    for trial, accuracy in zip(result["trials"], tested, strict=True):
        logged = records(tmp_path / "sweep" / trial["folder"])[-1]
        assert (logged["split"], logged["accuracy"]) == ("test", accuracy)
    assert f"{np.mean(tested):.4f} ± {np.std(tested, ddof=1):.4f}" in out


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_stopped_trial_goes_on(call, tmp_path, steps, monkeypatch, number, code):
    def is_third():
        return len(list((tmp_path / "sweep").glob("trial_*"))) == 3

    # A shell starts what it puts into the background with SIGINT ignored.
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    with signalled(5, signal.Signals[number], is_third):
        found, out, _ = call(*VARY)
    signal.signal(signal.SIGINT, old)
    assert found == code
    assert f"signal {signal.Signals[number].value} after 2 of 4 trials" in out
    so_far = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert len(so_far["trials"]) == 2

    steps.clear()
    assert call(*VARY)[0] == 0
    expected = [(0.001, 0, step) for step in (6, 7, 8)]
    expected += [(0.001, 1, step) for step in range(1, 9)]
    assert steps == expected
    result = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    # As runs of their own.
    for trial in result["trials"][2:]:
        config = dataclasses.replace(
            make_config(), seed=trial["values"]["seed"], optim=OptimConfig("sgd", 0.001)
        )
        alone = fit.fit(
            config,
            tmp_path / f"alone_{trial['folder']}",
            make_writer=writers.for_trial,
        )
        assert alone.validation == trial["validation"]
        assert alone.test is not None


def make_config():
    return Config(
        model="softmax_regression",
        data=DataConfig(name="digits", image_size=8, batch_size=101),
        optim=OptimConfig(name="sgd"),
        num_epochs=1.0,
        num_devices=1,
    )


def test_a_signal_between_trials_stops_the_sweep(tmp_path):
    def on_trial(number, so_far, trial):
        os.kill(os.getpid(), signal.SIGTERM)

    plan = search.grid(search.parse(["seed=0,1"]))
    result = sweep.sweep(
        make_config(),
        plan,
        tmp_path,
        make_writer=lambda *args: NoWriter(),
        on_trial=on_trial,
    )
    assert result.stopped_by == signal.SIGTERM
    assert len(result.trials) == 1


@pytest.mark.slow
def test_a_trial_that_diverges_is_last_and_not_run_again(call, tmp_path, steps):
    flags = (
        *("--config.model=mlp", "--config.best_metric=loss"),
        *("--config.log_every_steps=1", "--vary=optim.peak_lr=1e30,0.01"),
    )
    code, out, _ = call(*flags)
    assert code == 0
    assert "optim.peak_lr=1e+30  diverged: Step 2 failed: " in out
    result = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert result["metric"] == "loss"
    assert [trial["step"] for trial in result["trials"]] == [8, None]
    assert result["trials"][1]["diverged"].startswith("Step 2 failed: ")
    steps.clear()
    assert call(*flags)[0] == 0
    assert steps == []


class Failing:
    """fit, which ends with an error or a result."""

    def __init__(self, outcome):
        self.outcome, self.calls = outcome, 0

    def __call__(self, config, folder, **choices):
        self.calls += 1
        folder.mkdir()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def run_trial(folder, monkeypatch, fit_as):
    monkeypatch.setattr(fit, "fit", fit_as)
    plan = search.grid(search.parse(["optim.decay_epochs=(0.5,)"]))
    return sweep.sweep(
        make_config(), plan, folder, make_writer=lambda *args: NoWriter()
    ).trials[0]


def test_only_a_run_that_diverged_is_a_trial_that_diverged(tmp_path, monkeypatch):
    fault = FloatingPointError("The outputs from cached features differ")
    with pytest.raises(FloatingPointError, match="cached features differ"):
        run_trial(tmp_path / "a", monkeypatch, Failing(fault))
    diverged = Failing(DivergedError("Step 1 failed: the loss"))
    for _ in range(2):
        trial = run_trial(tmp_path / "b", monkeypatch, diverged)
        assert (trial.step, trial.diverged) == (None, "Step 1 failed: the loss")
    assert diverged.calls == 1


def test_a_damaged_trial_is_one_line(tmp_path, monkeypatch):
    numbers = {"accuracy": 0.25, "loss": math.nan}
    done = fit.Result(8, None, None, 8, numbers, None, None, 1.0, 0.0, {})
    trial = run_trial(tmp_path, monkeypatch, Failing(done))
    again = run_trial(tmp_path, monkeypatch, Failing(AssertionError("run again")))
    assert repr(again) == repr(trial)  # NaN is not equal to itself
    file = tmp_path / "trial_001" / "trial.json"
    text = file.read_text()
    json.loads(text, parse_constant=pytest.fail)
    for damaged, why in (
        (text[:40], "is damaged"),
        ("{}", "Field folder is missing"),
        (text.replace("0.25", "0.75"), "was altered"),
        (text.replace("0.25", '"x"'), "Field validation.accuracy is 'x'"),
    ):
        file.write_text(damaged)
        with pytest.raises(UserError, match=f"trial.json .*{why}"):
            run_trial(tmp_path, monkeypatch, Failing(done))


def test_lower_losses_come_first_and_the_table_takes_every_value():
    def trial(folder, loss, values):
        return sweep.Trial(folder, values, 8, 4, {"accuracy": 0.5, "loss": loss}, {})

    trials = [
        trial("trial_001", 2.0, {"optim.clip_norm": None, "seed": 0}),
        trial("trial_002", 3e20, {"optim.clip_norm": 1.0, "seed": 0}),
        trial("trial_003", 1.0, {"optim.clip_norm": 1.0, "seed": 1}),
        trial("trial_004", 2.5, {"optim.clip_norm": None, "seed": 1}),
    ]
    metric = sweep.metric_of(Config(best_metric="loss"))
    made = sweep._ordered(metric, trials, 4, None)
    lines = sweep_report.as_text(made).splitlines()
    assert [line.split()[0] for line in lines[3:7]] == [
        f"trial_00{i}" for i in (3, 1, 4, 2)
    ]
    assert lines[3].split() == [
        "trial_003",
        "1",
        "1",
        "1.0000",
        "0.5000",
        "4",
        "of",
        "8",
    ]
    assert "3e+20" in lines[6]
    assert lines[-2].split()[:2] == ["None", "2.2500"]  # the better mean


@pytest.mark.slow
def test_random_trials_are_drawn_from_ranges(call, tmp_path):
    flags = ("--vary=optim.peak_lr=log(0.01,0.1)", "--vary=optim.name=sgd,adam")
    assert call(*flags, "--random=2", "--search_seed=5")[0] == 0
    result = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    found = {trial["folder"]: trial["values"] for trial in result["trials"]}
    expected = search.random(
        search.parse([flag.removeprefix("--vary=") for flag in flags]), 2, 5
    )
    assert [found["trial_001"], found["trial_002"]] == list(expected.known)


@pytest.mark.slow
def test_optuna_trials_follow_those_before(call, tmp_path):
    pytest.importorskip("optuna")
    # Values that JSON gives back as lists are found among the choices all the same.
    rates, epochs = "log(0.001,0.1)", "(0.5,),()"
    flags = (
        *(f"--vary=optim.peak_lr={rates}", f"--vary=optim.decay_epochs={epochs}"),
        "--optuna=3",
    )
    assert call(*flags)[0] == 0
    result = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert len({trial["values"]["optim.peak_lr"] for trial in result["trials"]}) == 3
    lines = (tmp_path / "sweep" / "trials.jsonl").read_text()
    assert call(*flags)[0] == 0
    assert (tmp_path / "sweep" / "trials.jsonl").read_text() == lines


def test_mistakes_are_one_line_before_anything_is_compiled(call, monkeypatch, tmp_path):
    def compile_nothing(*args):
        raise AssertionError("compiled before the mistake was seen")

    monkeypatch.setattr(Run, "compile_train_step", compile_nothing)
    monkeypatch.setattr(jax, "jit", compile_nothing)
    for flags, text in (
        ([], "--vary=FIELD=VALUES is missing"),
        (["--vary=optim.peak_lrr=1"], "Unknown config field 'optim.peak_lrr'"),
        (["--vary=model=mlp,lenet6"], "Unknown model 'lenet6'"),
        (["--vary=data.batch_size=101,900"], "is 900, more than the 808 training"),
        (["--vary=best_metric=loss,accuracy"], "best_metric cannot be varied"),
        (["--vary=seed=0", "--config.best_metric=f1"], "'f1'"),
        (
            ["--vary=seed=0", "--random=0"],
            "--random must be at least 1 and at most",
        ),
        (["--vary=seed=0,1", "--random=1", "--optuna=1"], "cannot be combined"),
        (["--vary=seed=int(0,9)"], "a range, which has no grid"),
    ):
        code, _, error = call(*flags)
        assert code == 2
        assert text in error
        assert error.count("\n") == 1
    assert not list(pathlib.Path(tmp_path / "sweep").glob("*"))


def test_another_config_in_the_folder_is_refused(call):
    assert call("--vary=seed=0")[0] == 0
    code, _, error = call("--vary=seed=0,1", "--config.num_epochs=2")
    assert code == 2
    assert "holds another study (num_epochs: 1.0 -> 2.0)" in error
