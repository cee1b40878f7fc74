"""At which steps something is due that happens every few epochs."""

from collections.abc import Iterator
import dataclasses
import math

_SLACK = 1e-6  # three times 0.1 epochs of ten steps is 3.0000000000000004


@dataclasses.dataclass(frozen=True)
class DueSteps:
    """The first step at or after each multiple of a period, and the last step.

    Attributes:
        every: The period, in steps; not rounded.
        num_steps: Number of steps of the run, which is the last step.
        start: Step from which on the multiples count, itself the first of them unless
            it is 0; not rounded.
    """

    every: float
    num_steps: int
    start: float = 0.0

    def _step(self, multiple: int) -> int:
        return math.ceil(self.start + multiple * self.every - _SLACK)

    def __contains__(self, step: int) -> bool:
        if step == self.num_steps:
            return step > 0
        if not max(self.start, 1) - _SLACK <= step < self.num_steps:
            return False
        nearest = math.floor((step + _SLACK - self.start) / self.every)
        near = range(max(nearest - 1, 0), nearest + 2)
        return any(self._step(multiple) == step for multiple in near)

    def __iter__(self) -> Iterator[int]:
        """The steps in ascending order."""
        multiple, last = 0, 0
        while (step := self._step(multiple)) < self.num_steps:
            if step > last:
                yield step
                last = step
            # Several multiples may fall on one step.
            multiple = max(
                multiple + 1, math.floor((step + _SLACK - self.start) / self.every)
            )
        if self.num_steps > 0:
            yield self.num_steps
