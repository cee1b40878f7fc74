"""Writes a confusion matrix as CSV and as a picture."""

from collections.abc import Sequence
import csv
from pathlib import Path

from matplotlib.figure import Figure
import numpy as np

from jaxcnn.errors import UNCHANGED
from jaxcnn.report import letters


def write(
    path: Path, confusion: Sequence[Sequence[float]], class_names: Sequence[str]
) -> tuple[Path, Path]:
    """Writes path.csv and path.png; rows are true classes, columns are predictions.

    Args:
        path: Path of the files without a suffix.
        confusion: Number of images or pixels, [K, K].
        class_names: Names of the K classes.
    """
    counts = np.asarray(confusion).astype(int)
    files = path.with_suffix(".csv"), path.with_suffix(".png")
    with files[0].open("w", newline="", encoding="utf-8", errors=UNCHANGED) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("true \\ predicted", *class_names))
        writer.writerows(
            (name, *row) for name, row in zip(class_names, counts, strict=True)
        )
    with letters.drawing(letters.labels(class_names)):
        figure(counts, class_names).savefig(files[1], dpi=150)
    return files


def figure(counts: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Plots the fraction of each true class as shades, with counts as text.

    To be called and saved within letters.drawing.
    """
    num_classes = len(class_names)
    side = float(np.clip(0.42 * num_classes + 1.8, 4.0, 20.0))  # inches
    plot = Figure(figsize=(side, side), layout="constrained")
    axes = plot.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    correct = np.trace(counts)
    title = f"{correct} of {counts.sum()} correct"
    labels = letters.labels(class_names)
    if labels != [*class_names]:
        title += "\n#1 is the first class of the CSV file"
    axes.set_title(title, fontsize="medium")
    if num_classes <= 60:  # more names would be illegible
        rotation = 90 if max(map(len, labels)) > 2 else 0
        axes.set_xticks(range(num_classes), labels, rotation=rotation)
        axes.set_yticks(range(num_classes), labels)
        for (row, column), count in np.ndenumerate(counts):
            if count:
                shade = "white" if shares[row, column] > 0.5 else "black"
                axes.text(
                    column,
                    row,
                    short(count),
                    ha="center",
                    va="center",
                    color=shade,
                    size=8,
                )
    return plot


def short(count: int) -> str:
    """A count in at most five letters, such as 99999, 123k or 1.23M."""
    if count < 100_000:
        return str(count)
    number, letter = count / 1000, 0
    while number >= 999.5:
        number, letter = number / 1000, letter + 1
    return f"{number:.3g}{'kMGTPE'[letter]}"
