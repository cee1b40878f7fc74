"""Prepares the next batches while the device works on the current one."""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
import contextlib
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")
_END = object()


def prefetch(
    items: Generator[T, None, None], put: Callable[[T], U], size: int = 4
) -> Generator[U, None, None]:
    """Yields put(item) for each item; a thread prepares the next `size` in advance.

    An exception is raised where the item would have been yielded. Closing the generator
    or reading it to its end closes `items`.
    """

    def make() -> U | object:
        item = next(items, _END)
        return item if item is _END else put(item)

    with contextlib.closing(items), ThreadPoolExecutor(1, "prefetch") as thread:
        # A single thread keeps the calls in order.
        coming = deque(thread.submit(make) for _ in range(size))
        try:
            while (item := coming.popleft().result()) is not _END:
                coming.append(thread.submit(make))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)
