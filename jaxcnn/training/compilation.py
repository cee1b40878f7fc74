"""Compilation of a run's steps: XLA's options, the time it takes, the persistent cache.

Options are those of the single compilation, so no environment variable is needed. The
cache is on where JAX_COMPILATION_CACHE_DIR, or jax_compilation_cache_dir in Python,
names a folder; https://docs.jax.dev/en/latest/persistent_compilation_cache.html says
what it keeps: compilations of at least a second, by default.
"""

from collections.abc import Callable
import dataclasses
import time
from typing import TypeVar

import jax

T = TypeVar("T")
Options = dict[str, bool | int | str]

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


def options(platform: str, *, remat: bool, deterministic: bool) -> Options:
    """Returns the options for a platform.

    Args:
        platform: Platform of the devices: "cpu", "gpu" or "tpu".
        remat: Whether blocks are recomputed in the backward pass. On a CPU, an XLA pass
            would remove the barriers that separate the recomputation, and common
            subexpression elimination would then undo it, so that pass is disabled.
        deterministic: Whether a step must be reproducible bit for bit. On a GPU this
            disables operations whose order of summation varies, and autotuning. CPUs
            and TPUs need no option.
    """
    if platform == "cpu":
        # Without it each parameter and its momentum are copied before their update.
        in_place: Options = {"xla_cpu_copy_insertion_use_region_analysis": True}
        return in_place | (
            {"xla_disable_hlo_passes": "cse_barrier_expander"} if remat else {}
        )
    if platform == "gpu" and deterministic:
        return {"xla_gpu_deterministic_ops": True, "xla_gpu_autotune_level": 0}
    return {}
