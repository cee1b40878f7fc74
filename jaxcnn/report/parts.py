"""Formats parts of a task's report, see tasks/parts.py: text, CSV and pictures."""

from collections.abc import Sequence
import csv
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from jaxcnn.errors import UNCHANGED
from jaxcnn.report import confusion, letters, text

if TYPE_CHECKING:
    from jaxcnn.tasks.parts import Matrix, Part, Scatter, Table

_SHOWN = 30  # classes; a wider matrix is illegible on a terminal, see the CSV and PNG


def as_text(part: "Part") -> str:
    """The part for a terminal; empty where it cannot be shown there."""
    made = _TEXTS[part.kind](part)
    return f"{part.title}:\n{made}" if part.title and made else made


def _table(part: "Table") -> str:
    return text.table(part.rows, part.header)


def _matrix(part: "Matrix") -> str:
    key = letters.key(part.names)
    if len(part.names) > _SHOWN:
        return key
    counts = [
        (name, *(f"{n:.0f}" if n else "." for n in row))
        for name, row in zip(part.names, part.counts, strict=True)
    ]
    table = text.table(counts, ("", *part.names))
    return f"{table}\n{key}" if key else table


_TEXTS = {"table": _table, "matrix": _matrix, "scatter": lambda part: ""}


def write(folder: Path, parts: Sequence["Part"], suffix: str = "") -> list[Path]:
    """Writes the figures of a report, each as CSV and PNG, and returns their paths.

    Args:
        folder: Folder of the files.
        parts: Parts of the report. Tables are not written.
        suffix: Suffix of the file names, after the name of the part.
    """
    files: list[Path] = []
    for part in parts:
        if part.kind in _WRITERS:
            files += _WRITERS[part.kind](folder / f"{part.name}{suffix}", part)
    return files


def _write_matrix(path: Path, part: "Matrix") -> list[Path]:
    return [*confusion.write(path, part.counts, part.names)]


def _write_scatter(path: Path, part: "Scatter") -> list[Path]:
    files = [path.with_suffix(".csv"), path.with_suffix(".png")]
    with files[0].open("w", newline="", encoding="utf-8", errors=UNCHANGED) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((part.x_label, part.y_label))
        writer.writerows(zip(part.x, part.y, strict=True))
    with letters.drawing([part.x_label, part.y_label, part.title]):
        scatter_figure(part).savefig(files[1], dpi=150)
    return files


def scatter_figure(part: "Scatter") -> Figure:
    """Plots a point for each pair, and the line on which both are equal.

    To be called and saved within letters.drawing.
    """
    made = Figure(figsize=(5.0, 5.0), layout="constrained")
    axes = made.add_subplot()
    limits = min(*part.x, *part.y), max(*part.x, *part.y)
    axes.plot(limits, limits, color="0.6", linewidth=1, zorder=0)
    axes.scatter(part.x, part.y, s=12, alpha=0.6, linewidths=0)
    axes.set_xlabel(letters.drawable(part.x_label))
    axes.set_ylabel(letters.drawable(part.y_label))
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_title(letters.drawable(part.title), fontsize="medium")
    return made


_WRITERS = {"matrix": _write_matrix, "scatter": _write_scatter}
