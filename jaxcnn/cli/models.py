"""Lists the networks of this package.

jaxcnn models
jaxcnn models "resnet*" --format=json
jaxcnn models --backends
"""

from collections.abc import Sequence

from absl import flags

from jaxcnn.cli import _flags
from jaxcnn.errors import UserError


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    _flags.define_format(values, "table", "json")
    flags.DEFINE_bool(
        "backends",
        False,
        "list instead the operations that networks compute with, config.ops, and which "
        "of them are in use on this machine",
        flag_values=values,
    )


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    if len(arguments) > 1:
        raise UserError(f"models takes one PATTERN, not {len(arguments)}; quote it.")
    from jaxcnn import models
    from jaxcnn.report import text

    if values.backends:
        _flags.no_arguments(arguments)
        from jaxcnn.ops import backends

        print(text.BACKENDS[values.format](backends.listing()))
        return 0
    pattern = arguments[0] if arguments else "*"
    rows = models.catalogue(pattern)
    if not rows:
        raise UserError(f"No model matches {pattern!r}; `jaxcnn models` lists them.")
    print(text.MODELS[values.format](rows))
    return 0
