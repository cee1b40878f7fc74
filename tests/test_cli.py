"""The command line as a person uses it, and what mistakes get: one line and a 2."""

import csv
import functools
import importlib
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

from absl import flags
import jax
import numpy as np
from PIL import Image
import pytest
from sklearn import datasets

from jaxcnn import __main__
from jaxcnn.cli import _flags
from jaxcnn.config import AugmentConfig, Config, DataConfig, OptimConfig
from jaxcnn.errors import UserError
from jaxcnn.report import parts
from jaxcnn.targets import Target
from jaxcnn.training import workdir
from jaxcnn.training.run import Run

CONFIG = """
from jaxcnn.config import Config, DataConfig, OptimConfig, TaskConfig

def get_config():
    return Config(
        model="softmax_regression",
        data=DataConfig(name="digits", batch_size=101, image_size=8),
        task=TaskConfig(label_smoothing=0.01),
        optim=OptimConfig(peak_lr=0.3),
        num_epochs=4.0,
        num_devices=1,
    )
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with an experiment, a finished run, and an image of each digit."""
    path = tmp_path_factory.mktemp("cli")
    (path / "experiment.py").write_text(CONFIG)
    workdir = ["--workdir", str(path / "run")]
    assert __main__.main(["train", f"--config={path / 'experiment.py'}", *workdir]) == 0
    images = datasets.load_digits().images[898:908] * (255 / 16)
    (path / "images").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(np.round(image).astype(np.uint8)).save(
            path / "images" / f"{i}.png"
        )
    return path


def call(*arguments):
    return __main__.main([str(argument) for argument in arguments])


@pytest.fixture
def refuse(capsys, monkeypatch, folder, tmp_path):
    """refuse(*arguments): the one line that they get, before anything is compiled."""

    def compile_nothing(*args):
        raise AssertionError("compiled before the mistake was seen")

    def refused(*arguments, compiles=False):
        capsys.readouterr()
        if not compiles:
            monkeypatch.setattr(Run, "compile_train_step", compile_nothing)
            monkeypatch.setattr(jax, "jit", compile_nothing)
        assert call(*arguments) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("jaxcnn: ")
        assert captured.err.count("\n") == 1
        return captured.err

    return refused


@pytest.fixture
def refuse_to_train(refuse, folder, tmp_path):
    """refuse_to_train(*overrides): as refuse, for a new folder, which stays unmade."""

    def refused(*overrides, make_folder=False):
        config = f"--config={folder / 'experiment.py'}"
        line = refuse("train", config, f"--workdir={tmp_path / 'new'}", *overrides)
        assert make_folder or not (tmp_path / "new").exists()
        return line

    return refused


# What a person sees.


def test_train_prints_lines_and_a_summary(folder, capsys, tmp_path):
    config = f"--config={folder / 'experiment.py'}"
    flags = ("--config.log_every_steps=8", "--config.num_epochs=2.0")
    assert call("train", config, f"--workdir={tmp_path}", *flags) == 0
    table, lines = [], capsys.readouterr().out.splitlines()
    while not lines[0].startswith("step"):
        table.append(lines.pop(0).split())
    assert ["head", "from", "the", "start", "none", "650", "0.3", "-"] in table
    assert lines[0].startswith("step 8/16  epoch 1.0  loss ")
    for part in ("accuracy", "lr", "images/s", "waiting for data", "left"):
        assert part in lines[0]
    assert lines[1].startswith("step 8  validation: loss ")
    assert any(line.startswith("test accuracy ") for line in lines)
    events = list((tmp_path / "tensorboard" / "train").glob("events*"))
    assert events
    assert events[0].stat().st_size > 0


def test_train_writes_metrics_and_config(folder):
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    splits = {record["split"] for record in records}
    assert splits == {"compile", "train", "validation", "test"}
    validation = [r for r in records if r["split"] == "validation"]
    assert [r["step"] for r in validation] == [8, 16, 24, 32]
    config = json.loads((folder / "run" / "config.json").read_text())
    assert config["optim"]["peak_lr"] == 0.3
    dataset = json.loads((folder / "run" / "dataset.json").read_text())
    assert dataset["num_examples"] == {"train": 808, "validation": 90, "test": 899}


def test_a_dry_run_writes_nothing(folder, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("train", f"--config={folder / 'experiment.py'}", "--dry_run") == 0
    out = capsys.readouterr().out
    for part in (
        "compilation",
        "persistent cache: ",
        "memory",
        "input",
        "650 parameters",
        "808 train",
    ):
        assert part in out
    assert list(tmp_path.iterdir()) == []


def test_evaluate_agrees_with_scikit_learn(folder, capsys):
    from sklearn import metrics

    import jaxcnn

    assert call("evaluate", f"--workdir={folder / 'run'}", "--format=json") == 0
    measured = json.loads(capsys.readouterr().out)
    digits = datasets.load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[898:]
    labels = digits.target[898:]
    said = jaxcnn.load(folder / "run")(images)
    predicted, probabilities = said["class"], said["probabilities"]
    assert measured["accuracy"] == metrics.accuracy_score(labels, predicted)
    expected = metrics.log_loss(labels, probabilities)
    assert measured["loss"] == pytest.approx(expected, rel=1e-5)
    expected = metrics.confusion_matrix(labels, predicted)
    np.testing.assert_array_equal(measured["confusion"], expected)
    expected = metrics.f1_score(labels, predicted, average="macro")
    assert measured["macro_f1"] == pytest.approx(expected, rel=1e-9)
    expected = metrics.top_k_accuracy_score(labels, probabilities, k=5)
    assert measured["top5_accuracy"] == pytest.approx(expected, rel=1e-9)
    assert measured["support"] == np.bincount(labels).tolist()


def test_evaluate_writes_the_confusion_matrix_as_csv_and_png(folder, capsys):
    assert call("evaluate", f"--workdir={folder / 'run'}") == 0
    out = capsys.readouterr().out
    assert "test, 899 images" in out
    assert "Confusion matrix" in out
    rows = list(csv.reader((folder / "run" / "confusion_test.csv").open()))
    assert rows[0][1:] == [str(i) for i in range(10)]
    assert sum(int(n) for row in rows[1:] for n in row[1:]) == 899
    with Image.open(folder / "run" / "confusion_test.png") as picture:
        assert min(picture.size) > 300


def test_predict_takes_files_and_folders_in_three_formats(folder, capsys):
    run, images = f"--workdir={folder / 'run'}", folder / "images"
    assert call("predict", run, images, "--format=json", "--top_k=3") == 0
    predictions = json.loads(capsys.readouterr().out)
    assert [p["image"] for p in predictions] == [
        str(images / f"{i}.png") for i in range(10)
    ]
    assert all(len(p["classes"]) == 3 for p in predictions)
    # Nine of the ten are right for a linear model; the labels are scikit-learn's.
    found = [int(p["classes"][0]["class"]) for p in predictions]
    assert np.mean(found == datasets.load_digits().target[898:908]) >= 0.8

    assert call("predict", run, images / "3.png", "--format=csv", "--top_k=2") == 0
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows[0] == ["image", "rank", "class", "probability"]
    assert [row[1] for row in rows[1:]] == ["1", "2"]
    first = predictions[3]["classes"][0]
    assert rows[1][2] == first["class"]
    assert float(rows[1][3]) == pytest.approx(first["probability"], abs=1e-6)

    output = f"--output={folder / 'predicted'}"
    assert call("predict", run, images / "3.png", "--top_k=1", output) == 0
    assert "3.png" in capsys.readouterr().out
    with Image.open(folder / "predicted" / "3.png") as picture:
        assert picture.size == (512, 532)  # 8x8 pixels, and a line


def test_models_lists_names_parameters_and_papers(capsys):
    assert call("models", "resnet1*", "--format=json") == 0
    rows = json.loads(capsys.readouterr().out)
    # Counts: torchvision's model cards.
    counts = {row["model"]: row["parameters"] for row in rows}
    assert counts["resnet18"] == 11_689_512
    assert counts["resnet152"] == 60_192_808
    assert call("models") == 0
    out = capsys.readouterr().out
    assert "lenet5" in out
    assert "1512.03385" in out


def test_help_shows_the_flags_of_the_verb_first(capsys):
    assert call("train", "--help") == 0
    out = capsys.readouterr().out
    assert out.index("--workdir") < out.index("optim.peak_lr")
    assert "--dry_run: check the data" in out
    assert call("--help") == 0
    out = capsys.readouterr().out
    for verb in ("train", "evaluate", "predict", "models"):
        assert f"  {verb} " in out


def test_version_is_that_of_the_package(capsys):
    pyproject = pathlib.Path(__file__).parents[1] / "pyproject.toml"
    version = tomllib.loads(pyproject.read_text())["project"]["version"]
    assert call("--version") == 0
    assert capsys.readouterr().out == f"jaxcnn {version}\n"


WITH_CONFIG = [
    "train",
    "find_lr",
    "cross_validate",
    "sweep",
    "check_data",
    "verify_resume",
]


def test_the_verbs_that_take_a_config_are_these():
    def takes_config(verb):
        values = flags.FlagValues()
        importlib.import_module(f"jaxcnn.cli.{verb}").define_flags(values, ["jaxcnn"])
        return "config" in values

    folder = pathlib.Path(__main__.cli.__path__[0])
    verbs = {path.stem for path in folder.glob("[!_]*.py")}
    assert {verb for verb in verbs if takes_config(verb)} == set(WITH_CONFIG)


@pytest.mark.parametrize("verb", WITH_CONFIG)
def test_without_a_file_the_fields_start_from_their_defaults(verb):
    values = flags.FlagValues()
    argv = [
        verb,
        "--config.model=resnet18",
        "--config.data.name=folder:photos",
        "--config.num_epochs",
        "3",
        "--config.optim.clip_norm=2",
        '--config.optim.lr_factors=(("stem",0.1),(".*",1.0))',
        "--config.augment.trivialaugment",
        "--noconfig.tf32",
    ]
    importlib.import_module(f"jaxcnn.cli.{verb}").define_flags(values, argv)
    assert values(argv) == [verb]
    assert _flags.config(values) == Config(
        model="resnet18",
        data=DataConfig(name="folder:photos"),
        num_epochs=3.0,
        optim=OptimConfig(clip_norm=2.0, lr_factors=(("stem", 0.1), (".*", 1.0))),
        augment=AugmentConfig(trivialaugment=True),
        tf32=False,
    )
    assert Config() == Config(model="lenet5", tf32=True)  # is left as it was


def test_a_config_file_takes_an_argument_after_a_colon(tmp_path):
    path = tmp_path / "experiment.py"
    path.write_text(
        "from jaxcnn.config import Config\n"
        "def get_config(model):\n    return Config(model=model, seed=5)\n"
    )
    values = flags.FlagValues()
    argv = ["train", f"--config={path}:mlp", "--config.num_epochs=2"]
    _flags.define_config(values, argv)
    values(argv)
    assert _flags.config(values) == Config(model="mlp", seed=5, num_epochs=2.0)


RATES = """
import optax

def halved(config, steps, drops):
    return lambda count: 0.5 * config.peak_lr * (1 - count / steps)

def plain(config, schedule):
    return optax.sgd(schedule)
"""


def test_a_run_has_a_schedule_and_an_optimizer_of_the_current_directory(
    folder, tmp_path, monkeypatch
):
    (tmp_path / "cli_rates.py").write_text(RATES)
    monkeypatch.chdir(tmp_path)
    config = f"--config={folder / 'experiment.py'}"
    own = ("--config.optim.schedule=cli_rates:halved", "--config.log_every_steps=1")
    own += ("--config.optim.name=cli_rates:plain", "--config.num_epochs=1")
    assert call("train", config, "--workdir=own", *own) == 0
    lines = (tmp_path / "own" / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    # By hand: 8 steps, from half of 0.3 in a straight line to 0.
    expected = 0.15 * (1 - np.arange(8) / 8)
    found = [r["learning_rate"] for r in records if r["split"] == "train"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    # The same run by our own names.
    ours = ("--config.optim.schedule=linear", "--config.optim.peak_lr=0.15")
    ours += ("--config.optim.name=sgd", "--config.optim.momentum=0")
    ours += ("--config.log_every_steps=1", "--config.num_epochs=1")
    assert call("train", config, "--workdir=ours", *ours) == 0
    ours = (tmp_path / "ours" / "metrics.jsonl").read_text().splitlines()
    losses = [
        [r["loss"] for r in map(json.loads, run) if r["split"] == "train"]
        for run in (lines, ours)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-6)


@pytest.mark.parametrize("start", ["python -m jaxcnn", "jaxcnn"])
def test_the_current_directory_is_importable(tmp_path, start):
    # An experiment file that fails shows what it imported, before JAX is loaded.
    (tmp_path / "cli_words.py").write_text("TEXT = 'found in cli_words'")
    (tmp_path / "experiment.py").write_text(
        "import cli_words\ndef get_config():\n    raise ValueError(cli_words.TEXT)"
    )
    # The console script lies in another folder, which Python puts first in its path.
    script = tmp_path / "bin" / "jaxcnn"
    script.parent.mkdir()
    script.write_text("from jaxcnn.__main__ import main\nraise SystemExit(main())")
    command = [str(script)] if start == "jaxcnn" else ["-m", "jaxcnn"]
    done = subprocess.run(
        [sys.executable, *command, "train", "--config=experiment.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "ValueError in experiment.py, line 3: found in cli_words" in done.stderr


# What mistakes get.


def test_no_verb_and_unknown_verbs(refuse, capsys):
    assert "Unknown verb 'trian'; nearest: train" in refuse("trian")
    assert call() == 2


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("--config.model=resnet19", "Unknown model 'resnet19'; nearest: resnet18"),
        ("--config.data.name=digit", "Unknown dataset 'digit'; nearest: digits"),
        ("--config.optim.schedule=cosin", "Unknown schedule 'cosin'; nearest: cosine"),
        ("--config.optim.name=adamm", "Unknown optimizer 'adamm'; nearest: adam"),
        ("--config.optim.peak_lrr=1", "Unknown config field 'optim.peak_lrr'"),
        ("--config.optim=1", "Unknown config field 'optim'"),
        ("--config.optim.peak_lr=fast", "optim.peak_lr=fast"),
        ("--config.optim.peak_lr=-1", "optim.peak_lr must be"),
        ("--config.num_epochs=0", "num_epochs must be in (0, 1e9], not 0"),
        ("--config.data.batch_size=900", "is 900, more than the 808 training"),
        (
            "--config.data.batch_size=0",
            "batch_size must be in [1, 10000000], not 0",
        ),
        ("--config.num_devices=2", "101, which does not divide over 2 devices"),
        ("--config.num_devices=99", "num_devices is 99"),
        ("--config.parallel=tpu", "Unknown parallel 'tpu'"),
        ("--config.compute_dtype=float8", "Unknown compute_dtype 'float8'"),
        ("--config.best_metric=f1", "'f1'"),
        ("--config.task.label_smoothing=1.0", "task.label_smoothing must be"),
        ("--config.task.class_weights=some", "Unknown class weights 'some'"),
        ("--config.data.sampling=some", "Unknown sampling 'some'"),
        ("--config.data.train_transform=some", "Unknown transform 'some'"),
        ("--config.data.eval_transform=random_resized_crop", "which is random"),
        ("--config.data.bad_images=some", "'some'"),
        (
            "--config.data.validation_fraction=1.0",
            "data.validation_fraction must be in [0, 1), not 1.0",
        ),
        ("--config.augment.flip=2.0", "augment.flip must be"),
        ('--config.optim.lr_factors=(("stm",0.1),)', "stm"),
        ('--config.model_fields=(("width",3),)', "Unknown field of softmax_regression"),
        ("--config.data.name=tfds:nothing", "nothing"),
        ("--config.data.name=cifar10", "cifar-10-python.tar.gz"),
        ("--config.data.name=folder:/nowhere", "no folder '/nowhere'"),
        ("--confg.seed=1", "confg.seed"),
        ("--seed=1", "seed"),
        ("word", "This command takes only flags, not 'word'"),
    ],
)
def test_a_mistake_in_the_config_is_one_line(refuse_to_train, override, expected):
    assert expected in refuse_to_train(override)


def test_config_files_that_give_no_config(refuse, tmp_path):
    def refused(name, text):
        (tmp_path / name).write_text(text)
        return refuse("train", f"--config={tmp_path / name}", "--workdir=x")

    assert "No such file" in refuse("train", "--config=no.py", "--workdir=x")
    line = refused("syntax.py", "def get_config(:")
    assert "SyntaxError in" in line
    assert "syntax.py, line 1" in line
    assert "No module named 'nothing'" in refused("imports.py", "import nothing")
    line = refused("other.py", "def get_config():\n    return {}")
    assert "must return a jaxcnn.config.Config, not a dict" in line
    assert "none.py: It has no function get_config()" in refused("none.py", "x = 1")
    text = "def get_config():\n    raise ValueError('bad')"
    assert f"ValueError in {tmp_path}/value.py, line 2: bad" in refused(
        "value.py", text
    )


HEAD = "from jaxcnn.config import *\ndef get_config():\n    "


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "It has no function get_config()"),
        ("get_config = 3", "It has no function get_config()"),
        ("import sys; sys.exit(0)", "SystemExit in {file}, line 1: 0"),
        (HEAD + "raise SystemExit(3)", "SystemExit in {file}, line 3: 3"),
        (HEAD + "raise BaseException('a\\nb')", "BaseException in {file}, line 3: a b"),
        (HEAD + "return get_config()", "RecursionError in {file}, line 3"),
        (HEAD + "return None", "not a NoneType"),
        (HEAD + "return Config", "not a type"),
        (HEAD + "return Config(data=None)", "field data is None; it must be a DataC"),
        (HEAD + "return Config(optim={})", "field optim is {}; it must be a OptimCo"),
        (HEAD + "return Config(optim=OptimConfig(lr=1))", "'lr'; nearest: .*peak_lr"),
        (HEAD + "return Config(sed=1)", "field of Config 'sed'; nearest: seed"),
        (HEAD + "return Config(num_epochs=10**5000)", "num_epochs is a int"),
        (HEAD + "return Config(seed=2**70)", "seed must be in .*, not 1180591620717"),
        (HEAD + "x = 1 / 0", "ZeroDivisionError in {file}, line 3: division by zero"),
        ("def get_config(a, b): pass", "TypeError in {file}: .*2 required positional"),
        ("\0", "in {file}: source code"),
        ("\udcff\udcfe\udc00", "in .*{file}"),
        ("\udc7fELF", "in .*{file}"),
    ],
)
def test_a_config_file_that_does_anything_else_is_one_line(
    content, expected, refuse, tmp_path
):
    file = tmp_path / "config.py"
    file.write_bytes(content.encode("utf-8", "surrogatepass"))
    line = refuse("train", f"--config={file}", f"--workdir={tmp_path / 'x'}")
    assert re.search(expected.replace("{file}", re.escape(str(file))), line)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("/tmp", "It is no file"),
        ("/dev/null", "It is no file"),
        ("a" * 300, "No such file"),
        ("/" + "a/" * 3000, "No such file"),
        ("", "No such file"),
    ],
)
def test_a_config_that_is_no_file_is_one_line(file, expected, refuse, tmp_path):
    line = refuse("train", f"--config={file}", f"--workdir={tmp_path / 'x'}")
    assert expected in line


@pytest.mark.parametrize("verb", WITH_CONFIG)
def test_neither_a_config_file_nor_a_field_is_refused(refuse, verb):
    line = refuse(verb, "--output=x" if verb != "train" else "--workdir=x")
    assert "--config=FILE is missing" in line
    assert "set at least one field, such as --config.model=resnet18" in line


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("--config.modle=lenet5", "Unknown config field 'modle'; nearest: model"),
        ("--config.data=1", "Unknown config field 'data'"),
        ("--config.num_epochs=ten", "--config.num_epochs=ten"),
        ("--config.seed=1.5", "--config.seed=1.5"),
        ("--config.optim.decay_epochs=x", "optim.decay_epochs is ('x',)"),
        ("--config.model=resnet19", "Unknown model 'resnet19'; nearest: resnet18"),
    ],
)
def test_a_mistake_in_a_field_without_a_file_is_one_line(
    refuse, tmp_path, override, expected
):
    assert expected in refuse("train", override, f"--workdir={tmp_path / 'new'}")
    assert not (tmp_path / "new").exists()


def test_a_workdir_of_another_config_says_what_differs(refuse, folder):
    before = (folder / "run" / "config.json").read_text()
    line = refuse(
        "train",
        f"--config={folder / 'experiment.py'}",
        f"--workdir={folder / 'run'}",
        "--config.optim.peak_lr=0.2",
        "--config.seed=7",
    )
    assert "optim.peak_lr: 0.3 -> 0.2; seed: 0 -> 7" in line
    assert (folder / "run" / "config.json").read_text() == before


@pytest.mark.parametrize("name", ["config.json", "dataset.json"])
@pytest.mark.parametrize(
    "change", [lambda text: text[: len(text) // 2], lambda _: "[]"]
)
def test_a_damaged_folder_is_refused_by_the_name_of_its_file(
    refuse, folder, tmp_path, name, change
):
    shutil.copytree(folder / "run", tmp_path / "run")
    path = tmp_path / "run" / name
    path.write_text(change(path.read_text()))
    line = refuse("evaluate", f"--workdir={tmp_path / 'run'}")
    assert f"{path} cannot be read; it is damaged, or of another version" in line


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "files or arrays are others than before"),
        ({"decoder": "Pillow 1"}, "decoder: 'Pillow 1' -> None"),
    ],
)
def test_other_images_than_before_are_refused(refuse, folder, tmp_path, changes, text):
    shutil.copytree(folder / "run", tmp_path / "run")
    path = tmp_path / "run" / "dataset.json"
    info = json.loads(path.read_text())
    info |= {"fingerprint": "0"} | changes
    del info["content_sha256"]
    path.write_text(json.dumps(info))
    line = refuse(
        "train",
        f"--config={folder / 'experiment.py'}",
        f"--workdir={tmp_path / 'run'}",
    )
    assert f"holds another run (dataset's {text}); give another --workdir" in line


def test_other_targets_than_before_are_refused_by_what_differs():
    def targets(*names):
        return {"mask": Target("mask", "uint8", names=names, fill=255)}

    many = [f"class {k}" for k in range(30)]
    for old, new, text in (
        (
            targets("class 0", "class 1"),
            targets("ground", "tree"),
            "targets.mask.names: 'class 0', 'class 1' -> 'ground', 'tree'",
        ),
        (
            targets(*many),
            targets(*many[:20], "a"),
            "targets.mask.names from 20 on: 'class 20', 'class 21', 'class 22', 'class "
            "23', 'class 24', 'class 25', 'class 26', 'class 27', 'class 28', 'class "
            "29' -> 'a'",
        ),
        (
            targets("a", "b"),
            targets("a"),
            "targets.mask.names from 1 on: 'b' -> none",
        ),
        (targets("a", "b"), {}, "targets.mask: 'kind', .* -> None"),
    ):
        with pytest.raises(UserError, match=rf"another run \(dataset's {text}\); give"):
            workdir.check_targets(pathlib.Path("run"), old, new)
    workdir.check_targets(pathlib.Path("run"), old, old)


def test_metrics_are_printed_before_a_full_disk_is_noticed(folder, capsys, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device", "confusion_test.csv")

    monkeypatch.setattr(parts, "write", full)
    capsys.readouterr()
    assert call("evaluate", f"--workdir={folder / 'run'}", "--format=json") == 1
    out, error = capsys.readouterr()
    assert json.loads(out)["accuracy"] > 0.5
    assert error == "jaxcnn: No space left on device: confusion_test.csv.\n"


def test_mistakes_after_training(refuse, folder, tmp_path):
    refuse = functools.partial(refuse, compiles=True)
    run = f"--workdir={folder / 'run'}"
    assert "--workdir=DIR is missing" in refuse("evaluate")
    assert "No run in" in refuse("evaluate", f"--workdir={tmp_path}")
    assert "Unknown split 'tset'; nearest: test" in refuse(
        "evaluate", run, "--split=tset"
    )
    line = refuse("evaluate", run, "--checkpoint=999")
    assert "available: best, latest, " in line
    assert "at least one image" in refuse("predict", run)
    assert "/nowhere.png" in refuse("predict", run, "/nowhere.png")
    assert "--format=xml" in refuse("predict", run, "x", "--format=xml")
    (tmp_path / "broken.png").write_text("no image")
    assert "broken.png" in refuse("predict", run, tmp_path / "broken.png")
    (tmp_path / "empty").mkdir()
    assert "no image" in refuse("predict", run, tmp_path / "empty")
    assert "No model matches 'nothing*'" in refuse("models", "nothing*")


def make_folder(path, splits):
    """A folder of small PNGs: splits is {"train": {"a": 3}, ...} or {"": {...}}."""
    rng = np.random.default_rng(0)
    for split, classes in splits.items():
        for name, count in classes.items():
            target = path / split / name
            target.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(target / f"{i}.png")
    return f"--config.data.name=folder:{path}"


def test_mistakes_in_a_folder_of_images(refuse_to_train, tmp_path):
    other = make_folder(
        tmp_path / "other", {"train": {"a": 4, "b": 4}, "val": {"a": 1, "c": 1}}
    )
    line = refuse_to_train(other, "--config.data.batch_size=2")
    assert "validation" in line
    assert "'b'" in line
    assert "'c'" in line
    empty = make_folder(tmp_path / "empty", {"": {"a": 4, "b": 0}})
    assert "'b'" in refuse_to_train(empty, "--config.data.batch_size=2")


def test_an_unreadable_image_is_named_before_anything_is_compiled(
    refuse_to_train, tmp_path
):
    name = make_folder(tmp_path / "images", {"": {"a": 20, "b": 20}})
    bad = tmp_path / "images" / "a" / "7.png"
    bad.write_bytes(bad.read_bytes()[:60])
    line = refuse_to_train(name, "--config.data.batch_size=4", make_folder=True)
    assert str(bad) in line
