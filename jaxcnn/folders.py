"""Folders into which results are written, checked before any work is done."""

import os
from pathlib import Path
import re
import tempfile
import unicodedata

from jaxcnn.errors import UserError, shown

_ROOM = 200  # bytes of a path that the names of files below a folder may need
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # Path makes gs:/x of gs://x


def check_writable(folder: Path, what: str) -> None:
    """Raises UserError where a folder, or one of that name, cannot be written.

    Args:
        folder: The folder, which need not exist.
        what: Name of its purpose in errors, such as "--output".
    """
    text = str(folder)

    def refuse(why: str) -> UserError:
        name = text if text.isprintable() else shown(text)
        return UserError(f"{what} cannot be {name}: {why}.")

    if _URL.match(text):
        raise refuse("jaxcnn writes to mounted file systems only, not to a URL")
    if any(unicodedata.category(letter) == "Cc" for letter in text):
        raise refuse("a name may hold no control character")
    try:
        path = folder.absolute()
        there = path
        while not os.path.lexists(there) and there != there.parent:
            there = there.parent
        if not there.is_dir():
            kind = "a file" if there.is_file() else "no folder"
            raise refuse(f"{there} is {kind}")
        longest = os.pathconf(there, "PC_NAME_MAX")
        for part in path.parts[len(there.parts) :]:
            if len(os.fsencode(part)) > longest:
                raise refuse(f"a name may have at most {longest} bytes")
        longest = os.pathconf(there, "PC_PATH_MAX") - _ROOM
        if len(os.fsencode(path)) > longest:
            raise refuse(f"its path may have at most {longest} bytes")
        os.rmdir(tempfile.mkdtemp(prefix=".jaxcnn-", dir=there))
    except OSError as error:
        raise refuse(f"{there} may not be written ({error.strerror})") from error
    except UnicodeEncodeError as error:
        raise refuse("the file system cannot have this name") from error
