"""Receptive fields through one equation of a jaxpr.

Every rule takes an equation and its inputs, a Map for an array that is computed from
the image and None for any other, and returns the Map of the result. If there is no rule
or it does not apply, the receptive field of the result is unknown.
"""

from collections.abc import Callable, Sequence
import dataclasses
import itertools
import math
from typing import Any

from jax.extend import core
import numpy as np

from jaxcnn.analysis.receptive_field import Field, join, merge, unknown, windows

Pair = tuple[int, int]  # of rows and columns
Dims = tuple[int | None, int | None]
Shape = tuple[int, ...]


class NoRuleError(Exception):
    """The receptive field of an equation's result is unknown."""


@dataclasses.dataclass(frozen=True)
class Window:
    """The sliding window of a convolution, a pool or a resize.

    Attributes:
        stride: Distance between neighbouring units of the output, in units of the
            input: 1/2 if the map becomes twice as large.
        padding: (before, after) of each axis. A transposed convolution has the padding
            of the convolution that it transposes.
        depth: Input channels of one filter. None: there are no filters.
    """

    kernel: Pair | None = (1, 1)
    stride: tuple[float, float] | None = (1, 1)
    padding: tuple[Pair, Pair] | None = ((0, 0), (0, 0))
    dilation: Pair | None = (1, 1)
    groups: int | None = 1
    depth: int | None = None


UNKNOWN_WINDOW = Window(None, None, None, None, None)


@dataclasses.dataclass(frozen=True, eq=False)
class Map:
    """An array that is computed from the image.

    Attributes:
        dims: Dimensions of the rows and of the columns. None: the axis has no
            dimension; its units, if more than one, are among the channels.
        fields: The receptive fields of the units along rows and columns.
        minor: Dimension of neighbouring units of an axis that a reshape has split over
            two dimensions; `dims` then has the dimension of its blocks.
        placed: Whether it is known which dimensions are the rows and columns.
        pooled: Whether it is a summary of whole maps, so that its units have no
            position in the image.
        layer: The layer that computes it.
        window: The window of the equation that computes it.
        origin: The shape and map before rows and columns became one dimension.
    """

    dims: Dims
    fields: tuple[Field, Field]
    minor: Dims = (None, None)
    placed: bool = True
    pooled: bool = False
    layer: Any = None
    window: Window | None = None
    origin: "tuple[Shape, Map] | None" = None

    def channels(self, size: int) -> int:
        """Number of channels, if one image has `size` numbers."""
        return size // (len(self.fields[0]) * len(self.fields[1]))

    @property
    def is_flat(self) -> bool:
        """Whether units of several positions are among the channels."""
        return any(d is None and len(f) > 1 for d, f in self.axes)

    @property
    def is_known(self) -> bool:
        return self.fields[0].known and self.fields[1].known

    @property
    def axes(self) -> list[tuple[int | None, Field]]:
        return list(zip(self.dims, self.fields, strict=True))


Inputs = Sequence[Map | None]
Constant = Callable[[int], np.ndarray | None]

# Equations that compute each unit from the same unit of their inputs.
POINTWISE = {
    *("abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan"),
    *("atan2", "atanh", "cbrt", "digamma", "lgamma"),
    *("ceil", "clamp", "convert_element_type", "copy", "cos", "cosh", "div"),
    *("eq", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "ge"),
    *("gt", "integer_pow", "is_finite", "le", "log", "log1p", "logistic", "lt"),
    *("max", "min", "mul", "ne", "neg", "nextafter", "not"),
    *("optimization_barrier", "or", "pow", "reduce_precision", "rem", "round"),
    *("rsqrt", "select_n", "sign", "sin", "sinh", "sqrt", "square"),
    *("stop_gradient", "sub", "tan", "tanh", "xor"),
}


def step(equation: core.JaxprEqn, inputs: Inputs, constant: Constant) -> list[Map]:
    """The results of an equation that calls no other equations.

    Args:
        equation: The equation.
        inputs: Its inputs. None: the input does not depend on the image.
        constant: Function from the number of an input to its value, or to None if it
            depends on the image or the variables.
    """
    try:
        return _known(equation, inputs, constant)
    except NoRuleError:
        return [_unknown(var.aval.shape, equation, inputs) for var in equation.outvars]


def _known(equation: core.JaxprEqn, inputs: Inputs, constant: Constant) -> list[Map]:
    name = equation.primitive.name
    maps = [x for x in inputs if x is not None]
    is_split = any(x.is_flat or x.minor != (None, None) for x in maps)
    if is_split and name not in TAKES_FLAT:
        raise NoRuleError
    if not all(x.placed for x in maps) and name not in PLACES:
        raise NoRuleError
    if name in POINTWISE:
        results = [_pointwise(equation, inputs)]
    elif name in RULES:
        results = [RULES[name](equation, inputs)]
    elif name in CONSTANT_RULES:
        results = [CONSTANT_RULES[name](equation, inputs, constant)]
    elif name == "split":
        results = _split(equation, inputs)
    else:
        raise NoRuleError
    if name not in POINTWISE and name != "reshape":
        results = [dataclasses.replace(x, origin=None) for x in results]
    for result, var in zip(results, equation.outvars, strict=True):
        for dim, minor, field in zip(
            result.dims, result.minor, result.fields, strict=True
        ):
            size = math.prod(var.aval.shape[d] for d in (dim, minor) if d is not None)
            if dim is not None and size != len(field):
                raise NoRuleError
    return results


def _unknown(shape: Shape, equation: core.JaxprEqn, inputs: Inputs) -> Map:
    """A map of unknown fields, with the rows and columns of an input of the same shape;
    a vector is a map of one unit."""
    pairs = list(zip(inputs, equation.invars, strict=True))
    maps = [x for x in inputs if x is not None]
    window = UNKNOWN_WINDOW
    name = equation.primitive.name
    is_row = name not in RENAMES | REDUCTIONS or any(x.is_known for x in maps)
    if name in POINTWISE or not is_row:
        window = None
    for x, atom in pairs:
        if x is not None and x.placed and atom.aval.shape == shape:
            fields = tuple(unknown(len(field)) for field in x.fields)
            return Map(x.dims, fields, x.minor, layer=x.layer, window=window)
    return Map(
        (None, None),
        (unknown(1), unknown(1)),
        placed=len(shape) <= 2,
        layer=maps[0].layer,
        window=window,
    )


def _pointwise(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    """The smallest intervals that cover all inputs except gates."""
    maps = [x for x in inputs if x is not None]
    if is_gated(equation, inputs):
        maps = [x for x in maps if not x.pooled]
        shape = equation.outvars[0].aval.shape
        for x in maps:
            return dataclasses.replace(x, fields=_fit(x.fields, x.dims, shape))
    return _merge(maps)


def is_gated(equation: core.JaxprEqn, inputs: Inputs) -> bool:
    """Whether a map is multiplied by a summary of whole maps."""
    pooled = {x.pooled for x in inputs if x is not None}
    return equation.primitive.name == "mul" and len(pooled) == 2


def _merge(maps: Sequence[Map]) -> Map:
    if len({(x.dims, x.minor) for x in maps}) > 1:
        raise NoRuleError  # their rows and columns are different dimensions
    fields = tuple(_merge_fields([x.fields[a] for x in maps]) for a in (0, 1))
    origin = None
    if len({x.origin and x.origin[0] for x in maps}) == 1 and maps[0].origin:
        origin = maps[0].origin[0], _merge([x.origin[1] for x in maps])
    return dataclasses.replace(
        maps[0],
        fields=fields,
        pooled=all(x.pooled for x in maps),
        window=None,
        origin=origin,
    )


def _merge_fields(fields: list[Field]) -> Field:
    count = max(map(len, fields))
    return merge([_repeat(field, count) for field in fields])


def _repeat(field: Field, count: int) -> Field:
    """Repeats a field that all units share for `count` units."""
    if len(field) not in (1, count):
        raise NoRuleError
    return field.repeat(count)


def _fit(
    fields: tuple[Field, Field], dims: tuple[int | None, ...], shape: Sequence[int]
) -> tuple[Field, Field]:
    return tuple(
        field if dim is None else _repeat(field, shape[dim])
        for field, dim in zip(fields, dims, strict=True)
    )


def _only(inputs: Inputs) -> Map:
    """The one input that comes from the image."""
    maps = [x for x in inputs if x is not None]
    if len(maps) != 1:
        raise NoRuleError
    return maps[0]


def _slide(x: Map, window: Window, dims: Dims) -> Map:
    fields = tuple(
        x.fields[a]
        .pad(*window.padding[a])
        .slide(window.kernel[a], window.stride[a], window.dilation[a])
        for a in (0, 1)
    )
    return dataclasses.replace(x, dims=dims, fields=fields, window=window)


def _place(x: Map, spatial: Sequence[int], shape: Shape) -> Map:
    """The map with the dimensions that a window slides over as rows and columns.

    If all units of a map see the same pixels, any dimensions can be its rows and
    columns.
    """
    if x.placed and set(spatial) <= {*x.dims}:
        return x
    if not x.placed and len(spatial) <= 2:
        dims = (*spatial, None)[:2]
        fields = tuple(unknown(1 if d is None else shape[d]) for d in dims)
        return dataclasses.replace(x, dims=dims, fields=fields, placed=True)
    if not x.placed or len(spatial) != 2:
        if x.placed and all(d is None or d in spatial for d in x.dims):
            return x  # a third dimension, of channels
        raise NoRuleError
    dims = list(x.dims)
    if not {*dims} - {None} <= set(spatial):
        dims = [None, None]
    for a in (0, 1):
        if dims[a] is None:
            dims[a] = next(d for d in spatial if d not in dims)
    fields = []
    for (old, field), new in zip(x.axes, dims, strict=True):
        if old != new:
            same = np.ptp(field.first) == 0 and np.ptp(field.last) == 0
            if not same and field.known:
                raise NoRuleError
            one = field.take(slice(1)) if field.known else unknown(1)
            field = one.repeat(shape[new])
        fields.append(field)
    return dataclasses.replace(x, dims=tuple(dims), fields=tuple(fields))


def _conv(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    params = equation.params
    lhs, rhs, out = params["dimension_numbers"]
    shape, kernel = (atom.aval.shape for atom in equation.invars[:2])
    depth = math.prod(kernel) // kernel[rhs[0]]
    try:
        if inputs[1] is not None or params["batch_group_count"] > 1:
            raise NoRuleError  # the filters come from the image
        x = _place(inputs[0], lhs[2:], shape)
        if x.minor != (None, None) or (x.is_flat and params["feature_group_count"] > 1):
            raise NoRuleError
    except NoRuleError:
        x = next(x for x in inputs if x is not None)
        dims = (*lhs[2:], None)[:2]
        fields = tuple(unknown(1 if d is None else shape[d]) for d in dims)
        x = Map(dims, fields, layer=x.layer)
    at = [None if dim is None else lhs.index(dim) - 2 for dim in x.dims]

    def of(values: Sequence[Any], default: Any) -> tuple[Any, Any]:
        return tuple(default if i is None else values[i] for i in at)

    # Units among the channels are all in the window.
    size = tuple(
        len(field) if i is None else kernel[rhs[2 + i]]
        for i, field in zip(at, x.fields, strict=True)
    )
    dilation, stride = of(params["rhs_dilation"], 1), of(params["window_strides"], 1)
    padding, growth = of(params["padding"], (0, 0)), of(params["lhs_dilation"], 1)
    reach = [d * (k - 1) for d, k in zip(dilation, size, strict=True)]
    fields = tuple(
        x.fields[a]
        .dilate(growth[a])
        .pad(padding[a][0], padding[a][1] - (growth[a] - 1))
        .slide(size[a], stride[a], dilation[a])
        for a in (0, 1)
    )
    window = Window(
        size,
        tuple(s if g == 1 else s / g for s, g in zip(stride, growth, strict=True)),
        tuple(
            pads if g == 1 else (r - pads[0], r - pads[1])
            for pads, g, r in zip(padding, growth, reach, strict=True)
        ),
        dilation,
        params["feature_group_count"],
        depth // (size[0] * size[1]),
    )
    dims = of(out[2:], None)
    return dataclasses.replace(x, dims=dims, fields=fields, window=window)


def _reduce_window(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    x, params = _only(inputs), equation.params
    if any(size > 1 for size in params.get("base_dilation", ())):
        raise NoRuleError
    if not x.placed:
        sizes = params["window_dimensions"]
        spatial = [d for d, size in enumerate(sizes) if size > 1]
        x = _place(x, spatial, equation.invars[0].aval.shape)

    def of(name: str, default: Any) -> tuple[Any, Any]:
        values = params[name]
        return tuple(default if dim is None else values[dim] for dim in x.dims)

    window = Window(
        of("window_dimensions", 1),
        of("window_strides", 1),
        of("padding", (0, 0)),
        of("window_dilation", 1),
    )
    return _slide(x, window, x.dims)


def _whole(
    x: Map, axes: Sequence[bool], dims: Dims, filter_size: int | None = None
) -> Map:
    """Applies a window as large as the map along the given axes.

    Args:
        x: The map.
        axes: Whether the window covers the rows, and the columns.
        dims: Dimensions of rows and columns in the result.
        filter_size: Number of weights in one filter. None: there are no filters.
    """
    sizes = tuple(
        len(field) if axis else 1 for field, axis in zip(x.fields, axes, strict=True)
    )
    depth = None if filter_size is None else filter_size // math.prod(sizes)
    return _slide(x, Window(sizes, depth=depth), dims)


def _without(dims: Sequence[int | None], gone: Sequence[int]) -> Dims:
    """The dimensions after others have been removed."""
    return tuple(
        None if dim is None or dim in gone else dim - sum(d < dim for d in gone)
        for dim in dims
    )


def _reduce(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    x, axes = _only(inputs), equation.params["axes"]
    if 0 in axes:
        raise NoRuleError  # a reduction over all images
    dims, minor = _without(x.dims, axes), _without(x.minor, axes)
    sizes, strides, pooled = [], [], True
    shape = equation.invars[0].aval.shape
    for (dim, field), neighbours in zip(x.axes, x.minor, strict=True):
        blocks = dim in axes
        if neighbours is None:
            whole = blocks or (dim is None and len(field) > 1)
            sizes.append(len(field) if whole else 1)
            strides.append(1)
        elif neighbours in axes:
            sizes.append(len(field) if blocks else shape[neighbours])
            strides.append(1 if blocks else shape[neighbours])
        elif blocks:
            raise NoRuleError  # of units that are not neighbours
        else:
            sizes.append(1)
            strides.append(1)
    pooled = dims == (None, None)
    if not any(dim in axes for dim in (*x.dims, *x.minor) if dim is not None):
        if sizes == [1, 1]:
            return dataclasses.replace(x, dims=dims, minor=minor, window=None)
        pooled = x.pooled
    window = Window(tuple(sizes), tuple(strides))
    return dataclasses.replace(_slide(x, window, dims), minor=minor, pooled=pooled)


def _dot(equation: core.JaxprEqn, inputs: Inputs, constant: Constant) -> Map:
    x = _only(inputs)
    side = inputs.index(x)
    contracted, batch = equation.params["dimension_numbers"]
    shape, other = (equation.invars[i].aval.shape for i in (side, 1 - side))
    free = [d for d in range(len(shape)) if d not in (*contracted[side], *batch[side])]
    start = len(batch[side])
    if side == 1:
        start += len(other) - len(contracted[0]) - len(batch[0])
    order = [*batch[side], *[None] * (start - len(batch[side])), *free]
    dims, minor = (
        tuple(order.index(d) if d in free or d in batch[side] else None for d in axes)
        for axes in (x.dims, x.minor)
    )
    filter_size = math.prod(shape[d] for d in contracted[side])
    if not x.placed:
        result = _unknown(equation.outvars[0].aval.shape, equation, inputs)
        return dataclasses.replace(
            result, window=dataclasses.replace(UNKNOWN_WINDOW, depth=filter_size)
        )
    spatial = [a for a in (0, 1) if x.dims[a] in contracted[side]]
    stays = [d for d in range(1, len(shape)) if d not in (*x.dims, *contracted[side])]
    if any(dim in contracted[side] for dim in x.minor if dim is not None):
        raise NoRuleError
    if x.is_flat and any(shape[d] > 1 for d in stays):
        raise NoRuleError  # not all units of an axis are in the sum
    x = dataclasses.replace(x, minor=minor)
    if len(spatial) == len(contracted[side]) == 1 and len(other) == 2:
        matrix = constant(1 - side)
        if matrix is not None:
            (axis,) = spatial
            at = dims[:axis] + (len(free) if side == 0 else 0,) + dims[axis + 1 :]
            weights = np.abs(np.moveaxis(matrix, contracted[1 - side][0], 0))
            return _select(x, axis, weights > 1e-6 * weights.max(), at)
    over = [dim is None or dim in contracted[side] for dim in x.dims]
    return _whole(x, over, dims, filter_size)


def _select(x: Map, axis: int, used: np.ndarray, dims: Dims) -> Map:
    """Linear combinations, with constant weights, of the units of one axis."""
    fields = list(x.fields)
    fields[axis] = fields[axis].select(used)
    sizes, strides = [1, 1], [1, 1]
    sizes[axis], strides[axis] = windows(used)
    window = Window(tuple(sizes), tuple(strides))
    return dataclasses.replace(x, dims=dims, fields=tuple(fields), window=window)


def _reshape(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    """Keeps rows and columns as dimensions, splits them, joins them with others, or
    makes them channels."""
    x = _only(inputs)
    old, new = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    source = dataclasses.replace(x, window=None, origin=None)
    if x.origin is not None:
        old, source = x.origin
        source = dataclasses.replace(source, layer=x.layer)
    if not new or new[0] != old[0]:
        raise NoRuleError  # images are joined or cut apart
    if source.dims == (None, None) and not source.is_flat:
        dims = (1, 2) if len(new) == 4 else (None, None)
        fields = _fit(source.fields, dims, new)
        return dataclasses.replace(source, dims=dims, fields=fields)
    axes, window = [], Window()
    bounds = sorted({*_cumulative(old), *_cumulative(new)})
    if any(b % a for a, b in itertools.pairwise(bounds)):
        raise NoRuleError
    for axis in (0, 1):
        taken = [dim for dim, *_ in axes]
        axes.append(_follow(old, new, bounds, source, axis, taken))
    dims, minor, fields, sizes = zip(*axes, strict=True)
    if any(size != (1, 1) for size in sizes):
        window = Window(*zip(*sizes, strict=True))
    traced = dataclasses.replace(
        source, dims=dims, minor=minor, fields=fields, window=window
    )
    if not traced.is_flat:
        return traced
    origin = old, source
    if len(new) <= 2:
        return dataclasses.replace(traced, dims=(None, None), origin=origin)
    if len(new) == 3 and dims != (None, None):
        return traced
    tokens = _tokens(old, new, source)
    fields = tuple(unknown(1 if d is None else new[d]) for d in tokens)
    return Map(tokens, fields, pooled=x.pooled, layer=x.layer, origin=origin)


def _cumulative(shape: Shape) -> list[int]:
    """Products of the sizes of the first 0, 1, 2, ... dimensions."""
    return [math.prod(shape[:dim]) for dim in range(len(shape) + 1)]


def _tokens(old: Shape, new: Shape, x: Map) -> Dims:
    """The dimension in which a reshape has joined rows and columns."""
    row, column = x.dims
    if None not in x.dims and x.minor == (None, None) and column == row + 1:
        for i, size in enumerate(new):
            same_start = math.prod(new[:i]) == math.prod(old[:row])
            if same_start and size == old[row] * old[column]:
                return i, None
    raise NoRuleError


def _follow(
    old: Shape,
    new: Shape,
    bounds: Sequence[int],
    x: Map,
    axis: int,
    taken: Sequence[int | None],
) -> tuple[int | None, int | None, Field, tuple[float, float]]:
    """Follows an axis through a reshape.

    Args:
        old: Shape before the reshape.
        new: Shape after the reshape.
        bounds: Cumulative sizes of both shapes. The ratio of two neighbouring ones is a
            factor, and each dimension is a product of consecutive factors.
        x: Map before the reshape.
        axis: The axis, 0 for rows and 1 for columns.
        taken: New dimensions of other axes.

    Returns:
        (its new dimension, the dimension of its neighbouring units, its field, the
        window that changed it: (size, stride)).
    """
    dim, minor, field = x.dims[axis], x.minor[axis], x.fields[axis]
    own = [*_factors(old, bounds, dim), *_factors(old, bounds, minor)]
    others = {*_factors(old, bounds, x.dims[1 - axis])}
    neighbours = {*_factors(old, bounds, x.minor[1 - axis])}
    if not own:
        return _follow_single(old, new, dim, taken), None, field, (1, 1)
    new_factors = [_factors(new, bounds, i) for i in range(len(new))]
    within = {f: i for i, factors in enumerate(new_factors) for f in factors}
    parts = [(i, [*fs]) for i, fs in itertools.groupby(own, key=within.get)]
    first, (place, factors) = new_factors[parts[0][0]], parts[0]
    if len(parts) == 1:
        if first == own:
            return place, None, field, (1, 1)
        rest = first[len(own) :]
        is_own = first[: len(own)] == own and not (others | neighbours) & {*rest}
        if is_own and len(new) > 3:
            count = _size(bounds, rest)  # channels become units: a pixel shuffle
            return place, None, field.stretch(count), (1, 1 / count)
        return None, None, field, (1, 1)
    if first == factors and len(parts) == 2:
        second, rest = parts[1]
        if new_factors[second] == rest:
            return place, second, field, (1, 1)
        if others.isdisjoint(new_factors[second]):  # neighbours become channels
            count = _size(bounds, rest)
            return place, None, field.slide(count, count), (count, count)
    raise NoRuleError


def _follow_single(
    old: Shape, new: Shape, dim: int | None, taken: Sequence[int | None]
) -> int | None:
    """The new dimension of an axis with one unit."""
    for i, size in enumerate(new):
        is_free = i > 0 and size == 1 and i not in taken
        if dim is not None and is_free and math.prod(new[:i]) == math.prod(old[:dim]):
            return i
    return None


def _factors(shape: Shape, bounds: Sequence[int], dim: int | None) -> list[int]:
    """The indices of a dimension's factors."""
    if dim is None:
        return []
    start = math.prod(shape[:dim])
    return [i for i, b in enumerate(bounds) if start <= b < start * shape[dim]]


def _size(bounds: Sequence[int], factors: Sequence[int]) -> int:
    return math.prod(bounds[i + 1] // bounds[i] for i in factors)


def _broadcast(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    x, to = _only(inputs), equation.params["broadcast_dimensions"]
    shape = equation.outvars[0].aval.shape
    dims = tuple(None if dim is None else to[dim] for dim in x.dims)
    new = [d for d in range(len(shape)) if d not in to]
    if dims == (None, None) and new == [1, 2]:
        dims = (1, 2)
    elif None in dims and len(new) == 1:  # as jnp.stack
        dims = tuple(new[0] if dim is None else dim for dim in dims)
        if dims[0] == dims[1]:
            dims = (None, None)
    return dataclasses.replace(
        x, dims=dims, fields=_fit(x.fields, dims, shape), window=None
    )


def _squeeze(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    x, gone = _only(inputs), equation.params["dimensions"]
    return dataclasses.replace(x, dims=_without(x.dims, gone), window=None)


def _transpose(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    x, order = _only(inputs), list(equation.params["permutation"])

    def moved(dims: Dims) -> Dims:
        return tuple(None if dim is None else order.index(dim) for dim in dims)

    return dataclasses.replace(x, dims=moved(x.dims), minor=moved(x.minor), window=None)


def _along(x: Map, change: Callable[[Field, int], Field]) -> Map:
    """Changes the field of each axis that is a dimension."""
    fields = tuple(
        field if dim is None else change(field, dim) for dim, field in x.axes
    )
    return dataclasses.replace(x, fields=fields, window=None)


def _slice(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    params = equation.params
    starts, stops = params["start_indices"], params["limit_indices"]
    return _cut(_only(inputs), starts, stops, params["strides"] or [1] * len(starts))


def _cut(
    x: Map, starts: Sequence[int], stops: Sequence[int], steps: Sequence[int]
) -> Map:
    sliced = _along(x, lambda f, d: f.skip(int(starts[d]), int(stops[d]), steps[d]))
    strides = tuple(1 if dim is None else steps[dim] for dim in x.dims)
    if strides == (1, 1):
        return sliced
    return dataclasses.replace(sliced, window=Window(stride=strides))


def _dynamic_slice(equation: core.JaxprEqn, inputs: Inputs, constant: Constant) -> Map:
    x, sizes = inputs[0], equation.params["slice_sizes"]
    if x is None:
        raise NoRuleError
    starts, stops, shape = [], [], equation.invars[0].aval.shape
    for dim, (length, size) in enumerate(zip(shape, sizes, strict=True)):
        start = constant(dim + 1)
        if start is None and dim in x.dims:
            raise NoRuleError
        starts.append(0 if start is None else min(max(int(start), 0), length - size))
        stops.append(starts[-1] + size)
    return _cut(x, starts, stops, [1] * len(shape))


def _split(equation: core.JaxprEqn, inputs: Inputs) -> list[Map]:
    x, axis = _only(inputs), equation.params["axis"]
    parts, start = [], 0
    for size in equation.params["sizes"]:
        part = slice(start, start + size)
        parts.append(
            _along(x, lambda f, dim, part=part: f.take(part) if dim == axis else f)
        )
        start += size
    return parts


def _pad(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    x, config = inputs[0], equation.params["padding_config"]
    if x is None or inputs[1] is not None:
        raise NoRuleError
    config = [tuple(map(int, widths)) for widths in config]

    def padded(field: Field, dim: int) -> Field:
        before, after, between = config[dim]
        return field.dilate(between + 1).pad(before, after - between)

    padding = tuple((0, 0) if dim is None else config[dim][:2] for dim in x.dims)
    strides = tuple(1 if d is None else 1 / (config[d][2] + 1) for d in x.dims)
    window = Window(stride=strides, padding=padding)
    return dataclasses.replace(
        _along(x, padded), window=None if window == Window() else window
    )


def _gather(equation: core.JaxprEqn, inputs: Inputs, constant: Constant) -> Map:
    """A gather of channels, or of rows or columns by constant indices."""
    x, params = inputs[0], equation.params
    numbers, shape = params["dimension_numbers"], equation.invars[0].aval.shape
    if x is None or numbers.operand_batching_dims:
        raise NoRuleError
    kept = [d for d in range(len(shape)) if d not in numbers.collapsed_slice_dims]
    sizes = params["slice_sizes"]
    chosen = [a for a in (0, 1) if (d := x.dims[a]) is not None and sizes[d] < shape[d]]
    dims = [
        None if dim not in kept else numbers.offset_dims[kept.index(dim)]
        for dim in x.dims
    ]
    if not chosen:
        return dataclasses.replace(x, dims=tuple(dims), window=None)
    index = constant(1)
    (axis,) = chosen if len(chosen) == 1 else (None,)
    if axis is None or index is None or index.ndim != 2 or index.shape[1] != 1:
        raise NoRuleError
    if numbers.start_index_map != (x.dims[axis],) or x.dims[axis] in kept:
        raise NoRuleError
    rank = len(equation.outvars[0].aval.shape)
    (dims[axis],) = (d for d in range(rank) if d not in numbers.offset_dims)
    count, index = shape[x.dims[axis]], index[:, 0]
    if index.min() < 0 or index.max() >= count:
        raise NoRuleError
    return _select(x, axis, np.arange(count)[:, None] == index, tuple(dims))


def _concatenate(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    maps, dimension = [x for x in inputs if x is not None], equation.params["dimension"]
    axes = [a for a in (0, 1) if maps[0].dims[a] == dimension]
    if not axes:
        return _merge(maps)
    (axis,) = axes
    if len({x.dims for x in maps}) > 1:
        raise NoRuleError
    sizes = [atom.aval.shape[dimension] for atom in equation.invars]
    main = sizes.index(max(sizes))
    x, others = inputs[main], [*inputs[:main], *inputs[main + 1 :]]
    if x is not None and all(o is None or _repeats(x, o, axis) for o in others):
        # Circular or mirrored padding, or constants.
        before, after = sum(sizes[:main]), sum(sizes[main + 1 :])
        padding = [(0, 0), (0, 0)]
        padding[axis] = before, after
        fields = list(x.fields)
        fields[axis] = fields[axis].pad(before, after)
        window = Window(padding=tuple(padding))
        return dataclasses.replace(x, fields=tuple(fields), window=window)
    if len(maps) < len(inputs):
        raise NoRuleError
    fields = [
        join([x.fields[a] for x in maps])
        if a == axis
        else _merge_fields([x.fields[a] for x in maps])
        for a in (0, 1)
    ]
    return dataclasses.replace(maps[0], fields=tuple(fields), window=None)


def _repeats(x: Map, part: Map, axis: int) -> bool:
    """Whether a map is some, but not all, rows or columns of another one."""
    seen, whole = (
        set(zip(f.first, f.last, strict=True))
        for f in (part.fields[axis], x.fields[axis])
    )
    return part.layer is x.layer and seen < whole


def _stack(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    """Stacks single rows, or columns, one after the other."""
    maps, new = [x for x in inputs if x is not None], equation.params["axis"]
    lost = [a for a in (0, 1) if maps[0].dims[a] is None]
    if len(lost) != 1 or len(maps) < len(inputs):
        raise NoRuleError
    (axis,) = lost
    merged = _merge(maps)
    fields = list(merged.fields)
    dims = [d + (d >= new) for d in maps[0].dims if d is not None]
    fields[axis] = join([x.fields[axis] for x in maps])
    dims.insert(axis, new)
    return dataclasses.replace(merged, dims=tuple(dims), fields=tuple(fields))


def _rev(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    flipped = equation.params["dimensions"]
    return _along(_only(inputs), lambda f, dim: f.flip() if dim in flipped else f)


RULES: dict[str, Callable[[core.JaxprEqn, Inputs], Map]] = {
    "argmax": _reduce,
    "argmin": _reduce,
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "conv_general_dilated": _conv,
    "pad": _pad,
    "reduce_and": _reduce,
    "reduce_max": _reduce,
    "reduce_min": _reduce,
    "reduce_or": _reduce,
    "reduce_prod": _reduce,
    "reduce_sum": _reduce,
    "reduce_window": _reduce_window,
    "reduce_window_max": _reduce_window,
    "reduce_window_min": _reduce_window,
    "reduce_window_sum": _reduce_window,
    "reshape": _reshape,
    "rev": _rev,
    "slice": _slice,
    "squeeze": _squeeze,
    "stack": _stack,
    "transpose": _transpose,
}
# Rules that need the value of a constant.
CONSTANT_RULES: dict[str, Callable[[core.JaxprEqn, Inputs, Constant], Map]] = {
    "dot_general": _dot,
    "dynamic_slice": _dynamic_slice,
    "gather": _gather,
}
CONVOLUTIONS = {"conv_general_dilated", "dot_general"}
REDUCTIONS = {name for name, rule in RULES.items() if rule is _reduce}
# Equations that accept a map with a split axis, or with units of several positions in
# its channels.
TAKES_FLAT = POINTWISE | REDUCTIONS | CONVOLUTIONS | {"reshape", "transpose"}
# Equations that themselves show which dimensions are rows and columns.
PLACES = CONVOLUTIONS | {n for n, rule in RULES.items() if rule is _reduce_window}
# Equations that only rename units.
RENAMES = {"broadcast_in_dim", "reshape", "squeeze", "transpose"}
