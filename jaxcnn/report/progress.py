"""A progress bar, shown only on a terminal."""

from collections.abc import Callable, Iterator
import contextlib
import sys

import rich.console
import rich.progress


@contextlib.contextmanager
def bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """Shows a bar on standard error; the context's value is update(done, total)."""
    console = rich.console.Console(stderr=True)
    disable = not console.is_terminal
    with rich.progress.Progress(
        console=console,
        transient=True,
        disable=disable,
        # Otherwise output that is piped elsewhere would go to standard error.
        redirect_stdout=sys.stdout.isatty(),
    ) as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
