"""Absurd configs and folders: one line, before anything is allocated."""

import contextlib
import copy
import os
import re
import resource
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxcnn import __main__, config_fields, folders
from jaxcnn.config import Config, DataConfig
from jaxcnn.data.examples import Dataset
from jaxcnn.errors import UserError
from jaxcnn.training import ignored, prepare

NAN, INF = float("nan"), float("inf")
ABSURD = (
    *(NAN, INF, -INF, -1, -1.0, 0, 10**9, 10**30, 1e12, 1e-9, 2**70, 10**5000),
    *("", "x", "\0", "a:b", "os:getcwd", "x" * 5000, None, True, object(), {}, []),
    *(((),), (("a",),), (("x", 1.0),), [1e30], "auto", b"bytes", np.float64(1.0)),
)
FIELDS = [*config_fields.fields(Config())]


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 8, 8), np.uint8)
    return Dataset.from_arrays(images, np.arange(40) % 2)


def absurd(name, value):
    data = DataConfig(image_size=8, batch_size=8)
    config = Config(model="softmax_regression", data=data, num_epochs=1.0)
    holder = config_fields._holder(config, name)
    setattr(holder, name.rpartition(".")[2], value)
    return config


def prepared(config, dataset):
    run = prepare.prepare(config, dataset=dataset)
    prepare.check_training(run)
    return run


@pytest.mark.parametrize("section", ["", "data.", "augment.", "task.", "optim."])
def test_any_value_of_any_field_is_taken_or_one_line(section, dataset):
    names = [n for n in FIELDS if n.rpartition(".")[0] == section.rstrip(".")]
    rng = np.random.default_rng(len(section))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for name in names:
        for index in rng.permutation(len(ABSURD))[:8]:
            value, start = ABSURD[index], time.process_time()
            # A user's own function fails as it likes.
            if value == "os:getcwd" and name in ("optim.name", "optim.schedule"):
                continue
            with contextlib.suppress(UserError):
                prepared(absurd(name, value), dataset)
                refused -= 1
            refused += 1
            assert time.process_time() - start < 5, (name, value)
    assert refused > 5 * len(names)
    # ru_maxrss is in KiB, the largest of the whole process so far.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_epochs", 1e12),
        ("num_epochs", 1e9),
        ("eval_every_epochs", 1e-9),
        ("data.image_size", 100_000),
        ("data.image_size", (1, 10**9)),
        ("data.image_size_stages", ((10**6, 0.5),)),
        ("data.batch_size", 10**7),
        ("seed", 2**70),
        ("data.split_seed", -1),
        ("augment.crop_padding_pixels", 10**9),
        ("augment.crop_padding_pixels", 9),  # the images have 8
        ("data", None),
        ("optim", {"peak_lr": 0.1}),
        ("average", DataConfig()),
        ("model_fields", (("num_classes", 3),)),
        ("model_fields", (("widths", NAN),)),
    ],
)
def test_what_would_take_all_memory_or_time_is_refused_by_name(name, value, dataset):
    config = absurd(name, value)
    with pytest.raises(UserError, match=name.replace("_stages", "").split(".")[-1]):
        prepared(config, dataset)


def test_a_network_that_does_not_fit_into_memory_is_refused(dataset):
    config = absurd("model", "mlp")
    config.model_fields = (("hidden", (10**7, 10**7)),)
    with pytest.raises(UserError, match="mlp for images of 8 pixels takes .* GiB of"):
        prepared(config, dataset)


def test_a_long_run_is_prepared_at_once(dataset):
    for name in ("none", "ema"):
        config = absurd("average.name", name)
        config.num_epochs = 4e8
        assert prepared(config, dataset).num_steps == 4e8 * 38 / 8
    config = absurd("average.name", "swa")
    config.num_epochs = 1e6
    with pytest.raises(UserError, match="average.name must be ema or none for a run"):
        prepared(config, dataset)


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ({}, []),
        (
            {"optim.decay_epochs": (1.0,)},
            [
                "optim.decay_epochs=(1.0,) is ignored: optim.schedule 'cosine' does "
                "not use it."
            ],
        ),
        ({"optim.decay_epochs": (1.0,), "optim.schedule": "step"}, []),
        (
            {"optim.name": "adamw", "optim.momentum": 0.5, "optim.beta1": 0.8},
            ["optim.momentum=0.5 is ignored: optim.name 'adamw' does not use it."],
        ),
        ({"optim.name": "my.own:thing", "optim.momentum": 0.5}, []),
        (
            {"average.decay": 0.5},
            ["average.decay=0.5 is ignored: average.name is 'none'."],
        ),
        ({"average.decay": 0.5, "average.name": "ema"}, []),
        (
            {"augment.randaugment_magnitude": 5},
            ["augment.randaugment_magnitude=5 is ignored: augment.randaugment is 0."],
        ),
        ({"augment.randaugment_magnitude": 5, "augment.randaugment": 2}, []),
        (
            {"early_stopping_metric": "loss"},
            [
                "early_stopping_metric='loss' is ignored: early_stopping_patience is "
                "None."
            ],
        ),
    ],
)
def test_what_has_no_effect_is_said(values, lines):
    config = config_fields.replace(Config(), values)
    before = copy.deepcopy(config)
    assert ignored.lines(config) == lines
    assert config == before


@pytest.mark.parametrize(
    ("folder", "why"),
    [
        ("/proc/new", "/proc may not be written"),
        ("/dev/null", "/dev/null is no folder"),
        ("/dev/null/new", "/dev/null is no folder"),
        ("{tmp}/file", "{tmp}/file is a file"),
        ("{tmp}/file/new", "{tmp}/file is a file"),
        ("{tmp}/link", "{tmp}/link is no folder"),
        ("{tmp}/" + "a" * 300, "a name may have at most 255 bytes"),
        ("{tmp}/new/" + "\u65e5" * 90, "a name may have at most 255 bytes"),
        ("{tmp}/" + "a/" * 2500, "its path may have at most"),
        ("gs://bucket/new", "to mounted file systems only, not to a URL"),
        ("s3://bucket", "to mounted file systems only, not to a URL"),
        ("{tmp}/a\nb", "a name may hold no control character"),
        ("{tmp}/a\0b", "a name may hold no control character"),
        ("{tmp}/a\x1b[31m", "a name may hold no control character"),
        ("{tmp}/\ud800", "the file system cannot have this name"),
    ],
)
@pytest.mark.parametrize("verb", ["train", "check_data", "import_weights"])
def test_a_folder_that_cannot_be_is_one_line(verb, folder, why, tmp_path, capsys):
    (tmp_path / "file").write_text("canary")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    folder, why = (text.replace("{tmp}", str(tmp_path)) for text in (folder, why))
    flags = {
        "train": [f"--workdir={folder}", "--config.num_epochs=1.0"],
        "check_data": [f"--output={folder}", "--config.num_epochs=1.0"],
        "import_weights": [f"--output={folder}", "--model=lenet5", "--weights=/no.pth"],
    }
    assert __main__.main([verb, *flags[verb]]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert why in error
    assert error.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]
    assert (tmp_path / "file").read_text() == "canary"


def test_a_folder_that_may_be_written_is_left_as_it_was(tmp_path):
    folders.check_writable(tmp_path / "new" / "run", "It")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_may_not_be_written_is_refused(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(folders.tempfile, "mkdtemp", refuse)
    with pytest.raises(UserError, match=r"may not be written \(Read-only file system"):
        folders.check_writable(tmp_path / "new", "It")


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["cuda", "nonsense"])
def test_a_platform_that_is_not_there_is_one_line(platform):
    command = [sys.executable, "-m", "jaxcnn", "summarize", "--model=lenet5"]
    env = {**os.environ, "JAX_PLATFORMS": platform}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 2
    assert f"jaxcnn: JAX_PLATFORMS is {platform}, which JAX cannot use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."), "9 by"),
        (MemoryError("Unable to allocate 8.00 PiB"), "8.00 PiB"),
        (OSError(28, "No space left on device", "/a/b"), "No space .* device: /a/b"),
    ],
)
def test_failures_of_the_machine_are_one_line(error, text, monkeypatch, capsys):
    def fail(argv):
        raise error

    monkeypatch.setattr(__main__, "_dispatch", fail)
    assert __main__.main([]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert re.search(text, line)
    if not isinstance(error, OSError):
        assert "smaller data.batch_size" in line
