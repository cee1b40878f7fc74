"""Formats the findings of a data check (a check_data.Report) as text and JSON."""

from collections.abc import Sequence
import dataclasses
import os
from typing import TYPE_CHECKING

import numpy as np

from jaxcnn.errors import printable
from jaxcnn.report import strict_json, text

if TYPE_CHECKING:
    from jaxcnn.studies.check_data import Case, Place, Report

_MAX_GROUPS = 40  # rows of the table
_MAX_CASES = 5  # cases that are printed per finding
_MAX_IMAGES = 4  # images that are printed per case
_BAR = 24  # characters


def as_text(report: "Report") -> str:
    """The splits, image sizes, groups and findings."""
    total = sum(report.counts.values())
    splits = ", ".join(f"{name} {count:,}" for name, count in report.counts.items())
    groups = f" in {len(report.groups)} groups" if report.groups else ""
    about = {"images": f"{total:,}{groups}: {splits}", "sizes": _sizes(report)}
    parts = [f"{printable(report.name)}\n" + text.pairs(about)]
    if report.groups:
        parts.append(_group_table(report))
    if report.pixels:
        parts.append(_pixel_table(report))
    if not report.findings:
        return "\n\n".join([*parts, "No problems found."])
    for number, finding in enumerate(report.findings, start=1):
        lines = [f"{number}. {printable(finding.text)}"]
        cases = finding.cases[:_MAX_CASES]
        lines += [f"     {printable(_case(case))}" for case in cases]
        more = len(finding.cases) - _MAX_CASES
        if more > 0:
            lines.append(f"     and {more:,} more")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _sizes(report: "Report") -> str:
    """The range of image sizes, width x height, and the network's input size."""
    sizes, (height, width) = report.sizes, report.network_size
    network = f"network input {width}x{height}"
    if (sizes == sizes[0]).all():
        return f"all {_size(sizes[0])}; {network}"
    order = np.argsort(sizes.prod(axis=1, dtype=np.int64), kind="stable")
    least, middle, most = (sizes[order[i]] for i in (0, len(order) // 2, -1))
    smaller = (sizes < (height, width)).any(axis=1).mean()
    enlarged = f"; {smaller:.1%} of the images are smaller" if smaller else ""
    return (
        f"{_size(least)} to {_size(most)}, median {_size(middle)}; {network}{enlarged}"
    )


def _size(size: np.ndarray) -> str:
    return f"{size[1]}x{size[0]}"


def _group_table(report: "Report") -> str:
    """Images of each group in each split, with a bar for the training images."""
    counts = {name: [*report.group_counts(name).values()] for name in report.groups}
    train = np.array([of_splits[0] for of_splits in counts.values()])
    rows = [
        (
            name,
            *(f"{count:,}" for count in of_splits),
            ("█" * round(_BAR * of_splits[0] / max(train.max(), 1))).ljust(_BAR),
        )
        for name, of_splits in counts.items()
    ]
    if len(rows) > _MAX_GROUPS:
        order = np.argsort(train, kind="stable")
        half = _MAX_GROUPS // 2
        rest = (f"({len(rows) - 2 * half} others)", *("" for _ in report.counts), "")
        rows = [
            *(rows[i] for i in order[: -half - 1 : -1]),
            rest,
            *(rows[i] for i in order[half - 1 :: -1]),
        ]
    return text.table(rows, ("group", *report.counts, ""))


def _pixel_table(report: "Report") -> str:
    """Share of each class of a mask among the pixels of each split, in percent."""
    totals = {
        split: max(sum(pixels[split] for pixels in report.pixels.values()), 1)
        for split in report.counts
    }
    rows = [
        (name, *(f"{pixels[split] / totals[split]:.2%}" for split in report.counts))
        for name, pixels in report.pixels.items()
    ]
    return text.table(rows, ("pixels", *report.counts))


def _case(case: "Case") -> str:
    shown = ", ".join(map(_place, case.images[:_MAX_IMAGES]))
    if len(case.images) > _MAX_IMAGES:
        shown += f" and {len(case.images) - _MAX_IMAGES} more"
    return f"{shown}: {case.note}"


def _place(place: "Place") -> str:
    return place.path or f"{place.split}[{place.index}] ({place.caption})"


def caption(place: "Place") -> str:
    """The split and file name, or index, of an image on a contact sheet."""
    return f"{place.split} {os.path.basename(place.path or str(place.index))}"


def as_json(report: "Report") -> str:
    """The report with every case, as one JSON object."""
    heights, widths = report.sizes.T.tolist()
    return strict_json.dumps(
        {
            "name": report.name,
            "counts": dict(report.counts),
            "groups": {name: report.group_counts(name) for name in report.groups},
            "pixels": {name: dict(pixels) for name, pixels in report.pixels.items()},
            "sizes": {"height": _range(heights), "width": _range(widths)},
            "findings": [dataclasses.asdict(finding) for finding in report.findings],
        },
        indent=1,
    )


def _range(values: Sequence[int]) -> dict[str, float]:
    return {
        "min": min(values),
        "median": float(np.median(values)),
        "max": max(values),
    }


FORMATS = {"table": as_text, "json": as_json}
