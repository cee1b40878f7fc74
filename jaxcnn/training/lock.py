"""One run at a time in a folder."""

from collections.abc import Iterator
import contextlib
import fcntl
import os
from pathlib import Path
import socket

from jaxcnn.errors import UserError

_LOCK = ".lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes from training in a folder; the kernel frees the lock of a
    killed process.

    Raises:
        UserError: Another process trains there.
    """
    path = folder / _LOCK
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"{folder} is in use by {file.read().strip() or 'another process'}; "
                "wait for its end, or give another --workdir."
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
