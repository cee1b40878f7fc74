"""Results as text: tables for people, JSON and CSV for programs."""

from collections.abc import Mapping, Sequence
import csv
import io
import json
from typing import Any

import rich.box
import rich.console
import rich.table


def table(
    rows: Sequence[Sequence[str]],
    header: Sequence[str],
    left: int = 1,
    *,
    markdown: bool = False,
) -> str:
    """Aligned columns; the first `left` ones to the left, the others to the right."""
    box = rich.box.MARKDOWN if markdown else rich.box.SIMPLE_HEAD
    made = rich.table.Table(box=box, pad_edge=markdown)
    for i, name in enumerate(header):
        made.add_column(name, justify="left" if i < left else "right", no_wrap=True)
    for row in rows:
        made.add_row(*row)
    return _render(made)


def _render(renderable: Any) -> str:
    console = rich.console.Console(
        file=io.StringIO(), width=10_000, highlight=False, markup=False
    )
    console.print(renderable)
    lines = console.file.getvalue().splitlines()
    return "\n".join(line.rstrip() for line in lines if line.strip())


def pairs(values: Mapping[str, str]) -> str:
    """One line each, names and values in two columns."""
    width = max(map(len, values))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in values.items())


def duration(seconds: float) -> str:
    """3 s, 2:05 or 1:02:05."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{seconds:02}"
    return f"{minutes}:{seconds:02}" if minutes else f"{seconds} s"


def result(done: Any, workdir: str) -> str:
    """How a run ended, a training.loop.Result."""
    if done.stopped_by is not None:
        return (
            f"Stopped by signal {done.stopped_by} after step {done.step}, which is "
            "saved; the same command goes on from there."
        )
    early = ""
    if done.stopped_early is not None:
        early = f", ended early: no better validation in the last {done.stopped_early}"
    lines = {
        "steps": f"{done.step} in {duration(done.seconds)}{early}",
        "waiting for data": f"{done.data_wait:.1%} of the training time",
        "best checkpoint": f"step {done.best_step}",
    }
    if done.test is not None:
        for name in ("accuracy", "top5_accuracy", "macro_f1", "loss"):
            if name in done.test:
                lines[f"test {name}"] = f"{done.test[name]:.4f}"
    lines["run"] = workdir
    return pairs(lines)


def evaluation(measured: Any) -> str:
    """A serving.measure.Measured: totals, each class, the confusion matrix."""
    metrics, names = measured.metrics, measured.class_names
    scalars = {k: f"{v:.4f}" for k, v in metrics.items() if isinstance(v, float)}
    about = {
        "split": f"{measured.split}, {sum(metrics['support']):.0f} images",
        "checkpoint": f"step {measured.step}",
    }
    if not measured.same_images:
        about["images"] = "not those of the run"
    columns = ("precision", "recall", "f1")
    rows = [
        (
            name,
            *(f"{metrics[c][i]:.4f}" for c in columns),
            f"{metrics['support'][i]:.0f}",
        )
        for i, name in enumerate(names)
    ]
    parts = [pairs(about | scalars), table(rows, ("class", *columns, "images"))]
    if len(names) <= 30:  # a wider one is no use on a terminal; CSV and PNG have it
        counts = [
            (name, *(f"{n:.0f}" if n else "." for n in row))
            for name, row in zip(names, metrics["confusion"], strict=True)
        ]
        parts.append(
            "Confusion matrix, rows true, columns predicted:\n"
            + table(counts, ("", *names))
        )
    return "\n\n".join(parts)


def evaluation_json(measured: Any) -> str:
    """The same as one JSON object."""
    return json.dumps(
        {
            "split": measured.split,
            "step": measured.step,
            "same_images": measured.same_images,
            "class_names": list(measured.class_names),
            **measured.metrics,
        }
    )


EVALUATIONS = {"table": evaluation, "json": evaluation_json}

Prediction = tuple[str, Sequence[tuple[str, float]]]  # image, (class, probability)s


def _predictions_table(predictions: Sequence[Prediction]) -> str:
    rows = [
        (image, *(f"{name} {probability:.4f}" for name, probability in classes))
        for image, classes in predictions
    ]
    ranks = [str(i + 1) for i in range(max(len(row) for row in rows) - 1)]
    return table(rows, ("image", *ranks), left=len(ranks) + 1)


def _predictions_json(predictions: Sequence[Prediction]) -> str:
    return json.dumps(
        [
            {
                "image": image,
                "classes": [{"class": c, "probability": p} for c, p in classes],
            }
            for image, classes in predictions
        ],
        indent=1,
    )


def _predictions_csv(predictions: Sequence[Prediction]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("image", "rank", "class", "probability"))
    for image, classes in predictions:
        for rank, (name, probability) in enumerate(classes, start=1):
            writer.writerow((image, rank, name, f"{probability:.6f}"))
    return out.getvalue().rstrip("\n")


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
                "{0} x {0} x {1}".format(row["image_size"], row["channels"]),
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


MODELS = {"table": _models_table, "json": json.dumps}
