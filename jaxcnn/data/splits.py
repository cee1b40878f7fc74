"""Cuts of a split in two, such as validation off training."""

from collections.abc import Sequence

import numpy as np

from jaxcnn.data.examples import Examples, Subset
from jaxcnn.errors import UserError


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
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
    groups = [np.arange(len(examples))]
    if stratify:
        labels = np.asarray(examples.labels)
        groups = np.split(
            np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1]
        )
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
