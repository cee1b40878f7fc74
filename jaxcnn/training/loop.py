"""The training loop."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import jax

from jaxcnn.training.state import TrainState

_MAX_STEPS_AHEAD = 2  # of the device: bounds the batches that wait in its memory


def train(
    state: TrainState,
    batches: Iterator[Any],
    key: jax.Array,
    *,
    step: Callable[..., tuple[TrainState, Any]],
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
        if len(running) > _MAX_STEPS_AHEAD:
            jax.block_until_ready(running.popleft())
        if after_step(number, state, metrics):
            break
    return state
