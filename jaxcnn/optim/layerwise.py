"""Layer-wise learning rates: one factor per layer group, chosen by its name.

first_match is the language of patterns, for whatever else names layers.
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
    """Which pattern is the first to match each parameter.

    A pattern is a regular expression for the whole name of a layer group, which is a
    top-level name of the parameters such as "stage2_block1", or, if it has a "/" in
    it, for the whole path of a parameter such as "stage2_block1/conv1/kernel".

    Args:
        patterns: The patterns, the first match first.
        params: Parameters, or their shapes.

    Returns:
        Path of each parameter -> position of its pattern, None where none matches.

    Raises:
        UserError: A pattern is no regular expression, or the first match of nothing:
            the patterns do not say what their author meant.
    """
    paths = [path(keys) for keys, _ in jax.tree_util.tree_leaves_with_path(params)]
    matches = []
    for pattern in patterns:
        name = str if "/" in pattern else group
        try:
            regex = re.compile(pattern)
        except re.error as error:
            raise UserError(f"{pattern!r} is no regular expression: {error}.") from None
        matches.append({p for p in paths if regex.fullmatch(name(p))})
        if not matches[-1]:
            kind = "parameter" if "/" in pattern else "layer group"
            known = dict.fromkeys(map(name, paths))
            nearest = difflib.get_close_matches(pattern, known, n=3, cutoff=0)
            raise UserError(
                f"Pattern {pattern!r} matches no {kind}; nearest: {', '.join(nearest)}."
            )
        if matches[-1] <= set().union(*matches[:-1]):
            raise UserError(
                f"Pattern {pattern!r} is never the first to match: those before it, "
                f"{', '.join(patterns[: len(matches) - 1])}, match all that it does."
            )
    return {
        path: next((i for i, found in enumerate(matches) if path in found), None)
        for path in paths
    }


def factors(rules: Sequence[Rule], params: Any) -> dict[str, float]:
    """The factor of the first rule that each parameter matches, by its path.

    Raises:
        UserError: A factor is negative or not finite, a pattern is refused by
            first_match, or a parameter matches no rule.
    """
    for pattern, factor in rules:
        name = f"The learning-rate factor of {pattern!r}"
        require(0 <= factor < math.inf, name, factor, "0 or more")
    first = first_match([pattern for pattern, _ in rules], params)
    missing = [path for path, index in first.items() if index is None]
    if missing:
        # A whole group by its name, a part of one by its paths.
        partly = {group(path) for path in first.keys() - set(missing)}
        names = [path if group(path) in partly else group(path) for path in missing]
        raise UserError(
            f"No learning-rate rule matches {', '.join(dict.fromkeys(names))}; "
            "a last rule ('.*', 1.0) takes the rest."
        )
    return {path: rules[index][1] for path, index in first.items()}


def scale_by_path(factors: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiplies the update of each parameter by the factor of its path.

    As the last link of a chain it scales the learning rate, and nothing that the
    optimizer remembers depends on it.
    """

    def scale(updates, _):
        return jax.tree_util.tree_map_with_path(
            lambda keys, update: factors[path(keys)] * update, updates
        )

    return optax.stateless(scale)


def decay_by_depth(
    groups: Sequence[str], decay: float, level: str = "block"
) -> tuple[Rule, ...]:
    """Rules for groups listed from input to head: each is decay times the next one.

    Args:
        groups: Names of layer groups.
        decay: The factor from one to the next.
        level: "block": each group by itself; "stage": the blocks of a stage are one.
            Auxiliary heads are as fast as the head.
    """
    names = {name: stage(name) if level == "stage" else name for name in groups}
    names |= {name: "head" for name in groups if name.startswith("aux")}
    depths = {name: i for i, name in enumerate(dict.fromkeys(names.values()))}
    last = len(depths) - 1
    return tuple((re.escape(g), decay ** (last - depths[names[g]])) for g in groups)


def stage(group: str) -> str:
    """stage2_block1 -> stage2; every other name stays."""
    return re.sub(r"(stage\d+)_block\d+", r"\1", group)


def path(keys: tuple[Any, ...]) -> str:
    """stage2_block1/conv1/kernel, of the keys of a tree."""
    return jax.tree_util.keystr(keys, simple=True, separator="/")


def group(path: str) -> str:
    """The layer group of a parameter: the first name of its path."""
    return path.partition("/")[0]
