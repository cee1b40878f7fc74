"""The table of a network: one row per layer.

The network, any Linen module, is traced in evaluation, and its equations are grouped
into layers, so that no model file has to describe itself. A layer is
  * a convolution or linear layer with its bias. A linear layer is shown as the
    equivalent convolution: its kernel is as large as its input maps, its output is 1x1;
  * a pool; global pooling has a window as large as the map;
  * a normalisation, an activation, a multiplication by parameters ("scale");
  * a separate padding, subsampling or resize;
  * a merge of branches: "sum", "product", "maximum", "concat".
Layers that evaluation does not compute (dropout, auxiliary heads) have no row. Neither
have splits, shuffles and reshapes, which only rename units, and pools that have nothing
to pool.

A layer that enlarges its map has a stride below 1: 1/2 for a transposed convolution, a
resize, an unpooling or a pixel shuffle that doubles it. A resize has no multiply-adds.
An unpooling sees what the switches see, too; its kernel is the largest number of values
that one of its units can be the sum of.

The receptive field of a merge is the smallest interval that covers its branches. The
gates of squeeze-and-excitation, products with a summary of whole maps, are left out of
it, because they see the whole image. So are the statistics of a normalisation. If
windows differ, as in pooling to a fixed size, a row has the largest field and the mean
stride.

None means unknown. It is the field after attention, gathers of pixels by computed
indices, loops, or maps whose rows and columns became one dimension; and the size of an
output whose rows and columns are unknown.

Connections are counted as in LeCun et al. 1998: each unit of a convolution, a linear
layer or a pool has one for each of its inputs, the padded border included, and one for
its bias. Activations and merges have none, normalisations have those of their biases.
"""

from collections.abc import Sequence
import dataclasses
import itertools
import math

from flax import linen as nn
import jax

from jaxcnn import models
from jaxcnn.analysis.propagate import UNKNOWN_WINDOW, Pair, Window
from jaxcnn.analysis.trace import NORMS, Draft, Trace
from jaxcnn.models import layers

# Modules that are one layer.
LINEAR = (
    *(layers.Conv, layers.ConvTranspose, layers.Dense, nn.Conv, nn.ConvLocal),
    *(nn.ConvTranspose, nn.Dense, nn.DenseGeneral, nn.Einsum),
)


@dataclasses.dataclass(frozen=True)
class Layer:
    """One row. Pairs are (rows, columns).

    Attributes:
        name: Path of the module, and the layer's type if the module has several layers.
        kernel: Support of the layer, in units of its input.
        depth: Input channels of one filter; with groups, those of one group. None: the
            layer has no filters.
        padding: (before, after) of each axis; negative numbers cut off. A transposed
            convolution has the padding of the convolution that it transposes.
        channels: Channels of the output, for a convolution the number of its filters.
        receptive_field: Size of the area of the image that one unit sees, in pixels,
            padding included.
        receptive_field_stride: Distance between the fields of neighbouring units, in
            pixels.
        receptive_field_centre: Centre of the first unit's field; 0 is the centre of the
            first pixel.
        parameters: Number of parameters that no earlier layer uses.
        connections: Number of inputs of all its units, biases included.
        kb: Size of the parameters in units of 1024 bytes, rounded half up, with 4 bytes
            per parameter.
        macs: Multiply-adds for one image.
    """

    name: str
    type: str
    kernel: Pair | None
    depth: int | None
    stride: tuple[float, float] | None
    padding: tuple[Pair, Pair] | None
    dilation: Pair | None
    groups: int | None
    output_size: Pair | None
    channels: int | None
    receptive_field: Pair | None
    receptive_field_stride: tuple[float, float] | None
    receptive_field_centre: tuple[float, float] | None
    parameters: int
    connections: int
    kb: int
    macs: int
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Summary:
    """All layers and their totals.

    Attributes:
        unused: Number of parameters that evaluation does not use, such as those of
            auxiliary heads; they are in no layer and not in the total.
    """

    layers: tuple[Layer, ...]
    parameters: int
    connections: int
    kb: int
    macs: int
    unused: int


@dataclasses.dataclass(frozen=True)
class Group:
    """A layer group.

    Attributes:
        level: "coarse": a stage, or "fine": a block. Stem and head are both.
        parameters: Number of its parameters, including those that only training uses.
    """

    group: str
    level: str
    parameters: int
    kb: int
    macs: int


def summarize(model: nn.Module, image_shape: models.ImageShape) -> Summary:
    """The layers in the order of their computation."""
    trace = Trace(model, image_shape)
    rows, counted = [], set()
    for name, draft in zip(_names(trace.drafts), trace.drafts, strict=True):
        new = draft.parameters - counted  # shared ones count where they are first used
        counted |= new
        rows.append(_layer(draft, name, sum(trace.sizes[p] for p in new)))
    parameters = sum(row.parameters for row in rows)
    return Summary(
        layers=tuple(rows),
        parameters=parameters,
        connections=sum(row.connections for row in rows),
        kb=_kilobytes(parameters),
        macs=sum(row.macs for row in rows),
        unused=sum(trace.sizes.values()) - parameters,
    )


def _kilobytes(parameters: int) -> int:
    """Size of float32 parameters in units of 1024 bytes, rounded half up."""
    return (parameters + 128) // 256


def _names(drafts: Sequence[Draft]) -> list[str]:
    """The path of each module, with the layer's type if the module has several layers,
    and with a number if it has several of that type."""
    names = []
    for draft in drafts:
        path = draft.module.path
        is_whole = isinstance(draft.module, NORMS) or (
            isinstance(draft.module, LINEAR) and draft.type.startswith("conv")
        )
        first = name = "/".join(path if is_whole and path else (*path, draft.type))
        number = 1
        while name in names:
            number += 1
            name = f"{first}_{number}"
        names.append(name)
    return names


def _layer(draft: Draft, name: str, parameters: int) -> Layer:
    window, output = draft.window, draft.output
    connections = draft.connections
    if draft.span is not None and draft.type != "resize":
        window = _span_window(draft)
    size = tuple(map(len, output.fields)) if output.placed else None
    if draft.type == "resize" and size and window.kernel:
        connections += math.prod((*window.kernel, *size, draft.channels))
    return Layer(
        name=name,
        type=draft.type,
        kernel=_numbers(window.kernel),
        depth=window.depth,
        stride=_numbers(window.stride),
        padding=window.padding,
        dilation=window.dilation,
        groups=window.groups,
        output_size=size,
        channels=draft.channels if output.placed else None,
        receptive_field=_numbers([field.size for field in output.fields]),
        receptive_field_stride=_numbers([field.stride for field in output.fields]),
        receptive_field_centre=_known([field.centre for field in output.fields]),
        parameters=parameters,
        connections=int(connections),
        kb=_kilobytes(parameters),
        macs=draft.macs,
        note=draft.note,
    )


def _span_window(draft: Draft) -> Window:
    """The window of a row of several equations, from its input and output."""
    before, after = draft.span.fields, draft.output.fields
    if not (draft.span.is_known and draft.output.is_known):
        is_pointwise = isinstance(draft.module, NORMS)
        return Window() if is_pointwise else UNKNOWN_WINDOW
    units = [max(field.stride, 1) for field in before]
    kernel, stride, padding = [], [], draft.window.padding
    for field, old, unit in zip(after, before, units, strict=True):
        kernel.append((field.size - old.size) // unit + 1)
        if 0 < field.stride < old.stride:  # an unpooling
            stride.append(field.stride / old.stride)
            padding = Window().padding
        else:
            stride.append(max(field.stride // unit, 1))
    return dataclasses.replace(
        draft.window, kernel=tuple(kernel), stride=tuple(stride), padding=padding
    )


def _known(values: Sequence[float] | None) -> tuple[float, float] | None:
    """A pair of numbers; None if one is unknown."""
    if values is None or any(map(math.isnan, values)):
        return None
    return tuple(values)


def _numbers(values: Sequence[float] | None) -> tuple[float, float] | None:
    """The same with whole numbers as integers."""
    known = _known(values)
    if known is None:
        return None
    return tuple(int(value) if value == int(value) else value for value in known)


def summarize_groups(model: nn.Module, image_shape: models.ImageShape) -> list[Group]:
    """The layer groups from input to head, each stage before its blocks.

    In a network of this package, the blocks of a stage are "stage1_block1" and so on.
    In any other network, each group is a stage. The multiply-adds of a layer without
    parameters belong to the top-level name of its path, which is then an additional
    group after the others.
    """
    params = models.abstract_variables(model, image_shape)["params"]
    groups = models.layer_groups(model, image_shape)
    sizes = {
        name: sum(p.size for p in jax.tree.leaves(params[name])) for name in groups
    }
    macs = dict.fromkeys(sizes, 0)
    trace = Trace(model, image_shape)
    for name, draft in zip(_names(trace.drafts), trace.drafts, strict=True):
        if draft.macs:
            owners = (draft.module.path or sorted(draft.parameters) or (name,))[0]
            owner = owners.partition("/")[0]
            sizes.setdefault(owner, 0)
            macs[owner] = macs.get(owner, 0) + draft.macs

    def group(name: str, level: str, parts: Sequence[str]) -> Group:
        parameters = sum(sizes[part] for part in parts)
        cost = sum(macs.get(part, 0) for part in parts)
        return Group(name, level, parameters, _kilobytes(parameters), cost)

    def stage(name: str) -> str:
        return name.partition("_")[0] if models.is_group(name) else name

    groups = []
    for name, parts in itertools.groupby(sizes, stage):
        parts = list(parts)
        groups.append(group(name, "coarse", parts))
        groups += [group(part, "fine", [part]) for part in parts]
    return groups
