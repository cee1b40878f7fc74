"""Errors that the command line prints in one line.

Any other exception is a failure of the program: it keeps its traceback.
"""

import codecs
from collections.abc import Iterable
import difflib
import traceback
import unicodedata

_INVISIBLE = {"Cc", "Cs", "Zl", "Zp"}  # control, surrogate, line and paragraph breaks
_DIRECTIONS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


class UserError(ValueError):
    """A user's mistake, in one line: the rule, the value and what is allowed.

    The command line prints only this line and exits with 2.
    """


class StorageError(OSError):
    """A file that could not be written, in one line: path, why, and what is safe.

    The command line prints only this line and exits with 1.
    """


class DivergedError(FloatingPointError):
    """A run whose loss, gradients or parameters are not finite, in one line.

    The command line prints only this line and exits with 1.
    """


# What says in one line all that is known: nothing is to be added or waited for.
EXPLAINED = (UserError, StorageError, FloatingPointError)


def shown(value: object) -> str:
    """The repr of a value; its middle is left out where it is long."""
    try:
        text = repr(value)
    except Exception as error:  # repr is any code, and refuses huge integers
        text = f"a {type(value).__name__} ({type(error).__name__})"
    return text if len(text) <= 300 else f"{text[:200]}...{text[-80:]}"


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Returns the error for an unknown name, with the most similar known names."""
    known = sorted(known)
    nearest = difflib.get_close_matches(name, known, n=5, cutoff=0.6)
    parts = [other for other in known if name in other.split("_")]  # lr, peak_lr
    nearest = [*dict.fromkeys([*parts, *nearest])]
    if nearest and len(known) > 12:
        return UserError(
            f"Unknown {kind} {shown(name)}; nearest: {', '.join(nearest)}."
        )
    nearest = f"; nearest: {nearest[0]}" if nearest else ""
    return UserError(
        f"Unknown {kind} {shown(name)}{nearest}; known: {', '.join(known) or 'none'}."
    )


def require(holds: bool, name: str, value: object, rule: str) -> None:
    """Raises UserError("NAME must be RULE, not VALUE.") unless `holds` is true."""
    if not holds:
        raise UserError(f"{name} must be {rule}, not {shown(value)}.")


def in_one_line(error: BaseException, file: str = "") -> str:
    """What an exception in a user's own file says, and the line that raised it.

    Args:
        error: The exception.
        file: The file that was run, of which the last line is named. Empty: the line
            that raised the exception, in whatever file.
    """
    text = printable(" ".join(str(error).split()))
    if isinstance(error, SyntaxError) and error.filename:
        return f"SyntaxError in {error.filename}, line {error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in frames if frame.filename == file] or frames
    if file and frames[-1].filename != file:  # it could not be compiled
        return f"{type(error).__name__} in {file}: {text}"
    line = f"{frames[-1].filename}, line {frames[-1].lineno}"
    return f"{type(error).__name__} in {line}: {text}"


def _unchanged(error: UnicodeError) -> tuple[str | bytes, int]:
    """Bytes of a name that was no UTF-8 as they were; what else the encoding does not
    have as an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letter = error.object[error.start]
    if "\udc80" <= letter <= "\udcff":
        return letter.encode("ascii", "surrogateescape"), error.start + 1
    return letter.encode("unicode_escape").decode(), error.start + 1


UNCHANGED = "jaxcnn.unchanged"  # for errors= of a file
codecs.register_error(UNCHANGED, _unchanged)


def printable(text: str) -> str:
    """A text in which what a terminal would obey, or could not show, is escaped.

    These are control characters and line breaks, marks of the direction of text, and
    bytes of file names that are not UTF-8.
    """
    return "".join(map(_visible, text))


def _visible(letter: str) -> str:
    if unicodedata.category(letter) in _INVISIBLE or letter in _DIRECTIONS:
        return letter.encode("unicode_escape").decode()
    return letter
