"""A killed run loses nothing: started again, it is the run that was never stopped."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from tests.interrupted import assert_same_bits, last_state, records

ROOT = pathlib.Path(__file__).parent.parent

# 808 training images in batches of 96: an epoch ends within step 9.
CONFIG = """
from jaxcnn.config import AugmentConfig, AverageConfig, Config, DataConfig, OptimConfig

def get_config():
    return Config(
        model="tiny",
        data=DataConfig(name="digits", batch_size=96, image_size=16),
        augment=AugmentConfig(flip=0.5, shift_pixels=2.0, noise=5.0),
        optim=OptimConfig(
            name="adamw",
            peak_lr=0.01,
            warmup_epochs=1.0,
            # From steps 5, where the run is stopped, and 11, which comes after that.
            unfreeze=(("head", 0), ("stage1_.*", 0.6), ("stem", 1.3)),
        ),
        average=AverageConfig(name="swa", start_epoch=1.0),
        num_epochs=3.0,
        log_every_steps=1,
    )
"""
NUM_STEPS = 25


def run(folder, *, stop_at=None):
    """Exit code of one start of the run in a folder."""
    config = folder / "experiment.py"
    config.parent.mkdir(exist_ok=True)
    config.write_text(CONFIG)
    signals = [] if stop_at is None else [f"--signal={stop_at}"]
    environment = os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
    done = subprocess.run(
        [
            *(sys.executable, "tests/run_tiny.py", *signals, "train"),
            *(f"--config={config}", f"--workdir={folder / 'run'}"),
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    print(done.stdout, done.stderr)
    return done.returncode


@pytest.mark.slow
def test_a_run_stopped_twice_ends_with_the_same_bits(tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert run(whole) == 0
    assert run(stopped, stop_at="SIGTERM:5") == 143
    assert (stopped / "run" / "checkpoints" / "5").is_dir()
    # In the second epoch; the last checkpoint is that of step 9, after the first.
    assert run(stopped, stop_at="SIGKILL:13") == -signal.SIGKILL
    assert not (stopped / "run" / "checkpoints" / "13").exists()
    assert run(stopped) == 0

    expected = last_state(whole / "run", NUM_STEPS)
    for part in ("batch_stats", "average", "opt_state"):
        assert any(part in name and "stem" in name for name in expected)
    assert_same_bits(last_state(stopped / "run", NUM_STEPS), expected)
    # Losses, rates and validations of every step, none twice and none left out.
    assert records(stopped / "run") == records(whole / "run")
    steps = [r["step"] for r in records(whole / "run") if r["split"] == "train"]
    assert steps == list(range(1, NUM_STEPS + 1))

    # The same command once more: nothing is left to do, and nothing changes.
    assert run(stopped) == 0
    assert records(stopped / "run") == records(whole / "run")


@pytest.mark.slow
def test_ctrl_c_saves_the_step_and_exits_with_130(tmp_path):
    assert run(tmp_path, stop_at="SIGINT:2") == 130
    assert (tmp_path / "run" / "checkpoints" / "2").is_dir()
