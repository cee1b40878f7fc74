"""Formats a cross-validation (a cross_validate.CrossValidation): text, JSON and CSV."""

from collections.abc import Iterator
import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxcnn.report import parts, strict_json, text

if TYPE_CHECKING:
    from jaxcnn.studies.cross_validate import CrossValidation, Fold


def write(folder: Path, result: "CrossValidation") -> list[Path]:
    """Writes cross_validate.json, predictions.csv and the figures of the task."""
    summary, predictions = folder / "cross_validate.json", folder / "predictions.csv"
    summary.write_text(as_json(result) + "\n")
    rows = [row for _, row in sorted(_rows(result), key=lambda pair: pair[0])]
    with predictions.open("w", newline="", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    pooled = result.pooled
    report = result.task.report(pooled.metrics, pooled.records)
    return [summary, predictions, *parts.write(folder, report)]


def _rows(result: "CrossValidation") -> Iterator[tuple[int, dict[str, object]]]:
    """(index of the image, its row) of each prediction."""
    for number, fold in result.folds.items():
        for position, index in enumerate(fold.indices.tolist()):
            predicted = {name: x[position] for name, x in fold.predicted.items()}
            row = {
                "image": result.images[index],
                "fold": number + 1,
                "target": result.captions[index],
            }
            yield index, row | result.task.spread(predicted)


def fold_line(number: int, num_folds: int, fold: "Fold") -> str:
    """One line with the metrics of a finished fold."""
    numbers = "  ".join(f"{name} {value:.4f}" for name, value in fold.metrics.items())
    return f"fold {number + 1}/{num_folds}  {len(fold.indices)} images: {numbers}"


def _summary(result: "CrossValidation") -> dict[str, tuple[float, float]]:
    """Metric -> mean and sample standard deviation over the folds."""
    first = next(iter(result.folds.values()))
    return {
        name: (
            float(np.mean(result.values(name))),
            float(np.std(result.values(name), ddof=1)),
        )
        for name in first.metrics
    }


def as_text(result: "CrossValidation") -> str:
    """Mean and standard deviation of each metric, and the pooled metrics."""
    lines = {
        name: f"{mean:.4f} ± {std:.4f}"
        for name, (mean, std) in _summary(result).items()
    }
    pooled = result.pooled
    scalars = {name: f"{value:.4f}" for name, value in pooled.scalars.items()}
    report = result.task.report(pooled.metrics, pooled.records)
    sections = map(parts.as_text, report)
    return "\n\n".join(
        [
            f"Mean and standard deviation over {result.num_folds} folds:\n"
            f"{text.pairs(lines)}",
            f"Out of fold, all {pooled.num_examples} images together:\n"
            f"{text.pairs(scalars)}",
            *filter(None, sections),
        ]
    )


def as_json(result: "CrossValidation") -> str:
    """The metrics of each fold, their mean and standard deviation, the pooled ones."""
    return strict_json.dumps(
        {
            "folds": [dict(fold.metrics) for fold in result.folds.values()],
            "mean": {name: mean for name, (mean, _) in _summary(result).items()},
            "std": {name: std for name, (_, std) in _summary(result).items()},
            "pooled": result.pooled.metrics,
        }
    )


FORMATS = {"table": as_text, "json": as_json}
