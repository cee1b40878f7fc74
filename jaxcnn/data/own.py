"""Data sets of a user's own, from arrays or anything with a length and an index."""

from collections.abc import Iterable, Mapping, Sequence
import contextlib
import hashlib
import numbers
from typing import Any

import numpy as np

from jaxcnn.config import DataConfig
from jaxcnn.data import arrays, groups, splits
from jaxcnn.data import images as images_lib
from jaxcnn.data.examples import (
    BadImageError,
    Dataset,
    Examples,
    Unread,
    check_example,
    fields_used,
    make_dataset,
)
from jaxcnn.errors import UserError, require
from jaxcnn.targets import (
    SPATIAL,
    Target,
    Targets,
    check_targets,
    classes,
    only_label,
)

Part = tuple[Any, Any]  # images and their targets


def from_arrays(
    images: Any,
    values: Any,
    *,
    targets: Targets | None,
    validation: Part | None,
    test: Part | None,
    names: Sequence[str] | None,
    value_range: tuple[float, float] | None,
    config: DataConfig,
) -> Dataset:
    """The data set of Dataset.from_arrays, which says what the arguments are."""
    given = {"train": (images, values), "validation": validation, "test": test}
    parts = {split: part for split, part in given.items() if part is not None}
    for split, part in parts.items():
        holds = isinstance(part, tuple | list) and len(part) == 2
        require(holds, split, f"a {type(part).__name__}", "(images, targets)")
    pixels = {
        split: to_uint8(
            _of_one_size(part[0], split), value_range, f"the {split} images"
        )
        for split, part in parts.items()
    }
    named = {split: part[1] for split, part in parts.items()}
    if targets is None:
        targets, columns = _inferred(named, names)
    else:
        require(
            names is None, "names", names, "None with targets, which have their own"
        )
        check_targets(targets)
        columns = {split: _declared(named[split], targets, split) for split in named}
    for split in parts:
        for name, target in targets.items():
            _check_shape(name, target, columns[split][name], pixels[split], split)
    dataset = arrays.dataset(
        "from_arrays",
        targets,
        {split: (pixels[split], columns[split]) for split in parts},
        config,
        stratify_by=only_label(targets),
        by_content=True,
    )
    return dataset.with_info(value_range=value_range)


def _of_one_size(images: Any, split: str) -> np.ndarray:
    try:
        return np.asarray(images)
    except ValueError as error:
        raise UserError(
            f"The {split} images are not all of one size; Dataset.from_examples takes "
            "such."
        ) from error


def _declared(values: Any, targets: Targets, split: str) -> dict[str, np.ndarray]:
    """The column of each target, as the targets say what it is."""
    if not isinstance(values, Mapping) or values.keys() != targets.keys():
        found = [*values] if isinstance(values, Mapping) else type(values).__name__
        rule = f"a dict of arrays with the names {[*targets]}"
        raise UserError(
            f"The targets of the {split} split must be {rule}, not {found}."
        )
    return {
        name: _ragged(x) if targets[name].ragged else _stacked(name, x, split)
        for name, x in values.items()
    }


def _stacked(name: str, values: Any, split: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError:  # of lists that differ in length
        array = np.empty(0, object)
    what = f"Target {name!r} of the {split} split"
    holds = array.dtype.kind in "biuf"
    require(holds, what, str(array.dtype), "an array of numbers, of one shape")
    return array


def _ragged(values: Any) -> np.ndarray:
    """An object array of arrays whose shapes may differ."""
    column = np.empty(len(values), object)
    for index, value in enumerate(values):
        column[index] = np.asarray(value)
    return column


def _check_shape(
    name: str, target: Target, column: np.ndarray, images: np.ndarray, split: str
) -> None:
    """Raises UserError where there is not one target for each image, of its shape."""
    if len(column) != len(images):
        raise UserError(
            f"The {split} split has {len(images)} images and {len(column)} targets "
            f"{name!r}; there must be one for each image."
        )
    if target.ragged:  # their shapes are checked as they are read
        return
    shape = images.shape[:3] if target.kind in SPATIAL else images.shape[:1]
    rule = f"{shape + target.shape} for {len(images)} images"
    if target.kind in SPATIAL:
        rule += f" of {images.shape[1]} x {images.shape[2]} pixels"
    what = f"The shape of target {name!r} of the {split} split"
    require(column.shape == shape + target.shape, what, column.shape, rule)


def to_uint8(
    images: np.ndarray,
    value_range: tuple[float, float] | None,
    what: str,
    leading: tuple[str, ...] = ("N",),
    hint: str = ", and floats with their black and white, as in value_range=(0, 1)",
) -> np.ndarray:
    """[N, H, W] or [N, H, W, C] -> uint8 [N, H, W, C], see images.to_uint8.

    Args:
        images: The images.
        value_range: Black and white in float images; None for others.
        what: Whose images they are, for errors.
        leading: Names of the axes before height and width; () for one image.
        hint: End of the error for another dtype, which says what can be done.

    Raises:
        UserError: Another shape or dtype, floats without a range or beyond it.
    """
    axes, shape = (*leading, "H", "W"), images.shape
    if images.ndim == len(axes):
        images = images[..., None]
    holds = images.ndim == len(axes) + 1 and images.shape[-1] in (1, 3)
    grey, one, three = (f"[{', '.join([*axes, *c])}]" for c in ("", "1", "3"))
    require(holds, f"The shape of {what}", shape, f"{grey}, {one} or {three}")
    if 0 in shape[len(leading) :]:
        raise UserError(f"The shape of {what} is {shape}: it has no pixels.")
    if value_range is None:
        try:
            return images_lib.to_uint8(images)
        except ValueError as error:
            raise UserError(f"{what.capitalize()}: {error}{hint}.") from error
    if not np.issubdtype(images.dtype, np.floating):
        rule = "float, with a value_range"
        raise UserError(f"The dtype of {what} must be {rule}, not {images.dtype}.")
    holds = isinstance(value_range, Sequence) and len(value_range) == 2
    holds = holds and all(isinstance(end, numbers.Real) for end in value_range)
    require(holds, "value_range", value_range, "(black, white), such as (0, 1)")
    low, high = map(float, value_range)
    require(low < high, "value_range", value_range, "(black, white), black first")
    holds = 1e-30 < high - low < 1e30
    require(holds, "value_range", value_range, "of a size over 1e-30 and under 1e30")
    outside = (images < low) | (images > high) | ~np.isfinite(images)
    if outside.any():
        raise UserError(
            f"There is a value of {images[outside].flat[0]} in {what}; with "
            f"value_range={value_range} all must be from {low} to {high}."
        )
    scaled = (images.astype(np.float64) - low) * (255 / (high - low))
    return np.round(scaled).astype(np.uint8)


def _inferred(
    values: Mapping[str, Any], names: Sequence[str] | None
) -> tuple[Targets, dict[str, dict[str, np.ndarray]]]:
    """(the one target, split -> its column), by what is in the arrays.

    Integers, texts or truth values [N] are labels, whole numbers 0 and 1 or truth
    values [N, K] labels of which an image may have several, and floats [N] or [N, D]
    values.
    """
    holds = isinstance(names, Iterable) and not isinstance(names, str)
    require(names is None or holds, "names", names, "a sequence of texts")
    names = None if names is None else tuple(map(str, names))
    if names is not None:
        require(len(set(names)) == len(names), "names", names, "all different")
    columns = {split: _plain(column) for split, column in values.items()}
    train = columns["train"]
    for split, column in columns.items():
        if (_KINDS.get(column.dtype.kind), column.shape[1:]) != (
            _KINDS.get(train.dtype.kind),
            train.shape[1:],
        ):
            raise UserError(
                f"The {split} targets are {column.dtype} {[*column.shape]} and the "
                f"training targets {train.dtype} {[*train.shape]}; they must be alike."
            )
    name, target, columns = _target(columns, names)
    return {name: target}, {split: {name: x} for split, x in columns.items()}


_KINDS = {"i": "integer", "u": "integer", "b": "bool", "f": "float", "U": "text"}


def _plain(values: Any) -> np.ndarray:
    """An array; of texts where they are objects, as in a column of pandas."""
    try:
        array = np.asarray(values)
    except ValueError as error:  # of lists that differ in length
        raise UserError(f"The targets are no array: {error}") from error
    if array.dtype == object and all(isinstance(x, str) for x in array.flat):
        return array.astype(str)
    return array


def _target(
    columns: Mapping[str, np.ndarray], names: tuple[str, ...] | None
) -> tuple[str, Target, dict[str, np.ndarray]]:
    """(name of the target, the target, split -> its column)."""
    train = columns["train"]
    kind, ndim = train.dtype.kind, train.ndim
    if kind == "U" and ndim == 1:
        names = names or tuple(sorted(set(train.tolist())))
        number = {name: i for i, name in enumerate(names)}
        for split, column in columns.items():
            for text in column.tolist():
                if text not in number:
                    raise UserError(
                        f"The {split} split has class {text!r}; the classes are "
                        f"{', '.join(names)}."
                    )
        labels = {
            split: np.array([number[text] for text in column.tolist()], np.int32)
            for split, column in columns.items()
        }
        return "label", classes(names)["label"], labels
    if kind in "iub" and ndim == 1:
        names = names or _numbered(columns)
        return "label", classes(names)["label"], dict(columns)
    if kind in "iub" and ndim == 2:
        names = names or tuple(map(str, range(train.shape[1])))
        _check_names(names, train.shape[1])
        target = Target("labels", "uint8", train.shape[1:], names=names)
        return "labels", target, dict(columns)
    if kind == "f" and ndim in (1, 2):
        wide = {s: column.reshape(len(column), -1) for s, column in columns.items()}
        size = wide["train"].shape[1]
        default = ["value"] if size == 1 else [f"value{i}" for i in range(size)]
        names = names or tuple(default)
        _check_names(names, size)
        return "value", Target("value", "float32", (size,), names=names), wide
    raise UserError(
        f"Targets of shape {train.shape} and dtype {train.dtype} are not understood; "
        "integers, texts or truth values [N] are classes, 0 and 1 [N, K] several "
        "classes, floats [N] or [N, D] numbers; targets= says what others are."
    )


def _numbered(columns: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Names of the classes of labels that are numbers, each of them in training."""
    train = columns["train"]
    if train.dtype.kind == "b":
        if train.all() or not train.any():
            raise UserError(
                f"All training labels are {train[0]}; a classification needs two "
                "classes or more."
            )
        return ("False", "True")
    largest = max(int(column.max(initial=0)) for column in columns.values())
    found = np.unique(train[train >= 0])
    if len(found) <= largest:
        gaps = np.flatnonzero(found != np.arange(len(found)))
        absent = gaps[0] if len(gaps) else len(found)
        raise UserError(
            f"No training image has label {absent}: labels are 0 to K - 1, and the "
            f"largest is {largest}. names= says which classes there are."
        )
    if largest == 0:
        raise UserError("All labels are 0; a classification needs two classes or more.")
    return tuple(map(str, range(largest + 1)))


def _check_names(names: Sequence[str], size: int) -> None:
    holds = len(names) == size
    require(holds, "names", tuple(names), f"{size} names, one for each column")


def from_examples(
    examples: Examples,
    targets: Targets,
    *,
    validation: Examples | None,
    test: Examples | None,
    mean: Sequence[float],
    std: Sequence[float],
    name: str,
    config: DataConfig,
) -> Dataset:
    """The data set of Dataset.from_examples, which says what the arguments are."""
    parts = {"train": examples, "validation": validation, "test": test}
    parts = {split: part for split, part in parts.items() if part is not None}
    check_targets(targets)
    for field, values in (("mean", mean), ("std", std)):
        holds = np.ndim(values) == 1 and len(values) in (1, 3)
        holds = holds and all(isinstance(x, numbers.Real) for x in values)
        rule = "(grey,) or (red, green, blue)"
        require(holds, field, values, rule)
    holds = all(0 <= number <= 1 for number in mean)
    require(holds, "mean", mean, "in [0, 1], of pixels divided by 255")
    holds = all(1e-6 < number <= 1 for number in std)
    require(holds, "std", std, "in (1e-6, 1], of pixels divided by 255")
    holds, rule = len(mean) == len(std), f"of {len(mean)} numbers, as mean is"
    require(holds, "std", std, rule)
    for split, part in parts.items():
        missing = [m for m in ("__len__", "__getitem__") if not hasattr(part, m)]
        if missing:
            raise UserError(
                f"The {split} examples, a {type(part).__name__}, have no "
                f"{' and no '.join(missing)}: a run that is resumed exactly reads "
                "examples by number, which an iterator cannot. Make them arrays and "
                "use Dataset.from_arrays, or a class with a length and an index."
            )
        if len(part) == 0:
            raise UserError(f"The {split} split is empty.")
        with contextlib.suppress(BadImageError):  # data.bad_images says what to do
            check_example(part[0], targets, len(mean), split, 0)
        parts[split] = part if hasattr(part, "column") else _Columns(part, targets)
    by = only_label(targets)
    cut_off = "validation" not in parts
    for split, part in parts.items():
        _check_example_names(part, split)
    parts = splits.complete(parts, targets, config, stratify_by=by, numbered=True)
    lengths = {split: len(part) for split, part in parts.items()}
    text = f"by name {name} {lengths} {groups.digest(config.groups)}"
    return make_dataset(
        parts,
        targets=targets,
        channels=len(mean),
        mean=tuple(map(float, mean)),
        std=tuple(map(float, std)),
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        made_with=fields_used(config, validation=cut_off),
    )


def _check_example_names(examples: Examples, split: str) -> None:
    """Raises UserError unless examples that have names have one text each."""
    names = getattr(examples, "example_names", None)
    if names is None:
        return
    what, rule = f"example_names of the {split} split", f"{len(examples)} texts"
    holds = hasattr(names, "__len__") and not isinstance(names, str)
    found = f"{type(names).__name__} of {len(names)}" if holds else names
    holds = holds and len(names) == len(examples)
    require(holds and all(isinstance(n, str) for n in names), what, found, rule)


class _Columns:
    """Examples whose columns are read example by example."""

    def __init__(self, examples: Any, targets: Targets) -> None:
        self.example_names = getattr(examples, "example_names", None)
        self._examples = examples
        self._targets = targets
        self._columns: dict[str, np.ndarray] = {}

    def column(self, target: str) -> np.ndarray | Unread:
        row = self._targets[target]
        if row.kind in SPATIAL:
            return Unread(
                lambda i: np.asarray(self._examples[i][target]), np.arange(len(self))
            )
        if target not in self._columns:
            values = [self._examples[i][target] for i in range(len(self))]
            self._columns[target] = _ragged(values) if row.ragged else np.array(values)
        return self._columns[target]

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._examples[index]
