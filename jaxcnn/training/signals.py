"""Turns the signals that end a process into a request to stop.

A run that is asked to stop saves its last finished step first. Python delivers a signal
to the main thread only, between two of its instructions: not while XLA compiles. So a
thread says at once that the signal was heard.
"""

from collections.abc import Iterable, Iterator
import contextlib
import os
import signal
import socket
import sys
import threading
from types import FrameType
from typing import TypeVar

import jax
from jax.experimental import multihost_utils

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

T = TypeVar("T")


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

    A second signal has its default effect, for a user who does not want to wait. One
    that is ignored, such as SIGHUP under nohup, stays so. Python delivers signals only
    to the main thread; in other threads nothing is recorded.

    Contexts in one another, such as a run in a search, record the same signal.

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
        if threading.current_thread() is not threading.main_thread():
            return self
        self.received = _entered[-1].received if _entered else None
        _entered.append(self)
        heeded = [n for n in _SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
        if jax.process_count() > 1:
            others = (n for n in heeded if n != signal.SIGTERM)
            self._handle({number: self._pass_on for number in others})
        elif self.received is None:
            self._handle({number: self._note for number in heeded})
            self._stack.enter_context(_said_at_once())
        return self

    def _handle(self, handlers: dict[int, object]) -> None:
        self._before = {n: signal.signal(n, to) for n, to in handlers.items()}

    def each(self, items: Iterable[T]) -> Iterator[T]:
        """The items; a signal while one is waited for raises Stopped."""
        iterator = iter(items)
        while True:
            with self.interruptible():
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

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
        for request in reversed(_entered):  # the outermost has the default's effect
            request.received = number
            request._restore()
        if any(request._waiting for request in _entered):
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
        if self in _entered:
            _entered.remove(self)


_entered: list[StopRequest] = []  # of the main thread, the innermost last


@contextlib.contextmanager
def _said_at_once() -> Iterator[None]:
    """Says on stderr that the first signal was heard, when it comes."""
    receiver, sender = socket.socketpair()
    sender.setblocking(False)

    def say() -> None:
        while (number := receiver.recv(1)) and number[0] not in _SIGNALS:
            pass  # a signal that somebody else handles
        if number:
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
