"""Draws the README's picture of a run: python docs/draw_run.py WORKDIR FILE.png."""

import json
from pathlib import Path
import sys

from matplotlib.figure import Figure
import numpy as np

from jaxcnn.serving import measure


def main(workdir: str, file: str) -> None:
    lines = Path(workdir, "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    train = [r for r in records if r["split"] == "train"]
    validation = [r for r in records if r["split"] == "validation"]
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    curves, matrix = figure.subplots(1, 2)

    epochs = [r["epoch"] for r in train]
    curves.plot(epochs, [r["accuracy"] for r in train], label="training batches")
    steps_per_epoch = train[-1]["step"] / train[-1]["epoch"]
    curves.plot(
        [r["step"] / steps_per_epoch for r in validation],
        [r["accuracy"] for r in validation],
        "o-",
        label="validation images",
    )
    curves.set(xlabel="epoch", ylabel="accuracy", ylim=(0.7, 1.005))
    curves.grid(alpha=0.3)
    curves.legend(loc="lower right")

    metrics = measure.evaluate(workdir).measured.metrics
    counts = np.array(metrics["confusion"], int)
    matrix.imshow(counts / counts.sum(axis=1, keepdims=True), cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if row == column else "black"
            matrix.text(
                column, row, count, ha="center", va="center", color=colour, size=8
            )
    matrix.set(xlabel="predicted", ylabel="true", xticks=range(10), yticks=range(10))
    matrix.set_title(f"test images: accuracy {metrics['accuracy']:.4f}")
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
