"""A trace of some steps of a run, by XLA's profiler.

It holds what the host and the devices did, operation by operation. TensorBoard with the
plugin `tensorboard-plugin-profile` shows it (`tensorboard --logdir=RUN/profile`), and
https://ui.perfetto.dev opens its perfetto_trace.json.gz.
"""

from pathlib import Path
from typing import Any

import jax

from jaxcnn.errors import require

Steps = tuple[int, int]  # the first step, and the first that is left out again


def check(steps: Steps, num_steps: int) -> None:
    """Raises UserError unless all of the steps are in a run of num_steps updates."""
    first, stop = steps
    holds = 1 <= first < stop <= num_steps + 1
    rule = (
        f"START:STOP, steps START to STOP - 1 of the run's 1 to {num_steps}, with "
        "START < STOP"
    )
    require(holds, "profile_steps", f"{first}:{stop}", rule)


class Profiler:
    """Traces steps of a run while they are taken.

    A run that is resumed within the steps traces those that are left.

    Args:
        folder: Where the trace goes: FOLDER/plugins/profile/TIME/.
        steps: Which; None: none.
    """

    def __init__(self, folder: Path, steps: Steps | None) -> None:
        self._folder = folder
        # One host is enough, and their files would have the same names.
        self._steps = steps if jax.process_index() == 0 else None
        self._running = False

    def reached(self, number: int, state: Any) -> None:
        """Starts or ends the trace, where `number` updates have been taken.

        Args:
            number: Updates so far.
            state: After them; waited for, so that the trace has whole steps.
        """
        if self._steps is None:
            return
        first, stop = self._steps
        within = first <= number + 1 < stop
        if within == self._running:
            return
        jax.block_until_ready(state)
        if within:
            jax.profiler.start_trace(self._folder, create_perfetto_trace=True)
            self._running = True
        else:
            self.close()

    def close(self) -> None:
        """Ends a trace that is running, as that of a run that was stopped."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
