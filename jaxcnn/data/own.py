"""Data sets of a user's own, from arrays or anything with a length and an index."""

from collections.abc import Mapping, Sequence
import hashlib
from typing import Any

import numpy as np

from jaxcnn.config import DataConfig
from jaxcnn.data import arrays, splits
from jaxcnn.data.examples import Dataset, Examples, fields_used, make_dataset
from jaxcnn.errors import UserError, require
from jaxcnn.targets import Target, Targets, classes

Part = tuple[Any, Any]  # images and their targets


def from_arrays(
    images: Any,
    targets: Any,
    *,
    validation: Part | None,
    test: Part | None,
    names: Sequence[str] | None,
    value_range: tuple[float, float] | None,
    config: DataConfig,
) -> Dataset:
    """The data set of Dataset.from_arrays, which says what the arguments are."""
    given = {"train": (images, targets), "validation": validation, "test": test}
    parts = {split: part for split, part in given.items() if part is not None}
    name, target, columns = _target(
        {split: np.asarray(part[1]) for split, part in parts.items()}, names
    )
    pixels = {
        split: to_uint8(np.asarray(part[0]), value_range, f"the {split} images")
        for split, part in parts.items()
    }
    for split in parts:
        if len(pixels[split]) != len(columns[split]):
            raise UserError(
                f"The {split} split has {len(pixels[split])} images and "
                f"{len(columns[split])} targets; there must be one for each image."
            )
    dataset = arrays.dataset(
        "from_arrays",
        {name: target},
        {split: (pixels[split], {name: columns[split]}) for split in parts},
        config,
        stratify_by="label" if name == "label" else None,
    )
    return dataset.with_info(value_range=value_range)


def to_uint8(
    images: np.ndarray, value_range: tuple[float, float] | None, what: str
) -> np.ndarray:
    """[N, H, W] or [N, H, W, C] of uint8 or float -> uint8 [N, H, W, C].

    Args:
        images: The images.
        value_range: Black and white in float images; None for uint8.
        what: Whose images they are, for errors.

    Raises:
        UserError: Another shape or dtype, floats without a range or beyond it.
    """
    if images.ndim == 3:
        images = images[..., None]
    holds = images.ndim == 4 and images.shape[-1] in (1, 3)
    rule = "[N, H, W], [N, H, W, 1] or [N, H, W, 3]"
    require(holds, f"The shape of {what}", images.shape, rule)
    if images.dtype == np.uint8 and value_range is None:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        rule = (
            "uint8 (0 to 255)" if value_range is None else "float, with a value_range"
        )
        raise UserError(f"The dtype of {what} must be {rule}, not {images.dtype}.")
    if value_range is None:
        raise UserError(
            f"The dtype of {what} is {images.dtype}: say what black and white are by "
            "value_range, such as value_range=(0, 1)."
        )
    low, high = value_range
    require(low < high, "value_range", value_range, "(black, white), black first")
    outside = (images < low) | (images > high) | ~np.isfinite(images)
    if outside.any():
        raise UserError(
            f"There is a value of {images[outside].flat[0]} in {what}; with "
            f"value_range={value_range} all must be from {low} to {high}."
        )
    scaled = (images.astype(np.float64) - low) * (255 / (high - low))
    return np.round(scaled).astype(np.uint8)


def _target(
    columns: Mapping[str, np.ndarray], names: Sequence[str] | None
) -> tuple[str, Target, dict[str, np.ndarray]]:
    """(name of the target, the target, split -> its column), by what is in the arrays.

    Integers or texts [N] are labels, whole numbers 0 and 1 or truth values [N, K]
    labels of which an image may have several, and floats [N] or [N, D] values.
    """
    train = columns["train"]
    kind, ndim = train.dtype.kind, train.ndim
    if kind == "U" and ndim == 1:
        names = tuple(names or sorted(set(train.tolist())))
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
    if kind in "iu" and ndim == 1:
        largest = max(int(column.max(initial=0)) for column in columns.values())
        names = names or [str(label) for label in range(largest + 1)]
        return "label", classes(names)["label"], dict(columns)
    if kind in "iub" and ndim == 2:
        names = tuple(names or map(str, range(train.shape[1])))
        _check_names(names, train.shape[1])
        target = Target("labels", "uint8", train.shape[1:], names=names)
        return "labels", target, dict(columns)
    if kind == "f" and ndim in (1, 2):
        wide = {s: column.reshape(len(column), -1) for s, column in columns.items()}
        size = wide["train"].shape[1]
        default = ["value"] if size == 1 else [f"value{i}" for i in range(size)]
        names = tuple(names or default)
        _check_names(names, size)
        return "value", Target("value", "float32", (size,), names=names), wide
    raise UserError(
        f"Targets of shape {train.shape} and dtype {train.dtype} are not understood; "
        "integers or texts [N] are classes, 0 and 1 [N, K] several classes, floats [N] "
        "or [N, D] numbers."
    )


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
    for split, part in parts.items():
        missing = [m for m in ("__len__", "__getitem__") if not hasattr(part, m)]
        if missing:
            raise UserError(
                f"The {split} examples, a {type(part).__name__}, have no "
                f"{' and no '.join(missing)}: a run that is resumed exactly reads "
                "examples by number, which an iterator cannot. Make them arrays and "
                "use Dataset.from_arrays, or a class with a length and an index."
            )
        parts[split] = part if hasattr(part, "column") else _Columns(part)
    cut_off = "validation" not in parts
    if cut_off:
        parts["train"], parts["validation"] = splits.cut(
            parts["train"], config.validation_fraction, config.split_seed, "validation"
        )
    lengths = {split: len(part) for split, part in parts.items()}
    return make_dataset(
        parts,
        targets=targets,
        channels=len(mean),
        mean=tuple(mean),
        std=tuple(std),
        fingerprint=hashlib.sha256(f"{name} {lengths}".encode()).hexdigest(),
        made_with=fields_used(config, validation=cut_off),
    )


class _Columns:
    """Examples whose columns are read example by example."""

    def __init__(self, examples: Any) -> None:
        self._examples = examples
        self._columns: dict[str, np.ndarray] = {}

    def column(self, target: str) -> np.ndarray:
        if target not in self._columns:
            values = [self._examples[i][target] for i in range(len(self))]
            self._columns[target] = np.array(values)
        return self._columns[target]

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._examples[index]
