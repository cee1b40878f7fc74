"""Targets: what an example holds besides its image.

A task says which targets it is trained on and a data set says which it has. Everything
between them, from decoding to the compiled step, knows only what stands here: how a
change of the image's geometry moves a target, and what shape it has in a batch.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from jaxcnn.errors import UserError, require

# Kind -> how a change of geometry moves it.
KINDS = {
    "label": "stays: an integer from 0 to len(names) - 1",
    "labels": "stays: 0 or 1 for each of len(names) classes, [K]",
    "value": "stays: numbers, [D]",
    "image": "moves as the image does, interpolated: [H, W, C]",
    "mask": "moves as the image does, nearest pixel: integers [H, W]",
    "boxes": "corners move: (y1, x1, y2, x2) in pixels, [N, 4]",
    "points": "each moves: (y, x) in pixels, [N, 2]",
    "text": "stays: integers, one a character",
}
SPATIAL = frozenset({"image", "mask"})  # as high and wide as the image


@dataclasses.dataclass(frozen=True)
class Target:
    """One target of every example of a data set.

    Attributes:
        kind: A key of KINDS.
        dtype: Name of the NumPy dtype in a batch.
        shape: Shape in one example of a batch. Of a spatial kind it is what follows
            height and width, which are those of the image.
        ragged: Whether the length of the first axis differs from example to example.
            In a batch it is filled up with zeros to shape[0], and NAME_mask, bool
            [B, shape[0]], is true where there is something.
        names: Names of the classes of a label, in the order of their numbers, or of
            the numbers of a value.
    """

    kind: str
    dtype: str
    shape: tuple[int, ...] = ()
    ragged: bool = False
    names: tuple[str, ...] = ()

    def __post_init__(self):
        require(self.kind in KINDS, "A target's kind", self.kind, f"one of {[*KINDS]}")

    def check(self, values: np.ndarray, split: str, first: int = 0) -> None:
        """Raises UserError for the first example that is not allowed.

        JAX would train on it: one_hot gives zeros and a gather clamps.

        Args:
            values: [N, ...], the target of N examples.
            split: Name of their split, for errors.
            first: Index of the first of them in the split.
        """
        for index, problem in self.problems(np.asarray(values)):
            raise UserError(f"Example {first + index} of the {split} split: {problem}.")

    def problems(self, values: np.ndarray) -> Iterator[tuple[int, str]]:
        """(index of the example, what is wrong) for each number that is not allowed."""
        if self.kind == "label" and self.names:
            wrong = (values < 0) | (values >= len(self.names))
            rule = f"with {len(self.names)} classes it must be 0 to "
            rule += f"{len(self.names) - 1}"
            for place in np.argwhere(wrong):
                label = values[tuple(place)]
                yield place[0], f"label {label} is out of range; {rule}"
        elif self.kind == "labels":
            for place in np.argwhere((values != 0) & (values != 1)):
                name, value = self.names[place[1]], values[tuple(place)]
                yield place[0], f"{name!r} is {value}; it must be 0 or 1"
        elif np.issubdtype(values.dtype, np.floating):
            for place in np.argwhere(~np.isfinite(values)):
                yield place[0], f"its {self.kind} is {values[tuple(place)]}"


Targets = Mapping[str, Target]


def classes(names: Sequence[str]) -> dict[str, Target]:
    """The target of images of one class each: "label", the number of its name."""
    return {"label": Target("label", "int32", names=tuple(names))}


def batch_shapes(
    targets: Targets, height: int, width: int
) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """(shape, dtype) of each array that the targets put into one example of a batch."""
    shapes = {}
    for name, target in targets.items():
        shape = target.shape
        if target.kind in SPATIAL:
            shape = (height, width, *shape)
        shapes[name] = (shape, np.dtype(target.dtype))
        if target.ragged:
            shapes[f"{name}_mask"] = (shape[:1], np.dtype(bool))
    return shapes


def to_batch(targets: Targets, example: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The targets of one example as arrays of their batch's shape and dtype.

    Raises:
        UserError: A ragged target has more items than a batch holds, or a target is
            of another shape than is declared.
    """
    arrays = {}
    for name, target in targets.items():
        value = np.asarray(example[name], target.dtype)
        if target.ragged:
            size, room = len(value), target.shape[0]
            if size > room:
                raise UserError(
                    f"An example has {size} items in target {name!r}; a batch holds "
                    f"{room} for each example."
                )
            filling = [(0, room - size)] + [(0, 0)] * (value.ndim - 1)
            value = np.pad(value, filling)
            arrays[f"{name}_mask"] = np.arange(room) < size
        shape = value.shape[2:] if target.kind in SPATIAL else value.shape
        if shape != target.shape:
            raise UserError(
                f"Target {name!r} of an example has shape {value.shape}; it must be "
                f"{'(H, W) + ' if target.kind in SPATIAL else ''}{target.shape}."
            )
        arrays[name] = value
    return arrays
