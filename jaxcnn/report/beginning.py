"""What is printed before a run starts or is resumed."""

from typing import TYPE_CHECKING

from jaxcnn.report import text

if TYPE_CHECKING:
    from jaxcnn.training.run import Run
    from jaxcnn.training.transfer import Start


def beginning(run: "Run") -> str:
    """The layer groups of a new run, its devices, and the weights it starts from."""
    parts = [_groups(run), devices(run)]
    if run.start is not None:
        parts.append(_start(run.start))
    if run.plan.never:
        parts.append(
            "Warning: optim.unfreeze never trains "
            f"{', '.join(run.plan.never)}; list them in optim.freeze if this is "
            "intended."
        )
    return "\n\n".join(parts)


def devices(run: "Run") -> str:
    """The memory of the state on each device, and a warning if the run is not
    reproducible bit for bit."""
    number = run.mesh.size
    where = "the device" if number == 1 else f"each of {number} devices"
    what = "Parameters, statistics and optimizer state"
    parts = [f"{what}: {run.state_bytes / 1e6:,.1f} MB on {where}."]
    if run.platform == "gpu" and not run.config.deterministic:
        parts.append(
            "On a GPU this run is not reproducible bit for bit; deterministic=True "
            "makes it so."
        )
    return "\n".join(parts)


def _groups(run: "Run") -> str:
    header = ("group", "trained", "BatchNorm", "parameters", "rate", "weight decay")
    rows = [
        (
            row.name,
            row.trained,
            row.batch_norm,
            f"{row.parameters:,}",
            "-" if row.peak_lr is None else f"{row.peak_lr:.3g}",
            "-" if row.weight_decay is None else f"{row.weight_decay:.3g}",
        )
        for row in run.group_rows
    ]
    total = (
        "all",
        "",
        "",
        f"{sum(row.parameters for row in run.group_rows):,}",
        "",
        "",
    )
    return text.table([*rows, total], header, left=3)


def _start(start: "Start") -> str:
    lines = [f"Starts from {start.source}, with the same normalisation of images."]
    lines.append(text.table(start.groups, ("group", "parameters"), left=2))
    if start.dropped:
        lines.append(f"Not used, or only in part: {', '.join(start.dropped)}.")
    return "\n".join(lines)
