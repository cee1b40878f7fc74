"""What a run says of its time: a trace of some steps, and of its compilations."""

import gzip
import json

import jax
import jax.numpy as jnp
import pytest

from jaxcnn import __main__
from jaxcnn.training import compilation
from jaxcnn.training.run import Run

CONFIG = """
from jaxcnn.config import Config, DataConfig, OptimConfig

def get_config():
    return Config(
        model="softmax_regression",
        data=DataConfig(name="digits", batch_size=101, image_size=8),
        optim=OptimConfig(peak_lr=0.3),
        num_epochs=1.0,
        num_devices=1,
        save_every_steps=4,
    )
"""


@pytest.fixture
def train(tmp_path):
    (tmp_path / "experiment.py").write_text(CONFIG)
    config = f"--config={tmp_path / 'experiment.py'}"

    def call(*flags):
        return __main__.main(["train", config, f"--workdir={tmp_path / 'run'}", *flags])

    return call


def steps_of(trace):
    """Numbers of the steps in a trace, and whether XLA's operations are there."""
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    numbers = [int(e["args"]["step_num"]) for e in events if e.get("name") == "train"]
    names = {e["name"] for e in events if e.get("ph") == "X"}
    return sorted(numbers), any("dot" in name or "fusion" in name for name in names)


def test_the_steps_asked_for_are_traced_for_tensorboard_and_perfetto(train, tmp_path):
    assert train("--profile_steps=3:6") == 0
    (folder,) = (tmp_path / "run" / "profile" / "plugins" / "profile").iterdir()
    (trace,) = folder.glob("perfetto_trace.json.gz")
    assert steps_of(trace) == ([3, 4, 5], True)
    # TensorBoard's plugin reads this one.
    (planes,) = folder.glob("*.xplane.pb")
    assert b"jit_train_step" in planes.read_bytes()


@pytest.mark.slow
def test_a_resumed_run_traces_what_is_left_of_the_steps(train, tmp_path):
    # Eight steps; a checkpoint after four of them is all that is left.
    assert train("--config.keep_checkpoints=2") == 0
    assert not (tmp_path / "run" / "profile").exists()
    checkpoints = tmp_path / "run" / "checkpoints"
    (checkpoints / "8").rename(tmp_path / "8")
    assert train("--profile_steps=2:7", "--config.keep_checkpoints=2") == 0
    (trace,) = (tmp_path / "run" / "profile").rglob("perfetto_trace.json.gz")
    assert steps_of(trace) == ([5, 6], True)


def test_steps_that_cannot_be_traced_are_refused(train, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Run, "compile_train_step", None)
    for steps, text in (
        ("10", "--profile_steps must be START:STOP, such as 10:15, not '10'."),
        ("a:b", "must be START:STOP, such as 10:15, not 'a:b'."),
        ("5:5", "with START < STOP, not '5:5'."),
        ("0:5", "of the run's 1 to 8, with START < STOP, not '0:5'."),
        ("5:10", "of the run's 1 to 8, with START < STOP, not '5:10'."),
    ):
        assert train(f"--profile_steps={steps}") == 2
        err = capsys.readouterr().err
        assert text in err
        assert err.count("\n") == 1
    assert train("--profile_steps=1:2", "--dry_run") == 2
    assert "leave out --dry_run" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.fixture
def cache(tmp_path):
    """A persistent cache of everything, in an empty folder."""
    from jax.experimental.compilation_cache import compilation_cache

    names = {
        "jax_compilation_cache_dir": str(tmp_path / "cache"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in names}
    for name, value in names.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def test_the_persistent_cache_is_off_missed_or_hit(cache):
    def compile():
        return jax.jit(lambda x: jnp.sin(x) @ x).lower(jnp.ones((3, 3))).compile()

    compiled, first = compilation.timed(compile)
    _, second = compilation.timed(compile)
    assert compiled(jnp.eye(3)).shape == (3, 3)
    assert (first.cache, second.cache) == ("miss", "hit")
    assert first.values.keys() == {"seconds", "cache_on", "cache_hit"}
    assert 0 < first.seconds < 60
    jax.config.update("jax_compilation_cache_dir", None)
    assert compilation.timed(compile)[1].cache == "off"
