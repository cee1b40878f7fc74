"""Parts of a split, such as validation, which is cut off training."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxcnn.config import DataConfig
from jaxcnn.data.examples import Dataset, Examples, Subset
from jaxcnn.data.order import generator
from jaxcnn.errors import UserError, require
from jaxcnn.targets import Targets

SPLITS = ("train", "validation", "test")


def complete(
    parts: Mapping[str, Examples],
    targets: Targets,
    config: DataConfig,
    *,
    stratify_by: str | None,
    missing: Sequence[str] = ("validation",),
) -> dict[str, Examples]:
    """All splits, of which those that are missing are cut off the training examples.

    Args:
        parts: "train", and other splits where there are such.
        targets: Targets of each example.
        config: Gives the fractions and the seed.
        stratify_by: Target whose proportions the cuts keep; None: they keep none.
        missing: Splits that are cut off unless they are among the parts, in this order.

    Raises:
        UserError: A fraction is not in (0, 1), a class has too few examples, or a
            label is out of range.
    """
    result = dict(parts)
    fractions = {"validation": config.validation_fraction, "test": config.test_fraction}
    for split in missing:
        if split in result:
            continue
        strata = names = None
        if stratify_by is not None:
            target = targets[stratify_by]
            column, names = result["train"].column(stratify_by), target.names
            target.check(column, "train")
            strata = target.cast(column)
        result["train"], result[split] = cut(
            result["train"],
            fractions[split],
            config.split_seed,
            split,
            strata=strata,
            names=names,
        )
    return {split: result[split] for split in SPLITS if split in result}


def cut(
    examples: Examples,
    fraction: float,
    seed: int,
    what: str,
    *,
    strata: np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> tuple[Subset, Subset]:
    """Cuts a random fraction off, and returns (the rest, what is cut off).

    With strata: of each stratum round(fraction * its size), but at least one example,
    and at least one is left. (scikit-learn's stratified split keeps the total exact
    instead, and leaves small classes out of the smaller part.)

    Args:
        examples: Examples to cut; both parts keep their order.
        fraction: Size of the part that is cut off, in (0, 1).
        seed: Seed of the random choice.
        what: Name of the part that is cut off, for errors.
        strata: int [N], the stratum of each example, such as its class, whose
            proportions are kept; None: they are not.
        names: Names of the strata, for errors; None: they are numbers.

    Raises:
        UserError: The fraction is not in (0, 1), or a stratum has fewer than two
            examples.
    """
    if not 0 < fraction < 1:
        raise UserError(
            f"The fraction for the {what} split is {fraction}; it must be over 0 and "
            "under 1."
        )
    rng = generator(seed)
    groups = [np.arange(len(examples))] if strata is None else _members(strata)
    taken = np.zeros(len(examples), bool)
    for stratum, group in enumerate(groups):
        if len(group) == 0 and strata is not None:
            continue
        if len(group) < 2:
            name = stratum_name(names or (), stratum)
            whose = "The training split" if strata is None else f"Class {name!r}"
            number = "1 example" if len(group) == 1 else f"{len(group)} examples"
            raise UserError(
                f"{whose} has {number}; at least 2 are needed to split off the {what} "
                f"split: add images, or give a {what} split of your own."
            )
        size = min(max(1, round(fraction * len(group))), len(group) - 1)
        taken[rng.permutation(group)[:size]] = True
    return (
        Subset(examples, np.flatnonzero(~taken)),
        Subset(examples, np.flatnonzero(taken)),
    )


def few(
    dataset: Dataset,
    strata: np.ndarray | None,
    names: Sequence[str],
    number: int,
    seed: int,
) -> Dataset:
    """The data set with as many random training images of each stratum, in their order.

    With the same seed, those of a smaller number are among those of a larger one. The
    scale of the images stays.

    Args:
        dataset: Data set whose training split is reduced.
        strata: int [N], the stratum of each training example, such as its class; None
            where the task has none.
        names: Names of the strata; those without one are called by their number.
        number: Number of examples of each stratum.
        seed: Seed of the random choice.

    Raises:
        UserError: A stratum has fewer, the number is not positive, or there are none.
    """
    some = Subset(dataset.splits["train"], few_indices(strata, names, number, seed))
    return dataset.with_splits({**dataset.splits, "train": some})


def few_indices(
    strata: np.ndarray | None, names: Sequence[str], number: int, seed: int
) -> np.ndarray:
    """int64 [M], in order: as many random examples of each stratum, see few."""
    field = "data.num_per_class"
    require(strata is not None, field, number, "None for a task without classes")
    require(number >= 1, field, number, "at least 1")
    rng, kept = generator(seed), []
    for stratum, group in enumerate(_members(strata, len(names))):
        if len(group) == 0 and stratum >= len(names):
            continue  # a number that no example has
        name = stratum_name(names, stratum)
        rule = f"at most {len(group)}, the number of training images of {name!r}"
        require(number <= len(group), field, number, rule)
        kept.append(rng.permutation(group)[:number])
    return np.sort(np.concatenate(kept))


def stratum_name(names: Sequence[str], stratum: int) -> str | int:
    """Name of a stratum, for errors; its number where it has none."""
    return names[stratum] if stratum < len(names) else stratum


def _members(strata: np.ndarray, number: int = 0) -> list[np.ndarray]:
    """The indices of the examples of each stratum, from stratum 0 on."""
    order = np.argsort(strata, kind="stable")
    counts = np.bincount(strata, minlength=number)
    return np.split(order, np.cumsum(counts)[:-1])
