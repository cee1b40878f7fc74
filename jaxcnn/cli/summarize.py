r"""Prints the table of a network: one row per layer, or per layer group.

jaxcnn summarize --model=vgg16 --image_size=224
jaxcnn summarize --model=resnet50 --groups --format=json
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
directory: a flax.linen.Module, its class, or a function of num_classes that returns
one.
"""

from collections.abc import Callable, Sequence
import inspect
import re
from typing import TYPE_CHECKING

from absl import flags

from jaxcnn.cli import _flags
from jaxcnn.errors import UserError

if TYPE_CHECKING:
    from flax import linen as nn


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    flags.DEFINE_string(
        "model",
        None,
        "a name listed by `jaxcnn models`, or MODULE:ATTRIBUTE",
        flag_values=values,
    )
    flags.DEFINE_string(
        "image_size",
        None,
        "size of the images in pixels: N, or HEIGHTxWIDTH; default: the paper's; "
        "required for a model of your own",
        flag_values=values,
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
    flags.DEFINE_bool(
        "groups", False, "print one row per stage and per block", flag_values=values
    )
    _flags.define_format(values, "table", "json", "csv")


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    _flags.no_arguments(arguments)
    if not values.model:
        raise UserError("--model=NAME is missing; `jaxcnn models` lists them.")
    from jaxcnn import errors
    from jaxcnn.analysis import table
    from jaxcnn.report import network

    size = None if values.image_size is None else _image_size(values.image_size)
    for name in "channels", "num_classes":
        value = getattr(values, name)
        errors.require(value is None or value >= 1, f"--{name}", value, "at least 1")
    build = _user_model if ":" in values.model else _catalogue_model
    model, shape = build(values.model, values.num_classes, size, values.channels)
    if values.groups:
        print(network.GROUPS[values.format](table.summarize_groups(model, shape)))
    else:
        print(network.LAYERS[values.format](table.summarize(model, shape)))
    return 0


def _image_size(text: str) -> tuple[int, int]:
    """(height, width) of --image_size."""
    match = re.fullmatch(r"(-?\d+)(?:x(\d+))?", text)
    if match is None:
        raise UserError(f"--image_size must be N or HEIGHTxWIDTH, not {text!r}.")
    size = int(match[1]), int(match[2] or match[1])
    if min(size) < 1:
        raise UserError(f"--image_size must be at least 1, not {text}.")
    return size


def _catalogue_model(
    name: str,
    num_classes: int | None,
    size: tuple[int, int] | None,
    channels: int | None,
) -> tuple["nn.Module", tuple[int, int, int]]:
    """A network of `jaxcnn models`, and the shape of its images."""
    from jaxcnn import errors, models

    if name not in models.MODELS:
        raise errors.unknown("model", name, models.MODELS)
    variant = models.MODELS[name]
    model = models.create_model(name, num_classes or variant.num_classes)
    size = size or (variant.image_size, variant.image_size)
    return model, (*size, channels or variant.channels)


def _user_model(
    name: str,
    num_classes: int | None,
    size: tuple[int, int] | None,
    channels: int | None,
) -> tuple["nn.Module", tuple[int, int, int]]:
    """The network named by MODULE:ATTRIBUTE, and the shape of its images."""
    from jaxcnn import names
    from jaxcnn.models import adapter

    model = names.load(name, "model")
    if adapter.is_module(model):
        if num_classes is not None:
            raise UserError(
                f"--num_classes={num_classes} cannot be applied: {name} is already a "
                "network, not its class."
            )
    elif callable(model):
        model = _build(name, model, num_classes)
    try:
        adapter.check(model)
    except UserError as error:
        raise UserError(f"--model={name}: {error}") from error
    if size is None:
        raise UserError(
            f"{name} needs --image_size=N or HEIGHTxWIDTH, which is missing."
        )
    return model, (*size, channels or 3)


def _build(name: str, build: Callable, num_classes: int | None) -> object:
    """Calls a class or function, with num_classes if they are given."""
    chosen = {} if num_classes is None else {"num_classes": num_classes}
    try:
        inspect.signature(build).bind(**chosen)
    except TypeError as error:
        hint = "" if chosen else "; --num_classes=N gives num_classes"
        given = ", ".join(f"{k}={v}" for k, v in chosen.items())
        raise UserError(
            f"--model={name} cannot be called as {name.partition(':')[2]}({given}): "
            f"{error}{hint}."
        ) from error
    return build(**chosen)
