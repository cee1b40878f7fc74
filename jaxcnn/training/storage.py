"""A disk that is full, read-only or broken, in one line."""

from collections.abc import Iterator
import contextlib
import errno
import os
from pathlib import Path
import shutil

from jaxcnn.errors import EXPLAINED, StorageError

# What a person can mend, and what the system calls it.
_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_OF_READING = (errno.EIO, errno.EACCES, errno.EPERM, errno.ESTALE)
_OF_PROCESSES = (errno.EMFILE, errno.ENFILE)
_CAUSES = {
    os.strerror(number): number
    for number in (*_OF_WRITING, *_OF_READING, *_OF_PROCESSES)
}
_OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"  # of a device, in XLA's words


def cause(error: BaseException | None) -> str | None:
    """What the system says of the disk, such as "No space left on device".

    None: an error has another cause. Orbax passes on the text alone, in exceptions of
    many types.
    """
    while error is not None:
        number = getattr(error, "errno", None)
        if number in _CAUSES.values():
            return os.strerror(number)
        for text in _CAUSES:
            if text.lower() in str(error).lower():
                return text
        error = error.__cause__ or error.__context__
    return None


def check_readable(path: Path, error: Exception) -> None:
    """Raises what kept a file from being read, unless that is the file itself.

    A file is not damaged because the machine lacks memory, descriptors or permission.

    Raises:
        StorageError: The disk or the system did.
        Exception: The error itself: there is too little memory.
    """
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY in str(error):
        raise error
    why = cause(error)
    if why is not None:
        raise StorageError(f"{path} could not be read: {why}.") from error


def failure(
    path: Path,
    why: str,
    safe: str,
    needed: int | None = None,
    *,
    done: str = "written",
) -> StorageError:
    """The error of a file that could not be written.

    Args:
        path: The file or folder.
        why: Reason, in the words of the system.
        safe: Sentence about what is not lost.
        needed: Bytes to be written. None: few.
        done: Participle that says what could not be done with it.
    """
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    sizes = f"{shutil.disk_usage(there).free / 1e6:,.1f} MB free"
    if needed is not None:
        sizes = f"{needed / 1e6:,.1f} MB needed, {sizes}"
    return StorageError(f"{path} could not be {done}: {why} ({sizes}). {safe}")


@contextlib.contextmanager
def named_failure(folder: Path) -> Iterator[None]:
    """Says in one line what the disk of a folder lacks, where that ends a run.

    Args:
        folder: The run's folder.
    """
    try:
        yield
    except EXPLAINED:
        raise
    except Exception as error:  # Orbax raises many types
        why = cause(error)
        if why is None:
            raise
        file = getattr(error, "filename", None)
        path = Path(file) if file else folder
        done = "written" if _CAUSES[why] in _OF_WRITING else "read or written"
        safe = "The checkpoints that were saved before are safe."
        raise failure(path, why, safe, done=done) from error
