r"""Prints the table of a network: one row a layer, or a layer group.

jaxcnn summarize --model=vgg16 --image_size=224
jaxcnn summarize --model=resnet50 --groups --format=json
jaxcnn summarize --model=my_package.nets:Net --image_size=15x16 --channels=1

The depth is the number of input channels of one filter. The receptive field ("field")
is in pixels of the image and not cut at its border; "f. stride" is the way from one
unit to the next, "f. centre" the centre of the first unit's field, 0 being the centre
of the first pixel. A layer that makes its map larger has a stride below 1. Linear
layers appear as the convolutions that they are. Connections are counted as in LeCun et
al. 1998: the inputs of all units, biases included. A KB is 1024 bytes, of 4 bytes a
parameter. The gates of squeeze-and-excitation are left out of the receptive field.
"-" stands for what is not known, as behind attention. JSON and CSV have the rows
without the total, which is their sum.

A model of your own is MODULE:ATTRIBUTE, looked for in the current directory, too: a
flax.linen.Module, its class, or a function that returns one; the latter two are called
with num_classes where --num_classes says it.
"""

from collections.abc import Sequence

from absl import flags

from jaxcnn.cli import _flags
from jaxcnn.errors import UserError, require


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    flags.DEFINE_string(
        "model",
        None,
        "a name of `jaxcnn models`, or MODULE:ATTRIBUTE",
        flag_values=values,
    )
    _flags.define_image_size(
        values, "default: the paper's, needed for a model of your own"
    )
    flags.DEFINE_integer(
        "channels",
        None,
        "1 grey, 3 RGB; default: the paper's, or 3",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "num_classes",
        None,
        "size of the output; default: the paper's or the model's own",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "groups", False, "one row a stage and one a block of it", flag_values=values
    )
    _flags.define_format(values, "table", "json", "csv")


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    _flags.no_arguments(arguments)
    if not values.model:
        raise UserError("--model=NAME is missing; `jaxcnn models` lists them.")
    from jaxcnn import models
    from jaxcnn.analysis import table
    from jaxcnn.data.transforms import height_and_width
    from jaxcnn.report import network

    size = _flags.image_size(values)
    for name in "channels", "num_classes":
        value = getattr(values, name)
        require(value is None or value >= 1, f"--{name}", value, "at least 1")
    variant = models.MODELS.get(values.model)
    outputs = {} if variant is None else {"num_classes": variant.num_classes}
    chosen = {"num_classes": values.num_classes} if values.num_classes else {}
    model = models.build(values.model, chosen, outputs)
    if size is not None:
        sides = height_and_width(size)
    elif variant is not None:
        sides = variant.image_shape[:2]
    else:
        raise UserError(
            f"--image_size=N or HEIGHTxWIDTH is missing, which {values.model} needs."
        )
    shape = *sides, values.channels or (3 if variant is None else variant.channels)
    if values.groups:
        print(network.GROUPS[values.format](table.summarize_groups(model, shape)))
    else:
        print(network.LAYERS[values.format](table.summarize(model, shape)))
    return 0
