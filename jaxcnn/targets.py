"""Targets: what an example holds besides its image.

A task says which targets it is trained on and a data set says which it has. Everything
between them, from decoding to the compiled step, knows only what stands here: how a
change of the image's geometry moves a target, and what shape it has in a batch.

Coordinates are measured in pixels from the top left corner of the image, rows first, so
that pixel (i, j) covers i to i + 1 and j to j + 1: the box of a whole image is
(0, 0, H, W), and the centre of its first pixel is the point (0.5, 0.5). This is
torchvision's convention for boxes, with y before x. torchvision moves keypoints by the
same rule when it resizes and warps, but its flip takes (0, 0) as the centre of the
first pixel; here one rule holds for every operation.
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
    "boxes": "corners move: (y1, x1, y2, x2) in pixels, [..., 4]",
    "points": "each moves: (y, x) in pixels, [..., 2]",
    "text": "stays: integers, one a character",
}
SPATIAL = frozenset({"image", "mask"})  # as high and wide as the image
MOVED = SPATIAL | {"boxes", "points"}  # by a change of geometry
MIN_SIDE_PIXELS = 0.01  # of a moved box: with less, nothing is seen but a rounding
_COORDINATES = {"boxes": 4, "points": 2}  # length of the last axis


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
        of: Name of the ragged target that the items of this ragged target belong to,
            one to one, such as the labels "of" the boxes. Items that belong together
            are dropped together, and NAME_mask is that of the target named here.
        fill: Value of a spatial kind outside the image, where there is nothing to see.
    """

    kind: str
    dtype: str
    shape: tuple[int, ...] = ()
    ragged: bool = False
    names: tuple[str, ...] = ()
    of: str | None = None
    fill: float = 0

    def __post_init__(self):
        require(self.kind in KINDS, "A target's kind", self.kind, f"one of {[*KINDS]}")
        spatial, dtype = self.kind in SPATIAL, np.dtype(self.dtype)
        if self.kind in _COORDINATES:
            length = _COORDINATES[self.kind]
            rule = f"(..., {length}) of kind {self.kind!r}"
            require(self.shape[-1:] == (length,), "A target's shape", self.shape, rule)
            rule = f"a float of kind {self.kind!r}"
            holds = np.issubdtype(dtype, np.floating)
            require(holds, "A target's dtype", self.dtype, rule)
        if self.kind == "mask":  # a class between two others would be a third
            rule = "an integer or bool of kind 'mask'"
            require(dtype.kind in "iub", "A target's dtype", self.dtype, rule)
        rule = f"False of kind {self.kind!r}, which is as high and wide as the image"
        require(not (self.ragged and spatial), "A target's ragged", self.ragged, rule)
        rule = "of at least one axis for a ragged target"
        holds = len(self.shape) > 0 or not self.ragged
        require(holds, "A target's shape", self.shape, rule)
        rule = "None for a target that is not ragged"
        require(self.of is None or self.ragged, "A target's of", self.of, rule)
        rule = f"0 of kind {self.kind!r}, which has no outside"
        require(spatial or not self.fill, "A target's fill", self.fill, rule)

    def array(self, value: Any) -> np.ndarray:
        """The target of one example as an array; of no items, too, in all its axes."""
        array = np.asarray(value, self.dtype)
        if self.ragged and len(array) == 0:
            return array.reshape(0, *self.shape[1:])
        return array

    def check(self, values: np.ndarray, split: str, first: int = 0) -> None:
        """Raises UserError for the first example that is not allowed.

        JAX would train on it: one_hot gives zeros and a gather clamps.

        Args:
            values: [N, ...], the target of N examples; of a ragged target N arrays.
            split: Name of their split, for errors.
            first: Index of the first of them in the split.
        """
        for index, problem in self.problems(values):
            raise UserError(f"Example {first + index} of the {split} split: {problem}.")

    def problems(self, values: Any) -> Iterator[tuple[int, str]]:
        """(index of the example, what is wrong) for each number that is not allowed."""
        if not (self.ragged and len(values)):
            yield from self._problems(np.asarray(values))
            return
        owners = np.repeat(np.arange(len(values)), [len(v) for v in values])
        items = np.concatenate([self.array(v) for v in values])
        for index, problem in self._problems(items):
            yield owners[index], problem

    def _problems(self, values: np.ndarray) -> Iterator[tuple[int, str]]:
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
            if self.kind == "boxes":
                turned = np.any(values[..., :2] > values[..., 2:], axis=-1)
                for place in np.argwhere(turned):
                    box = [f"{side:g}" for side in values[tuple(place)]]
                    rule = "y1 may not be over y2, nor x1 over x2"
                    yield (
                        place[0],
                        f"box ({', '.join(box)}) is no (y1, x1, y2, x2); {rule}",
                    )


Targets = Mapping[str, Target]


def classes(names: Sequence[str]) -> dict[str, Target]:
    """The target of images of one class each: "label", the number of its name."""
    return {"label": Target("label", "int32", names=tuple(names))}


def check_targets(targets: Targets) -> None:
    """Raises UserError where a target belongs to another that cannot be its owner."""
    for name, target in targets.items():
        if target.of is None:
            continue
        owner = targets.get(target.of)
        holds = owner is not None and owner.ragged and owner.of is None
        rule = "the name of a ragged target that belongs to no other"
        require(holds, f"of in target {name!r}", target.of, rule)
        rule = f"{owner.shape[0]}, as that of {target.of!r}, for each example"
        holds = target.shape[0] == owner.shape[0]
        require(holds, f"Room of target {name!r}", target.shape[0], rule)


def mask_name(name: str, target: Target) -> str:
    """Name of the array of a batch that says which items of a ragged target there are.

    Targets that belong together have one such array.
    """
    return f"{target.of or name}_mask"


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
            shapes[mask_name(name, target)] = (shape[:1], np.dtype(bool))
    return shapes


def to_batch(targets: Targets, example: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The targets of one example as arrays of their batch's shape and dtype.

    Raises:
        UserError: A ragged target has more items than a batch holds, or a target is
            of another shape than is declared.
    """
    arrays = {}
    for name, target in targets.items():
        value = target.array(example[name])
        if target.ragged:
            size, room = len(value), target.shape[0]
            if size > room:
                raise UserError(
                    f"An example has {size} items in target {name!r}; a batch holds "
                    f"{room} for each example."
                )
            owner = target.of or name
            if len(example[owner]) != size:
                raise UserError(
                    f"An example has {size} items in target {name!r} and "
                    f"{len(example[owner])} in {owner!r}, which they belong to."
                )
            filling = [(0, room - size)] + [(0, 0)] * (value.ndim - 1)
            value = np.pad(value, filling)
            arrays[mask_name(name, target)] = np.arange(room) < size
        shape = value.shape[2:] if target.kind in SPATIAL else value.shape
        if shape != target.shape:
            raise UserError(
                f"Target {name!r} of an example has shape {value.shape}; it must be "
                f"{'(H, W) + ' if target.kind in SPATIAL else ''}{target.shape}."
            )
        arrays[name] = value
    return arrays
