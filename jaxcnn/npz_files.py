"""Files of NumPy arrays by name, checked when they are opened."""

from collections.abc import Mapping
from pathlib import Path
import zipfile

import numpy as np

from jaxcnn import whole_files
from jaxcnn.errors import UserError

_COUNT = slice(-12, -10)  # of the end of a zip file, its number of members


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays whole or not at all."""
    with whole_files.replacing(path) as unfinished, unfinished.open("wb") as file:
        np.savez(file, **arrays)


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file.

    Raises:
        UserError: The file is damaged: a checksum, which the format has of each array,
            is another.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            wrong, found = archive.testzip(), len(archive.namelist())
        if wrong is not None:
            raise ValueError(f"{wrong} was altered")
        stated = int.from_bytes(path.read_bytes()[_COUNT], "little")
        if stated != found:
            raise ValueError(f"it has {found} arrays of {stated}")
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except _DAMAGED as error:
        raise UserError(f"{path} is damaged: {error}.") from error


# A flipped bit may name another compression (NotImplementedError) or ask for a
# password (RuntimeError).
_DAMAGED = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile)
