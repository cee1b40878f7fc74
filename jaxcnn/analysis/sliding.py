"""A classifier that slides over a larger image: a class at each place.

A network without padding whose head is a convolution computes, for an image that is
larger than those it was trained on, what it would say of every window of that size, at
once (Matan, Burges, LeCun and Denker, "Multi-Digit Recognition Using a Space
Displacement Neural Network", NIPS 1991; Vedaldi and Zisserman, "VGG Convolutional
Neural Networks Practical", part 4.3, who read a line of text so).
"""

from collections.abc import Callable, Sequence
import itertools
from typing import Any

import jax

from jaxcnn.errors import UserError


def class_map(
    apply: Callable[..., Any], variables: Any, images: jax.Array
) -> jax.Array:
    """The logits of each window, before the network takes their mean.

    Args:
        apply: The method apply of a network whose head is a convolution, such as
            character_net.
        variables: Its parameters and running statistics.
        images: Normalised images [B, H, W, C] of any size that it takes.

    Returns:
        [B, h, w, num_classes]; that of row i and column j is for the window that
        begins i and j times the network's stride below and right of the corner.

    Raises:
        UserError: The head gives one vector for an image.
    """
    _, state = apply(
        variables,
        images,
        train=False,
        capture_intermediates=lambda module, name: module.path == ("head",),
        mutable=["intermediates"],
    )
    captured = state.get("intermediates", {}).get("head", {}).get("__call__", (None,))
    maps = captured[0]
    if maps is None or maps.ndim != 4:
        raise UserError(
            "This network cannot slide over an image: its head must be a convolution, "
            "as in character_net."
        )
    return maps


def collapse(classes: Sequence[int], shortest_run: int = 1) -> list[int]:
    """One class for each run of equal ones, as "the" for "ttthhhee".

    Args:
        classes: The class at each place.
        shortest_run: Length below which a run is dropped first; what it separated is
            one run then.
    """
    runs = [(c, len([*run])) for c, run in itertools.groupby(classes)]
    kept = [c for c, length in runs if length >= shortest_run]
    return [c for c, _ in itertools.groupby(kept)]
