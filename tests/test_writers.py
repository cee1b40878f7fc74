"""Where the numbers of a run go: files, TensorBoard, trackers, and the terminal."""

import csv
import importlib.machinery
import io
import json
import math
import struct
import subprocess
import sys
import types

import pytest
import rich.console
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import RecordWriter

from jaxcnn.errors import UserError
from jaxcnn.report import console, log_files, text, trackers, writers

VALUES = {
    "loss": 0.12345,
    "accuracy": 0.5,
    "grad_norm": 1.0,
    "epoch": 1.25,
    "learning_rate": 0.0123,
    "images_per_second": 12345.6,
    "data_wait": 0.021,
    "seconds_left": 125.0,
}


# Files.


def write_killed_run(factory, folder):
    """Steps 1 to 3, a validation and a test of a run; its last checkpoint is step 2."""
    writer = factory(folder, 0)
    writer.write("compile", 0, {"seconds": 1.5})
    for step in (1, 2):
        writer.write("train", step, {"loss": step / 3})
    writer.write("validation", 2, {"loss": 0.1, "accuracy": 0.75})
    writer.write("train", 3, {"loss": 3.0})
    writer.write("validation", 3, {"loss": 3.0, "accuracy": 3.0})
    writer.write("test", 2, {"loss": 2.0})
    writer.close()


def write_resumed_run(factory, folder, first_step=2):
    writer = factory(folder, first_step)
    writer.write("train", 3, {"loss": 30.0})
    writer.write("validation", 3, {"loss": 0.2, "accuracy": 0.5})
    writer.write("test", 3, {"loss": 0.3})
    writer.close()


RECORDS = [  # of the run that was never killed
    {"split": "compile", "step": 0, "seconds": 1.5},
    {"split": "train", "step": 1, "loss": 1 / 3},
    {"split": "train", "step": 2, "loss": 2 / 3},
    {"split": "validation", "step": 2, "loss": 0.1, "accuracy": 0.75},
    {"split": "train", "step": 3, "loss": 30.0},
    {"split": "validation", "step": 3, "loss": 0.2, "accuracy": 0.5},
    {"split": "test", "step": 3, "loss": 0.3},
]


def json_records(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def csv_records(folder):
    """The rows of metrics.csv as records, without their empty cells."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]
    number = {"split": str, "step": int}
    return [{k: number.get(k, float)(v) for k, v in row.items()} for row in rows]


FILES = [
    (log_files.JsonLines, "metrics.jsonl", json_records),
    (log_files.Csv, "metrics.csv", csv_records),
]


@pytest.mark.parametrize(("factory", "name", "read"), FILES)
def test_a_resumed_run_has_no_line_twice(tmp_path, factory, name, read):
    write_killed_run(factory, tmp_path)
    write_resumed_run(factory, tmp_path)
    assert read(tmp_path) == RECORDS


@pytest.mark.parametrize(
    ("factory", "name", "read", "cut"),
    [
        (*FILES[0], '{"split": "train", "st'),
        (*FILES[0], '{"split": "train", "step": 2, "loss": 0.5}'),  # its end is missing
        (*FILES[1], "train,2,,0.6"),  # of 0.666, as it may be
        (*FILES[1], "train,2\n"),
        (*FILES[1], "train,,,,\n"),
    ],
)
def test_a_line_in_which_the_run_was_killed_is_dropped(
    tmp_path, factory, name, read, cut
):
    write_killed_run(factory, tmp_path)
    with (tmp_path / name).open("a") as file:
        file.write(cut)
    write_resumed_run(factory, tmp_path)
    assert read(tmp_path) == RECORDS


@pytest.mark.parametrize(("factory", "name", "read"), FILES)
def test_a_line_is_on_disk_at_once(tmp_path, factory, name, read):
    writer = factory(tmp_path, 0)
    writer.write("train", 1, {"loss": 0.1})
    assert read(tmp_path) == [{"split": "train", "step": 1, "loss": 0.1}]
    writer.close()


def test_a_csv_has_a_column_for_each_name_and_blanks_where_a_split_has_none(tmp_path):
    writer = log_files.Csv(tmp_path, 0)
    writer.write("train", 1, {"loss": 0.1, "learning_rate": 1e-05})
    writer.write("validation", 1, {"loss": 0.2, "a, b": float("nan")})
    writer.write("train", 2, {"learning_rate": 2e-05, "loss": 0.3})
    writer.close()
    assert (tmp_path / "metrics.csv").read_text().splitlines() == [
        'split,step,loss,learning_rate,"a, b"',
        "train,1,0.1,1e-05,",
        "validation,1,0.2,,nan",
        "train,2,0.3,2e-05,",
    ]


# TensorBoard.


def events(folder):
    """Event messages of a split's files, oldest first.

    A record is its length in 8 bytes, 4 bytes of checksum, the message and 4 bytes of
    checksum (the TFRecord format of TensorFlow's documentation).
    """
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack_from("<Q", data)
            yield Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]


def shown(folder):
    """(step, tag, value) of a split after what TensorBoard's reader purges: at a
    SessionLog.START of step n all older values of step n and later ones."""
    points = []
    for event in events(folder):
        if event.session_log.status == SessionLog.START:
            points = [point for point in points if point[0] < event.step]
        points += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
    return points


def test_tensorboard_has_a_split_as_a_run_and_a_metric_as_the_same_tag(tmp_path):
    write_killed_run(log_files.TensorBoard, tmp_path)
    folder = tmp_path / "tensorboard"
    runs = {path.name: {tag for _, tag, _ in shown(path)} for path in folder.iterdir()}
    assert runs == {
        "compile": {"seconds"},
        "train": {"loss"},
        "validation": {"loss", "accuracy"},
        "test": {"loss"},
    }


def test_tensorboard_files_are_as_tensorboardx_writes_them(tmp_path):
    write_killed_run(log_files.TensorBoard, tmp_path)
    folder = tmp_path / "tensorboard" / "validation"
    (path,) = folder.iterdir()
    expected = RecordWriter(str(tmp_path / "expected"))
    for event in events(folder):
        expected.write(event.SerializeToString())
    expected.close()
    assert path.read_bytes() == (tmp_path / "expected").read_bytes()


@pytest.mark.parametrize("first_step", [0, 2])
def test_tensorboard_hides_what_a_resumed_run_takes_again(tmp_path, first_step):
    write_killed_run(log_files.TensorBoard, tmp_path)
    folder = tmp_path / "tensorboard"
    writer = log_files.TensorBoard(tmp_path, first_step)
    steps = {p.name: {step for step, _, _ in shown(p)} for p in folder.iterdir()}
    assert steps == {  # at once, before anything new is written
        "compile": {0} if first_step else set(),
        "train": {1, 2} if first_step else set(),
        "validation": {2} if first_step else set(),
        "test": set(),
    }
    writer.close()
    write_resumed_run(log_files.TensorBoard, tmp_path, first_step)
    assert shown(folder / "train")[-1] == (3, "loss", 30.0)
    assert len(shown(folder / "train")) == (3 if first_step else 1)
    assert shown(folder / "test") == [(3, "loss", pytest.approx(0.3))]


def test_tensorboard_events_are_on_disk_at_once(tmp_path):
    writer = log_files.TensorBoard(tmp_path, 0)
    for step in range(1, 51):
        writer.write("train", step, {"loss": float(step)})
        assert shown(tmp_path / "tensorboard" / "train")[-1] == (step, "loss", step)
    writer.close()


def test_tensorboard_itself_shows_both_splits_in_one_chart(tmp_path):
    multiplexer = pytest.importorskip(
        "tensorboard.backend.event_processing.plugin_event_multiplexer"
    )
    write_killed_run(log_files.TensorBoard, tmp_path)
    write_resumed_run(log_files.TensorBoard, tmp_path)
    runs = multiplexer.EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload()
    prefix = "tensorboard/"
    assert set(runs.Runs()) == {
        prefix + split for split in ("compile", "train", "validation", "test")
    }

    def points(split, tag):
        found = runs.Tensors(prefix + split, tag)
        return [(p.step, pytest.approx(p.tensor_proto.float_val[0])) for p in found]

    assert points("train", "loss") == [(1, 1 / 3), (2, 2 / 3), (3, 30.0)]
    assert points("validation", "loss") == [(2, 0.1), (3, 0.2)]
    assert points("validation", "accuracy") == [(2, 0.75), (3, 0.5)]
    assert points("test", "loss") == [(3, 0.3)]


# Weights & Biases, MLflow.

CONFIG = {"model": "tiny", "optim": {"name": "adamw", "peak_lr": 0.01}}


@pytest.fixture
def folder(tmp_path):
    """A run's folder as it is when the writers begin."""
    folder = tmp_path / "my_run"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def fake(monkeypatch, name, **attributes):
    """A module that is found as an installed one is."""
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, origin="fake")
    vars(module).update(attributes)
    monkeypatch.setitem(sys.modules, name, module)


def recorder(calls, name, result=None):
    """A function that records its calls as (name, positional, by keyword)."""

    def function(*args, **kwargs):
        calls.append((name, *args, kwargs))
        return result

    return function


def test_wandb_is_called_so(folder, monkeypatch):
    calls = []
    names = ("define_metric", "log", "finish")
    run = types.SimpleNamespace(id="abc", **{n: recorder(calls, n) for n in names})
    fake(monkeypatch, "wandb", init=recorder(calls, "init", run))
    for first_step in (0, 2):
        writer = trackers.WeightsAndBiases(folder, first_step)
        writer.write("train", first_step + 1, {"loss": 0.5, "accuracy": 0.25})
        writer.close()
    common = {"dir": str(folder), "config": CONFIG, "reinit": "create_new"}
    assert calls == [
        ("init", {"name": "my_run", **common}),
        ("define_metric", "*", {"step_metric": "step"}),
        ("log", {"train/loss": 0.5, "train/accuracy": 0.25, "step": 1}, {}),
        ("finish", {}),
        ("init", {"id": "abc", "resume": "allow", **common}),
        ("define_metric", "*", {"step_metric": "step"}),
        ("log", {"train/loss": 0.5, "train/accuracy": 0.25, "step": 3}, {}),
        ("finish", {}),
    ]
    assert json.loads((folder / "wandb.json").read_text()) == {"id": "abc"}


def test_mlflow_is_called_so(folder, monkeypatch):
    calls = []
    names = ("log_params", "log_metrics", "end_run")
    run = types.SimpleNamespace(info=types.SimpleNamespace(run_id="abc"))
    functions = {name: recorder(calls, name) for name in names}
    fake(
        monkeypatch,
        "mlflow",
        start_run=recorder(calls, "start_run", run),
        exceptions=types.SimpleNamespace(MlflowException=RuntimeError),
        **functions,
    )
    for first_step in (0, 2):
        writer = trackers.MLflow(folder, first_step)
        writer.write("validation", first_step + 1, {"loss": 0.5, "ap@0.5": 0.25})
        writer.close()
    metrics = {"validation/loss": 0.5, "validation/ap_0.5": 0.25}
    params = {"model": "tiny", "optim.name": "adamw", "optim.peak_lr": 0.01}
    assert calls == [
        ("start_run", {"run_name": "my_run", "nested": True}),
        ("log_params", params, {}),
        ("log_metrics", metrics, {"step": 1, "run_id": "abc"}),
        ("end_run", {}),
        ("start_run", {"run_id": "abc", "nested": True}),
        ("log_metrics", metrics, {"step": 3, "run_id": "abc"}),
        ("end_run", {}),
    ]
    assert json.loads((folder / "mlflow.json").read_text()) == {"id": "abc"}


def wandb_records(path):
    """The records of an offline run, as wandb itself prints them."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_wandb_offline_has_one_run_of_two_processes(folder, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    write_killed_run(trackers.WeightsAndBiases, folder)
    write_resumed_run(trackers.WeightsAndBiases, folder)

    files = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(files) == 2
    records = [record for path in files for record in wandb_records(path)]
    runs = [record["run"] for record in records if record["type"] == "run"]
    rows = [r["history"]["item"] for r in records if r["type"] == "history"]
    rows = [{k: v for k, v in row.items() if not k.startswith("_")} for row in rows]
    known = json.loads((folder / "wandb.json").read_text())["id"]
    assert {run["run_id"] for run in runs} == {known}
    assert runs[0]["display_name"] == "my_run"
    assert runs[0]["config"]["update"].items() >= CONFIG.items()
    expected = [
        {f"{split}/{k}": v for k, v in values.items()} | {"step": step}
        for split, step, values in [
            ("compile", 0, {"seconds": 1.5}),
            ("train", 1, {"loss": 1 / 3}),
            ("train", 2, {"loss": 2 / 3}),
            ("validation", 2, {"loss": 0.1, "accuracy": 0.75}),
            ("train", 3, {"loss": 3.0}),  # of the killed run, which stay
            ("validation", 3, {"loss": 3.0, "accuracy": 3.0}),
            ("test", 2, {"loss": 2.0}),
            ("train", 3, {"loss": 30.0}),
            ("validation", 3, {"loss": 0.2, "accuracy": 0.5}),
            ("test", 3, {"loss": 0.3}),
        ]
    ]
    assert rows == expected


def test_wandb_without_login_is_one_line(folder, monkeypatch):
    class UsageError(Exception):
        pass

    def init(**kwargs):
        raise UsageError("No API key configured.\nUse `wandb login` to log in.")

    errors = types.SimpleNamespace(UsageError=UsageError)
    fake(monkeypatch, "wandb", init=init, errors=errors)
    expected = "No API key configured. Use `wandb login` to log in. Or set WANDB_MODE"
    with pytest.raises(UserError, match=expected):
        trackers.WeightsAndBiases(folder, 0)


def test_mlflow_with_files_has_one_run_of_two_processes(folder, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (folder.parent / "runs").as_uri())
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "photos")
    write_killed_run(trackers.MLflow, folder)
    write_resumed_run(trackers.MLflow, folder)
    (run,) = mlflow.search_runs(experiment_names=["photos"], output_format="list")
    assert run.info.run_id == json.loads((folder / "mlflow.json").read_text())["id"]
    assert (run.info.run_name, run.info.status) == ("my_run", "FINISHED")
    assert run.data.params["optim.peak_lr"] == "0.01"
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "train/loss")
    points = [(point.step, point.value) for point in history]
    # Step 3 of the killed run stays.
    assert points == [(1, 1 / 3), (2, 2 / 3), (3, 3.0), (3, 30.0)]

    (folder / "mlflow.json").write_text(json.dumps({"id": "f" * 32}))
    with pytest.raises(UserError, match=f"cannot continue run {'f' * 32}: .*not found"):
        trackers.MLflow(folder, 0)


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_tracker_that_is_not_installed_is_one_line(folder, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    expected = f"The writer '{name}' needs the package {name}, which is not installed: "
    with pytest.raises(UserError, match=f"{expected}pip install {name}"):
        writers.check(["jsonl", name])
    with pytest.raises(UserError, match=expected):
        writers.make([name], folder, 0, 100, console=False)


def test_a_folder_of_its_name_is_no_installed_package(tmp_path, monkeypatch):
    # wandb leaves one where it ran.
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(UserError, match="pip install wandb"):
        trackers.check_installed("wandb")


# Several as one.


class Mine:
    """A user's own writer."""

    def __init__(self, folder, first_step):
        self.file = (folder / "mine.txt").open("a")
        print("from", first_step, file=self.file)

    def write(self, split, step, values):
        print(split, step, values["loss"], file=self.file)

    def close(self):
        self.file.close()


def test_writers_are_chosen_by_name_or_are_ones_own(tmp_path, capsys):
    writers.check(["csv", Mine])
    writer = writers.make(["csv", Mine], tmp_path, 2, 100, console=False)
    writer.say("For people.")
    writer.write("train", 3, {"loss": 0.5})
    writer.close()
    assert csv_records(tmp_path) == [{"split": "train", "step": 3, "loss": 0.5}]
    assert (tmp_path / "mine.txt").read_text() == "from 2\ntrain 3 0.5\n"
    assert capsys.readouterr() == ("", "")
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.csv", "mine.txt"}


def test_the_console_is_one_of_the_writers(tmp_path, capsys):
    writer = writers.make(["jsonl"], tmp_path, 0, 100)
    writer.say("For people.")
    writer.write("train", 50, VALUES)
    writer.close()
    said, line = capsys.readouterr().out.splitlines()
    assert said == "For people."
    assert line.startswith("step 50/100")
    assert json_records(tmp_path) == [{"split": "train", "step": 50, **VALUES}]


def test_an_unknown_writer_is_refused_before_any_file_is_made(tmp_path):
    with pytest.raises(UserError, match="Unknown writer 'jsnl'; nearest: jsonl; known"):
        writers.check(["jsnl"])
    with pytest.raises(UserError, match="Unknown writer 'jsnl'"):
        writers.make(["csv", "jsnl"], tmp_path, 0, 100)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        ("csv", "writers must be a sequence of names, not 'csv'"),
        (("csv", "jsonl", "csv"), "writers must be different, not .'csv', 'jsonl'"),
        ([None], "A writer must be a name or a function .*, not None"),
    ],
)
def test_what_is_no_writer_is_refused(chosen, text):
    with pytest.raises(UserError, match=text):
        writers.check(chosen)


def test_a_function_that_gives_no_writer_is_refused(tmp_path):
    with pytest.raises(UserError, match="must have write.. and close..; .* gave None"):
        writers.make([lambda folder, first_step: None], tmp_path, 0, 100)


def test_a_writer_that_fails_leaves_none_open(tmp_path):
    made = []

    def first(folder, first_step):
        made.append(Mine(folder, first_step))
        return made[-1]

    def second(folder, first_step):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        writers.make([first, second], tmp_path, 0, 100, console=False)
    assert made[0].file.closed

    class FailsToClose(Mine):
        def close(self):
            raise OSError("no network")

    names = [first, FailsToClose, first]
    writer = writers.make(names, tmp_path, 0, 100, console=False)
    with pytest.raises(OSError, match="no network"):
        writer.close()
    assert [mine.file.closed for mine in made] == [True, True, True]


# The terminal.


def on_console(terminal):
    file = io.StringIO()
    made = rich.console.Console(
        file=file, force_terminal=terminal, width=200, highlight=False
    )
    return file, console.Console(100, made)


def test_elsewhere_each_interval_is_a_plain_line():
    file, writer = on_console(terminal=False)
    compiled = {"seconds": 3.14159, "cache_on": 1.0, "cache_hit": 0.0}
    writer.write("compile", 0, compiled)
    writer.write("compile", 0, compiled | {"cache_hit": 1.0})
    writer.write("compile", 0, compiled | {"cache_on": 0.0})
    writer.write("train", 50, VALUES)
    writer.write("validation", 50, {"loss": 0.5, "accuracy": 0.75})
    writer.close()
    assert file.getvalue().splitlines() == [
        "compiled in 3.1 s  persistent cache: miss",
        "compiled in 3.1 s  persistent cache: hit",
        "compiled in 3.1 s  persistent cache: off",
        "step 50/100  epoch 1.2  loss 0.1235  accuracy 0.500  lr 1.23e-02  "
        "12,346 images/s  waiting for data 2.1%  2:05 left",
        "step 50  validation: loss 0.5000  accuracy 0.7500",
    ]


def test_the_line_has_the_metrics_of_any_task_in_their_order():
    values = {name: value for name, value in VALUES.items() if name != "accuracy"}
    metrics = {"rmse": 123.4567, "mae": 0.00012, "r2": -0.5, "bias": 0.0}
    line = console.train_line(50, 100, {**metrics, "loss_scale": 65536.0, **values})
    expected = "loss 0.1235  rmse 123.457  mae 1.20e-04  r2 -0.500  bias 0.000  lr 1.23"
    assert expected in line
    assert "loss_scale" not in line
    assert "grad_norm" not in line
    assert "mae nan" in console.train_line(5, 9, {**values, "mae": math.nan})
    assert "loss 0.1235  lr 1.23e-02" in console.train_line(5, 9, values)


def test_on_a_terminal_one_line_is_written_again_and_again():
    file, writer = on_console(terminal=True)
    writer.write("train", 50, VALUES)
    writer.write("train", 60, VALUES)
    writer.close()
    written = file.getvalue()
    assert "step 50/100" in written
    assert "step 60/100" in written
    assert "\x1b[2K" in written  # the line is erased before it is written again


def test_durations_read_as_people_write_them():
    assert text.duration(3.4) == "3 s"
    assert text.duration(59.7) == "1:00"
    assert text.duration(125) == "2:05"
    assert text.duration(3725) == "1:02:05"
