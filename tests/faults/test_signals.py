"""Signals that come where a run does not look for them."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import jaxcnn
from jaxcnn import errors
from jaxcnn.config import Config, DataConfig
from jaxcnn.data import memory, transforms
from jaxcnn.data.bad_images import BadImages
from jaxcnn.data.examples import ArrayExamples, Subset, make_dataset
from jaxcnn.studies import verify_resume
from jaxcnn.targets import classes
from jaxcnn.training import evaluation, fit, lock, storage
from jaxcnn.training.signals import Stopped, StopRequest
from tests.interrupted import NoWriter, assert_same_bits, last_state, records

SECONDS = 5  # in which a run has to end, a save aside


@dataclasses.dataclass(frozen=True)
class Slow(Subset):
    """Examples of which one takes long to read."""

    slow: int
    seconds: float = 60.0

    def __getitem__(self, index):
        if self.slow == index:
            time.sleep(self.seconds)
        return super().__getitem__(index)


def dataset(slow=None):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (48, 4, 4, 1), np.uint8)
    part = ArrayExamples(images, {"label": np.arange(48) % 2})
    train = part if slow is None else Slow(part, np.arange(48), slow)
    return make_dataset(
        {"train": train, "validation": part, "test": part},
        targets=classes(("a", "b")),
        channels=1,
        mean=(0.5,),
        std=(0.3,),
        fingerprint="noise",
    )


def make_config(**choices):
    return Config(
        model="softmax_regression",
        data=DataConfig(
            image_size=4,
            batch_size=8,
            eval_batch_size=8,
            in_memory_mib=0,
            num_threads=1,
        ),
        num_devices=1,
        log_every_steps=1,
        num_epochs=2.0,
        **choices,
    )


def later(seconds, number=signal.SIGTERM):
    threading.Timer(seconds, os.kill, (os.getpid(), number)).start()


def run(folder, data, config=None):
    return jaxcnn.fit(config or make_config(), folder, dataset=data, writers=["jsonl"])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_waits_for_data_saves_its_last_step(number, tmp_path, capfd):
    whole = run(tmp_path / "whole", dataset())
    start = time.monotonic()
    later(6.0, number)
    stopped = run(tmp_path / "run", dataset(slow=20))
    assert time.monotonic() - start < 6 + SECONDS
    assert (stopped.stopped_by, stopped.step < whole.step) == (number, True)
    name = signal.Signals(number).name
    assert f"{name}: the run saves its last step and ends" in capfd.readouterr().err
    if stopped.step:
        last_state(tmp_path / "run", stopped.step)
    resumed = run(tmp_path / "run", dataset())
    assert (resumed.step, resumed.test) == (whole.step, whole.test)
    assert records(tmp_path / "run") == records(tmp_path / "whole")


def test_a_validation_that_a_signal_ends_is_made_up_for(tmp_path, monkeypatch):
    whole = run(tmp_path / "whole", dataset())
    total = evaluation.total

    def signalled(*args):
        os.kill(os.getpid(), signal.SIGTERM)
        return total(*args)

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "total", signalled)
        stopped = run(tmp_path / "run", dataset())
    assert (stopped.step, stopped.best_step) == (6, None)  # after the first epoch
    resumed = run(tmp_path / "run", dataset())
    assert (resumed.best_step, resumed.validation) == (
        whole.best_step,
        whole.validation,
    )
    assert records(tmp_path / "run") == records(tmp_path / "whole")
    for step in 6, 12:
        assert_same_bits(
            last_state(tmp_path / "run", step, newest=False),
            last_state(tmp_path / "whole", step, newest=False),
        )


class SignalledInCallback(jaxcnn.Callback):
    finished = 0

    def on_validation(self, session, metrics):
        if session.step == 6:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        self.finished += 1


def test_a_callback_is_not_broken_off_and_nothing_is_logged_twice(tmp_path):
    whole = run(tmp_path / "whole", dataset())
    callback, writers = SignalledInCallback(), ["jsonl"]
    stopped = jaxcnn.fit(
        make_config(),
        tmp_path / "run",
        dataset=dataset(),
        callbacks=[callback],
        writers=writers,
    )
    assert (stopped.step, stopped.best_step, callback.finished) == (6, 6, 1)
    resumed = run(tmp_path / "run", dataset())
    assert resumed.validation == whole.validation
    assert records(tmp_path / "run") == records(tmp_path / "whole")


def test_decoding_into_memory_ends_with_the_image_that_is_being_read():
    part = dataclasses.replace(dataset(slow=20).splits["train"], seconds=SECONDS + 3)
    config = DataConfig(image_size=5, batch_size=8, num_threads=1)
    what = transforms.find("resize"), config, classes(("a", "b"))
    start = time.monotonic()
    with StopRequest() as stop, stop.interruptible():
        later(0.5)
        with pytest.raises(Stopped):
            memory.in_memory(part, *what, BadImages("error", "train", 48), channels=1)
    assert time.monotonic() - start < SECONDS


def test_a_signal_before_the_first_step_ends_the_run(tmp_path, monkeypatch):
    def signalled(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr(fit, "begin", signalled)
    result = run(tmp_path / "run", dataset())
    assert (result.step, result.stopped_by) == (0, signal.SIGTERM)


def test_a_signal_is_only_recorded_where_something_must_be_finished():
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.poll(1) == signal.SIGINT
        with pytest.raises(Stopped), stop.interruptible():
            raise AssertionError("a request that came before is one, too")


def test_a_signal_that_is_ignored_stays_so():  # as by nohup
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.received is None
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("within", [False, True])
def test_a_search_and_its_run_hear_the_same_signal(within):
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as outer:
        if not within:
            os.kill(os.getpid(), signal.SIGTERM)
        with StopRequest() as inner:
            if within:
                os.kill(os.getpid(), signal.SIGTERM)
            assert inner.received == signal.SIGTERM
            assert signal.getsignal(signal.SIGTERM) is before  # for a second one
        assert outer.received == signal.SIGTERM
    with StopRequest() as next_one:
        assert next_one.received is None


def test_the_first_signal_is_said_after_another_that_somebody_handles(capfd):
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with StopRequest():
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert "SIGINT: the run saves its last step" in capfd.readouterr().err


def test_a_run_that_began_meanwhile_is_not_gone_on_with(tmp_path, monkeypatch):
    begin = fit.begin

    def overtaken(*arguments, **choices):
        with monkeypatch.context() as patch:
            patch.setattr(fit, "begin", begin)
            run(tmp_path / "run", dataset())
        return begin(*arguments, **choices)

    monkeypatch.setattr(fit, "begin", overtaken)
    with pytest.raises(ValueError, match="Another run began in .*/run while this one"):
        run(tmp_path / "run", dataset(), make_config(seed=1))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RuntimeError("UNKNOWN: No space left on device [x]"), "run could not be writ"),
        (OSError(24, "Too many open files", "/a/b"), "/a/b could not be read or writ"),
    ],
)
def test_a_failure_of_the_disk_is_one_line_whatever_its_type(error, says, tmp_path):
    def failing():
        with storage.named_failure(tmp_path / "run"):
            raise error

    with pytest.raises(errors.StorageError, match=says):
        failing()


def test_a_config_that_is_no_text_is_no_traceback(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_bytes(b"\xff\xfe")
    assert run(tmp_path / "run", dataset()).stopped_by is None


def test_a_folder_is_used_by_one_run_at_a_time(tmp_path):
    code = (
        "import pathlib, sys, time; from jaxcnn.training import lock\n"
        f"with lock.locked(pathlib.Path({str(tmp_path)!r})):\n"
        "    print('locked', flush=True); time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment
    )
    try:
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(ValueError, match=f"in use by process {holder.pid} on "):
            run(tmp_path, dataset())
    finally:
        holder.kill()
        holder.wait()
    with lock.locked(tmp_path):  # the kernel has freed it
        pass


WORKERS = """
import sys
import numpy as np
from jaxcnn.config import DataConfig
from jaxcnn.data import batches
from jaxcnn.data.examples import ArrayExamples
from jaxcnn.targets import classes

if __name__ == "__main__":
    images = np.zeros((64, 9, 9, 1), np.uint8)
    examples = ArrayExamples(images, {"label": np.arange(64) % 2})
    config = DataConfig(image_size=8, batch_size=8, num_workers=2)
    stream = batches.train_batches(
        examples, config, classes(("a", "b")), seed=0, channels=1, num_steps=10**6
    )
    next(stream)
    print("ready", flush=True)
    for batch in stream:
        pass
"""


@pytest.mark.slow
def test_worker_processes_end_with_their_parent(tmp_path):
    file = tmp_path / "program.py"
    file.write_text(WORKERS)
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    parent = subprocess.Popen(
        [sys.executable, file], stdout=subprocess.PIPE, env=environment
    )
    assert parent.stdout.readline() == b"ready\n"
    found = verify_resume.processes()
    workers = {process.number for process in found if process.parent == parent.pid}
    assert len(workers) >= 2
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + SECONDS
    alive = workers
    while time.monotonic() < deadline and alive:
        time.sleep(0.1)
        alive = workers & {process.number for process in verify_resume.processes()}
    assert not alive


@pytest.mark.slow
def test_runs_leave_no_descriptors_and_threads_behind(tmp_path):
    counts = []
    for number in range(5):
        fit.fit(
            make_config(),
            tmp_path / str(number),
            make_writer=lambda *_: NoWriter(),
            dataset=dataset(),
        )
        descriptors = len(os.listdir("/proc/self/fd"))
        counts.append((descriptors, threading.active_count()))
    first, last = counts[1], counts[-1]
    assert last[0] <= first[0] + 1, counts
    assert last[1] <= first[1] + 1, counts
