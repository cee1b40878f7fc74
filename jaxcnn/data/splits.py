"""Parts of a split, such as validation, which is cut off training."""

from collections.abc import Sequence

import numpy as np

from jaxcnn.data.examples import Dataset, Examples, Subset
from jaxcnn.errors import UserError, require


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
    rng = _rng(seed)
    groups = [np.arange(len(examples))] if strata is None else _members(strata)
    taken = np.zeros(len(examples), bool)
    for stratum, group in enumerate(groups):
        if len(group) == 0 and strata is not None:
            continue
        if len(group) < 2:
            name = names[stratum] if names else stratum
            whose = "There are" if strata is None else f"Class {name!r} has"
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
        names: Names of the strata.
        number: Number of examples of each stratum.
        seed: Seed of the random choice.

    Raises:
        UserError: A stratum has fewer, the number is not positive, or there are none.
    """
    field = "data.num_per_class"
    require(strata is not None, field, number, "None for a task without classes")
    require(number >= 1, field, number, "at least 1")
    train, rng, kept = dataset.splits["train"], _rng(seed), []
    for name, group in zip(names, _members(strata, len(names)), strict=True):
        rule = f"at most {len(group)}, the number of training images of {name!r}"
        require(number <= len(group), field, number, rule)
        kept.append(rng.permutation(group)[:number])
    some = Subset(train, np.sort(np.concatenate(kept)))
    return dataset.with_splits({**dataset.splits, "train": some})


def _rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))


def _members(strata: np.ndarray, number: int = 0) -> list[np.ndarray]:
    """The indices of the examples of each stratum, from stratum 0 on."""
    order = np.argsort(strata, kind="stable")
    counts = np.bincount(strata, minlength=number)
    return np.split(order, np.cumsum(counts)[:-1])
