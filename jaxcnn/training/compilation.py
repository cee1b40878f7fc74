"""How long a compilation took, and whether JAX's persistent cache had its result.

The cache is on where JAX_COMPILATION_CACHE_DIR, or jax_compilation_cache_dir in Python,
names a folder; https://docs.jax.dev/en/latest/persistent_compilation_cache.html says
what it keeps: compilations of at least a second, by default.
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
    """One compilation.

    Attributes:
        seconds: Tracing, lowering and compiling, or reading from the cache.
        cache_on: Whether there is a persistent cache.
        cache_hit: Whether the result was read from it.
    """

    seconds: float
    cache_on: bool
    cache_hit: bool

    @property
    def values(self) -> dict[str, float]:
        """Plain numbers, for the log."""
        return {name: float(x) for name, x in dataclasses.asdict(self).items()}

    @property
    def cache(self) -> str:
        """off, hit or miss."""
        if not self.cache_on:
            return "off"
        return "hit" if self.cache_hit else "miss"


def timed(compile: Callable[[], T]) -> tuple[T, Compilation]:
    """(what compile() gives, how it went); of several compilations the last counts."""
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
