"""Times of programs that are run in turns, and their memory."""

from collections.abc import Callable, Mapping
from concurrent import futures
import dataclasses
import multiprocessing
from pathlib import Path
import resource
import sys
from typing import Any, Protocol

import numpy as np

ROUND_SECONDS = 0.2  # approximate length of a round, which has at least one step
FEW_STEPS = 3  # after which a process holds the memory that it ever holds
STEADY = 0.15  # the spread up to which a time is a measurement
_WARM_UP = 3  # steps; the last one is timed to choose the steps per round


@dataclasses.dataclass(frozen=True)
class Times:
    """The times of a step, one for each round.

    Other programs only ever make a round slower, so what a step costs is told by the
    fastest rounds, and whether that was seen at all by how far these are apart.

    Attributes:
        seconds: Time of a step in each round.
    """

    seconds: tuple[float, ...]

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """First quartile, median, third quartile."""
        low, median, high = np.quantile(self.seconds, (0.25, 0.5, 0.75))
        return float(low), float(median), float(high)

    @property
    def fastest(self) -> float:
        """The median of the fastest fifth of the rounds."""
        return float(np.median(self._fastest_fifth))

    @property
    def spread(self) -> float:
        """By how much the slowest of the fastest fifth is slower than the fastest."""
        fifth = self._fastest_fifth
        return fifth[-1] / fifth[0] - 1

    @property
    def _fastest_fifth(self) -> list[float]:
        return sorted(self.seconds)[: -(-len(self.seconds) // 5)]


class Timed(Protocol):
    """A loop that can be timed."""

    def take(self, num_steps: int) -> float:
        """Takes steps and returns the seconds until the last one is done."""


def warm_up(timed: Timed) -> int:
    """Warms up, and returns the number of steps per round."""
    seconds = [timed.take(1) for _ in range(_WARM_UP)][-1]
    return max(1, round(ROUND_SECONDS / seconds))


def in_turns(
    timed: Mapping[str, Timed],
    steps: Mapping[str, int],
    rounds: int,
    after_round: Callable[[], None] = lambda: None,
) -> dict[str, Times]:
    """Times programs in alternation, round by round.

    Args:
        timed: Programs by name.
        steps: Steps per round of each.
        rounds: Number of rounds.
        after_round: Called after each.
    """
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, program in timed.items():
            seconds[name].append(program.take(steps[name]) / steps[name])
        after_round()
    return {name: Times(tuple(found)) for name, found in seconds.items()}


def resident_bytes(function: Callable[..., None], *arguments: Any) -> int:
    """The most memory that was resident in a process of its own that calls a function.

    Args:
        function: A function of a module.
        *arguments: Its arguments, which are pickled.
    """
    context = multiprocessing.get_context("spawn")
    with futures.ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(_peak_of, function, *arguments).result()


def _peak_of(function: Callable[..., None], *arguments: Any) -> int:
    function(*arguments)
    status = Path("/proc/self/status")
    if status.exists():  # of this program; rusage counts the one before it as well
        line = next(s for s in status.read_text().splitlines() if "VmHWM" in s)
        return 1024 * int(line.split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
