"""Prepares the next batches while the device works on the current one."""

from collections.abc import Callable, Generator
import contextlib
import queue
import threading
from typing import Any, TypeVar

T = TypeVar("T")
U = TypeVar("U")
_END = object()
_CLOSE_SECONDS = 1  # a thread that hangs in a slow read is left behind


def prefetch(
    items: Generator[T, None, None], put: Callable[[T], U], size: int = 4
) -> Generator[U, None, None]:
    """Yields put(item) for each item; a thread prepares the next `size` in advance.

    An exception is raised where the item would have been yielded. Closing the generator
    or reading it to its end closes `items`.
    """
    ready: queue.Queue[Any] = queue.Queue(size)
    closed = threading.Event()

    def hand_over(what: Any, error: BaseException | None = None) -> None:
        while not closed.is_set():
            with contextlib.suppress(queue.Full):
                return ready.put((what, error), timeout=0.1)

    def work() -> None:
        try:
            with contextlib.closing(items):
                for item in items:
                    hand_over(put(item))
                    if closed.is_set():
                        return
        except BaseException as error:
            hand_over(_END, error)
        else:
            hand_over(_END)

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        closed.set()
        thread.join(_CLOSE_SECONDS)
