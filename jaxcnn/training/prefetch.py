"""Work on the next batches while the device works on this one."""

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
    """put(item) of each item, of which a thread makes the next `size` beforehand.

    What making one raises is raised where it would have come. Closing it, or reading
    it to its end, closes items.
    """

    def make() -> U | object:
        item = next(items, _END)
        return item if item is _END else put(item)

    with contextlib.closing(items), ThreadPoolExecutor(1, "prefetch") as thread:
        # One thread, so the calls come one after another, in order.
        coming = deque(thread.submit(make) for _ in range(size))
        try:
            while (item := coming.popleft().result()) is not _END:
                coming.append(thread.submit(make))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)
