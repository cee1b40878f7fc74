"""Compiles the operations for this machine's CPU ahead of time.

jaxcnn kernels

Training does this itself at its first step. In an image of a container, or on a cluster
whose nodes have no compiler, it is done once, on a machine with the same processors and
with XDG_CACHE_HOME, or else ~/.cache, where the nodes see it.
"""

from collections.abc import Sequence

from absl import flags

from jaxcnn.cli import _flags
from jaxcnn.errors import UserError


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """It has no flags."""


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    _flags.no_arguments(arguments)
    from jaxcnn.ops import kernels

    try:
        kernels.load()
    except kernels.MissingError as error:
        raise UserError(f"The kernels are not to be had here: {error}.") from error
    print(kernels.library())
    return 0
