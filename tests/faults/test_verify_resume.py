"""Killed and resumed runs, and that the comparison sees each way to resume wrongly."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

import jaxcnn
from jaxcnn import __main__, config_fields, json_files
from jaxcnn.config import Config
from jaxcnn.errors import UserError
from jaxcnn.studies import journal, verify_resume
from jaxcnn.training import feed, saving
from jaxcnn.training.run import Run
from tests.faults import workload
from tests.interrupted import signalled

NUM_STEPS, STOP_AT = 30, 17


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    workload.make_images(folder)
    return folder


@pytest.fixture(scope="module")
def config(images):
    return verify_resume._checked(workload.make_config(images), NUM_STEPS)


def run(config, folder, stop_at=None):
    folder.mkdir(exist_ok=True)
    with signalled(stop_at):
        return jaxcnn.fit(
            config,
            folder / "run",
            callbacks=[journal.Journal(folder / "journal.jsonl", NUM_STEPS)],
            writers=["jsonl"],
        )


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert run(config, folder).step == NUM_STEPS
    return folder


@pytest.fixture(scope="module")
def stopped(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped")
    result = run(config, folder, STOP_AT)
    assert (result.step, result.stopped_by) == (STOP_AT, signal.SIGTERM)
    return folder


def forget_position(patch):
    batches = feed.host_batches
    patch.setattr(
        feed, "host_batches", lambda run, folder, step: batches(run, folder, 0)
    )


def restart_key(patch):
    keys = Run.keys.fget
    changed = lambda run: keys(dataclasses.replace(run, config=other_seed(run)))  # noqa: E731
    patch.setattr(Run, "keys", property(changed))


def other_seed(run):
    return config_fields.replace(run.config, {"seed": 1})


def shift_rate(patch):
    tx = Run.tx

    def shifted(run, step):
        schedule = run.schedule
        return tx(dataclasses.replace(run, schedule=lambda n: schedule(n + 1)), step)

    patch.setattr(Run, "tx", shifted)


def swallow_save_error(patch):
    """Saves nothing, and says nothing."""
    patch.setattr(saving.Checkpoints, "save", lambda *args: None)


CONTROLS = {
    None: None,
    "forgets the position in the data": (forget_position, ": another batch"),
    "restarts the key": (restart_key, ": another key, loss"),
    "shifts the rate by one step": (shift_rate, "another loss"),
    "swallows the error of a save": (swallow_save_error, "checkpoints of steps"),
}


@pytest.mark.slow
@pytest.mark.xdist_group("verify resume")
@pytest.mark.parametrize("wrong", CONTROLS)
def test_a_run_that_resumes_wrongly_is_told(
    wrong, config, whole, stopped, tmp_path, monkeypatch
):
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    if wrong is not None:
        CONTROLS[wrong][0](monkeypatch)
    assert run(config, tmp_path).step == NUM_STEPS
    differences = verify_resume.compare(whole, tmp_path)
    if wrong is None:
        assert differences == []
    else:
        assert any(CONTROLS[wrong][1] in line for line in differences), differences


@pytest.mark.slow
def test_a_run_that_deletes_checkpoints_before_it_saves_is_told(images, tmp_path):
    changes = {"save_every_steps": 2, "optim.warmup_epochs": 0.0}
    found = verify_resume.verify_resume(
        config_fields.replace(workload.make_config(images), changes),
        tmp_path,
        num_steps=6,
        num_cuts=1,
        command=(sys.executable, "-m", "tests.faults.prunes_first"),
    )
    assert any("lost the checkpoint" in line for line in found.differences)


@pytest.mark.slow
def test_a_killed_run_is_the_same_run(images, tmp_path, capsys):
    config = workload.make_config(images, num_workers=1)
    file = workload.write_experiment(tmp_path / "experiment.py", config)
    flags = [f"--config={file}", f"--output={tmp_path / 'out'}"]
    flags.append("--config.eval_every_epochs=0.5")
    assert __main__.main(["verify_resume", *flags, "--steps=24", "--cuts=2"]) == 0
    out = capsys.readouterr().out
    assert "cut 1 of 2: killed after step" in out
    assert out.rstrip().endswith("none")
    lines = (tmp_path / "out/cut/journal.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert set(steps) == set(range(1, 25))
    logged = (tmp_path / "out/cut/run/metrics.jsonl").read_text()
    splits = {json.loads(line)["split"] for line in logged.splitlines()}
    assert splits == {"compile", "train", "validation", "validation_average", "test"}
    # A folder that holds something is not written over.
    assert __main__.main(["verify_resume", *flags]) == 2
    assert "must be a new or an empty folder" in capsys.readouterr().err


def make_process(code):
    return (sys.executable, "-c", code)


def verify(config, folder, command):
    return verify_resume.verify_resume(
        config, folder, num_steps=60, num_cuts=1, command=command
    )


def test_the_first_steps_of_a_run_are_those_of_its_config(images, tmp_path):
    # All that begins or ends after 60 steps; 24 are an epoch.
    config = config_fields.replace(
        workload.make_config(images),
        {
            "num_epochs": 90.0,
            "optim.warmup_epochs": 5.0,
            "data.image_size_stages": ((8, 0.0), (12, 30.0)),
            "average.name": "swa",
            "average.start_epoch": 60.0,
        },
    )
    noisy = make_process("import sys; sys.stderr.write('x' * 2**20 + '\\nit fails')")
    code = noisy[2] + "; sys.exit(3)"
    with pytest.raises(ChildProcessError, match="^The run ended with 3: it fails$"):
        verify(config, tmp_path / "a", make_process(code))
    kept = json_files.read(tmp_path / "a/config.json", config_fields.from_values)
    every = config_fields.replace(config, {"save_every_steps": 10})
    assert kept == every
    few = config_fields.replace(workload.make_config(images), {"num_epochs": 2.0})
    with pytest.raises(
        UserError, match="--steps must be at most the 48 of the run, not 60"
    ):
        verify(few, tmp_path / "b", noisy)


def test_a_run_that_is_killed_after_its_last_save_takes_its_last_steps_again(tmp_path):
    assert verify_resume._taken_back(tmp_path / "60") == []
    (tmp_path / "60").mkdir()
    (line,) = verify_resume._taken_back(tmp_path / "60")
    assert f"{tmp_path / '60'} " in line  # that it is no whole checkpoint is told
    assert not (tmp_path / "60").exists()


def test_an_interrupt_ends_the_process_that_trains(images, tmp_path, monkeypatch):
    def interrupted(journal):
        raise KeyboardInterrupt

    monkeypatch.setattr(verify_resume, "_last_step", interrupted)
    before = {process.number for process in verify_resume.processes()}
    sleeping = make_process("import time; time.sleep(60)")
    with pytest.raises(KeyboardInterrupt):
        verify(workload.make_config(images), tmp_path, sleeping)
    after = verify_resume.processes()
    assert not [p for p in after if p.parent == os.getpid() and p.number not in before]


def test_a_process_that_has_ended_is_no_orphan(tmp_path):
    # As in a container, nobody asks for its exit code.
    zombie = subprocess.Popen(make_process(""), start_new_session=True)
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    os.killpg(zombie.pid, 0)  # the system still knows it
    assert not verify_resume._outlived(zombie.pid)
    zombie.wait()


@pytest.mark.slow
def test_the_run_ends_where_its_parent_is_killed(tmp_path):
    json_files.write(tmp_path / "config.json", dataclasses.asdict(Config()))
    file = str(tmp_path / "config.json")
    code = (
        "import os, sys, time; from jaxcnn.studies import journal\n"
        "def train(*given): print(os.getpid(), flush=True); time.sleep(60)\n"
        f"journal.train = train; journal.main([{file!r}, '', '', '1'])"
    )
    start = f"import subprocess; subprocess.run({make_process(code)!r})"
    parent = subprocess.Popen(make_process(start), stdout=subprocess.PIPE)
    child = int(parent.stdout.readline())
    parent.terminate()
    parent.communicate(timeout=5)  # the child holds the pipe until it ends
    assert child not in {process.number for process in verify_resume.processes()}
