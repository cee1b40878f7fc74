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

A mask of classes is Target("mask", dtype, names=(...), fill=255): each pixel has the
number of its class, 0 to len(names) - 1, or the void label `fill`, which says that no
class is known there and which also stands outside the image. Losses and metrics leave
void pixels out. masks() makes such a target.
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
    "mask": "moves as the image does, nearest pixel: integers [H, W], classes 0 to "
    "len(names) - 1 or fill where there are names",
    "boxes": "corners move: (y1, x1, y2, x2) in pixels, [..., 4]",
    "points": "each moves: (y, x) in pixels, [..., 2]",
    "text": "stays: integers, each the number of a character in names, [N]",
}
SPATIAL = frozenset({"image", "mask"})  # as high and wide as the image
MOVED = SPATIAL | {"boxes", "points"}  # by a change of geometry
VOID = 255  # of a mask's pixels without a class, where there are up to 255 classes
MIN_SIDE_PIXELS = 0.01  # smallest side of a moved box that still counts as visible
_COORDINATES = {"boxes": 4, "points": 2}  # length of the last axis
_CASTS = {"b": "b", "u": "bui", "i": "bui", "f": "buif"}  # dtype.kind -> castable to it
# What else a batch holds, see data/batches.py and augment/mixing.py.
RESERVED = frozenset({"image", "weight", "other", "other_share"})


@dataclasses.dataclass(frozen=True)
class Target:
    """One target of every example of a data set.

    Attributes:
        kind: A key of KINDS.
        dtype: Name of the NumPy dtype in a batch.
        shape: Shape of one example's target; for spatial kinds, the axes after height
            and width.
        ragged: Whether the length of the first axis differs from example to example.
            In a batch it is filled up with zeros to shape[0], and NAME_mask, bool
            [B, shape[0]], is true where there is something.
        names: Names of the classes of a label or a mask, or the characters of a text,
            in the order of their numbers; or names of the numbers of a value. A mask
            without names may hold any integers.
        of: Name of the ragged target that the items of this ragged target belong to,
            one to one, such as the labels "of" the boxes. Items that belong together
            are dropped together, and NAME_mask is that of the target named here.
        fill: Value of a spatial kind outside the image, where there is nothing to see.
            In a mask with names it is the void label, that of pixels without a class;
            unless it is one of the classes, and every pixel has one.
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
        spatial, dtype = self.kind in SPATIAL, _numeric(self.dtype)
        holds = isinstance(self.shape, tuple) and all(
            isinstance(side, int | np.integer) and side > 0 for side in self.shape
        )
        rule = "a tuple of positive integers"
        require(holds, "A target's shape", self.shape, rule)
        self._check_names(dtype)
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
        is_whole = dtype.kind != "f" and float(self.fill).is_integer()
        holds = dtype.kind == "f" or is_whole and int(self.fill) in _limits(dtype)
        rule = f"a value of dtype {self.dtype!r}"
        require(holds, "A target's fill", self.fill, rule)

    def _check_names(self, dtype: np.dtype) -> None:
        """Raises UserError where the names are not those of the classes."""
        holds = isinstance(self.names, tuple) and all(
            isinstance(name, str) for name in self.names
        )
        require(holds, "A target's names", self.names, "a tuple of texts")
        if self.kind == "label":
            rule = "one for each class of kind 'label', at least one"
            require(len(self.names) > 0, "A target's names", self.names, rule)
            rule = f"an integer up to {len(self.names) - 1} of kind 'label'"
            holds = dtype.kind in "iu" and len(self.names) - 1 in _limits(dtype)
            require(holds, "A target's dtype", self.dtype, rule)
        if self.kind == "text" and self.names:
            rule = "all different, of kind 'text'"
            holds = len(set(self.names)) == len(self.names) and "" not in self.names
            require(holds, "A target's names", self.names, rule)
        if self.kind in ("mask", "text") and self.names:
            last = len(self.names) - 1
            rule = f"an integer up to {last} of kind {self.kind!r}"
            holds = dtype.kind in "iu" and last in _limits(dtype)
            require(holds, "A target's dtype", self.dtype, rule)
        if self.kind == "labels":
            shape = self.shape[:1] if self.ragged else ()
            shape += (len(self.names),)
            rule = f"{shape}, with an axis of its {len(self.names)} names"
            holds = self.shape == shape and len(self.names) > 0
            require(holds, "The shape of a target of kind 'labels'", self.shape, rule)

    def array(self, value: Any) -> np.ndarray:
        """The target of one example as an array; of no items, too, in all its axes."""
        array = np.asarray(value, self.dtype)
        if self.ragged and len(array) == 0:
            return array.reshape(0, *self.shape[1:])
        return array

    def cast(self, column: np.ndarray) -> np.ndarray:
        """A column of its dtype; of objects where the shapes of its rows differ."""
        if column.dtype != object:
            return column.astype(self.dtype)
        arrays = np.empty(len(column), object)
        for index, value in enumerate(column):
            arrays[index] = self.array(value)
        return arrays

    def check(self, values: np.ndarray, split: str, first: int = 0) -> None:
        """Raises UserError for the first example that is not allowed.

        JAX would train on it: one_hot gives zeros and a gather clamps.

        Args:
            values: [N, ...], the target of N examples, or N arrays one by one.
            split: Name of their split, for errors.
            first: Index of the first of them in the split.
        """
        for index, problem in self.problems(values):
            raise UserError(f"Example {first + index} of the {split} split: {problem}.")

    def problems(self, values: Any) -> Iterator[tuple[int, str]]:
        """(index of the example, what is wrong) for each number that is not allowed."""
        if not self.ragged and _is_one_array(values):
            yield from self._problems(values)
            return
        for index, value in enumerate(values):  # of shapes that differ, or unread
            value = np.asarray(value)
            if value.size:
                for _, problem in self._problems(value[None]):
                    yield index, problem

    def _problems(self, values: np.ndarray) -> Iterator[tuple[int, str]]:
        dtype = np.dtype(self.dtype)
        if values.dtype.kind not in _CASTS[dtype.kind]:
            text = (
                f"its {self.kind} is of dtype {values.dtype}, which does not cast to "
            )
            yield 0, f"{text}{self.dtype}"
        elif self.kind == "label":
            wrong = (values < 0) | (values >= len(self.names))
            rule = f"with {len(self.names)} classes it must be 0 to "
            rule += f"{len(self.names) - 1}"
            for place in np.argwhere(wrong):
                label = values[tuple(place)]
                yield place[0], f"label {label} is out of range; {rule}"
        elif self.kind == "mask" and self.names:
            yield from self._problems_of_mask(values)
        elif self.kind == "text" and self.names:
            wrong = (values < 0) | (values >= len(self.names))
            rule = f"with {len(self.names)} of them it must be 0 to "
            rule += f"{len(self.names) - 1}"
            for place in np.argwhere(wrong):
                character = values[tuple(place)]
                yield place[0], f"character {character} is out of range; {rule}"
        elif self.kind == "labels":
            for place in np.argwhere((values != 0) & (values != 1)):
                name, value = self.names[place[-1]], values[tuple(place)]
                yield place[0], f"{name!r} is {value}; it must be 0 or 1"
        elif dtype.kind in "iu" and not np.can_cast(values.dtype, dtype):
            limits = _limits(dtype)
            wrong = (values < limits.start) | (values >= limits.stop)
            rule = f"{self.dtype} holds {limits.start} to {limits.stop - 1}"
            for place in np.argwhere(wrong):
                yield place[0], f"its {self.kind} is {values[tuple(place)]}; {rule}"
        elif values.dtype.kind == "f":
            with np.errstate(over="ignore"):  # what does not fit would be infinite
                cast = values.astype(dtype)
            for place in np.argwhere(~np.isfinite(cast)):
                yield place[0], f"its {self.kind} is {values[tuple(place)]}"
        if self.kind == "boxes" and values.dtype.kind in _CASTS[dtype.kind]:
            turned = np.any(values[..., :2] > values[..., 2:], axis=-1)
            for place in np.argwhere(turned):
                box = [f"{side:g}" for side in values[tuple(place)]]
                rule = "y1 must not exceed y2, nor x1 exceed x2"
                text = f"box ({', '.join(box)}) is not (y1, x1, y2, x2)"
                yield place[0], f"{text}: {rule}"

    def _problems_of_mask(self, values: np.ndarray) -> Iterator[tuple[int, str]]:
        """The first pixel of each example that has neither a class nor fill."""
        wrong = (values < 0) | (values >= len(self.names))
        wrong &= values != self.fill
        if not wrong.any():
            return
        for index in np.flatnonzero(wrong.reshape(len(wrong), -1).any(axis=1)):
            row, column = np.argwhere(wrong[index])[0][:2]
            value = values[index, row, column]
            yield index, f"its {self.pixel_problem(row, column, value)}"

    def pixel_problem(self, row: int, column: int, value: Any) -> str:
        """What is wrong with a pixel of a mask that is of no class, for errors."""
        last = len(self.names) - 1
        void = f", or {self.fill:g} where there is no class"
        return (
            f"mask is {value} at row {row}, column {column}; with {last + 1} classes "
            f"it must be 0 to {last}{'' if self.fill in range(last + 1) else void}"
        )


def _numeric(name: str) -> np.dtype:
    """The dtype of that name; UserError unless it is one of numbers."""
    try:
        dtype = np.dtype(name)
    except TypeError:
        dtype = np.dtype(object)
    require(dtype.kind in _CASTS, "A target's dtype", name, "bool, integer or float")
    return dtype


def _is_one_array(values: Any) -> bool:
    return isinstance(values, np.ndarray) and values.dtype.kind != "O"


def _limits(dtype: np.dtype) -> range:
    """The numbers that an integer or bool dtype holds."""
    if dtype.kind == "b":
        return range(2)
    limits = np.iinfo(dtype)
    return range(limits.min, limits.max + 1)


Targets = Mapping[str, Target]


def classes(names: Sequence[str]) -> dict[str, Target]:
    """The target of images of one class each: "label", the number of its name."""
    return {"label": Target("label", "int32", names=tuple(names))}


def masks(names: Sequence[str]) -> dict[str, Target]:
    """The target of images with a class for each pixel: "mask", [H, W].

    The void label is 255 for up to 255 classes, and 65535 for more.
    """
    dtype = "uint8" if len(names) <= VOID else "uint16"
    void = VOID if dtype == "uint8" else np.iinfo(dtype).max
    return {"mask": Target("mask", dtype, names=tuple(names), fill=int(void))}


def only_label(targets: Targets) -> str | None:
    """Name of the only target that gives each example a class; None: there is none."""
    labels = [n for n, t in targets.items() if t.kind == "label" and t.shape == ()]
    return labels[0] if len(labels) == 1 else None


def check_targets(targets: Targets) -> None:
    """Raises UserError where targets cannot stand in one batch.

    A name is taken by another array, or a target belongs to another that cannot be its
    owner.
    """
    for name, target in targets.items():
        require(isinstance(target, Target), f"targets[{name!r}]", target, "a Target")
    masks = {
        mask_name(name, target) for name, target in targets.items() if target.ragged
    }
    for name, target in targets.items():
        rule = f"other than {', '.join(sorted(RESERVED | masks))}, which a batch holds"
        require(name not in RESERVED | masks, "The name of a target", name, rule)
        if target.of is None:
            continue
        owner = targets.get(target.of)
        holds = owner is not None and owner.ragged and owner.of is None
        rule = "the name of a ragged target that belongs to no other"
        require(holds, f"of in target {name!r}", target.of, rule)
        rule = f"{owner.shape[0]}, like that of {target.of!r}"
        holds = target.shape[0] == owner.shape[0]
        require(holds, f"The first axis of target {name!r}", target.shape[0], rule)


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
