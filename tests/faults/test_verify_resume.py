"""Killed and resumed runs, and that the comparison sees each way to resume wrongly."""

import dataclasses
import json
import shutil
import signal
import sys

import pytest

import jaxcnn
from jaxcnn import __main__, config_fields
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
    return verify_resume._shortened(workload.make_config(images), NUM_STEPS)


def run(config, folder, stop_at=None):
    folder.mkdir(exist_ok=True)
    with signalled(stop_at):
        return jaxcnn.fit(
            config,
            folder / "run",
            callbacks=[journal.Journal(folder / "journal.jsonl")],
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
    file = tmp_path / "experiment.py"
    values = json.loads(json.dumps(dataclasses.asdict(config)))
    file.write_text(
        "from jaxcnn import config_fields\n\n\n"
        f"def get_config():\n    return config_fields.from_values({values!r})\n"
    )
    flags = [f"--config={file}", f"--output={tmp_path / 'out'}"]
    assert __main__.main(["verify_resume", *flags, "--steps=24", "--cuts=2"]) == 0
    out = capsys.readouterr().out
    assert "cut 1 of 2: killed after step" in out
    assert out.rstrip().endswith("none")
    lines = (tmp_path / "out/cut/journal.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert set(steps) == set(range(1, 25))
    # A folder that holds something is not written over.
    assert __main__.main(["verify_resume", *flags]) == 2
    assert "must be a new or an empty folder" in capsys.readouterr().err
