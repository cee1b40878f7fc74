"""Formats a learning-rate range test (a find_lr.RangeTest): text, JSON, CSV, plot."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
import numpy as np

from jaxcnn.report import strict_json, text

if TYPE_CHECKING:
    from jaxcnn.studies.find_lr import RangeTest


def write(folder: Path, test: "RangeTest") -> list[Path]:
    """Writes find_lr.csv, .json and .png, and returns their paths."""
    files = [folder / f"find_lr.{suffix}" for suffix in ("csv", "json", "png")]
    with files[0].open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("step", "learning_rate", "loss", "smoothed_loss"))
        rows = zip(test.rates, test.losses, test.smoothed, strict=True)
        for step, row in enumerate(rows, start=1):
            writer.writerow((step, *(f"{value:.8g}" for value in row)))
    files[1].write_text(as_json(test) + "\n")
    _figure(test).savefig(files[2], dpi=150)
    return files


def _figure(test: "RangeTest") -> Figure:
    """Plots the loss over the rate, with the suggestion as a vertical line."""
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(test.rates, test.losses, color="#b0c4d8", label="loss of the batch")
    axes.plot(test.rates, test.smoothed, color="#1f4e79", label="smoothed")
    if test.suggestion is not None:
        label = f"steepest descent: {test.suggestion:.2g}"
        axes.axvline(test.suggestion, color="#c62828", linestyle="--", label=label)
    axes.set_xscale("log")
    # Without these limits, the losses after the divergence would flatten the rest.
    finite = test.smoothed[np.isfinite(test.smoothed)]
    margin = 0.25 * (finite[0] - finite.min()) + 1e-9
    axes.set_ylim(finite.min() - 2 * margin, finite[0] + 2 * margin)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.legend()
    return figure


def as_text(test: "RangeTest") -> str:
    """The range of rates, the lowest loss, and the suggested rates."""
    best = int(np.nanargmin(test.smoothed))
    outcome = "diverged at the end" if test.diverged else "did not diverge"
    suggestion = "none: the loss did not decrease"
    if test.suggestion is not None:
        suggestion = f"{test.suggestion:.2g}, where the loss falls most steeply"
    return text.pairs(
        {
            "steps": f"{len(test.rates)}, with rates from {test.rates[0]:.1e} to "
            f"{test.rates[-1]:.1e}; the loss {outcome}",
            "smoothed loss": f"{test.smoothed[0]:.4f} at first, lowest "
            f"{test.smoothed[best]:.4f} at {test.rates[best]:.1e}",
            "optim.peak_lr": suggestion,
            "careful": f"{test.careful:.2g}, a tenth of the rate with the lowest loss",
        }
    )


def as_json(test: "RangeTest") -> str:
    """The suggestion and every step as one JSON object; null where not finite."""
    values = {
        name: [float(f"{v:.8g}") if np.isfinite(v) else None for v in values]
        for name, values in (
            ("learning_rate", test.rates),
            ("loss", test.losses),
            ("smoothed_loss", test.smoothed),
        )
    }
    return strict_json.dumps(
        {
            "suggestion": test.suggestion,
            "careful": test.careful,
            "diverged": test.diverged,
            **values,
        }
    )


FORMATS = {"table": as_text, "json": as_json}
