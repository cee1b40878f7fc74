"""Parts of a split, such as validation, which is cut off training."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from jaxcnn.data.examples import Dataset, Examples, Subset
from jaxcnn.errors import UserError, require


def cut(
    examples: Examples,
    fraction: float,
    seed: int,
    what: str,
    *,
    class_names: Sequence[str] | None = None,
    stratify: bool = True,
) -> tuple[Subset, Subset]:
    """Cuts a random fraction off, and returns (the rest, what is cut off).

    Stratified: of each class round(fraction * its size), but at least one example, and
    at least one is left. (scikit-learn's stratified split keeps the total exact
    instead, and leaves small classes out of the smaller part.)

    Args:
        examples: What is cut; its order is kept in both parts.
        fraction: Size of the part that is cut off, in (0, 1).
        seed: Of the random choice.
        what: Name of the part that is cut off, for errors.
        class_names: For errors; None: classes are named by number.
        stratify: Whether to keep the proportions of the classes. If not, no label is
            read, which a large set of files may need.

    Raises:
        UserError: The fraction is not in (0, 1), or a class has fewer than two
            examples.
    """
    if not 0 < fraction < 1:
        raise UserError(
            f"The fraction for the {what} split is {fraction}; it must be over 0 and "
            "under 1."
        )
    rng = _rng(seed)
    groups = _by_class(examples) if stratify else [np.arange(len(examples))]
    taken = np.zeros(len(examples), bool)
    for label, group in enumerate(groups):
        if len(group) == 0 and stratify:
            continue
        if len(group) < 2:
            name = class_names[label] if class_names else label
            whose = f"Class {name!r} has" if stratify else "There are"
            raise UserError(
                f"{whose} {len(group)} examples where the {what} split is cut off; two "
                f"are needed: add images, or give a {what} split of your own."
            )
        size = min(max(1, round(fraction * len(group))), len(group) - 1)
        taken[rng.permutation(group)[:size]] = True
    return (
        Subset(examples, np.flatnonzero(~taken)),
        Subset(examples, np.flatnonzero(taken)),
    )


def few(dataset: Dataset, per_class: int, seed: int) -> Dataset:
    """The data set with as many random training images of each class, in their order.

    With the same seed, those of a smaller number are among those of a larger one. The
    scale of the images stays.

    Args:
        dataset: What is chosen from; its other splits stay.
        per_class: How many of each class.
        seed: Of the random choice.

    Raises:
        UserError: A class has fewer, or the number is not positive.
    """
    require(per_class >= 1, "data.num_per_class", per_class, "at least 1")
    train, rng, kept = dataset.splits["train"], _rng(seed), []
    groups = _by_class(train, len(dataset.class_names))
    for name, group in zip(dataset.class_names, groups, strict=True):
        rule = f"at most {len(group)}, the number of training images of {name!r}"
        require(per_class <= len(group), "data.num_per_class", per_class, rule)
        kept.append(rng.permutation(group)[:per_class])
    some = Subset(train, np.sort(np.concatenate(kept)))
    return dataclasses.replace(dataset, splits={**dataset.splits, "train": some})


def _rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))


def _by_class(examples: Examples, num_classes: int = 0) -> list[np.ndarray]:
    """The indices of the examples of each class, from class 0 on."""
    labels = np.asarray(examples.labels)
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels, minlength=num_classes)
    return np.split(order, np.cumsum(counts)[:-1])
