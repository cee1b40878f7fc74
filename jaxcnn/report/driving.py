"""Formats laps that a network has driven."""

from collections.abc import Callable, Mapping
from typing import Any

from jaxcnn.report import strict_json, text

Summaries = Mapping[int, Mapping[str, Any]]  # seed of the track -> Lap.summary()

_COLUMNS = {
    "seconds": ("seconds", "{:.1f}"),
    "mean_distance": ("mean distance (m)", "{:.3f}"),
    "p95_distance": ("95th percentile", "{:.3f}"),
    "max_distance": ("maximum", "{:.3f}"),
    "interventions": ("interventions", "{}"),
    "autonomy_percent": ("autonomy (%)", "{:.1f}"),
}


def _table(laps: Summaries) -> str:
    header = ("track", *(name for name, _ in _COLUMNS.values()))
    rows = [
        (str(seed), *(form.format(lap[key]) for key, (_, form) in _COLUMNS.items()))
        for seed, lap in laps.items()
    ]
    return text.table(rows, header)


def _json(laps: Summaries) -> str:
    return strict_json.dumps([{"track": seed, **lap} for seed, lap in laps.items()])


FORMATS: Mapping[str, Callable[[Summaries], str]] = {"table": _table, "json": _json}
