"""Where the numbers of a run go: metrics.jsonl, TensorBoard, the terminal.

Each writer has write(split, step, values) and close(); values are plain numbers.
"""

from collections.abc import Mapping, Sequence
import json
from pathlib import Path
from typing import Any

import rich.console
import rich.live
import rich.text
import tensorboardX

from jaxcnn.report import beginning, text

Values = Mapping[str, Any]


class JsonLines:
    """One JSON object a line, {"split", "step", ...}, on disk at once.

    Args:
        path: The file, made if need be.
        first_step: The run goes on after this step. Later lines, which a killed run
            left behind its last checkpoint, are dropped, and so is the test's.
    """

    def __init__(self, path: Path, first_step: int) -> None:
        if path.exists():
            kept = [
                line
                for line in path.read_text().splitlines(keepends=True)
                if _is_before(line, first_step)
            ]
            unfinished = path.with_suffix(".tmp")
            unfinished.write_text("".join(kept))
            unfinished.replace(path)
        self._file = path.open("a", buffering=1)

    def write(self, split: str, step: int, values: Values) -> None:
        record = {"split": split, "step": step, **values}
        self._file.write(json.dumps(record) + "\n")

    def close(self) -> None:
        self._file.close()


def _is_before(line: str, first_step: int) -> bool:
    try:
        record = json.loads(line)
    except ValueError:  # the run was killed within the line
        return False
    return record["split"] != "test" and record["step"] <= first_step


class TensorBoard:
    """TensorBoard events, tags split/name."""

    def __init__(self, folder: Path, first_step: int) -> None:
        purge = first_step + 1 if first_step else None
        self._writer = tensorboardX.SummaryWriter(str(folder), purge_step=purge)

    def write(self, split: str, step: int, values: Values) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{split}/{name}", value, step)

    def close(self) -> None:
        self._writer.close()


class Console:
    """On a terminal one live line, elsewhere one plain line an interval."""

    def __init__(
        self, num_steps: int, console: rich.console.Console | None = None
    ) -> None:
        self._num_steps = num_steps
        self._console = console or rich.console.Console(highlight=False)
        self._live = None
        if self._console.is_terminal:
            self._live = rich.live.Live(console=self._console, auto_refresh=False)
            self._live.start()

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

    def begin(self, run: Any, first_step: int) -> None:
        self.say(beginning.devices(run) if first_step else beginning.beginning(run))

    def say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, markup=False)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()


def train_line(step: int, num_steps: int, values: Values) -> str:
    """Step, epoch, loss, accuracy, rate, speed, share of waiting, time left."""
    parts = [
        f"step {step}/{num_steps}",
        f"epoch {values['epoch']:.1f}",
        f"loss {values['loss']:.4f}",
        f"accuracy {values['accuracy']:.3f}",
        f"lr {values['learning_rate']:.2e}",
        f"{values['images_per_second']:,.0f} images/s",
        f"waiting for data {values['data_wait']:.1%}",
        f"{text.duration(values['seconds_left'])} left",
    ]
    return "  ".join(parts)


def compile_line(values: Values) -> str:
    """How long the step took to compile, and what the persistent cache did."""
    cache = "off"
    if values["cache_on"]:
        cache = "hit" if values["cache_hit"] else "miss"
    return f"compiled in {values['seconds']:.1f} s  persistent cache: {cache}"


def validation_line(step: int, split: str, values: Values) -> str:
    """The metrics of a validation, or of the average there."""
    numbers = "  ".join(
        f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )
    return f"step {step}  {split.replace('_', ', ')}: {numbers}"


class All:
    """Several writers as one; the console alone says what is no number."""

    def __init__(self, console: Console | None, others: Sequence[Any]) -> None:
        self._console = console
        self._writers = others if console is None else (*others, console)

    def begin(self, run: Any, first_step: int) -> None:
        if self._console is not None:
            self._console.begin(run, first_step)

    def say(self, line: str) -> None:
        if self._console is not None:
            self._console.say(line)

    def write(self, split: str, step: int, values: Values) -> None:
        for writer in self._writers:
            writer.write(split, step, values)

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


def for_trial(folder: Path, first_step: int, num_steps: int) -> All:
    """All writers of a run among many: the terminal has a line at most, on stderr."""
    console = rich.console.Console(stderr=True, highlight=False)
    return All(
        Console(num_steps, console) if console.is_terminal else None,
        _in_files(folder, first_step),
    )


def for_run(folder: Path, first_step: int, num_steps: int) -> All:
    """All writers of a run that goes on after first_step."""
    return All(Console(num_steps), _in_files(folder, first_step))


def for_nobody(folder: Path, first_step: int, num_steps: int) -> All:
    """No writers, where another process writes."""
    return All(None, ())


def _in_files(folder: Path, first_step: int) -> list[Any]:
    return [
        JsonLines(folder / "metrics.jsonl", first_step),
        TensorBoard(folder / "tensorboard", first_step),
    ]
