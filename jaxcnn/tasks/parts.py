"""Parts of a report and marks on an image, as plain data; the package report draws and
prints them."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import ClassVar

import numpy as np


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of text.

    Attributes:
        name: Name of its file, without a suffix.
        title: Title of the table; empty: none.
        header: Names of the columns; the first one is to the left.
        rows: Cells.
    """

    kind: ClassVar[str] = "table"
    name: str
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Matrix:
    """Counts of pairs of classes: rows true, columns predicted.

    Attributes:
        name: Name of its files, without a suffix.
        title: Title of the figure.
        names: K names of classes.
        counts: [K, K].
    """

    kind: ClassVar[str] = "matrix"
    name: str
    title: str
    names: Sequence[str]
    counts: Sequence[Sequence[float]]


@dataclasses.dataclass(frozen=True)
class Scatter:
    """Pairs of numbers, with the line on which both are equal.

    Attributes:
        name: Name of its files, without a suffix.
        title: Title of the figure.
        x_label: Name of x.
        y_label: Name of y.
        x: Numbers along the first axis.
        y: Numbers along the second axis, one for each x.
    """

    kind: ClassVar[str] = "scatter"
    name: str
    title: str
    x_label: str
    y_label: str
    x: Sequence[float]
    y: Sequence[float]


Part = Table | Matrix | Scatter


@dataclasses.dataclass(frozen=True)
class Caption:
    """A line of text below an image."""

    kind: ClassVar[str] = "caption"
    text: str


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """An image beside the one that it was made of, such as a restored one.

    Attributes:
        pixels: uint8 [H, W, C], with 1 (grey) or 3 (RGB) channels.
    """

    kind: ClassVar[str] = "picture"
    pixels: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Regions:
    """A class for each pixel, drawn as colours over the image with a key below.

    The picture of an image begins with it; marks below the image follow.

    Attributes:
        mask: Number of the class of each pixel, integers [H, W], for the whole image.
        key: Number of a class -> text of the key, for each class in the mask.
    """

    kind: ClassVar[str] = "regions"
    mask: np.ndarray
    key: Mapping[int, str]


@dataclasses.dataclass(frozen=True, eq=False)
class HeatMap:
    """A number for each pixel, drawn as colours over the image, beside the image.

    Attributes:
        levels: uint16 [H, W], 65535 for the largest number, for the whole image.
        places: (y, x) in pixels of places that are marked.
    """

    kind: ClassVar[str] = "heat_map"
    levels: np.ndarray
    places: Sequence[tuple[float, float]] = ()


Mark = Caption | HeatMap | Picture | Regions
