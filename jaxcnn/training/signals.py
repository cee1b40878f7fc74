"""Turns the signals that end a process into a request to stop.

A run that is asked to stop saves its last finished step first. Python delivers a signal
to the main thread only, between two of its instructions: not while XLA compiles. So a
thread says at once that the signal was heard.
"""

from collections.abc import Iterator
import contextlib
import os
import signal
import socket
import sys
import threading
from types import FrameType

import jax
from jax.experimental import multihost_utils

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stopped(BaseException):
    """A signal that came while the run waited, see StopRequest.interruptible.

    Attributes:
        number: Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class StopRequest:
    """A context in which the first SIGTERM, SIGINT or SIGHUP is only recorded.

    A second signal has its default effect, for a user who does not want to wait. Python
    delivers signals only to the main thread; in other threads nothing is recorded.

    In a run of several processes, JAX records a SIGTERM to any of them, and they agree
    on the last step. SIGINT and SIGHUP become a SIGTERM there.

    Attributes:
        received: Number of the received signal, or None.
    """

    received: int | None = None

    def __enter__(self) -> "StopRequest":
        self._before: dict[int, object] = {}
        self._stack = contextlib.ExitStack()
        self._noted: int | None = None
        self._waiting = False
        if threading.current_thread() is threading.main_thread():
            if jax.process_count() == 1:
                self._handle({number: self._note for number in _SIGNALS})
                self._stack.enter_context(_said_at_once())
            else:
                others = (n for n in _SIGNALS if n != signal.SIGTERM)
                self._handle({number: self._pass_on for number in others})
        return self

    def _handle(self, handlers: dict[int, object]) -> None:
        self._before = {n: signal.signal(n, to) for n, to in handlers.items()}

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """A context in which nothing is done that must be finished.

        Raises:
            Stopped: A signal came within it, or before.
        """
        if jax.process_count() > 1:  # which end at the same step
            yield
            return
        self._waiting = True
        try:
            if self.received is not None:
                raise Stopped(self.received)
            yield
        finally:
            self._waiting = False

    def poll(self, step: int) -> int | None:
        """Returns the received signal, the same in all processes; call at each step."""
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(
            step
        ):
            self.received = self._noted or signal.SIGTERM
        return self.received

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()
        if self._waiting:
            raise Stopped(number)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._noted = number
        self._restore()
        os.kill(os.getpid(), signal.SIGTERM)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def __exit__(self, *error: object) -> None:
        self._restore()
        self._stack.close()


@contextlib.contextmanager
def _said_at_once() -> Iterator[None]:
    """Says on stderr that the first signal was heard, when it comes."""
    receiver, sender = socket.socketpair()
    sender.setblocking(False)

    def say() -> None:
        number = receiver.recv(1)
        if number and number[0] in _SIGNALS:
            print(
                f"\n{signal.Signals(number[0]).name}: the run saves its last step and "
                "ends; a second signal ends it at once.",
                file=sys.stderr,
                flush=True,
            )

    with receiver, sender:
        before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        thread = threading.Thread(target=say, name="signals", daemon=True)
        thread.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            sender.close()  # ends the thread
            thread.join()
