"""Formats an evaluation (a serving.measure.Evaluation) as text and JSON."""

from typing import TYPE_CHECKING

from jaxcnn.report import parts, strict_json, text

if TYPE_CHECKING:
    from jaxcnn.report.pictures import Drawn
    from jaxcnn.serving.measure import Evaluation


def as_text(done: "Evaluation") -> str:
    """The metrics, then the tables of the task."""
    measured = done.measured
    about = {
        "split": f"{done.split}, {measured.num_examples} images",
        "checkpoint": f"step {done.step}",
    }
    if not done.same_images:
        about["images"] = "not those of the run"
    if measured.num_not_finite:
        about["outputs not finite"] = f"of {measured.num_not_finite} images: no metrics"
    if done.remark is not None:
        about["known images"] = done.remark
    about |= {name: f"{value:.4f}" for name, value in measured.scalars.items()}
    report = done.task.report(measured.metrics, measured.records)
    sections = map(parts.as_text, report)
    return "\n\n".join([text.pairs(about), *filter(None, sections)])


def as_json(done: "Evaluation") -> str:
    """The metrics as one JSON object."""
    targets = {name: list(t.names) for name, t in done.task.targets.items() if t.names}
    return strict_json.dumps(
        {
            "split": done.split,
            "step": done.step,
            "same_images": done.same_images,
            "num_used": dict(done.num_used),
            "num_examples": done.measured.num_examples,
            "num_not_finite": done.measured.num_not_finite,
            "targets": targets,
            **done.measured.metrics,
        }
    )


def gallery(done: "Evaluation") -> list[list["Drawn"]]:
    """A row for each sample: what is predicted, what is true."""
    rows: list[list[Drawn]] = []
    for sample in done.samples:
        answer = done.task.answer(sample.predicted, 1)
        predicted = sample.example["image"], done.task.marks(answer)
        rows.append([predicted, done.task.truth(sample.example)])
    return rows


FORMATS = {"table": as_text, "json": as_json}
