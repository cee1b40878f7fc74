"""How fast a run goes, and what it waits for."""

from collections.abc import Iterator
import contextlib
import time
from typing import Any


class Meter:
    """Clocks of a training loop. Validation and saving are left out of its speed.

    Attributes:
        batch_size: Examples a step.
        num_steps: Steps of the whole run.
    """

    def __init__(self, start_step: int, num_steps: int, batch_size: int) -> None:
        self.batch_size, self.num_steps = batch_size, num_steps
        self._first = self._last = start_step
        self._begin = self._since = time.perf_counter()
        self._waited = self._paused = 0.0  # since the last reading
        self._all_waited = self._all_training = 0.0  # up to it

    def wait_for(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The same batches; the time until each is there counts as waiting."""
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            self._waited += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Time that is no training."""
        start = time.perf_counter()
        yield
        self._paused += time.perf_counter() - start

    def read(self, step: int) -> dict[str, float]:
        """Speed since the last reading, and the time left at the pace so far.

        Returns:
            "images_per_second"; "data_wait", the share of the training time spent
            waiting for data; "seconds_left", with validation and saving.
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
        """Share of the training time spent waiting, over all readings."""
        return self._all_waited / max(self._all_training, 1e-9)
