"""Formats a cross_validate.CrossValidation as text, JSON and CSV."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.report import confusion, text


def write(folder: Path, result: Any) -> list[Path]:
    """Writes predictions.csv, confusion.csv and .png, and cross_validate.json."""
    summary, predictions = folder / "cross_validate.json", folder / "predictions.csv"
    summary.write_text(as_json(result) + "\n")
    with predictions.open("w", newline="", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ("image", "fold", "label", "prediction", *map(_column, result.class_names))
        )
        writer.writerows(row for _, row in sorted(_rows(result)))
    return [
        summary,
        predictions,
        *confusion.write(folder / "confusion", result.confusion, result.class_names),
    ]


def _column(name: str) -> str:
    return f"P({name})"


def _rows(result: Any) -> Any:
    """Yields (index of the image, CSV row) for each prediction."""
    names = result.class_names
    for number, fold in result.folds.items():
        for index, predicted, probabilities in zip(
            fold.indices, fold.predicted, fold.probabilities, strict=True
        ):
            yield (
                int(index),
                (
                    result.images[index],
                    number + 1,
                    names[result.labels[index]],
                    names[predicted],
                    *(f"{p:.6f}" for p in probabilities),
                ),
            )


def fold_line(number: int, num_folds: int, fold: Any) -> str:
    """One line with the metrics of a finished fold."""
    numbers = "  ".join(f"{name} {value:.4f}" for name, value in fold.metrics.items())
    return f"fold {number + 1}/{num_folds}  {len(fold.indices)} images: {numbers}"


def _summary(result: Any) -> dict[str, tuple[float, float]]:
    """Returns metric -> (mean, sample standard deviation) over the folds."""
    first = next(iter(result.folds.values()))
    return {
        name: (
            float(np.mean(result.values(name))),
            float(np.std(result.values(name), ddof=1)),
        )
        for name in first.metrics
    }


def as_text(result: Any) -> str:
    """Mean and standard deviation of each metric, and the recall of each class."""
    lines = {
        name: f"{mean:.4f} ± {std:.4f}"
        for name, (mean, std) in _summary(result).items()
    }
    counts = result.confusion
    correct = np.diag(counts)
    rows = [
        (name, f"{hits / max(total, 1):.4f}", f"{total}")
        for name, hits, total in zip(
            result.class_names, correct, counts.sum(axis=1), strict=True
        )
    ]
    return (
        f"Mean and standard deviation over {result.num_folds} folds:\n"
        f"{text.pairs(lines)}\n\n"
        f"Out-of-fold predictions: {correct.sum()} of {counts.sum()} are correct.\n"
        + text.table(rows, ("class", "recall", "images"))
    )


def as_json(result: Any) -> str:
    """Metrics of each fold, their mean and standard deviation, and the confusion."""
    return json.dumps(
        {
            "folds": [fold.metrics for fold in result.folds.values()],
            "mean": {name: mean for name, (mean, _) in _summary(result).items()},
            "std": {name: std for name, (_, std) in _summary(result).items()},
            "class_names": list(result.class_names),
            "confusion": result.confusion.tolist(),
        }
    )


FORMATS = {"table": as_text, "json": as_json}
