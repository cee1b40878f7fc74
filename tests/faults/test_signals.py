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
from jaxcnn.config import Config, DataConfig
from jaxcnn.data.examples import ArrayExamples, Subset, make_dataset
from jaxcnn.studies import verify_resume
from jaxcnn.targets import classes
from jaxcnn.training import evaluation, fit, lock
from jaxcnn.training.signals import Stopped, StopRequest
from tests.interrupted import NoWriter, assert_same_bits, last_state, records

SECONDS = 5  # in which a run has to end, a save aside


@dataclasses.dataclass(frozen=True)
class Slow(Subset):
    """Examples of which one takes a minute to read."""

    slow: int

    def __getitem__(self, index):
        if self.slow == index:
            time.sleep(60)
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


def test_a_signal_before_the_first_step_ends_the_process(tmp_path, monkeypatch):
    def signalled(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr(fit, "begin", signalled)
    with pytest.raises(SystemExit) as error:
        run(tmp_path / "run", dataset())
    assert error.value.code == 128 + signal.SIGTERM


def test_a_signal_is_only_recorded_where_something_must_be_finished():
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.poll(1) == signal.SIGINT
        with pytest.raises(Stopped), stop.interruptible():
            raise AssertionError("a request that came before is one, too")


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
