"""User errors, as distinct from failures of the program."""

from collections.abc import Iterable
import difflib
import re
import traceback


class UserError(ValueError):
    """A user's mistake, in one line: the rule, the value and what is allowed.

    The command line prints only this line and exits with 2. Any other exception is a
    failure of the program: it keeps its traceback and exits with 1.
    """


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Returns the error for an unknown name, with the most similar known names."""
    known = sorted(known)
    nearest = difflib.get_close_matches(name, known, n=5, cutoff=0.6)
    if nearest and len(known) > 12:
        return UserError(f"Unknown {kind} {name!r}; nearest: {', '.join(nearest)}.")
    nearest = f"; nearest: {nearest[0]}" if nearest else ""
    return UserError(
        f"Unknown {kind} {name!r}{nearest}; known: {', '.join(known) or 'none'}."
    )


def require(holds: bool, name: str, value: object, rule: str) -> None:
    """Raises UserError("NAME must be RULE, not VALUE.") unless `holds` is true."""
    if not holds:
        raise UserError(f"{name} must be {rule}, not {value!r}.")


def printable(text: str) -> str:
    """A text in one line that a terminal only shows: control characters as escapes."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda match: repr(match[0])[1:-1], text)


def in_one_line(error: BaseException) -> str:
    """What an exception in a user's own file says, and the line that raised it."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"SyntaxError in {error.filename}, line {error.lineno}: {error.msg}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())
    return f"{type(error).__name__} in {frame.filename}, line {frame.lineno}: {text}"
