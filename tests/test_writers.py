"""Log lines: on disk, on a terminal, and elsewhere."""

import io
import json

import rich.console

from jaxcnn.report import text, writers

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


def test_a_resumed_run_has_no_line_twice(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = writers.JsonLines(path, 0)
    for step in (1, 2, 3):
        first.write("train", step, {"loss": float(step)})
    first.write("test", 2, {"loss": 0.0})
    first.close()
    with path.open("a") as file:
        file.write('{"split": "train", "st')  # killed within a line
    second = writers.JsonLines(path, 2)
    second.write("train", 3, {"loss": 30.0})
    second.close()
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert records == [
        {"split": "train", "step": 1, "loss": 1.0},
        {"split": "train", "step": 2, "loss": 2.0},
        {"split": "train", "step": 3, "loss": 30.0},
    ]


def console(terminal):
    file = io.StringIO()
    made = rich.console.Console(
        file=file, force_terminal=terminal, width=200, highlight=False
    )
    return file, writers.Console(100, made)


def test_elsewhere_each_interval_is_a_plain_line():
    file, writer = console(terminal=False)
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


def test_on_a_terminal_one_line_is_written_again_and_again():
    file, writer = console(terminal=True)
    writer.write("train", 50, VALUES)
    writer.write("train", 60, VALUES)
    writer.close()
    text = file.getvalue()
    assert "step 50/100" in text
    assert "step 60/100" in text
    assert "\x1b[2K" in text  # the line is erased before it is written again


def test_durations_read_as_people_write_them():
    assert text.duration(3.4) == "3 s"
    assert text.duration(59.7) == "1:00"
    assert text.duration(125) == "2:05"
    assert text.duration(3725) == "1:02:05"
