"""torchvision's parameters as variables of our networks.

A family is a table of rules from PyTorch's module names to ours. What becomes of a
tensor follows from its last name and its number of axes, for every family alike.
"""

from collections.abc import Callable, Mapping, Sequence
import re
from typing import Any, NamedTuple

from flax import linen as nn
from flax import traverse_util
import numpy as np

from jaxcnn import models
from jaxcnn.errors import UserError
from jaxcnn.models import resnet


class Rule(NamedTuple):
    """Where the tensors of some PyTorch modules go.

    Attributes:
        pattern: Regular expression for the whole name of a module.
        path: Called with the groups of the match, as integers; gives our module's.
        channels: Of the features that a linear layer takes flattened. PyTorch
            flattens them as (C, H, W), we as (H, W, C). None: nothing is flattened.
    """

    pattern: str
    path: Callable[..., str]
    channels: int | None = None


# torchvision counts blocks from 0, we from 1.
RULES: dict[type[nn.Module], Sequence[Rule]] = {
    resnet.ResNet: (
        Rule(r"conv1", lambda: "stem/conv/conv"),
        Rule(r"bn1", lambda: "stem/conv/norm"),
        Rule(
            r"layer(\d+)\.(\d+)\.conv(\d)",
            lambda i, j, k: f"stage{i}_block{j + 1}/conv{k}/conv",
        ),
        Rule(
            r"layer(\d+)\.(\d+)\.bn(\d)",
            lambda i, j, k: f"stage{i}_block{j + 1}/conv{k}/norm",
        ),
        Rule(
            r"layer(\d+)\.(\d+)\.downsample\.0",
            lambda i, j: f"stage{i}_block{j + 1}/proj/conv",
        ),
        Rule(
            r"layer(\d+)\.(\d+)\.downsample\.1",
            lambda i, j: f"stage{i}_block{j + 1}/proj/norm",
        ),
        Rule(r"fc", lambda: "head"),
    ),
}


def from_torchvision(
    state_dict: Mapping[str, np.ndarray],
    model: nn.Module,
    image_shape: models.ImageShape = (224, 224, 3),
    rules: Sequence[Rule] | None = None,
) -> dict[str, Any]:
    """The variables of a network, from the tensors of PyTorch's.

    Args:
        state_dict: Name -> array, as torch's state_dict() has them.
        model: Our network.
        image_shape: Of the images that the weights are for: [H, W, C].
        rules: None: those of the network's class in RULES.

    Returns:
        Variables in the dtypes of the tensors.

    Raises:
        UserError: A tensor that has no place or another shape, or a variable that
            no tensor fills, or more than one does.
    """
    if rules is None:
        if type(model) not in RULES:
            known = ", ".join(cls.__name__ for cls in RULES)
            raise UserError(
                f"No rules for weights of {type(model).__name__}; known: {known}."
            )
        rules = RULES[type(model)]
    expected = traverse_util.flatten_dict(
        models.abstract_variables(model, image_shape), sep="/"
    )
    filled: dict[str, np.ndarray] = {}
    problems = []
    for name, tensor in state_dict.items():
        module, _, leaf = name.rpartition(".")
        if leaf == "num_batches_tracked":  # a counter that no network reads
            continue
        found = _place(module, leaf, tensor, rules)
        if found is None or found[0] not in expected:
            problems.append(f"{name} has no place")
            continue
        path, array = found
        if path in filled:
            problems.append(f"{path} is filled again by {name}")
        elif array.shape != expected[path].shape:
            problems.append(
                f"{name} gives {path} shape {array.shape}, not {expected[path].shape}"
            )
        filled[path] = array
    problems += [f"{path} is not filled" for path in expected if path not in filled]
    if problems:
        raise UserError(f"These weights do not fit: {'; '.join(problems)}.")
    return traverse_util.unflatten_dict(filled, sep="/")


def _place(
    module: str, leaf: str, tensor: np.ndarray, rules: Sequence[Rule]
) -> tuple[str, np.ndarray] | None:
    """Path of our variable and its value; None where no rule knows the module."""
    for rule in rules:
        if match := re.fullmatch(rule.pattern, module):
            path = rule.path(*map(int, match.groups()))
            collection, ours, array = _variable(leaf, tensor, rule.channels)
            return f"{collection}/{path}/{ours}", array
    return None


def _variable(
    leaf: str, tensor: np.ndarray, channels: int | None
) -> tuple[str, str, np.ndarray]:
    """Collection, last name and value of our variable."""
    if leaf == "running_mean":
        return "batch_stats", "mean", tensor
    if leaf == "running_var":
        return "batch_stats", "var", tensor
    if leaf != "weight":
        return "params", leaf, tensor
    if tensor.ndim == 1:
        return "params", "scale", tensor
    if tensor.ndim == 4:
        return "params", "kernel", tensor.transpose(2, 3, 1, 0)  # OIHW -> HWIO
    if channels is not None:
        out = len(tensor)
        tensor = tensor.reshape(out, channels, -1).swapaxes(1, 2).reshape(out, -1)
    return "params", "kernel", tensor.T
