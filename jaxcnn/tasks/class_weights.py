"""Weights of the classes in a loss, where some classes are rare."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxcnn.errors import UserError, require, unknown
from jaxcnn.tasks.task import stated_numbers

Weights = tuple[float, ...] | None


def none(
    class_names: Sequence[str], counts: Sequence[float] | None, counted: str
) -> Weights:
    """Every class weighs 1."""
    return None


def balanced(
    class_names: Sequence[str], counts: Sequence[float] | None, counted: str
) -> Weights:
    """n / (K n_c), whose mean over the n that are counted is 1.

    King and Zeng, "Logistic Regression in Rare Events Data", 2001, as scikit-learn's
    class_weight="balanced".
    """
    if counts is None:
        raise UserError(
            f"task.class_weights must be 'none' where no training {counted} is "
            "counted, not 'balanced'."
        )
    empty = [n for n, count in zip(class_names, counts, strict=True) if not count]
    if empty:
        raise UserError(
            f"task.class_weights='balanced' needs a training {counted} of each class; "
            f"there is none of {', '.join(empty)}."
        )
    return tuple(float(sum(counts) / (len(counts) * count)) for count in counts)


# Called with the names of the classes, the training examples or pixels of each, and
# which of the two they are.
CLASS_WEIGHTS: Mapping[str, Callable[..., Weights]] = {
    "none": none,
    "balanced": balanced,
}


def class_weights(
    chosen: Any, class_names: Sequence[str], statistics: Mapping[str, Any], counted: str
) -> Weights:
    """The weight of each class; None: each is 1.

    Args:
        chosen: A name in CLASS_WEIGHTS, or a number for each class.
        class_names: Names of the K classes.
        statistics: Result of the task's measure, with "counts" where the choice needs
            them.
        counted: "example" or "pixel", what is counted.

    Raises:
        UserError: A choice that is not allowed, or a class without examples where the
            classes are balanced.
    """
    number = len(class_names)
    if isinstance(chosen, tuple):
        holds = len(chosen) == number and all(type(x) in (int, float) for x in chosen)
        holds = holds and min(chosen) >= 0 and max(chosen) > 0
        rule = f"none, balanced, or {number} weights, one for each class, at least 0"
        require(holds, "task.class_weights", chosen, rule)
        return tuple(map(float, chosen))
    if chosen not in CLASS_WEIGHTS:
        raise unknown("class weights", str(chosen), CLASS_WEIGHTS)
    counts = stated_numbers(statistics, "counts", number)
    return CLASS_WEIGHTS[chosen](class_names, counts, counted)
