"""The trials of a sweep as text, JSON and CSV; a sweep.Sweep."""

from collections.abc import Mapping, Sequence
import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.report import text


def write(folder: Path, sweep: Any) -> list[Path]:
    """Writes sweep.csv and sweep.json."""
    files = [folder / "sweep.csv", folder / "sweep.json"]
    files[0].write_text(as_csv(sweep) + "\n")
    files[1].write_text(as_json(sweep) + "\n")
    return files


def _metrics(sweep: Any) -> list[str]:
    """Names of the metrics, first what the trials are compared by."""
    names = {name for trial in sweep.trials for name in trial.validation}
    return [sweep.metric, *sorted(names - {sweep.metric})]


def _test_metrics(sweep: Any) -> list[str]:
    """Names of the metrics on the test split; the metric of the trials is first."""
    names = {name for trial in sweep.trials for name in trial.test}
    return sorted(names, key=lambda name: (name != sweep.metric, name))


def _fields(sweep: Any) -> list[str]:
    return list(sweep.trials[0].values) if sweep.trials else []


def value(found: Any) -> str:
    """The value of a field, a float to four digits."""
    return f"{found:.4g}" if isinstance(found, float) else str(found)


def described(values: Mapping[str, Any]) -> str:
    """The values of a trial in one line."""
    return "  ".join(f"{field}={value(found)}" for field, found in values.items())


def trial_line(number: int, sweep: Any, trial: Any) -> str:
    """A trial that is finished."""
    result = "diverged"
    if trial.validation:
        result = f"{sweep.metric} {trial.validation[sweep.metric]:.4f}"
    return (
        f"{trial.folder}  ({number + 1}/{sweep.num_trials})  "
        f"{described(trial.values)}  {result}"
    )


def as_text(sweep: Any) -> str:
    """The best trial first; where seeds are varied, what they have in common, too."""
    fields, metrics = _fields(sweep), _metrics(sweep)
    tested = _test_metrics(sweep)[:1]
    rows = [
        (
            trial.folder,
            *(value(trial.values[field]) for field in fields),
            *_numbers(trial, metrics),
            *(f"{trial.test[name]:.4f}" if trial.test else "" for name in tested),
            f"{trial.best_step} of {trial.step}" if trial.validation else "",
        )
        for trial in sweep.trials
    ]
    tested = [f"test {name}" for name in tested]
    header = ("trial", *fields, *metrics, *tested, "best step")
    parts = [
        "On validation images, the best first:\n" + text.table(rows, header),
    ]
    seeds = _over_seeds(sweep)
    if seeds:
        header = (
            *(field for field in fields if field != "seed"),
            sweep.metric,
            *tested,
            "seeds",
        )
        parts.append("Over seeds:\n" + text.table(seeds, header, left=0))
    return "\n\n".join(parts)


def _numbers(trial: Any, metrics: Sequence[str]) -> list[str]:
    if not trial.validation:
        return ["diverged", *("" for _ in metrics[1:])]
    values = (trial.validation[name] for name in metrics)
    return [f"{v:.4f}" if abs(v) < 1e4 else f"{v:.3g}" for v in values]


def _over_seeds(sweep: Any) -> list[tuple[str, ...]]:
    """Mean and standard deviation of trials that differ in the seed alone."""
    groups: dict[tuple[str, ...], list[Any]] = {}
    for trial in sweep.trials:
        if "seed" not in trial.values:
            return []
        others = [value(v) for field, v in trial.values.items() if field != "seed"]
        groups.setdefault(tuple(others), []).append(trial)
    if max(map(len, groups.values()), default=0) < 2:
        return []
    rows = []
    for others, trials in groups.items():
        found = [t.validation[sweep.metric] for t in trials if t.validation]
        goodness = np.mean(found) if found else np.nan
        tests = [
            _mean([t.test[name] for t in trials if t.test])
            for name in _test_metrics(sweep)[:1]
        ]
        lost = len(trials) - len(found)
        diverged = f", {lost} diverged" if lost else ""
        row = (*others, _mean(found), *tests, f"{len(trials)}{diverged}")
        rows.append((-goodness if sweep.greater_is_better else goodness, row))
    rows.sort(key=lambda pair: (np.isnan(pair[0]), pair[0]))
    return [row for _, row in rows]


def _mean(found: Sequence[float]) -> str:
    """Mean and standard deviation, of as many as there are."""
    spread = f" ± {np.std(found, ddof=1):.4f}" if len(found) > 1 else ""
    return f"{np.mean(found):.4f}{spread}" if found else ""


def as_csv(sweep: Any) -> str:
    """A row a trial, the best first."""
    fields, metrics = _fields(sweep), _metrics(sweep)
    tested = _test_metrics(sweep)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    header = (*metrics, *(f"test_{name}" for name in tested), "best_step", "steps")
    writer.writerow(("trial", *fields, *header))
    for trial in sweep.trials:
        writer.writerow(
            (
                trial.folder,
                *(trial.values[field] for field in fields),
                *(trial.validation.get(name, "") for name in metrics),
                *(trial.test.get(name, "") for name in tested),
                "" if trial.best_step is None else trial.best_step,
                "diverged" if trial.step is None else trial.step,
            )
        )
    return out.getvalue().rstrip("\n")


def as_json(sweep: Any) -> str:
    """All of it as one JSON object."""
    return json.dumps(
        {
            "metric": sweep.metric,
            "trials": [dataclasses.asdict(trial) for trial in sweep.trials],
        },
        indent=1,
    )


FORMATS = {"table": as_text, "json": as_json, "csv": as_csv}
