"""Work on the next batches while the device works on this one."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_END = object()


def prefetch(items: Iterator[T], size: int = 2) -> Iterator[T]:
    """The same items, of which a thread makes the next `size` beforehand.

    What making one raises is raised where it would have come.
    """
    # One thread, so the calls come one after another, in order.
    with ThreadPoolExecutor(1, "prefetch") as thread:
        coming = deque(thread.submit(next, items, _END) for _ in range(size))
        try:
            while (item := coming.popleft().result()) is not _END:
                coming.append(thread.submit(next, items, _END))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)
