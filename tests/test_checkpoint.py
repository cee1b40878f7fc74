"""Checkpoints: which are kept, what fits, and errors that are not lost."""

import contextlib
import resource

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import errors
from jaxcnn.tasks import Classification
from jaxcnn.training import checkpoint, saving

METRICS = Classification.METRICS


def state(value=0.0, width=3):
    return {
        "step": jnp.int32(value),
        "params": {"head": {"kernel": jnp.full((2, width), float(value))}},
    }


def target(width=3):
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        state(width=width),
    )


def opened(path, keep=2, metric="accuracy"):
    return saving.open_checkpoints(path, keep=keep, metric=METRICS[metric])


@pytest.mark.parametrize(
    ("metric", "kept", "best"),
    # Values are 0.5 0.9 0.9 0.4 0.6: the best is kept besides the two newest, and the
    # later of equals is the best.
    [("accuracy", [3, 4, 5], 3), ("loss", [4, 5], 4)],
)
def test_the_newest_and_the_best_are_kept(tmp_path, metric, kept, best):
    with opened(tmp_path / "checkpoints", metric=metric) as checkpoints:
        for step, value in enumerate([0.5, 0.9, 0.9, 0.4, 0.6], start=1):
            checkpoints.save(step, state(step), {metric: value})
        checkpoints.wait()
        steps = checkpoint.steps_in(checkpoints.directory)
        # Orbax may keep all of several equal ones.
        assert [s for s in steps if s != 2] == kept
        assert (
            checkpoint.find_step(checkpoints.directory, "best", METRICS[metric]) == best
        )
        assert (
            checkpoint.find_step(checkpoints.directory, "latest", METRICS[metric]) == 5
        )
        assert checkpoint.find_step(checkpoints.directory, "4", METRICS[metric]) == 4


def test_checkpoints_without_metrics_come_and_go(tmp_path):
    with opened(tmp_path / "checkpoints", keep=1) as checkpoints:
        for step, metrics in [(1, None), (2, {"accuracy": 0.5}), (3, None), (4, None)]:
            checkpoints.save(step, state(step), metrics)
        checkpoints.wait()
        assert checkpoint.steps_in(checkpoints.directory) == [2, 4]


def test_what_is_restored_is_what_was_saved(tmp_path):
    with opened(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(7, state(7))
        checkpoints.wait()
        restored = checkpoints.restore(7, target())
    jax.tree.map(np.testing.assert_array_equal, restored, state(7))


def test_a_checkpoint_that_does_not_fit_lists_its_leaves(tmp_path):
    with opened(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(1, state())
        checkpoints.wait()
        other = target(width=4)
        other["params"]["stem"] = other["params"]["head"]
        other.pop("step")
        expected = (
            r"missing: params/stem/kernel; extra: step; different: "
            r"params/head/kernel float32 \[2, 3\] instead of float32 \[2, 4\]"
        )
        with pytest.raises(ValueError, match=expected):
            checkpoints.restore(1, other)


def test_a_part_of_a_checkpoint_is_enough_for_a_prediction(tmp_path):
    directory = tmp_path / "checkpoints"
    with opened(directory) as checkpoints:
        checkpoints.save(3, state(3), {"accuracy": 1.0})
    part = {"params": target()["params"]}
    step, loaded = checkpoint.load_part(directory, "best", METRICS["accuracy"], part)
    assert step == 3
    assert loaded.keys() == {"params"}
    np.testing.assert_array_equal(
        loaded["params"]["head"]["kernel"], state(3)["params"]["head"]["kernel"]
    )
    part["params"]["stem"] = part["params"]["head"]
    with pytest.raises(ValueError, match="missing: params/stem/kernel"):
        checkpoint.load_part(directory, "best", METRICS["accuracy"], part)


def test_a_truncated_checkpoint_is_an_error_that_names_it(tmp_path):
    directory = tmp_path / "checkpoints"
    with opened(directory) as checkpoints:
        checkpoints.save(1, state())
    for file in (directory / "1").rglob("*"):
        if file.is_file() and "/d/" in str(file):
            file.write_bytes(file.read_bytes()[:10])
    with (
        opened(directory) as checkpoints,
        pytest.raises(OSError, match=r"checkpoints/1 is corrupt \("),
    ):
        checkpoints.restore(1, target())


def test_what_a_killed_save_left_is_removed(tmp_path):
    directory = tmp_path / "checkpoints"
    with opened(directory) as checkpoints:
        checkpoints.save(1, state())
    unfinished = directory / "2.orbax-checkpoint-tmp"
    unfinished.mkdir()
    with opened(directory) as checkpoints:
        assert checkpoint.steps_in(checkpoints.directory) == [1]
        checkpoints.save(3, state())  # waits for the removal
    assert not unfinished.exists()


def test_the_error_of_the_last_save_is_an_error(tmp_path):
    # As on a full disk: the files of this process may not grow beyond 64 KiB.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = jax.random.normal(jax.random.key(0), (512, 512))  # 1 MiB, incompressible
    expected = (
        r"checkpoints/2 could not be written: File too large \(1.0 MB needed, .* free\)"
        r". The checkpoint of step 1 is safe."
    )
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(opened(tmp_path / "checkpoints"))
        checkpoints.save(1, {"noise": noise[:1]})
        checkpoints.wait()
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, limits[1]))
        try:
            checkpoints.save(2, {"noise": noise})
            with pytest.raises(errors.StorageError, match=expected):
                checkpoints.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["1"]


def test_no_checkpoint_yet(tmp_path):
    with pytest.raises(ValueError, match="No checkpoint in .* yet"):
        checkpoint.load_part(tmp_path / "x", "best", METRICS["loss"], {})
    with opened(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(2, state())
        checkpoints.wait()
        with pytest.raises(ValueError, match="--checkpoint=latest .* step 2"):
            checkpoint.find_step(checkpoints.directory, "best", METRICS["accuracy"])
        with pytest.raises(ValueError, match="No checkpoint 'last' .* best, latest, 2"):
            checkpoint.find_step(checkpoints.directory, "last", METRICS["accuracy"])
