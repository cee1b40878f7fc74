"""Shows a run on the terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import rich.console
import rich.live
import rich.text

from jaxcnn.errors import printable
from jaxcnn.report import beginning, text

if TYPE_CHECKING:
    from jaxcnn.training.run import Run

Values = Mapping[str, Any]


class Console:
    """Training metrics in one line that is updated in place; if the output is not a
    terminal, one line per write."""

    def __init__(
        self, num_steps: int, console: rich.console.Console | None = None
    ) -> None:
        self._num_steps = num_steps
        self._console = console or rich.console.Console(highlight=False)
        self._live = None
        if self._console.is_terminal:
            self._live = rich.live.Live(console=self._console, auto_refresh=False)
            self._live.start()

    def begin(self, run: "Run", first_step: int) -> None:
        self.say(beginning.devices(run) if first_step else beginning.beginning(run))
        if first_step >= run.num_steps:
            self.say(f"This run is complete: all {first_step} steps were taken.")
        elif first_step:
            self.say(f"Resumed from the checkpoint of step {first_step}.")

    def say(self, line: str) -> None:
        shown = "\n".join(map(printable, line.split("\n")))
        self._console.print(shown, soft_wrap=True, markup=False, emoji=False)

    def write(self, split: str, step: int, values: Values) -> None:
        if split == "train":
            line = train_line(step, self._num_steps, values)
            if self._live is None:
                self.say(line)
            else:
                shown = rich.text.Text(line, no_wrap=True, overflow="ellipsis")
                self._live.update(shown, refresh=True)
        elif split == "compile":
            self.say(compile_line(values))
        elif split != "test":
            self.say(validation_line(step, split, values))

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()


# Training values that are not metrics of the task. The line shows some of them, each in
# its own place.
NOT_METRICS = {
    "epoch",
    "learning_rate",
    "grad_norm",
    "loss_scale",
    "skipped_steps",
    "images_per_second",
    "data_wait",
    "seconds_left",
}


def train_line(step: int, num_steps: int, values: Values) -> str:
    """Progress, loss, the task's metrics in their order, then rate and speed."""
    metrics = [
        f"{name} {_number(value)}"
        for name, value in values.items()
        if name != "loss" and name not in NOT_METRICS
    ]
    parts = [
        f"step {step}/{num_steps}",
        f"epoch {values['epoch']:.1f}",
        f"loss {values['loss']:.4f}",
        *metrics,
        f"lr {values['learning_rate']:.2e}",
        f"{values['images_per_second']:,.0f} images/s",
        f"waiting for data {values['data_wait']:.1%}",
        f"{text.duration(values['seconds_left'])} left",
    ]
    return "  ".join(parts)


def _number(value: float) -> str:
    """Formats a number with three decimals, or with an exponent if it is too small or
    too large for that."""
    return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.2e}"


def compile_line(values: Values) -> str:
    """The compile time of the step, and whether the persistent cache was used."""
    cache = "off"
    if values["cache_on"]:
        cache = "hit" if values["cache_hit"] else "miss"
    return f"compiled in {values['seconds']:.1f} s  persistent cache: {cache}"


def validation_line(step: int, split: str, values: Values) -> str:
    """The metrics of a validation, for the parameters or for their average."""
    numbers = "  ".join(
        f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )
    return f"step {step}  {split.replace('_', ', ')}: {numbers}"
