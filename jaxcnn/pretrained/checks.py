"""What is required of the tensors of any weight file, before memory is allocated."""

from collections.abc import Mapping, Sequence
import math
from pathlib import Path
from typing import Any

from jaxcnn.errors import UserError

MAX_DIMENSIONS = 32
_MAX_SIZE = 2**48  # product of the axes that are not empty; NumPy's limit is 2**63
_MAX_NAME = 200  # characters
_MAX_COPIES = 4  # tied weights are views of the same numbers


def readable(text: object, limit: int = 80) -> str:
    """A text from a file for a message: shortened, control characters escaped."""
    text = str(text)
    more = "..." if len(text) > limit else ""
    return repr(text[:limit])[1:-1] + more


def is_shape(shape: Sequence[Any]) -> bool:
    """Whether a shape is one that a tensor can have."""
    return len(shape) <= MAX_DIMENSIONS and (
        all(type(side) is int and 0 <= side <= _MAX_SIZE for side in shape)
        and math.prod(max(side, 1) for side in shape) <= _MAX_SIZE
    )


def check_names(path: Path, names: Mapping[str, Any]) -> None:
    """Raises UserError for a name that could not be shown as it is."""
    for name in names:
        if not name.isprintable() or len(name) > _MAX_NAME:
            raise UserError(
                f"{path} is refused: it has a tensor named '{readable(name)}', and "
                f"names must have at most {_MAX_NAME} characters, all printable."
            )


def check_bytes(path: Path, needed: int, size: int) -> None:
    """Raises UserError where many tensors are views of the same numbers.

    Args:
        path: The weight file.
        needed: Bytes of all its tensors.
        size: Bytes of the file.
    """
    if needed > _MAX_COPIES * size:
        raise UserError(
            f"{path} is refused: its tensors would have {needed} bytes, the file has "
            f"only {size}."
        )
