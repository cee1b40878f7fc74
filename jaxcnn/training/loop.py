"""The training loop."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import jax

from jaxcnn.training.state import TrainState

_MAX_STEPS_AHEAD = 2  # of the device: bounds the batches that wait in its memory

_LARGE_STEP = 64 << 20  # bytes of intermediate results


def steps_ahead(step: Callable[..., Any]) -> int:
    """Number of steps that may wait behind the one that runs; it takes 50 ms to tell.

    A CPU allocates what a step needs when it is queued: two more that waited took 390
    MiB of ResNet-50 with a batch of 8, which was no faster for it.
    """
    if jax.default_backend() != "cpu" or not isinstance(step, jax.stages.Compiled):
        return _MAX_STEPS_AHEAD
    bytes_needed = step.memory_analysis().temp_size_in_bytes
    return 0 if bytes_needed > _LARGE_STEP else _MAX_STEPS_AHEAD


def train(
    state: TrainState,
    batches: Iterator[Any],
    key: jax.Array,
    *,
    step: Callable[..., tuple[TrainState, Any]],
    ahead: int,
    num_steps: int,
    after_step: Callable[[int, TrainState, Any], bool],
) -> TrainState:
    """Trains from state.step until num_steps updates, or until after_step says stop.

    Args:
        state: A fresh state, or the one that the newest checkpoint held.
        batches: Those that follow state.step. The order of data depends on seed and
            step alone, so a run that was stopped and started again is the same run,
            bit for bit.
        key: Key of the whole run; step folds the step number into it.
        step: Compiled step(state, batch, key), which consumes its state.
        ahead: Number of steps that may wait, see steps_ahead.
        num_steps: Updates of the whole run, those before a resume included.
        after_step: Called as after_step(number, state, metrics) for logging,
            evaluation and saving; returns True to stop. Reading metrics waits for
            the device, so it does that rarely.
    """
    numbers = range(int(state.step) + 1, num_steps + 1)
    running = deque()
    for number, batch in zip(numbers, batches, strict=False):
        with jax.profiler.StepTraceAnnotation("train", step_num=number):
            state, metrics = step(state, batch, key)
        running.append(metrics)
        if len(running) > ahead:
            jax.block_until_ready(running.popleft())
        if after_step(number, state, metrics):
            break
    return state
