"""Turns SIGTERM and SIGINT into a stop request that the loop checks after each step."""

import signal
import threading
from types import FrameType, TracebackType

import jax
from jax.experimental import multihost_utils

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """A context in which the first SIGTERM or SIGINT is only recorded.

    A second signal has its default effect, for a user who does not want to wait. Python
    delivers signals only to the main thread; in other threads nothing is recorded.

    In a run of several processes, JAX records a SIGTERM to any of them, and they agree
    on the last step. SIGINT keeps its default effect.

    Attributes:
        received: Number of the received signal, or None.
    """

    received: int | None = None

    def __enter__(self) -> "StopRequest":
        self._before = {}
        main = threading.current_thread() is threading.main_thread()
        if main and jax.process_count() == 1:
            self._before = {s: signal.signal(s, self._note) for s in _SIGNALS}
        return self

    def poll(self, step: int) -> int | None:
        """Returns the received signal, the same in all processes; call at each step."""
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(
            step
        ):
            self.received = signal.SIGTERM
        return self.received

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()
