"""Rules shared by several families."""

from collections.abc import Callable

from jaxcnn.pretrained.names import Rule


def conv_norm(pattern: str, name: Callable[..., str]) -> Rule:
    """Returns the rule for a ConvNorm whose layers are 0 and 1 of their Sequential.

    Args:
        pattern: Pattern for the path of our ConvNorm.
        name: Function of the pattern's groups that returns the name of the Sequential.
    """

    def layer(*groups: int | str) -> str:
        *groups, last = groups
        return f"{name(*groups)}.{('conv', 'norm').index(last)}"

    return Rule(rf"{pattern}/(conv|norm)", layer)
