"""Formats the table of a network (an analysis.table.Summary): text, JSON and CSV.

A pair for rows and columns is one number if both are equal, otherwise HEIGHTxWIDTH, in
JSON a list of two. Padding that differs before and after is a list: top, bottom, left,
right. Unknown values are "-", in JSON null. The depth of a layer without filters is
empty.
"""

from collections.abc import Sequence
import csv
import dataclasses
import io
import json
from typing import TYPE_CHECKING, Any

from jaxcnn.report import text

if TYPE_CHECKING:
    from jaxcnn.analysis.table import Summary

# Field of an analysis.table.Layer and its column in the text.
_COLUMNS = {
    **{"name": "layer", "type": "type", "kernel": "support", "depth": "depth"},
    **{"stride": "stride", "padding": "padding", "dilation": "dilation"},
    **{"groups": "groups"},
    **{"output_size": "output", "channels": "channels", "receptive_field": "field"},
    **{"receptive_field_stride": "f. stride", "receptive_field_centre": "f. centre"},
    **{"parameters": "parameters", "connections": "connections", "kb": "KB"},
    **{"macs": "MACs"},
}


def _plain(value: Any) -> Any:
    """Simplifies a value of a row: equal numbers of a pair become one number."""
    if not isinstance(value, tuple):
        return value
    if isinstance(value[0], tuple):
        if any(before != after for before, after in value):
            return [side for axis in value for side in axis]
        value = tuple(before for before, _ in value)
    return value[0] if value[0] == value[1] else list(value)


def _word(name: str, value: Any) -> str:
    value = _plain(value)
    if value is None:
        return "" if name == "depth" else "-"
    if isinstance(value, list):
        return ("x" if len(value) == 2 else ",").join(f"{item:g}" for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rows(rows: Sequence[Any]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(row) for row in rows]


def _as_json(rows: Sequence[Any]) -> str:
    plain_rows = [{name: _plain(v) for name, v in row.items()} for row in _rows(rows)]
    return json.dumps(plain_rows, indent=1)


def _as_csv(rows: Sequence[Any]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    plain_rows = _rows(rows)
    writer.writerow(plain_rows[0])
    writer.writerows([_word(*item) for item in row.items()] for row in plain_rows)
    return out.getvalue().rstrip("\n")


_COSTS = ("parameters", "connections", "kb", "macs")


def _table(summary: "Summary") -> str:
    rows = [
        [f"{row[c]:,}" if c in _COSTS else _word(c, row[c]) for c in _COLUMNS]
        for row in _rows(summary.layers)
    ]
    total = [f"{getattr(summary, c):,}" for c in _COSTS]
    rows.append(["total", *[""] * (len(_COLUMNS) - 1 - len(total)), *total])
    size = 4 * summary.parameters
    lines = [
        text.table(rows, list(_COLUMNS.values()), left=2),
        f"float32 parameters: {size / 1e6:,.1f} MB ({size / 2**20:,.1f} MiB)",
    ]
    notes = (f"{row.type}: {row.note}." for row in summary.layers if row.note)
    lines += dict.fromkeys(notes)
    if summary.unused:
        lines.append(f"{summary.unused:,} more parameters are for training only.")
    return "\n".join(lines)


LAYERS = {
    "table": _table,
    "json": lambda summary: _as_json(summary.layers),
    "csv": lambda summary: _as_csv(summary.layers),
}


def _groups_table(groups: Sequence[Any]) -> str:
    """Each stage, followed by its blocks if it has several."""
    names = [group.group for group in groups]
    costs = [(group.parameters, group.kb, group.macs) for group in groups]
    rows = [
        ["  " * (group.level == "fine") + name, *(f"{n:,}" for n in numbers)]
        for group, name, numbers in zip(groups, names, costs, strict=True)
        if group.level == "coarse" or names.count(name) == 1
    ]
    stages = [n for g, n in zip(groups, costs, strict=True) if g.level == "coarse"]
    rows.append(["total", *(f"{sum(n):,}" for n in zip(*stages, strict=True))])
    return text.table(rows, ("group", "parameters", "KB", "MACs"))


GROUPS = {"table": _groups_table, "json": _as_json, "csv": _as_csv}
