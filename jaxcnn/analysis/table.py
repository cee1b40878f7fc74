"""The table of a network: one row a layer.

The network is traced in evaluation, and its equations are gathered into layers, so
that no model file needs to know. A layer is
  * a convolution or linear layer with its bias. A linear layer is the convolution that
    it is: its kernel is as large as the maps it takes, and its output is 1x1;
  * a pool, of which global pooling is one with a window as large as the map;
  * a normalisation, an activation, a multiplication by parameters ("scale");
  * a padding or a subsampling that stands by itself;
  * a merge of branches: "sum", "product", "maximum", "concat".
Layers that evaluation does not compute (dropout, auxiliary heads) have no row, and
neither have splits, shuffles and reshapes, which only rename units, nor pools that have
nothing to pool.

The receptive field of a merge is the smallest interval that covers its branches. The
gates of squeeze-and-excitation, products with a summary of whole maps, are left out of
it: they see the whole image. So are the statistics of a normalisation. Where windows
differ, as in pooling to a fixed size, a row has the largest field and the mean stride.
Not known are transposed convolutions, attention, and gathers of pixels.
"""

from collections.abc import Sequence
import dataclasses
import itertools

from flax import linen as nn
import jax

from jaxcnn import models
from jaxcnn.analysis.propagate import Pair
from jaxcnn.analysis.trace import NORMS, Draft, Trace
from jaxcnn.models import layers


@dataclasses.dataclass(frozen=True)
class Layer:
    """One row. Pairs are of rows and columns.

    Attributes:
        name: The path of its module, and its type where the module has several layers.
        kernel: Its support, in units of its input.
        padding: (before, after) of each axis; negative: cut off.
        receptive_field: Pixels of the image that one unit sees, padding included.
        receptive_field_stride: Pixels from one unit to the next.
        receptive_field_centre: Of the first unit; 0 is the centre of the first pixel.
        kb: 1024 bytes, of 4 bytes a parameter; halves up.
        macs: Multiply-adds for one image.
    """

    name: str
    type: str
    kernel: Pair
    stride: Pair
    padding: tuple[Pair, Pair]
    dilation: Pair
    groups: int
    output_size: Pair
    channels: int
    receptive_field: Pair
    receptive_field_stride: Pair
    receptive_field_centre: tuple[float, float]
    parameters: int
    kb: int
    macs: int
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Summary:
    """All layers and their totals.

    Attributes:
        unused: Parameters that evaluation does not use, those of auxiliary heads; they
            are in no layer and not in the total.
    """

    layers: tuple[Layer, ...]
    parameters: int
    kb: int
    macs: int
    unused: int


@dataclasses.dataclass(frozen=True)
class Group:
    """A layer group.

    Attributes:
        level: "coarse": a stage, or "fine": a block. Stem and head are both.
        parameters: Those that only training uses, too.
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
        kb=_kilobytes(parameters),
        macs=sum(row.macs for row in rows),
        unused=sum(trace.sizes.values()) - parameters,
    )


def _kilobytes(parameters: int) -> int:
    """1024 bytes, of 4 bytes a parameter; halves up."""
    return (parameters + 128) // 256


def _names(drafts: Sequence[Draft]) -> list[str]:
    """The path of each module, with what it does where it does several things, and
    with a number where it does one of them again."""
    names = []
    for draft in drafts:
        path = draft.module.path
        is_whole = isinstance(draft.module, (layers.Conv, layers.Dense, *NORMS))
        first = name = "/".join(path if is_whole and path else (*path, draft.type))
        number = 1
        while name in names:
            number += 1
            name = f"{first}_{number}"
        names.append(name)
    return names


def _layer(draft: Draft, name: str, parameters: int) -> Layer:
    window, fields = draft.window, draft.output.fields
    kernel, stride = window.kernel, window.stride
    if draft.span is not None:
        ends = list(zip(draft.span.fields, fields, strict=True))
        kernel = tuple((o.size - i.size) // max(i.stride, 1) + 1 for i, o in ends)
        stride = tuple(max(o.stride // max(i.stride, 1), 1) for i, o in ends)
    return Layer(
        name=name,
        type=draft.type,
        kernel=kernel,
        stride=stride,
        padding=window.padding,
        dilation=window.dilation,
        groups=window.groups,
        output_size=tuple(len(field) for field in fields),
        channels=draft.channels,
        receptive_field=tuple(field.size for field in fields),
        receptive_field_stride=tuple(field.stride for field in fields),
        receptive_field_centre=tuple(field.centre for field in fields),
        parameters=parameters,
        kb=_kilobytes(parameters),
        macs=draft.macs,
        note=draft.note,
    )


def summarize_groups(model: nn.Module, image_shape: models.ImageShape) -> list[Group]:
    """The layer groups from input to head, each stage before its blocks."""
    params = models.abstract_variables(model, image_shape)["params"]
    sizes = {
        name: sum(p.size for p in jax.tree.leaves(params[name]))
        for name in models.sort_groups(params)
    }
    macs = dict.fromkeys(sizes, 0)
    for layer in summarize(model, image_shape).layers:
        if layer.macs:
            macs[layer.name.partition("/")[0]] += layer.macs

    def group(name: str, level: str, parts: Sequence[str]) -> Group:
        parameters = sum(sizes[part] for part in parts)
        cost = sum(macs[part] for part in parts)
        return Group(name, level, parameters, _kilobytes(parameters), cost)

    found = []
    for stage, parts in itertools.groupby(sizes, lambda name: name.partition("_")[0]):
        parts = list(parts)
        found.append(group(stage, "coarse", parts))
        found += [group(part, "fine", [part]) for part in parts]
    return found
