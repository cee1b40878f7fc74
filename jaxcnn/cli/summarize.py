r"""Prints the table of a network: one row a layer, or a layer group.

jaxcnn summarize --model=vgg16 --image_size=224
jaxcnn summarize --model=resnet50 --groups --format=json

The receptive field ("field") is in pixels of the image and not cut at its border;
"f. stride" is the way from one unit to the next, "f. centre" where the first unit
looks, 0 being the centre of the first pixel. Linear layers appear as the convolutions
that they are. A KB is 1024 bytes, of 4 bytes a parameter. The gates of
squeeze-and-excitation are left out of the receptive field. JSON and CSV have the rows
without the total, which is their sum.
"""

from collections.abc import Sequence

from absl import flags

from jaxcnn.cli import _flags
from jaxcnn.errors import UserError


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    flags.DEFINE_string("model", None, "a name of `jaxcnn models`", flag_values=values)
    for name, meaning in {
        "image_size": "height and width in pixels; default: the paper's",
        "channels": "1 grey, 3 RGB; default: the paper's",
        "num_classes": "size of the output; default: the paper's",
    }.items():
        flags.DEFINE_integer(name, None, meaning, flag_values=values)
    flags.DEFINE_bool(
        "groups", False, "one row a stage and one a block of it", flag_values=values
    )
    _flags.define_format(values, "table", "json", "csv")


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    _flags.no_arguments(arguments)
    if not values.model:
        raise UserError("--model=NAME is missing; `jaxcnn models` lists them.")
    from jaxcnn import errors, models
    from jaxcnn.analysis import table
    from jaxcnn.report import network

    if values.model not in models.MODELS:
        raise errors.unknown("model", values.model, models.MODELS)
    variant = models.MODELS[values.model]
    chosen = {}
    for name in "image_size", "channels", "num_classes":
        value = getattr(values, name)
        errors.require(value is None or value >= 1, f"--{name}", value, "at least 1")
        chosen[name] = getattr(variant, name) if value is None else value
    model = models.create_model(values.model, chosen["num_classes"])
    shape = (chosen["image_size"], chosen["image_size"], chosen["channels"])
    if values.groups:
        print(network.GROUPS[values.format](table.summarize_groups(model, shape)))
    else:
        print(network.LAYERS[values.format](table.summarize(model, shape)))
    return 0
