"""Measures the speed of a run and its time waiting for data."""

from collections.abc import Iterator
import contextlib
import time
from typing import Any


class Meter:
    """The clocks of a training loop. The speed excludes validation and saving.

    Attributes:
        batch_size: Number of examples per step.
        num_steps: Number of steps in the whole run.
    """

    def __init__(self, start_step: int, num_steps: int, batch_size: int) -> None:
        self.batch_size, self.num_steps = batch_size, num_steps
        self._first = self._last = start_step
        self._begin = self._since = time.perf_counter()
        self._waited = self._paused = 0.0  # seconds since the last reading
        self._all_waited = self._all_training = 0.0  # seconds up to the last reading

    def wait_for(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yields the batches and counts the time until each arrives as waiting."""
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            self._waited += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """A context whose time does not count as training."""
        start = time.perf_counter()
        yield
        self._paused += time.perf_counter() - start

    def read(self, step: int) -> dict[str, float]:
        """Returns the speed since the last reading, and an estimate of the time left.

        Returns:
            "images_per_second"; "data_wait", the fraction of the training time spent
            waiting for data; "seconds_left", including validation and saving, at the
            average pace so far.
        """
        now = time.perf_counter()
        training = max(now - self._since - self._paused, 1e-9)
        images = (step - self._last) * self.batch_size
        pace = (now - self._begin) / max(step - self._first, 1)
        values = {
            "images_per_second": images / training,
            "data_wait": self._waited / training,
            "seconds_left": pace * (self.num_steps - step),
        }
        self._all_waited += self._waited
        self._all_training += training
        self._last, self._since = step, now
        self._waited = self._paused = 0.0
        return values

    @property
    def data_wait(self) -> float:
        """Fraction of the training time spent waiting, over all readings."""
        return self._all_waited / max(self._all_training, 1e-9)
