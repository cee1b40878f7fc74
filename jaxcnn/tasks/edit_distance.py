"""The edit distance of two sequences."""

from collections.abc import Hashable, Sequence

import numpy as np


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Fewest insertions, deletions and substitutions that make one of the other.

    Levenshtein, "Binary Codes Capable of Correcting Deletions, Insertions, and
    Reversals", 1966; computed a row of the table at a time (Wagner and Fischer, 1974).

    Args:
        a: A text, or a list of words.
        b: Another one.
    """
    if len(a) < len(b):  # fewer and longer rows
        a, b = b, a
    a, b = _numbered(a, b)
    columns = np.arange(len(b) + 1)
    row = columns
    for item in a:
        previous = row
        row = previous + 1  # deletions
        row[1:] = np.minimum(row[1:], previous[:-1] + (b != item))
        # Insertions: the least of row[i] + j - i over i up to j.
        row = np.minimum.accumulate(row - columns) + columns
    return int(row[-1])


def _numbered(
    a: Sequence[Hashable], b: Sequence[Hashable]
) -> tuple[np.ndarray, np.ndarray]:
    """Both with a number for each distinct item."""
    numbers: dict[Hashable, int] = {}
    a, b = ([numbers.setdefault(x, len(numbers)) for x in items] for items in (a, b))
    return np.array(a, np.int64), np.array(b, np.int64)
