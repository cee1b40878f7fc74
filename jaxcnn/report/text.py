"""Formats results as text: tables for people, JSON and CSV for programs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import csv
import dataclasses
import io
from typing import TYPE_CHECKING, Any

import rich.box
import rich.cells
import rich.console
import rich.table

from jaxcnn.errors import printable
from jaxcnn.report import strict_json

if TYPE_CHECKING:
    from jaxcnn.ops.backends import Backend
    from jaxcnn.tasks import Task
    from jaxcnn.training.fit import Result


def table(
    rows: Sequence[Sequence[str]],
    header: Sequence[str],
    left: int = 1,
    *,
    markdown: bool = False,
) -> str:
    """A table whose first `left` columns are left-aligned, the others right-aligned."""
    box = rich.box.MARKDOWN if markdown else rich.box.SIMPLE_HEAD
    made = rich.table.Table(box=box, pad_edge=markdown)
    header, *rows = ([printable(cell) for cell in row] for row in (header, *rows))
    for i, name in enumerate(header):
        made.add_column(name, justify="left" if i < left else "right", no_wrap=True)
    for row in rows:
        made.add_row(*row)
    longest = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    # A letter may be two columns wide, and a border three.
    return _render(made, width=sum(2 * length + 3 for length in longest) + 3)


def _render(renderable: Any, width: int) -> str:
    console = rich.console.Console(
        file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False
    )
    console.print(renderable)
    lines = console.file.getvalue().splitlines()
    return "\n".join(line.rstrip() for line in lines if line.strip())


def pairs(values: Mapping[str, str]) -> str:
    """One line per name, names and values in two columns."""
    shown = {printable(name): printable(value) for name, value in values.items()}
    width = max(map(len, shown))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in shown.items())


def sides(image_size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) of a size, which one number gives for a square."""
    height, width = (image_size,) * 2 if isinstance(image_size, int) else image_size
    return height, width


def duration(seconds: float) -> str:
    """Formats a time as 3 s, 2:05 or 1:02:05."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{seconds:02}"
    return f"{minutes}:{seconds:02}" if minutes else f"{seconds} s"


def result(done: "Result", workdir: str) -> str:
    """A summary of a finished or stopped run."""
    if done.stopped_by is not None:
        if done.step == 0:
            return f"Stopped by signal {done.stopped_by} before the first step."
        return (
            f"Stopped by signal {done.stopped_by} after step {done.step}, which is "
            "saved; run the same command to resume from there."
        )
    early = ""
    if done.stopped_early is not None:
        early = f", ended early: no improvement in {done.stopped_early} validations"
    lines = {
        "steps": f"{done.step} in {duration(done.seconds)}{early}",
        "waiting for data": f"{done.data_wait:.1%} of the training time",
        "best checkpoint": "none: no validation gave a number"
        if done.best_step is None
        else f"step {done.best_step}",
    }
    for name, value in (done.test or {}).items():
        if isinstance(value, float):
            lines[f"test {name}"] = f"{value:.4f}"
    lines["run"] = workdir
    return pairs(lines)


Predictions = Iterable[tuple[str, Mapping[str, Any]]]  # (image, the task's answer)s
_WIDEST = 60  # columns of the terminal for names; a longer one moves its row


def _predictions_table(
    task: "Task", images: Sequence[str], predictions: Predictions
) -> Iterator[str]:
    """Lines of a table, each as soon as its image is predicted; names of images stay as
    they are.

    Columns after the first are as wide as their widest cell so far.
    """
    lengths = [rich.cells.cell_len(image) for image in images]
    first = max((length for length in lengths if length <= _WIDEST), default=0)
    widths = [max(first, len("image"))]
    for number, (image, answer) in enumerate(predictions):
        row = [image, *map(printable, task.cells(answer))]
        header = [["image", *task.titles(len(row) - 1)]] if number == 0 else []
        widths += [0] * (len(row) - len(widths))
        for line in [*header, row]:
            for i, cell in enumerate(line[1:], start=1):
                widths[i] = max(widths[i], rich.cells.cell_len(cell))
        for line in [*header, row]:
            yield _padded(line, widths)


def _padded(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell + " " * (width - rich.cells.cell_len(cell))
        for cell, width in zip(row, widths, strict=False)
    ]
    return "  ".join(cells).rstrip(" ")


def _predictions_json(
    task: "Task", images: Sequence[str], predictions: Predictions
) -> Iterator[str]:
    """Lines of a JSON array, an object a line; a comma begins each but the first."""
    yield "["
    for number, (image, answer) in enumerate(predictions):
        yield ("," if number else " ") + strict_json.dumps({"image": image, **answer})
    yield "]"


def _predictions_csv(
    task: "Task", images: Sequence[str], predictions: Predictions
) -> Iterator[str]:
    columns = None
    for image, answer in predictions:
        for row in task.rows(answer):
            row = {"image": image, **row}
            if columns is None:
                columns = list(row)
                yield _csv_line(columns)
            yield _csv_line([row.get(name, "") for name in columns])


def _csv_line(cells: Sequence[Any]) -> str:
    out = io.StringIO()  # cells with characters of the line's end are quoted
    csv.writer(out, lineterminator="\r\n").writerow(cells)
    return out.getvalue().removesuffix("\r\n")


# Called with the task, all images that were given, and the predictions as they come;
# gives lines.
PREDICTIONS = {
    "table": _predictions_table,
    "json": _predictions_json,
    "csv": _predictions_csv,
}


def _models_table(rows: Sequence[Mapping[str, Any]]) -> str:
    header = ("model", "paper", "input", "parameters", "MACs", "top-1", "reference")
    return table(
        [
            (
                row["model"],
                row["paper"],
                " x ".join(map(str, (*sides(row["image_size"]), row["channels"]))),
                f"{row['parameters']:,}",
                f"{row['macs']:,}",
                ""
                if row["top1"] is None
                else f"{row['top1']:.2f} {row['top1_source']}",
                row["reference"],
            )
            for row in rows
        ],
        header,
        left=2,
    )


MODELS = {"table": _models_table, "json": strict_json.dumps}


def _backends_table(rows: Sequence["Backend"]) -> str:
    return table(
        [
            (
                row.name,
                "in use" if row.in_use else "",
                f"missing: {row.missing}" if row.missing else "",
            )
            for row in rows
        ],
        ("operations", "here", ""),
        left=3,
    )


BACKENDS = {
    "table": _backends_table,
    "json": lambda rows: strict_json.dumps([dataclasses.asdict(row) for row in rows]),
}
