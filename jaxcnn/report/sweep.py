"""Formats the trials of a sweep (a sweep.Sweep) as text, JSON and CSV."""

from collections.abc import Mapping, Sequence
import csv
import dataclasses
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcnn.report import strict_json, text

if TYPE_CHECKING:
    from jaxcnn.studies.sweep import Sweep, Trial


def write(folder: Path, sweep: "Sweep") -> list[Path]:
    """Writes sweep.csv and sweep.json."""
    files = [folder / "sweep.csv", folder / "sweep.json"]
    files[0].write_text(as_csv(sweep) + "\n")
    files[1].write_text(as_json(sweep) + "\n")
    return files


def _metrics(sweep: "Sweep") -> list[str]:
    """Names of the validation metrics, starting with the one that ranks the trials."""
    names = {name for trial in sweep.trials for name in trial.validation}
    return [sweep.metric, *sorted(names - {sweep.metric})]


def _test_metrics(sweep: "Sweep") -> list[str]:
    """Names of the test metrics, starting with the one that ranks the trials."""
    names = {name for trial in sweep.trials for name in trial.test}
    return sorted(names, key=lambda name: (name != sweep.metric, name))


def _fields(sweep: "Sweep") -> list[str]:
    """Names of the config fields that the sweep varies."""
    return list(sweep.trials[0].values) if sweep.trials else []


def _format(value: Any) -> str:
    """Formats the value of a config field; floats get four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _assignments(values: Mapping[str, Any]) -> str:
    """The values of a trial in one line: field=value  field=value."""
    return "  ".join(f"{field}={_format(value)}" for field, value in values.items())


def trial_line(number: int, sweep: "Sweep", trial: "Trial") -> str:
    """One line with the result of a finished trial."""
    result = f"diverged: {trial.diverged}"
    if trial.validation:
        result = f"{sweep.metric} {trial.validation[sweep.metric]:.4f}"
    return (
        f"{trial.folder}  ({number + 1}/{sweep.num_trials})  "
        f"{_assignments(trial.values)}  {result}"
    )


def as_text(sweep: "Sweep") -> str:
    """A table of trials, best first, and of means over seeds if seeds were varied."""
    fields, metrics = _fields(sweep), _metrics(sweep)
    tested = _test_metrics(sweep)[:1]
    rows = [
        (
            trial.folder,
            *(_format(trial.values[field]) for field in fields),
            *_numbers(trial, metrics),
            *(f"{trial.test[name]:.4f}" if trial.test else "" for name in tested),
            f"{trial.best_step} of {trial.step}" if trial.validation else "",
        )
        for trial in sweep.trials
    ]
    tested = [f"test {name}" for name in tested]
    header = ("trial", *fields, *metrics, *tested, "best step")
    parts = [
        "Validation results, best first:\n" + text.table(rows, header),
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


def _numbers(trial: "Trial", metrics: Sequence[str]) -> list[str]:
    """Formats a trial's validation metrics."""
    if not trial.validation:
        return ["diverged", *("" for _ in metrics[1:])]
    values = (trial.validation[name] for name in metrics)
    return [f"{v:.4f}" if abs(v) < 1e4 else f"{v:.3g}" for v in values]


def _over_seeds(sweep: "Sweep") -> list[tuple[str, ...]]:
    """Rows with mean and standard deviation of trials that differ only in the seed."""
    groups: dict[tuple[str, ...], list[Any]] = {}
    for trial in sweep.trials:
        if "seed" not in trial.values:
            return []
        others = [_format(v) for field, v in trial.values.items() if field != "seed"]
        groups.setdefault(tuple(others), []).append(trial)
    if max(map(len, groups.values()), default=0) < 2:
        return []
    rows = []
    for others, trials in groups.items():
        values = [t.validation[sweep.metric] for t in trials if t.validation]
        mean = np.mean(values) if values else np.nan
        tests = [
            _mean_and_std([t.test[name] for t in trials if t.test])
            for name in _test_metrics(sweep)[:1]
        ]
        num_diverged = len(trials) - len(values)
        diverged = f", {num_diverged} diverged" if num_diverged else ""
        row = (*others, _mean_and_std(values), *tests, f"{len(trials)}{diverged}")
        rows.append((-mean if sweep.greater_is_better else mean, row))
    rows.sort(key=lambda pair: (np.isnan(pair[0]), pair[0]))
    return [row for _, row in rows]


def _mean_and_std(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation; only the mean of one value, "" for none."""
    std = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{std}" if values else ""


def as_csv(sweep: "Sweep") -> str:
    """One CSV row per trial, best first."""
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


def as_json(sweep: "Sweep") -> str:
    """The whole sweep as one JSON object."""
    return strict_json.dumps(
        {
            "metric": sweep.metric,
            "trials": [dataclasses.asdict(trial) for trial in sweep.trials],
        },
        indent=1,
    )


FORMATS = {"table": as_text, "json": as_json, "csv": as_csv}
