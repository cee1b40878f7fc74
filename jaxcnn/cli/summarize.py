r"""Prints the table of a network: one row per layer, or per layer group.

jaxcnn summarize --model=vgg16 --image_size=224
jaxcnn summarize --model=resnet50 --groups --format=json
jaxcnn summarize --model=deeplabv3_resnet50 --field=output_stride=16
jaxcnn summarize --model=my_package.nets:Net --image_size=15x16 --channels=1

The depth is the number of input channels of one filter. The receptive field ("field")
is in pixels of the image and not clipped at its border; "f. stride" is the distance
from the field of one unit to that of the next, "f. centre" the centre of the first
unit's field, where 0 is the centre of the first pixel. A layer that enlarges its map
has a stride below 1. Linear layers are shown as the equivalent convolutions.
Connections are counted as in LeCun et al. 1998: the inputs of all units, biases
included. KB are 1024 bytes, with 4 bytes per parameter. The gates of
squeeze-and-excitation are left out of the receptive field. "-" means unknown, for
example after attention. JSON and CSV omit the total, which is the sum of the rows.

Your own model is given as MODULE:ATTRIBUTE, which is also searched for in the current
directory: a flax.linen.Module, its class, or a function that returns one. A class or
function is called with num_classes if --num_classes is given.
"""

from collections.abc import Sequence

from absl import flags

from jaxcnn.cli import _flags
from jaxcnn.errors import UserError, require


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    flags.DEFINE_string(
        "model",
        None,
        "a name listed by `jaxcnn models`, or MODULE:ATTRIBUTE",
        flag_values=values,
    )
    _flags.define_image_size(
        values, "default: the paper's; required for a model of your own"
    )
    flags.DEFINE_integer(
        "channels",
        None,
        "channels of the images, 1: grey, 3: RGB; default: the paper's, or 3",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "num_classes",
        None,
        "number of classes; default: the paper's or the model's own",
        flag_values=values,
    )
    _flags.define_fields(values)
    flags.DEFINE_bool(
        "groups", False, "print one row per stage and per block", flag_values=values
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
    chosen = _flags.fields(values)
    if values.num_classes:
        chosen["num_classes"] = values.num_classes
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
