"""Writers of a run's metrics: a table of them, and several combined into one."""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import rich.console

from jaxcnn import names
from jaxcnn.errors import UserError
from jaxcnn.report import log_files, trackers
from jaxcnn.report.console import Console

if TYPE_CHECKING:
    from jaxcnn.training.run import Run


class Writer(Protocol):
    """A destination of a run's metrics; messages go only to the console."""

    def write(self, split: str, step: int, values: Mapping[str, float]) -> None:
        """Writes the values of a split after a step.

        Splits are "train", "validation", "test", "validation_average", for the average
        of the parameters, and "compile", for the compilation of the next step.
        """

    def close(self) -> None:
        """Makes sure that all values are on disk, or sent."""


# Called with the run's folder and the step from which the run continues, or 0.
Factory = Callable[[Path, int], Writer]

WRITERS: Mapping[str, Factory] = {
    "jsonl": log_files.JsonLines,
    "csv": log_files.Csv,
    "tensorboard": log_files.TensorBoard,
    "wandb": trackers.WeightsAndBiases,
    "mlflow": trackers.MLflow,
}

DEFAULT = ("jsonl", "tensorboard")


def check(chosen: Sequence[str | Factory]) -> None:
    """Raises UserError for an invalid writer, or one whose package is not installed.

    make() raises it, too, but only right before the first step of a run.
    """
    if isinstance(chosen, str):
        raise UserError(f"writers must be a sequence of names, not {chosen!r}.")
    for number, name in enumerate(chosen):
        if name in chosen[:number]:
            raise UserError(f"writers must be different, not {chosen!r}.")
        _factory(name)
        if name in trackers.MODULES:
            trackers.check_installed(name)


def make(
    chosen: Sequence[str | Factory],
    folder: Path,
    first_step: int,
    num_steps: int,
    console: bool = True,
) -> "All":
    """Creates the writers of a run, combined into one.

    Args:
        chosen: Names in WRITERS, "module:attribute", or the user's own factories.
        folder: The run's folder.
        first_step: The step of the checkpoint from which the run continues, or 0.
        num_steps: Number of updates in the whole run, for the console.
        console: Whether to show the run on the terminal, too.

    Raises:
        UserError: A writer is invalid or cannot start.
    """
    others = _open(chosen, folder, first_step)
    return All(Console(num_steps) if console else None, others)


def for_trial(
    folder: Path,
    first_step: int,
    num_steps: int,
    chosen: Sequence[str | Factory] = DEFAULT,
) -> "All":
    """Creates the writers of one run of a study.

    The console uses stderr, and is left out if stderr is not a terminal.
    """
    others = _open(chosen, folder, first_step)
    terminal = rich.console.Console(stderr=True, highlight=False)
    return All(Console(num_steps, terminal) if terminal.is_terminal else None, others)


def for_nobody(folder: Path, first_step: int, num_steps: int) -> "All":
    """No writers, for a process that does not write."""
    return All(None, ())


def _factory(name: str | Factory) -> Factory:
    """The factory with a name, or the factory itself."""
    factory = names.resolve(name, WRITERS, "writer") if isinstance(name, str) else name
    if not callable(factory):
        raise UserError(
            "A writer must be a name or a function (folder, first step) -> writer, not "
            f"{factory!r}."
        )
    try:
        signature = inspect.signature(factory)
    except ValueError:  # some functions in C have none
        return factory
    try:
        signature.bind(Path(), 0)
    except TypeError as error:
        raise UserError(
            f"The writer {factory!r} must take the run's folder and the first step: "
            f"{error}."
        ) from error
    return factory


def _open(
    chosen: Sequence[str | Factory], folder: Path, first_step: int
) -> list[Writer]:
    """Creates the writers with these names; if one fails, the others are closed."""
    factories = [_factory(name) for name in chosen]
    writers = []
    with contextlib.ExitStack() as opened:
        for factory in factories:
            writer = factory(folder, first_step)
            if not (hasattr(writer, "write") and hasattr(writer, "close")):
                raise UserError(
                    f"A writer must have write() and close(); {factory!r} gave "
                    f"{writer!r}."
                )
            opened.callback(writer.close)
            writers.append(writer)
        opened.pop_all()
    return writers


class All:
    """Several writers combined into one; messages go only to the console."""

    def __init__(self, console: Console | None, others: Sequence[Writer]) -> None:
        self._console = console
        self._writers = (*others,) if console is None else (*others, console)

    def begin(self, run: "Run", first_step: int) -> None:
        if self._console is not None:
            self._console.begin(run, first_step)

    def say(self, line: str) -> None:
        if self._console is not None:
            self._console.say(line)

    def write(self, split: str, step: int, values: Mapping[str, Any]) -> None:
        for writer in self._writers:
            writer.write(split, step, values)

    def close(self) -> None:
        """Closes all writers, even if one fails to close."""
        with contextlib.ExitStack() as stack:
            for writer in reversed(self._writers):
                stack.callback(writer.close)
