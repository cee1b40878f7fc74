"""Measures compile time, and whether the result came from JAX's persistent cache.

The cache is on if JAX_COMPILATION_CACHE_DIR, or jax_compilation_cache_dir in Python,
names a folder. By default it keeps compilations that take at least a second, see
https://docs.jax.dev/en/latest/persistent_compilation_cache.html.
"""

from collections.abc import Callable
import dataclasses
import time
from typing import TypeVar

import jax

T = TypeVar("T")

_ASKED = "/jax/compilation_cache/compile_requests_use_cache"
_HIT = "/jax/compilation_cache/cache_hits"


@dataclasses.dataclass(frozen=True)
class Compilation:
    """The time and the cache result of one compilation.

    Attributes:
        seconds: Time to trace, lower, and compile or read from the cache.
        cache_on: Whether the persistent cache is on.
        cache_hit: Whether the result was read from the cache.
    """

    seconds: float
    cache_on: bool
    cache_hit: bool

    @property
    def values(self) -> dict[str, float]:
        """The fields as plain numbers, for the log."""
        return {name: float(x) for name, x in dataclasses.asdict(self).items()}

    @property
    def cache(self) -> str:
        """Result of the persistent cache: "off", "hit" or "miss"."""
        if not self.cache_on:
            return "off"
        return "hit" if self.cache_hit else "miss"


def timed(compile: Callable[[], T]) -> tuple[T, Compilation]:
    """Returns (result of compile(), Compilation); only the last compilation counts."""
    events: list[str] = []

    def listen(event: str, **_: str | int) -> None:
        if event in (_ASKED, _HIT):
            events.append(event)

    jax.monitoring.register_event_listener(listen)
    start = time.perf_counter()
    try:
        made = compile()
    finally:
        jax.monitoring.unregister_event_listener(listen)
    seconds = time.perf_counter() - start
    on = (
        jax.config.jax_enable_compilation_cache and jax.config.jax_compilation_cache_dir
    )
    return made, Compilation(seconds, bool(on), events[-1:] == [_HIT])
