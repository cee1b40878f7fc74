"""Formats a studies.benchmark.Benchmark as text, Markdown, JSON and a chart."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
import numpy as np

from jaxcnn.report import strict_json, text

if TYPE_CHECKING:
    from jaxcnn.studies.benchmark import Benchmark, Row

_CAPTION = """\
step: median over rounds, and quartiles. spread: that of the fastest fifth of rounds.
use: floating-point operations per second (6 for each multiply-add of the forward pass,
2 in inference), relative to those of a large matrix product. vs torch: PyTorch's step
time divided by ours, each that of its fastest fifth of rounds; above 1.00x, ours is
faster. PyTorch's rows use their own mode, our rows PyTorch's fastest mode."""

_HEADER = ("model", "mode", "images/s", "step, ms", "spread", "compile, s")
_HEADER += ("peak, MiB", "use", "waits", "vs torch")


def write(folder: Path, result: "Benchmark") -> list[Path]:
    """Writes benchmark.json, .md and .png, and returns their paths."""
    files = [folder / f"benchmark.{suffix}" for suffix in ("json", "md", "png")]
    files[0].write_text(as_json(result) + "\n")
    files[1].write_text(as_markdown(result) + "\n")
    _figure(result).savefig(files[2], dpi=150)
    return files


def ratio(value: float | None) -> str:
    """1.0749 -> 1.07x."""
    return "" if value is None else f"{value:.2f}x"


def _significant(value: float) -> str:
    """Three significant digits without an exponent: 0.0123, 1.23, 12.3, 1,234."""
    digits = 2 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{value:,.{max(digits, 0)}f}"


def _cells(row: "Row") -> list[str]:
    height, width = text.sides(row.image_size)
    name = f"{row.model}, {height}" + (f"x{width}" if width != height else "")
    if row.error is not None:
        return [name, row.mode, *[""] * (len(_HEADER) - 2)]
    low, median, high = (_significant(1000 * s) for s in row.times.quartiles)
    compiled = "" if row.compile_seconds is None else f"{row.compile_seconds:.1f}"
    if row.compile_cache == "hit":
        compiled += " (cached)"
    return [
        name,
        row.mode,
        _significant(row.images_per_second),
        f"{median} ({low} to {high})",
        f"{row.times.spread:.0%}",
        compiled,
        "" if row.peak_bytes is None else f"{row.peak_bytes / 2**20:,.0f}",
        f"{row.utilisation:.1%}",
        "" if row.data_wait is None else f"{row.data_wait:.1%}",
        "not measured" if row.not_measured else ratio(row.ratio_to_torch),
    ]


def _setting(result: "Benchmark") -> str:
    """One line with the devices, settings, versions and date of a benchmark."""
    versions = ", ".join(f"{name} {v}" for name, v in result.versions.items())
    return (
        f"{result.num_devices} x {result.device}, {result.num_processors} CPU cores; "
        f"{'inference' if result.inference else 'training'}, "
        f"batch size {result.batch_size}, {result.precision}; {versions}; "
        f"{result.date}; matrix product: {result.peak_flops / 1e9:,.0f} GFLOP/s."
    )


def _notes(result: "Benchmark") -> list[str]:
    """Modes that failed or were not measured, and a warning if the machine was busy."""
    notes = [
        f"{row.model}, {row.mode}: {row.error or row.not_measured}"
        for row in result.rows
        if row.error or row.not_measured
    ]
    if result.load > result.num_processors / 2:
        notes.append(
            f"Warning: the load average was {result.load:.1f} on "
            f"{result.num_processors} CPU cores in the minute before. PyTorch's "
            "threads synchronise at every operation and lose far more time to other "
            "programs than XLA's, so ratios measured on a busy CPU are meaningless."
        )
    return notes


def as_text(result: "Benchmark") -> str:
    """A table with a caption and notes."""
    rows = [_cells(row) for row in result.rows]
    parts = [_setting(result), text.table(rows, _HEADER, left=2), _CAPTION]
    return "\n".join([*parts, *_notes(result)])


def as_markdown(result: "Benchmark") -> str:
    """The table, caption and notes in Markdown."""
    rows = [_cells(row) for row in result.rows]
    table = text.table(rows, _HEADER, left=2, markdown=True)
    notes = "\n".join(f"* {line}" for line in _notes(result))
    return "\n\n".join(filter(None, (_setting(result), table, _CAPTION, notes)))


def as_json(result: "Benchmark") -> str:
    """A list with one object per row; each repeats what the rows have in common."""
    common = {
        "batch_size": result.batch_size,
        "precision": result.precision,
        "inference": result.inference,
        "device": result.device,
        "num_devices": result.num_devices,
        "num_processors": result.num_processors,
        "load": result.load,
        "peak_flops": result.peak_flops,
        "versions": result.versions,
        "date": result.date,
    }
    return strict_json.dumps([_object(row) | common for row in result.rows], indent=1)


def _object(row: "Row") -> dict[str, Any]:
    times = row.times
    low, median, high = times.quartiles if times else (None, None, None)
    return {
        "model": row.model,
        "mode": row.mode,
        "image_size": row.image_size,
        "images_per_second": row.images_per_second,
        "ratio_to_torch": row.ratio_to_torch,
        "not_measured": row.not_measured,
        "step_seconds": median,
        "step_seconds_quartiles": None if median is None else [low, high],
        "step_seconds_fastest": times and times.fastest,
        "spread_of_fastest": times and times.spread,
        "rounds": list(times.seconds) if times else [],
        "compile_seconds": row.compile_seconds,
        "compile_cache": row.compile_cache,
        "peak_bytes": row.peak_bytes,
        "peak_bytes_by": row.peak_bytes_by,
        "flops_utilisation": row.utilisation,
        "data_wait": row.data_wait,
        "error": row.error,
    }


_COLOURS = {
    "synthetic": "#1f4e79",
    "portable": "#3f7fb5",
    "deterministic": "#3f7fb5",
    "real": "#7ba7d0",
    "torch_eager": "#f3c9a5",
    "torch_channels_last": "#e8935a",
    "torch_compile": "#b5500f",
}


def _figure(result: "Benchmark") -> Figure:
    """Images per second on a logarithmic axis: one bar per network and mode."""
    timed = [row for row in result.rows if row.error is None]
    names = list(dict.fromkeys(row.model for row in timed))
    modes = list(dict.fromkeys(row.mode for row in timed))
    height = 0.8 / len(modes)
    figure = Figure(
        figsize=(8.0, 1.7 + 0.22 * len(modes) * len(names)), layout="constrained"
    )
    axes = figure.add_subplot()
    for i, mode in enumerate(modes):
        rows = [row for row in timed if row.mode == mode]
        positions = [names.index(row.model) + (i + 0.5) * height - 0.4 for row in rows]
        times = np.array([row.times.quartiles for row in rows])  # [N, 3]
        fast, speeds, slow = (result.batch_size / times).T
        bars = axes.barh(
            positions,
            speeds,
            height,
            label=mode,
            color=_COLOURS.get(mode),
            xerr=(speeds - slow, fast - speeds),
            error_kw={"elinewidth": 0.8, "ecolor": "#333333"},
        )
        labels = [
            f" {_significant(row.images_per_second)}"
            + (f", {ratio(row.ratio_to_torch)}" if row.ratio_to_torch else "")
            for row in rows
        ]
        axes.bar_label(bars, labels, fontsize=7, padding=2)
    axes.set_xscale("log")
    axes.set_xlim(right=axes.get_xlim()[1] * 3)  # room for the labels
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("images/s, median and quartiles; 1.07x: PyTorch's time over ours")
    axes.set_title(
        f"{result.num_devices} x {result.device}, batch {result.batch_size}, "
        f"{result.precision}",
        fontsize=9,
    )
    figure.legend(fontsize=7, loc="outside lower center", ncols=len(modes))
    return figure


FORMATS = {"table": as_text, "json": as_json, "markdown": as_markdown}
