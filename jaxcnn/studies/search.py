"""Search spaces of a sweep, and how it chooses the values to try.

    optim.peak_lr=0.01,0.1              these values
    optim.decay_epochs=(30.0,60.0),()   these values of a tuple field
    optim.peak_lr=log(1e-4,1e-1)        log-uniform between the bounds
    augment.flip=uniform(0,0.5)         uniform between the bounds
    data.batch_size=int(16,64)          integers, both bounds included

A grid is every combination of values. Random search draws each field independently:
Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 2012,
https://jmlr.org/papers/v13/bergstra12a.html.
"""

import ast
from collections.abc import Callable, Mapping, Sequence
import dataclasses
import itertools
import math
import re
import typing
from typing import Any, Protocol

import numpy as np

from jaxcnn import config_fields
from jaxcnn.config import Config
from jaxcnn.errors import UserError, require

_MAX_TRIALS = 100_000

Values = dict[str, Any]  # dotted name of a field -> its value

SCALES: Mapping[str, Callable[[float, float, float], float]] = {
    "log": lambda low, high, u: math.exp(
        math.log(low) + u * (math.log(high) - math.log(low))
    ),
    "uniform": lambda low, high, u: low + u * (high - low),
    "int": lambda low, high, u: low + int(u * (high - low + 1)),
}


@dataclasses.dataclass(frozen=True)
class Choices:
    """A list of values.

    Attributes:
        values: The values, at least one.
    """

    values: tuple[Any, ...]

    def at(self, u: float) -> Any:
        """Maps u in [0, 1) to a value."""
        return self.values[int(u * len(self.values))]


@dataclasses.dataclass(frozen=True)
class Range:
    """A range of values.

    Attributes:
        scale: Name of the scale, a key of SCALES.
        low: Lowest value.
        high: Highest value.
    """

    scale: str
    low: float
    high: float

    def at(self, u: float) -> float:
        """Maps u in [0, 1) to a value."""
        return SCALES[self.scale](self.low, self.high, u)


Space = Mapping[str, Choices | Range]


def parse(varied: Sequence[str]) -> Space:
    """Parses strings such as "optim.peak_lr=0.01,0.1", one per field.

    Raises:
        UserError: A field is unknown or given twice, or its values are invalid.
    """
    space: dict[str, Choices | Range] = {}
    for text in varied:
        field, equals, values = text.partition("=")
        if not equals or not values:
            raise UserError(f"--vary={text} must be FIELD=VALUES, as in seed=0,1.")
        declared = config_fields.declared_type(field)
        if field in space:
            raise UserError(f"--vary={text}: {field} is varied twice.")
        space[field] = _range(field, values) or _choices(field, values, declared)
    return space


def _range(field: str, text: str) -> Range | None:
    """Parses a range; returns None if the text does not have this form."""
    match = re.fullmatch(rf"({'|'.join(SCALES)})\(([^,()]+),([^,()]+)\)", text)
    if match is None:
        return None
    scale, *bounds = match.groups()
    try:
        low, high = (int(b) if scale == "int" else float(b) for b in bounds)
    except ValueError as error:
        raise UserError(f"--vary={field}={text}: {error}.") from error
    above = 0.0 if scale == "log" else -math.inf
    holds = above < low < high < math.inf
    rule = (
        f"{scale}(low,high), {'0 < ' if scale == 'log' else ''}low < high, both finite"
    )
    require(holds, f"--vary={field}", text, rule)
    config_fields.replace(Config(), {field: low})  # or it is of another type
    return Range(scale, low, high)


def _choices(field: str, text: str, declared: Any) -> Choices:
    if declared is str or str in typing.get_args(declared):
        values = [item.strip() for item in text.split(",")]
        if declared is not str:
            values = [None if value == "None" else value for value in values]
    else:
        try:
            values = ast.literal_eval(f"({text},)")
        except (ValueError, SyntaxError) as error:
            raise UserError(
                f"--vary={field}={text}: no values of Python between commas, nor a "
                f"range {', '.join(f'{scale}(low,high)' for scale in SCALES)}."
            ) from error
    configs = (config_fields.replace(Config(), {field: value}) for value in values)
    return Choices(tuple(config_fields.fields(config)[field][1] for config in configs))


class Plan(Protocol):
    """The sequence of trials of a sweep."""

    known: Sequence[Values]  # values of the trials that are known in advance

    def __len__(self) -> int:
        """Number of trials."""

    def suggest(self, number: int, tried: Sequence[tuple[Values, float]]) -> Values:
        """Returns the values for the next trial.

        Args:
            number: Number of the trial, from 0.
            tried: (values, result) of each earlier trial. Higher is better; -inf for
                trials that diverged.
        """


@dataclasses.dataclass(frozen=True)
class Listed:
    """Trials that are all known in advance.

    Attributes:
        known: Values of each trial.
    """

    known: Sequence[Values]

    def __len__(self) -> int:
        return len(self.known)

    def suggest(self, number: int, tried: Sequence[tuple[Values, float]]) -> Values:
        return self.known[number]


def grid(space: Space) -> Listed:
    """Returns every combination of values; the last field changes fastest.

    Raises:
        UserError: A field has a range instead of values.
    """
    for field, values in space.items():
        if isinstance(values, Range):
            raise UserError(
                f"--vary={field} is a range, which has no grid; give values, or "
                "--random=N trials."
            )
    combinations = itertools.product(*(space[field].values for field in space))
    return Listed([dict(zip(space, values, strict=True)) for values in combinations])


def _check_numbers(flag: str, count: int, seed: int) -> None:
    """Raises UserError for a number of trials, or a seed, that is not allowed."""
    holds = 1 <= count <= _MAX_TRIALS
    require(holds, flag, count, f"at least 1 and at most {_MAX_TRIALS:,}")
    require(0 <= seed < 2**32, "--search_seed", seed, f"0 or more, below {2**32}")


def random(space: Space, count: int, seed: int) -> Listed:
    """Draws `count` different trials; the first ones do not depend on the count.

    Raises:
        UserError: After 100 * count draws, fewer different combinations have been seen.
    """
    _check_numbers("--random", count, seed)
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
    found: list[Values] = []
    for _ in range(100 * count):
        draws = rng.random(len(space))
        values = {f: space[f].at(float(u)) for f, u in zip(space, draws, strict=True)}
        if values not in found:
            found.append(values)
        if len(found) == count:
            return Listed(found)
    raise UserError(
        f"--random={count} is more than there are combinations, about {len(found)}; "
        "without it every one is tried."
    )


@dataclasses.dataclass(frozen=True)
class Optuna:
    """Trials chosen by Optuna's TPE sampler (https://optuna.org).

    Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011. The
    sampler is seeded for each trial, so a trial depends only on the seed, its number
    and the trials before it, and a resumed sweep is the same as an uninterrupted one.

    Attributes:
        space: Search space.
        count: Number of trials.
        seed: Seed of the sampler.
        known: Trials that are known in advance: none.
    """

    space: Space
    count: int
    seed: int
    known: Sequence[Values] = ()

    def __post_init__(self):
        _check_numbers("--optuna", self.count, self.seed)
        try:
            import optuna
        except ImportError as error:
            raise UserError(
                '--optuna needs Optuna: pip install "jaxcnn[search]".'
            ) from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)

    def __len__(self) -> int:
        return self.count

    def suggest(self, number: int, tried: Sequence[tuple[Values, float]]) -> Values:
        import optuna

        distributions = {
            field: _distribution(optuna, values) for field, values in self.space.items()
        }
        study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=self.seed + number),
        )
        failed = optuna.trial.TrialState.FAIL
        for values, result in tried:
            outcome = {"value": result} if math.isfinite(result) else {"state": failed}
            study.add_trial(
                optuna.trial.create_trial(
                    params={f: self._parameter(f, v) for f, v in values.items()},
                    distributions=distributions,
                    **outcome,
                )
            )
        asked = study.ask(distributions).params
        return {
            field: values.values[asked[field]]
            if isinstance(values, Choices)
            else asked[field]
            for field, values in self.space.items()
        }

    def _parameter(self, field: str, value: Any) -> Any:
        """Converts a value for Optuna, which gets the index of a listed value."""
        values = self.space[field]
        return values.values.index(value) if isinstance(values, Choices) else value


def _distribution(optuna: Any, values: Choices | Range) -> Any:
    made = optuna.distributions
    if isinstance(values, Choices):
        return made.CategoricalDistribution(list(range(len(values.values))))
    if values.scale == "int":
        return made.IntDistribution(values.low, values.high)
    return made.FloatDistribution(values.low, values.high, log=values.scale == "log")
