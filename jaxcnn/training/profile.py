"""Traces some steps of a run with XLA's profiler.

The trace shows every operation on the host and the devices. View it in TensorBoard with
the plugin `tensorboard-plugin-profile` (`tensorboard --logdir=RUN/profile`), or open
its perfetto_trace.json.gz in https://ui.perfetto.dev.
"""

from pathlib import Path
from typing import Any

import jax

from jaxcnn.errors import require

Steps = tuple[int, int]  # first step, and the step after the last


def check(steps: Steps, num_steps: int) -> None:
    """Raises UserError unless all the steps are within a run of num_steps updates."""
    first, stop = steps
    holds = 1 <= first < stop <= num_steps + 1
    rule = (
        f"START:STOP, steps START to STOP - 1 of the run's 1 to {num_steps}, with "
        "START < STOP"
    )
    require(holds, "profile_steps", f"{first}:{stop}", rule)


class Profiler:
    """Traces a range of steps during a run.

    A run that is resumed within the range traces the remaining steps.

    Args:
        folder: Folder for the trace, which is written to FOLDER/plugins/profile/TIME/.
        steps: Range of steps to trace. None: no steps.
    """

    def __init__(self, folder: Path, steps: Steps | None) -> None:
        self._folder = folder
        # One host is enough, and the hosts' files would have the same names.
        self._steps = steps if jax.process_index() == 0 else None
        self._running = False

    def reached(self, number: int, state: Any) -> None:
        """Starts or ends the trace if it is due after `number` updates.

        Args:
            number: Number of updates so far.
            state: State after these updates. It is waited for, so that the trace
                contains complete steps.
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
        """Ends the trace if it is still running, for example when a run is stopped."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
