"""Branches as torchvision, timm and facenet-pytorch name them: by their order."""

from collections.abc import Iterator, Sequence

from jaxcnn.models.branches import Branch, Fork, Unit
from jaxcnn.pretrained.names import Rule

BN = {"conv": "conv", "norm": "bn"}  # of a convolution with normalisation


def conv_norm(path: str, name: str) -> Rule:
    """Of a ConvNorm at a path of ours, which they have under a name."""
    return Rule(rf"{path}/(conv|norm)", lambda part: f"{name}.{BN[part]}")


def steps(branches: Sequence[Branch]) -> Iterator[tuple[str, int, int, str]]:
    """Of each convolution our name, the number of its branch, the number of the step
    there, pools included, and its letter in a fork; numbers count from 0."""
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
    """Rules for branches that they keep as one layer, or as a Sequential of steps, or,
    where there is a fork, as steps with a name each.

    Args:
        path: Of our Branches.
        name: Of their module.
        branches: The branches.
        start: Their number of the first branch.
    """
    found = []
    for ours, i, k, letter in steps(branches):
        theirs = f"{name}.branch{i + start}"
        if any(isinstance(step, Fork) for step in branches[i]):
            theirs += f"_{k}{letter}"
        elif len(branches[i]) > 1:
            theirs += f".{k}"
        found.append(conv_norm(f"{path}/{ours}", theirs))
    return tuple(found)
