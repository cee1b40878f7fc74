"""Steps of a run that are compiled and timed: of training, and of inference."""

from collections.abc import Iterator
import contextlib
import itertools
import time
from typing import Any

import jax

from jaxcnn.errors import DivergedError
from jaxcnn.training import begin, compilation, loop
from jaxcnn.training.run import Run


class Trainer:
    """A jaxcnn run with a compiled step.

    Attributes:
        compile_seconds: Compile time of the step.
        compile_cache: Result of the persistent cache: "off", "hit" or "miss".
        batch: The batch on the devices that `take` uses by default.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._key = run.run_key
        self._before = _allocated(run)
        started = begin.begin(run)
        with contextlib.closing(started.batches) as batches:
            self.batch = next(batches)
        self._state, self._step, compiled = begin.start_phase(run, started.state, 0)
        self.compile_seconds, self.compile_cache = compiled.seconds, compiled.cache
        self._ahead = loop.steps_ahead(self._step)

    def take(self, num_steps: int, batches: Iterator[Any] | None = None) -> float:
        """Takes steps like Timed.take; batches=None repeats one batch."""
        jax.block_until_ready(self._state)
        start = time.perf_counter()
        self._state = loop.train(
            self._state,
            itertools.repeat(self.batch) if batches is None else batches,
            self._key,
            step=self._step,
            ahead=self._ahead,
            num_steps=int(self._state.step) + num_steps,
            after_step=lambda number, state, metrics: False,
        )
        jax.block_until_ready(self._state)
        return time.perf_counter() - start

    def check_loss(self) -> None:
        """Raises DivergedError if the run has diverged."""
        if self._state.skips.failed(0):
            raise DivergedError(
                f"The loss of step {int(self._state.step) + 1} is not finite; a lower "
                "optim.peak_lr may help."
            )

    @property
    def peak(self) -> tuple[int, str]:
        """See _peak."""
        return _peak(self.run, self._before, self._step)


def _allocated(run: Run) -> int:
    """Most bytes on any device since the process began; 0 where nobody counts."""
    stats = [device.memory_stats() or {} for device in run.mesh.local_devices]
    return max(found.get("peak_bytes_in_use", 0) for found in stats)


class Forward:
    """A jaxcnn network with a compiled forward pass; attributes as of Trainer."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._before = _allocated(run)
        started = begin.begin(run)
        with contextlib.closing(started.batches) as batches:
            self.batch = next(batches)
        self._variables = started.state.variables
        lowered = jax.jit(run.forward).lower(self._variables, self.batch["image"])
        self._step, compiled = compilation.timed(
            lambda: lowered.compile(compiler_options=run.compiler_options)
        )
        self.compile_seconds, self.compile_cache = compiled.seconds, compiled.cache

    def take(self, num_steps: int) -> float:
        """Takes steps like Timed.take."""
        start = time.perf_counter()
        for _ in range(num_steps):
            output = self._step(self._variables, self.batch["image"])
        jax.block_until_ready(output)
        return time.perf_counter() - start

    def check_loss(self) -> None:
        """There is none."""

    @property
    def peak(self) -> tuple[int, str]:
        """See Trainer.peak."""
        return _peak(self.run, self._before, self._step)


def _peak(run: Run, before: int, step: jax.stages.Compiled) -> tuple[int, str]:
    """(peak bytes of the device with the highest peak, source of the number).

    An allocator's peak covers the whole process, so it belongs to this run only if it
    has grown.
    """
    now = _allocated(run)
    if now > before:
        return now, "device"
    need = step.memory_analysis()
    return (
        need.argument_size_in_bytes
        + need.output_size_in_bytes
        - need.alias_size_in_bytes
        + need.temp_size_in_bytes
    ), "xla"
