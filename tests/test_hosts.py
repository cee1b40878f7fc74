"""Several processes on one machine, over loopback: one run, on any number of them."""

import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from jaxcnn import __main__
from jaxcnn.errors import DivergedError, StorageError, UserError
from jaxcnn.training import hosts
from tests.interrupted import last_state, records

ROOT = pathlib.Path(__file__).parent.parent

# 808 training images in batches of 96: an epoch ends within step 9.
CONFIG = """
from jaxcnn.config import AugmentConfig, AverageConfig, Config, DataConfig, OptimConfig

def get_config():
    return Config(
        model="tiny",
        data=DataConfig(name="digits", batch_size=96, image_size=16),
        augment=AugmentConfig(flip=0.5, shift_pixels=2.0, noise=5.0, mixup=0.2),
        optim=OptimConfig(
            name="adamw", peak_lr=0.01, unfreeze=(("head", 0), (".*", 1.0))
        ),
        average=AverageConfig(name="swa", start_epoch=1.0),
        num_epochs=3.0,
        log_every_steps=1,
        parallel="{parallel}",
    )
"""
NUM_STEPS = 25


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def in_slurm(number, num_processes, port):
    """The environment of a task of Slurm; JAX makes the port of the job's number."""
    return {
        "SLURM_JOB_ID": str(port - (2**16 - 2**12)),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": str(num_processes),
        "SLURM_PROCID": str(number),
        "SLURM_LOCALID": str(number),
        "SLURM_STEP_NUM_NODES": "1",
    }


def start(
    folder,
    num_processes,
    num_devices,
    *flags,
    stop_at=None,
    parallel="jit",
    slurm=False,
):
    """Processes of one run, each with some simulated devices, in float64.

    The last of them sends itself the signal stop_at, such as SIGTERM:8. All have the
    same further flags.
    """
    folder.mkdir(exist_ok=True)
    config = folder / "experiment.py"
    config.write_text(CONFIG.format(parallel=parallel))
    # As in conftest.py: most of the time of a process is the compiler's.
    compiler = "--xla_backend_optimization_level=0"
    devices = f"--xla_force_host_platform_device_count={num_devices}"
    environment = os.environ | {
        "XLA_FLAGS": f"{compiler} {devices}",
        "JAX_ENABLE_X64": "1",
    }
    # Slurm's job numbers stand for the last 4,096 ports.
    port = random.randrange(2**16 - 2**12, 2**16) if slurm else free_port()
    started = []
    for number in range(num_processes):
        signals, where, job = [], [], {}
        if stop_at is not None and number == num_processes - 1:
            signals = [f"--signal={stop_at}"]
        if slurm:
            where, job = ["--distributed"], in_slurm(number, num_processes, port)
        elif num_processes > 1:
            where = [
                f"--coordinator_address=127.0.0.1:{port}",
                f"--num_processes={num_processes}",
                f"--process_id={number}",
            ]
        command = [
            *(sys.executable, "tests/run_tiny.py", *signals, "train", *where),
            *(f"--config={config}", f"--workdir={folder / 'run'}", *flags),
        ]
        started.append(
            subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment | job,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return started


def finish(started, timeout=300):
    """(exit code, standard output, standard error) of each process."""
    results = []
    for process in started:
        out, err = process.communicate(timeout=timeout)
        print(out, err)
        results.append((process.returncode, out, err))
    return results


def codes(*args, **kwargs):
    return [code for code, _, _ in finish(start(*args, **kwargs))]


def losses(folder):
    """(split, step, loss) of each line that has one."""
    lines = records(folder / "run")
    return [(r["split"], r["step"], r["loss"]) for r in lines if "loss" in r]


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    assert codes(folder, 1, 1) == [0]
    return folder


@pytest.mark.slow
@pytest.mark.xdist_group("hosts")
@pytest.mark.parametrize("parallel", ["jit", "fsdp"])
def test_a_run_moves_between_two_four_and_one_processes(
    one_process, tmp_path, parallel
):
    # Before and after the boundary of unfreezing at step 8.
    stopped = codes(tmp_path, 2, 2, stop_at="SIGTERM:5", parallel=parallel)
    assert stopped == [143, 143]
    if parallel == "jit":
        stopped = codes(tmp_path, 4, 1, stop_at="SIGINT:12", slurm=True)
        assert stopped == [143, 143, 143, 130]
        stopped = codes(tmp_path, 1, 8, stop_at="SIGTERM:18")
        assert stopped == [143]
    assert codes(tmp_path, 2, 1, parallel=parallel) == [0, 0]

    # One process wrote the log, and each line once.
    ours, theirs = losses(tmp_path), losses(one_process)
    assert [line[:2] for line in ours] == [line[:2] for line in theirs]
    np.testing.assert_allclose(
        [line[2] for line in ours], [line[2] for line in theirs], rtol=1e-9
    )
    ours, theirs = (
        last_state(folder / "run", NUM_STEPS) for folder in (tmp_path, one_process)
    )
    assert ours.keys() == theirs.keys()
    for path, expected in theirs.items():
        np.testing.assert_allclose(ours[path], expected, atol=1e-9, err_msg=path)
    assert {leaf.dtype.kind + str(leaf.itemsize) for leaf in ours.values()} == {
        *("f8", "i4"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("dying", [0, 1])
def test_where_a_process_dies_the_others_end_and_name_it(tmp_path, dying):
    started = start(tmp_path, 2, 1, "--heartbeat_seconds=5")
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text()):
        assert all(process.poll() is None for process in started)
        time.sleep(0.1)
    started[dying].send_signal(signal.SIGKILL)
    began = time.monotonic()
    (_, survivor), *_ = [(n, p) for n, p in enumerate(started) if n != dying]
    code, _, err = finish([survivor], timeout=120)[0]
    assert time.monotonic() - began < 30  # as many seconds as without the flag
    finish([started[dying]])
    assert code != 0
    # In the words of JAX's coordination service, which runs in the first process.
    named = ("The following tasks are unhealthy", "the leader task was")[dying == 0]
    assert named in err
    if dying:
        after = err[err.index(named) :]
        assert after.splitlines()[1].strip() == "1"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--num_processes=2"], "belong together; they are None, 2, None"),
        (
            ["--coordinator_address=here", "--num_processes=2", "--process_id=0"],
            "--coordinator_address=here must be HOST:PORT",
        ),
        (
            ["--coordinator_address=h:1", "--num_processes=2", "--process_id=2"],
            "--process_id=2 must be 0 to 1",
        ),
        (
            ["--distributed", "--heartbeat_seconds=0"],
            "--heartbeat_seconds must be at least 1, not 0.",
        ),
    ],
)
def test_mistakes_are_refused(flags, expected, tmp_path, capsys):
    code = __main__.main(
        [
            "train",
            "--config=experiments/lenet5_digits.py",
            f"--workdir={tmp_path / 'run'}",
            *flags,
        ]
    )
    assert code == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (UserError("a mistake"), False),
        (DivergedError("Step 2 failed"), False),
        (StorageError("run could not be written"), False),
        (RuntimeError("Connection closed by peer"), True),
    ],
)
def test_only_what_a_dead_process_may_have_caused_is_held_back(
    error, waits, monkeypatch, capsys
):
    slept = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(time, "sleep", slept.append)
    with pytest.raises(type(error)), hosts.named_failure():
        raise error
    assert bool(slept) == waits
    assert ("another process has died" in capsys.readouterr().err) == waits


def test_without_a_cluster_the_flags_that_say_it_are_named(tmp_path):
    command = [
        *(sys.executable, "-m", "jaxcnn", "train", "--distributed"),
        *("--config=experiments/lenet5_digits.py", f"--workdir={tmp_path / 'run'}"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--distributed finds no Slurm, Open MPI" in done.stderr
    assert "give --coordinator_address, --num_processes" in done.stderr
    assert len(done.stderr.splitlines()) == 1
