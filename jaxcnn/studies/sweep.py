"""Many runs of one config with different values of some fields, compared by validation.

The test split is not used: only the selected run should be tested, by `evaluate`. Where
nothing is selected, as in runs that differ only in their seed, each run may be tested.
"""

from collections.abc import Callable, Sequence
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from jaxcnn import config_fields, json_files, tasks, whole_files
from jaxcnn.config import Config
from jaxcnn.errors import DivergedError, UserError, unknown
from jaxcnn.report import strict_json
from jaxcnn.studies import study
from jaxcnn.studies.search import Plan, Values
from jaxcnn.tasks import Metric
from jaxcnn.training import fit as fit_lib
from jaxcnn.training import prepare, workdir
from jaxcnn.training.signals import StopRequest

_TRIALS, _RESULT = "trials.jsonl", "trial.json"


@dataclasses.dataclass(frozen=True)
class Trial:
    """A finished run.

    Attributes:
        folder: Name of the run's folder.
        values: Values of the varied fields.
        step: Number of updates. None: the run diverged, its loss was not finite.
        best_step: Step of the best checkpoint. None: the run diverged.
        validation: Validation metrics of that checkpoint. Empty: the run diverged.
        test: Test metrics of that checkpoint. Empty: it was not tested.
        diverged: The line that says how it diverged. Empty: it did not.
    """

    folder: str
    values: Values
    step: int | None
    best_step: int | None
    validation: dict[str, float]
    test: dict[str, float]
    diverged: str = ""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """The finished trials.

    Attributes:
        metric: Name of the metric that ranks the trials.
        greater_is_better: Whether a larger value is better.
        trials: Finished trials, the best first; those that diverged are last.
        num_trials: Number of trials planned.
        stopped_by: Number of the signal that stopped the sweep. None: it is complete.
    """

    metric: str
    greater_is_better: bool
    trials: tuple[Trial, ...]
    num_trials: int
    stopped_by: int | None


def sweep(
    config: Config,
    plan: Plan,
    output: Path,
    *,
    make_writer: Callable[[Path, int, int], fit_lib.RunLog],
    measure_test: bool = False,
    on_trial: Callable[[int, Sweep, Trial], None] = lambda number, so_far, trial: None,
) -> Sweep:
    """Runs each trial that is not finished yet, in its own folder.

    Args:
        config: Config of each run, of which the plan changes some fields.
        plan: The sequence of trials.
        output: Parent of the trials' folders. The same call resumes a stopped sweep.
        make_writer: Callback, called as make_writer(folder, start step, number of
            steps).
        measure_test: Whether to evaluate each trial on the test split. The ranking
            ignores it.
        on_trial: Callback, called as on_trial(number from 0, the sweep so far, the
            trial).

    Raises:
        UserError: A config has a mistake, raised before the first run if possible, or
            the folder holds another study.
    """
    config_fields.check(config)
    metric = metric_of(config)
    study.check(output, config, verb="sweep")
    _check_known(config, plan.known, output)
    study.claim(output, config, verb="sweep")
    tried: list[Trial] = []
    with StopRequest() as stop:
        for number in range(len(plan)):
            values = plan.suggest(
                number, [(t.values, _goodness(t, metric)) for t in tried]
            )
            folder = output / _folder_of(output, values)
            trial = _read(folder, values)
            if trial is not None and trial.validation and measure_test:
                trial = trial if trial.test else None  # it is resumed, to be tested
            if trial is None and stop.received is None:
                changed = config_fields.replace(config, values)
                trial = _run(changed, folder, values, make_writer, measure_test, stop)
            if trial is None:
                break
            tried.append(trial)
            on_trial(number, _ordered(metric, tried, len(plan), None), trial)
    return _ordered(metric, tried, len(plan), stop.received)


def _check_known(config: Config, known: Sequence[Values], output: Path) -> None:
    """Raises UserError for a mistake in a trial that is still to be run."""
    for values in known:
        changed = config_fields.replace(config, values)
        if metric_of(changed) != metric_of(config):
            raise UserError(
                "best_metric cannot be varied: trials are compared by it; give "
                "--config.best_metric."
            )
        folder = output / _folder_of(output, values, new=False)
        existing = workdir.existing_run(folder)
        if existing is not None:
            workdir.check_config(folder, existing[0], changed)
        if _read(folder, values) is None:
            prepare.check_training(prepare.prepare(changed))


def _folder_of(output: Path, values: Values, *, new: bool = True) -> str:
    """Name of the folder of a trial, by its line in trials.jsonl.

    Args:
        output: The sweep's folder.
        values: The trial's values of the varied fields.
        new: Whether to add a line for it if it has none.
    """
    path, line = output / _TRIALS, json.dumps(values, sort_keys=True)
    lines = path.read_text().splitlines() if path.exists() else []
    if line not in lines:
        lines.append(line)
        if new:
            whole_files.write_text(path, "\n".join(lines) + "\n")
    return f"trial_{lines.index(line) + 1:03}"


def _run(
    config: Config,
    folder: Path,
    values: Values,
    make_writer: Callable[[Path, int, int], fit_lib.RunLog],
    measure_test: bool,
    stop: StopRequest,
) -> Trial | None:
    """Runs a trial; None if a signal, which is noted in `stop`, stopped it."""
    step, best_step, validation, test, diverged = None, None, {}, {}, ""
    try:
        result = fit_lib.fit(
            config, folder, make_writer=make_writer, measure_test=measure_test
        )
    except DivergedError as error:  # often the learning rate is too high
        diverged = str(error)
    else:
        if result.stopped_by is not None:
            stop.received = result.stopped_by
            return None
        step, best_step, validation = result.step, result.best_step, result.validation
        test = {k: x for k, x in (result.test or {}).items() if isinstance(x, float)}
    trial = Trial(folder.name, values, step, best_step, validation, test, diverged)
    # Metrics of a network whose outputs are not finite are null.
    text = strict_json.dumps(dataclasses.asdict(trial))
    json_files.write(folder / _RESULT, json.loads(text))
    return trial


def _read(folder: Path, values: Values) -> Trial | None:
    """A finished trial; None if there is none."""
    path = folder / _RESULT
    if not path.exists():
        return None
    trial = json_files.read(path, _from_json)
    return dataclasses.replace(trial, values=values)  # with tuples


def _from_json(found: dict[str, Any]) -> Trial:
    for name in ("validation", "test"):
        if isinstance(found.get(name), dict):
            numbers = found[name].items()
            found[name] = {k: math.nan if x is None else x for k, x in numbers}
    return json_files.build(Trial, found)


def metric_of(config: Config) -> Metric:
    """The metric that ranks the trials of a config; UserError if it is unknown."""
    cls, name = tasks.find(config.task), config.best_metric
    if name is not None and name not in cls.METRICS:
        raise unknown("metric", name, cls.METRICS)
    return cls.METRICS[name] if name else next(iter(cls.METRICS.values()))


def _goodness(trial: Trial, metric: Metric) -> float:
    """The metric such that higher is better; -inf for a trial that diverged."""
    return metric.goodness(trial.validation.get(metric.name, math.nan))


def _ordered(
    metric: Metric, tried: Sequence[Trial], num_trials: int, stopped_by: int | None
) -> Sweep:
    return Sweep(
        metric=metric.name,
        greater_is_better=metric.greater_is_better,
        trials=tuple(sorted(tried, key=lambda trial: -_goodness(trial, metric))),
        num_trials=num_trials,
        stopped_by=stopped_by,
    )
