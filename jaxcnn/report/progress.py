"""A progress bar on the terminal, and nothing elsewhere."""

from collections.abc import Callable, Iterator
import contextlib
import sys

import rich.console
import rich.progress


@contextlib.contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A context that gives update(done, total), on standard error."""
    console = rich.console.Console(stderr=True)
    disable = not console.is_terminal
    with rich.progress.Progress(
        console=console,
        transient=True,
        disable=disable,
        redirect_stdout=sys.stdout.isatty(),  # else what is printed would come here
    ) as made:
        task = made.add_task(what, total=None)
        yield lambda done, total: made.update(task, completed=done, total=total)
