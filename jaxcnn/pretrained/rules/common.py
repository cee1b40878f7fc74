"""What the tables of several families share."""

from collections.abc import Callable

from jaxcnn.pretrained.names import Rule


def conv_norm(pattern: str, name: Callable[..., str]) -> Rule:
    """A ConvNorm whose two layers are 0 and 1 of a Sequential of theirs.

    Args:
        pattern: Of the path of our ConvNorm.
        name: Called with the groups of pattern; gives the name of the Sequential.
    """

    def layer(*groups: int | str) -> str:
        *groups, last = groups
        return f"{name(*groups)}.{('conv', 'norm').index(last)}"

    return Rule(rf"{pattern}/(conv|norm)", layer)
