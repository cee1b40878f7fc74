"""A run from begin to end: what is called when, and what ends it."""

import json
import math
import os
import signal

import jax
import numpy as np
import pytest

import jaxcnn
from jaxcnn.config import Config, DataConfig, OptimConfig
from jaxcnn.data.examples import (
    ArrayExamples,
    BadImageError,
    Subset,
    make_dataset,
)
from jaxcnn.errors import UserError
from jaxcnn.targets import classes
from jaxcnn.training import begin, feed, fit, memory, prepare, workdir
from jaxcnn.training.run import Run

NUM_STEPS = 6  # two in each of three epochs


class Unreadable(Subset):
    def __getitem__(self, index):
        raise BadImageError("no image")


def noise():
    """Random images of two classes."""
    rng = np.random.default_rng(0)

    def part(number):
        images = rng.integers(0, 256, (number, 4, 4, 1), np.uint8)
        return ArrayExamples(images, {"label": np.arange(number) % 2})

    return make_dataset(
        {"train": part(8), "validation": part(4), "test": part(4)},
        targets=classes(("a", "b")),
        channels=1,
        mean=(0.5,),
        std=(0.3,),
        fingerprint="noise",
    )


def make_config(*, batch_size=4, peak_lr=0.1, **choices):
    values = {"num_epochs": 3.0, "log_every_steps": 2, "save_every_steps": 3}
    return Config(
        model="softmax_regression",
        data=DataConfig(image_size=4, batch_size=batch_size, eval_batch_size=4),
        optim=OptimConfig(peak_lr=peak_lr),
        num_devices=1,
        **values | choices,
    )


class Recorder(fit.Callback):
    """A callback and a writer: (what is called, step), in order.

    Args:
        at: One of these, at which act(session) is called.
        act: What is done there.
    """

    def __init__(self, at=None, act=None):
        self.events, self._at, self._act = [], at, act

    def _note(self, name, session):
        self.events.append((name, session.step))
        if self.events[-1] == self._at:
            self._act(session)

    def on_step(self, session, metrics):
        assert metrics.keys() == {"loss", "accuracy", "grad_norm"}
        failed = bool(session.state.skips.failed(0))
        assert int(session.state.step) == session.step - failed
        self._note("on_step", session)

    def on_validation(self, session, metrics):
        assert session.validations[-1] == metrics
        self._note("on_validation", session)

    def on_checkpoint(self, session):
        self._note("on_checkpoint", session)

    def on_end(self, session, result):
        assert result.step == session.step
        self._note("on_end", session)

    def say(self, line):
        assert line == "Operations: native." or line.startswith("Operations: portable")

    def begin(self, run, first_step):
        self.events.append(("begin", first_step))

    def write(self, split, step, values):
        self.events.append((split, step))

    def close(self):
        self.events.append(("close", None))


def train(folder, recorder, config=None, **objects):
    objects = {"dataset": noise(), **objects}
    return fit.fit(
        config or make_config(),
        folder,
        make_writer=lambda *_: recorder,
        callbacks=[recorder],
        **objects,
    )


def test_each_step_is_logged_validated_and_saved_in_this_order(tmp_path):
    recorder = Recorder()
    result = train(tmp_path, recorder)
    measured = ["on_step", "train", "validation", "on_validation", "on_checkpoint"]
    assert recorder.events == [
        ("begin", 0),
        ("compile", 0),
        ("on_step", 1),
        *[(name, 2) for name in measured],
        ("on_step", 3),
        ("on_checkpoint", 3),
        *[(name, 4) for name in measured],
        ("on_step", 5),
        *[(name, 6) for name in measured],
        ("test", result.best_step),
        ("on_end", 6),
        ("close", None),
    ]
    assert (result.step, result.stop_reason, result.stopped_by) == (6, None, None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The result of a run that nothing stops."""
    return train(tmp_path_factory.mktemp("whole"), Recorder())


@pytest.mark.parametrize(
    "at", [("on_step", 1), ("on_validation", 2), ("on_checkpoint", 3), ("on_step", 4)]
)
def test_a_callback_ends_a_run_after_its_step_is_saved(at, tmp_path, whole):
    recorder = Recorder(at, lambda session: session.stop("enough"))
    stopped = train(tmp_path, recorder)
    name, step = at
    assert (stopped.step, stopped.stop_reason) == (step, "enough")
    assert stopped.stopped_by is None
    after = recorder.events[recorder.events.index(at) :]
    assert ("on_checkpoint", step) in after
    assert {s for name, s in after if name.startswith("on_")} == {step}
    assert (tmp_path / "checkpoints" / str(step)).is_dir()
    # The same call resumes it, and ends where it would have.
    recorder = Recorder()
    resumed = train(tmp_path, recorder)
    steps = [step for name, step in recorder.events if name == "on_step"]
    assert steps == list(range(step + 1, NUM_STEPS + 1))
    assert (resumed.step, resumed.stop_reason) == (NUM_STEPS, None)
    assert (resumed.validation, resumed.test) == (whole.validation, whole.test)


def test_a_signal_is_a_reason(tmp_path):
    send = lambda session: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
    result = train(tmp_path, Recorder(("on_checkpoint", 2), send))
    assert (result.step, result.stopped_by) == (2, signal.SIGTERM)
    assert result.stop_reason == f"signal {signal.SIGTERM}"
    assert (tmp_path / "checkpoints" / "2").is_dir()
    assert result.test is None


def test_early_stopping_is_a_reason_also_when_the_run_is_looked_at_again(tmp_path):
    # At this rate no number of float32 changes, so no validation is better.
    config = make_config(peak_lr=1e-30, early_stopping_patience=1)
    for expected in [1, 2, 3, 4], []:
        recorder = Recorder()
        result = train(tmp_path, recorder, config)
        steps = [step for name, step in recorder.events if name == "on_step"]
        assert steps == expected
        assert (result.step, result.stopped_early) == (4, 1)
        assert result.stop_reason == "early stopping"


def test_a_loss_that_is_not_finite_is_neither_measured_nor_saved(tmp_path):
    config = make_config(peak_lr=1e38, log_every_steps=1, save_every_steps=1)
    recorder = Recorder()
    with pytest.raises(FloatingPointError, match=r"Step 2 failed: the output of "):
        train(tmp_path, recorder, config)
    (*_, (last, step)), closed = recorder.events[:-1], recorder.events[-1]
    assert (last, closed) == ("on_step", ("close", None))
    assert step > 1
    assert ("on_checkpoint", step - 1) in recorder.events


def test_a_loss_is_looked_at_before_it_is_measured_or_saved_also_where_it_is_not_logged(
    tmp_path,
):
    config = make_config(peak_lr=1e38, log_every_steps=50)
    recorder = Recorder()
    with pytest.raises(FloatingPointError, match=r"Step \d failed: the output of "):
        train(tmp_path, recorder, config)
    assert {name for name, _ in recorder.events} == {
        "begin",
        "compile",
        "on_step",
        "close",
    }


def test_the_history_is_what_metrics_jsonl_holds(tmp_path):
    config = make_config()
    result = jaxcnn.fit(config, tmp_path, dataset=noise(), writers=["jsonl"])
    written = {}
    for line in (tmp_path / "metrics.jsonl").open():
        record = json.loads(line)
        written.setdefault(record.pop("split"), []).append(record)
    assert result.history == written
    assert [values["step"] for values in written["train"]] == [2, 4, 6]
    assert [values["step"] for values in written["validation"]] == [2, 4, 6]
    assert written.keys() == {"compile", "train", "validation", "test"}
    best = max(written["validation"], key=lambda v: (v["accuracy"], v["step"]))
    assert result.validation == {k: v for k, v in best.items() if k != "step"}
    assert result.test["loss"] == written["test"][0]["loss"]
    assert math.isfinite(result.test["loss"])


# How it begins.


@pytest.fixture
def calls(monkeypatch):
    """Names of what is called of it while a run begins, in order."""
    called = []

    def note(module, name):
        function = getattr(module, name)

        def noted(*args, **kwargs):
            called.append(name)
            return function(*args, **kwargs)

        monkeypatch.setattr(module, name, noted)

    note(begin, "check_training")
    note(memory, "resolve_auto")
    note(begin, "init_state")
    train_batches = feed.train_batches

    def counted(*args):
        for batch in train_batches(*args):
            called.append("a batch")
            yield batch

    monkeypatch.setattr(feed, "train_batches", counted)
    return called


def test_a_run_begins_with_what_may_show_a_mistake(calls):
    run = prepare.prepare(make_config(), dataset=noise())

    def resume():
        calls.append("resume")
        return begin.Resumed()

    started = begin.begin(run, resume=resume)
    in_order = ["check_training", "resume", "a batch", "resolve_auto", "init_state"]
    assert calls == in_order
    # The batch that was drawn is the first one of the run.
    expected, found = list(feed.train_batches(run, None, 0)), list(started.batches)
    assert len(found) == len(expected) == NUM_STEPS
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_a_run_that_is_over_draws_no_batch(calls):
    run = prepare.prepare(make_config(), dataset=noise())
    state = begin.init_state(run)
    calls.clear()
    resumed = begin.Resumed(start=4, state=state, is_over=True)
    started = begin.begin(run, resume=lambda: resumed)
    started.batches.close()
    assert calls == ["check_training", "resolve_auto"]
    assert (started.start, started.state) == (4, state)


@pytest.fixture
def nothing_is_compiled(monkeypatch):
    def compile_nothing(*args, **kwargs):
        raise AssertionError("compiled before the mistake was seen")

    monkeypatch.setattr(Run, "compile_train_step", compile_nothing)
    monkeypatch.setattr(jax, "jit", compile_nothing)


@pytest.mark.parametrize(
    ("choices", "text"),
    [
        ({"num_epochs": 0.0}, "num_epochs must be in .*, not 0"),
        ({"best_metric": "f1"}, "Unknown metric 'f1'"),
        ({"batch_size": 9}, "is 9, more than the 8 training"),
        ({"cache_features": True}, "the first layers are not frozen"),
    ],
)
@pytest.mark.usefixtures("nothing_is_compiled")
def test_a_mistake_leaves_no_folder_behind(choices, text, tmp_path):
    with pytest.raises(UserError, match=text):
        train(tmp_path / "run", Recorder(), make_config(**choices))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("callback", [Recorder, print])
@pytest.mark.usefixtures("nothing_is_compiled")
def test_what_is_no_callback_is_refused(callback, tmp_path):
    with pytest.raises(UserError, match="must be instances of jaxcnn.Callback, not <"):
        train(tmp_path / "run", callback, make_config())
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("nothing_is_compiled")
def test_an_unreadable_image_of_the_first_batch_is_seen_before_a_run_begins(tmp_path):
    recorder, splits = Recorder(), noise().splits
    unreadable = Unreadable(splits["train"], np.arange(8))
    dataset = noise().with_splits({**splits, "train": unreadable})
    with pytest.raises(UserError, match="Unreadable image in the train split: no im"):
        train(tmp_path, recorder, dataset=dataset)
    assert recorder.events == []
    assert workdir.existing_run(tmp_path) is None
    assert not (tmp_path / "config.json").exists()
