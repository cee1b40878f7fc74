"""Branches in torchvision, timm and facenet-pytorch, which name them by position."""

from collections.abc import Iterator, Sequence

from jaxcnn.models.branches import Branch, Fork, Unit
from jaxcnn.pretrained.names import Rule

BN = {"conv": "conv", "norm": "bn"}  # the two layers of a ConvNorm: ours -> theirs


def conv_norm(path: str, name: str) -> Rule:
    """Returns the rule for our ConvNorm at `path`, which they call `name`."""
    return Rule(rf"{path}/(conv|norm)", lambda part: f"{name}.{BN[part]}")


def steps(branches: Sequence[Branch]) -> Iterator[tuple[str, int, int, str]]:
    """Yields (our name, branch, step, letter) for each convolution.

    Branches and steps are counted from 0, and pools count as steps. The letter tells
    the two convolutions of a fork apart; elsewhere it is empty.
    """
    for i, branch in enumerate(branches):
        convs = 0
        for k, step in enumerate(branch):
            if isinstance(step, Unit | Fork):
                convs += 1
                for letter in "ab" if isinstance(step, Fork) else ("",):
                    yield f"branch{i + 1}_conv{convs}{letter}", i, k, letter


def sequential(
    path: str, name: str, branches: Sequence[Branch], start: int = 0
) -> tuple[Rule, ...]:
    """Returns the rules for parallel branches.

    In their code a branch is a single layer, a Sequential of steps or, where it has a
    fork, steps with names of their own.

    Args:
        path: Path of our Branches module.
        name: Name of their module.
        branches: The branches, from left to right.
        start: Number that they give to the first branch.
    """
    rules = []
    for ours, i, k, letter in steps(branches):
        theirs = f"{name}.branch{i + start}"
        if any(isinstance(step, Fork) for step in branches[i]):
            theirs += f"_{k}{letter}"
        elif len(branches[i]) > 1:
            theirs += f".{k}"
        rules.append(conv_norm(f"{path}/{ours}", theirs))
    return tuple(rules)
