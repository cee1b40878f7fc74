"""Layer-wise learning rates: one factor per layer group, chosen by its name.

first_match defines how patterns match layers, wherever layers are named.
"""

from collections.abc import Mapping, Sequence
import difflib
import math
import re
from typing import Any

import jax
import optax

from jaxcnn.errors import UserError, require

Rule = tuple[str, float]  # (pattern, learning-rate factor)


def first_match(patterns: Sequence[str], params: Any) -> dict[str, int | None]:
    """Finds the first pattern that matches each parameter.

    A pattern is a regular expression for the full name of a layer group, that is, a
    top-level name of the parameters such as "stage2_block1". A pattern that contains
    "/" is for the full path of a parameter, such as "stage2_block1/conv1/kernel".

    Args:
        patterns: Patterns in order of precedence.
        params: Parameters, or their shapes.

    Returns:
        Path of each parameter -> index of its pattern, None where none matches.

    Raises:
        UserError: A pattern is not a regular expression, matches nothing, or matches
            only what earlier patterns match, so it cannot be what its author meant.
    """
    known_paths = paths(params)
    matches = []
    for pattern in patterns:
        name = str if "/" in pattern else group
        try:
            regex = re.compile(pattern)
        except re.error as error:
            raise UserError(
                f"{pattern!r} is not a regular expression: {error}."
            ) from None
        matches.append({p for p in known_paths if regex.fullmatch(name(p))})
        if not matches[-1]:
            kind = "parameter" if "/" in pattern else "layer group"
            known = dict.fromkeys(map(name, known_paths))
            nearest = difflib.get_close_matches(pattern, known, n=3, cutoff=0)
            raise UserError(
                f"Pattern {pattern!r} matches no {kind}; nearest: {', '.join(nearest)}."
            )
        if matches[-1] <= set().union(*matches[:-1]):
            raise UserError(
                f"Pattern {pattern!r} is never the first to match: the patterns before "
                f"it, {', '.join(patterns[: len(matches) - 1])}, match everything that "
                "it matches."
            )
    return {
        path: next((i for i, matched in enumerate(matches) if path in matched), None)
        for path in known_paths
    }


def factors(rules: Sequence[Rule], params: Any) -> dict[str, float]:
    """Returns path -> factor of the first rule that matches each parameter.

    Raises:
        UserError: A factor is negative or not finite, first_match rejects a pattern,
            or a parameter matches no rule.
    """
    for pattern, factor in rules:
        name = f"The learning-rate factor of {pattern!r}"
        require(0 <= factor < math.inf, name, factor, "0 or more")
    first = first_match([pattern for pattern, _ in rules], params)
    missing = [path for path, index in first.items() if index is None]
    if missing:
        # Name the group if none of its parameters match, otherwise the parameters.
        partial = {group(path) for path in first.keys() - set(missing)}
        names = [path if group(path) in partial else group(path) for path in missing]
        raise UserError(
            f"No learning-rate rule matches {', '.join(dict.fromkeys(names))}; "
            "a last rule ('.*', 1.0) matches the rest."
        )
    return {path: rules[index][1] for path, index in first.items()}


def scale_by_path(factors: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiplies the update of each parameter by the factor of its path.

    As the last link of the chain it scales the learning rate and does not affect the
    optimizer's state.
    """

    def scale(updates, _):
        return jax.tree_util.tree_map_with_path(
            lambda keys, update: factors[path(keys)] * update, updates
        )

    return optax.stateless(scale)


def decay_by_depth(
    groups: Sequence[str], decay: float, level: str = "block"
) -> tuple[Rule, ...]:
    """Returns rules in which each layer learns at decay times the rate of the next.

    Args:
        groups: Names of the layer groups, from input to head.
        decay: Ratio of a group's rate to that of the next group.
        level: "block": every group has its own rate. "stage": the blocks of a stage
            share one. Auxiliary heads always have the rate of the head.
    """
    names = {name: stage(name) if level == "stage" else name for name in groups}
    names |= {name: "head" for name in groups if name.startswith("aux")}
    depths = {name: i for i, name in enumerate(dict.fromkeys(names.values()))}
    last = len(depths) - 1
    return tuple((re.escape(g), decay ** (last - depths[names[g]])) for g in groups)


def stage(group: str) -> str:
    """stage2_block1 -> stage2; every other name stays."""
    return re.sub(r"(stage\d+)_block\d+", r"\1", group)


def paths(params: Any) -> list[str]:
    """The path of each parameter."""
    return [path(keys) for keys, _ in jax.tree_util.tree_leaves_with_path(params)]


def path(keys: tuple[Any, ...]) -> str:
    """Joins the keys of a tree: stage2_block1/conv1/kernel."""
    return jax.tree_util.keystr(keys, simple=True, separator="/")


def group(path: str) -> str:
    """The layer group of a parameter: the first name of its path."""
    return path.partition("/")[0]
