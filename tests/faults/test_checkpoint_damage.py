"""Files of a checkpoint that are emptied, cut, deleted or altered by a bit.

Each must be noticed, or be without effect, and the checkpoint before is used.
"""

import contextlib
import errno
import shutil

import jax
import numpy as np
import pytest

from jaxcnn.errors import StorageError
from jaxcnn.tasks import Classification
from jaxcnn.training import checkpoint, digests, saving

METRIC = Classification.METRICS["accuracy"]
NUM_FLIPS = 30


def state(step):
    rng = np.random.default_rng(step)
    return {
        "step": np.full(1, step, np.int32),
        "params": {
            "head": {"kernel": rng.normal(size=(40, 8)).astype(np.float32)},
            "stem": {"bias": np.zeros(8, np.float32)},
        },
    }


def target(step):
    return jax.tree.map(lambda x: np.empty(x.shape, x.dtype), state(step))


def save_two(folder):
    """Saves checkpoints of the steps 5 and 6."""
    with saving.open_checkpoints(folder, keep=2, metric=METRIC) as checkpoints:
        for step in 5, 6:
            values = {"accuracy": step / 10, "loss": 1.0}
            checkpoints.save(step, state(step), values, [values])


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    save_two(folder)
    return folder


def damages(folder, num_flips):
    """(name, function that does it) of each damage, to files of the newest."""
    files = sorted(p.relative_to(folder) for p in (folder / "6").rglob("*"))
    files = [file for file in files if (folder / file).is_file()]
    for file in files:
        size = (folder / file).stat().st_size
        for name, length in ("emptied", 0), ("halved", size // 2), ("short", size - 1):
            yield f"{file} {name}", file, lambda b, length=length: b[:length]
        yield f"{file} deleted", file, None
    rng = np.random.default_rng(0)
    sizes = np.array([(folder / file).stat().st_size for file in files])
    for i, position in enumerate(rng.integers(0, sizes.sum(), num_flips)):
        which = int(np.searchsorted(np.cumsum(sizes), position, side="right"))
        offset, bit = int(rng.integers(sizes[which])), int(rng.integers(8))
        yield f"flip {i} of {files[which]}", files[which], _flip(offset, bit)


def _flip(offset, bit):
    def flip(content):
        altered = bytearray(content)
        altered[offset] ^= 1 << bit
        return bytes(altered)

    return flip


def same(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


def try_damage(original, folder, name, file, change):
    """Damages a copy of a file; whether that is noticed. AssertionError: it is not, and
    other numbers are loaded."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(original, folder)
    if change is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(change((folder / file).read_bytes()))
    # To predict, nothing is changed on disk.
    part = {"params": target(6)["params"]}
    with contextlib.suppress(checkpoint.CorruptError):
        step, found = checkpoint.load_part(folder, "latest", METRIC, part)
        assert step == 6, name
        assert same(found, {"params": state(6)["params"]}), name
    with saving.open_checkpoints(folder, keep=2, metric=METRIC) as checkpoints:
        record, found = checkpoints.newest(target)
        assert record.metrics["accuracy"] == record.step / 10, name
    assert same(found, state(record.step)), name
    if record.step == 6:
        return False
    assert (folder / "6.corrupt").is_dir(), name
    [message] = checkpoints.messages
    assert message.startswith(f"Checkpoint {folder / '6'} is corrupt ("), name
    assert len(message.splitlines()) == 1, name
    return True


@pytest.mark.slow
def test_damage_is_noticed_or_without_effect(original, tmp_path):
    found = [
        try_damage(original, tmp_path / "copy", *each)
        for each in damages(original, NUM_FLIPS)
    ]
    assert sum(found) > len(found) / 3


def test_damage_would_not_be_noticed_without_digests(original, tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "of_leaves", lambda tree: {})
    unnoticed = 0
    for name, file, change in damages(original, 4 * NUM_FLIPS):
        if "/d/" in name and name.startswith("flip"):
            try:
                try_damage(original, tmp_path / "copy", name, file, change)
            except AssertionError:
                unnoticed += 1
                break
    assert unnoticed


def test_a_run_never_starts_anew_because_its_checkpoints_are_damaged(
    original, tmp_path
):
    folder = tmp_path / "checkpoints"
    shutil.copytree(original, folder)
    for file in folder.rglob("_CHECKPOINT_METADATA"):
        file.write_text("{}")
    for _ in range(2):  # also when they have been set aside
        with (
            pytest.raises(OSError, match=r"No checkpoint in .* can be read: .*anew"),
            saving.open_checkpoints(folder, keep=2, metric=METRIC) as checkpoints,
        ):
            checkpoints.newest(target)


@pytest.mark.parametrize(
    ("error", "raised", "says"),
    [
        (OSError(errno.EMFILE, "Too many open files"), StorageError, "Too many open"),
        (ValueError("PERMISSION_DENIED: Permission denied"), StorageError, "Permissi"),
        (MemoryError("17 bytes"), MemoryError, "17 bytes"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), RuntimeError, "RESOURCE"),
    ],
)
def test_a_checkpoint_that_the_machine_cannot_read_is_not_damaged(
    original, tmp_path, monkeypatch, error, raised, says
):
    def failing(*arguments):
        raise error

    folder = tmp_path / "checkpoints"
    shutil.copytree(original, folder)
    with saving.open_checkpoints(folder, keep=2, metric=METRIC) as checkpoints:
        monkeypatch.setattr(checkpoint.ocp, "load", failing)
        with pytest.raises(raised, match=says):
            checkpoints.newest(target)
        checkpoints.save(7, state(7))
        with pytest.raises(raised, match=says):  # it cannot be read back
            checkpoints.wait()
    assert checkpoint.steps_in(folder) == [5, 6, 7]
    monkeypatch.undo()
    with saving.open_checkpoints(folder, keep=2, metric=METRIC) as checkpoints:
        assert checkpoints.newest(target)[0].step == 7


def test_a_checkpoint_that_is_deleted_while_it_is_looked_for_is_no_damaged_one(
    original, tmp_path, monkeypatch
):
    folder = tmp_path / "checkpoints"
    shutil.copytree(original, folder)
    read = checkpoint.read_record

    def deleted_meanwhile(path):
        shutil.rmtree(folder / "5", ignore_errors=True)
        return read(path)

    monkeypatch.setattr(checkpoint, "read_record", deleted_meanwhile)
    part = {"params": target(6)["params"]}
    step, found = checkpoint.load_part(folder, "best", METRIC, part)
    assert step == 6
    assert same(found, {"params": state(6)["params"]})
    shutil.copytree(original / "5", folder / "5")
    with pytest.raises(ValueError, match="K must be from 1 to 1"):
        checkpoint.load_part(folder, "mean:2", METRIC, part)


def test_no_checkpoint_without_a_number_is_the_best():
    nan = {"accuracy": float("nan")}
    measured = [checkpoint.Record(i, m, [], {}) for i, m in enumerate([None, nan, nan])]
    assert checkpoint.best_step(dict(enumerate(measured)), METRIC) is None
    measured.append(checkpoint.Record(3, {"accuracy": 0.0}, [], {}))
    measured.append(checkpoint.Record(4, nan, [], {}))
    assert checkpoint.best_step(dict(enumerate(measured)), METRIC) == 3


def test_old_checkpoints_are_deleted_only_for_ones_that_were_read_back(
    tmp_path, monkeypatch
):
    with saving.open_checkpoints(tmp_path, keep=1, metric=METRIC) as checkpoints:
        checkpoints.save(1, state(1))
        checkpoints.save(2, state(2))
        assert checkpoint.steps_in(tmp_path) == [1]
        checkpoints.wait()
        assert checkpoint.steps_in(tmp_path) == [2]

    def damaged(path, *args, **kwargs):
        raise checkpoint.CorruptError(f"Checkpoint {path} is corrupt (test).")

    monkeypatch.setattr(checkpoint, "restore", damaged)
    with saving.open_checkpoints(tmp_path, keep=1, metric=METRIC) as checkpoints:
        checkpoints.save(3, state(3))
        with pytest.raises(OSError, match="3 could not be written: .*step 2 is safe"):
            checkpoints.wait()
    assert checkpoint.steps_in(tmp_path) == [2]
