"""Receptive fields through one equation of a jaxpr.

Every rule takes an equation and what its inputs are, a Map where they come from the
image and None where not, and gives the Map of the result. A rule for something that
no network here does is missing: NotImplementedError then names it.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

from jax.extend import core

from jaxcnn.analysis.receptive_field import Field, join, merge

Pair = tuple[int, int]  # of rows and columns


@dataclasses.dataclass(frozen=True)
class Window:
    """The sliding window of a convolution or a pool."""

    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))  # (before, after) of each axis
    dilation: Pair = (1, 1)
    groups: int = 1


@dataclasses.dataclass(frozen=True, eq=False)
class Map:
    """An array that is computed from the image.

    Attributes:
        dims: Which dimension of the array are the rows, and which the columns. None:
            none is; the units of that axis, if more than one, are among the channels.
        fields: Of the units along rows and columns.
        pooled: Whether it is a summary of whole maps, so that its units have no place
            in the image.
        layer: The layer that it comes from.
        window: Of the equation that made it.
    """

    dims: tuple[int | None, int | None]
    fields: tuple[Field, Field]
    pooled: bool = False
    layer: Any = None
    window: Window | None = None

    def channels(self, shape: Sequence[int]) -> int:
        """Channels of an array of that shape with the batch first."""
        count = 1
        for size in shape[1:]:
            count *= size
        return count // (len(self.fields[0]) * len(self.fields[1]))


Inputs = Sequence[Map | None]

# What computes each unit from the same unit of its inputs.
POINTWISE = {
    *("abs", "acos", "add", "add_any", "and", "asin", "atan", "atan2", "cbrt"),
    *("ceil", "clamp", "convert_element_type", "copy", "cos", "cosh", "div"),
    *("eq", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "ge"),
    *("gt", "integer_pow", "is_finite", "le", "log", "log1p", "logistic", "lt"),
    *("max", "min", "mul", "ne", "neg", "nextafter", "not"),
    *("optimization_barrier", "or", "pow", "reduce_precision", "rem", "round"),
    *("rsqrt", "select_n", "sign", "sin", "sinh", "sqrt", "square"),
    *("stop_gradient", "sub", "tan", "tanh", "xor"),
}


def step(equation: core.JaxprEqn, inputs: Inputs) -> list[Map]:
    """The results of an equation that calls nothing.

    Raises:
        NotImplementedError: There is no rule for it.
    """
    name = equation.primitive.name
    if name in POINTWISE:
        results = [_pointwise(equation, inputs)]
    elif name in RULES:
        results = RULES[name](equation, inputs)
        results = results if isinstance(results, list) else [results]
    else:
        raise NotImplementedError(f"No receptive field through {name}: {equation}")
    for result, var in zip(results, equation.outvars, strict=True):
        for dim, field in zip(result.dims, result.fields, strict=True):
            if dim is not None and var.aval.shape[dim] != len(field):
                raise NotImplementedError(f"Lost the rows and columns in {equation}")
    return results


def _pointwise(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    """The smallest intervals that cover all inputs, gates left out."""
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
    if len({x.dims for x in maps}) > 1:
        raise NotImplementedError("Maps meet whose rows and columns are elsewhere.")
    fields = tuple(merge([x.fields[a] for x in maps]) for a in (0, 1))
    pooled = all(x.pooled for x in maps)
    return dataclasses.replace(maps[0], fields=fields, pooled=pooled, window=None)


def _fit(
    fields: tuple[Field, Field], dims: tuple[int | None, ...], shape: Sequence[int]
) -> tuple[Field, Field]:
    return tuple(
        field if dim is None else field.repeat(shape[dim])
        for field, dim in zip(fields, dims, strict=True)
    )


def _only(inputs: Inputs) -> Map:
    """The one input that comes from the image."""
    maps = [x for x in inputs if x is not None]
    if len(maps) != 1:
        raise NotImplementedError("An equation takes several maps of the image.")
    return maps[0]


def _slide(x: Map, window: Window, dims: tuple[int | None, int | None]) -> Map:
    fields = tuple(
        x.fields[a]
        .pad(*window.padding[a])
        .slide(window.kernel[a], window.stride[a], window.dilation[a])
        for a in (0, 1)
    )
    return dataclasses.replace(x, dims=dims, fields=fields, window=window)


def _conv(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    x, params = inputs[0], equation.params
    if inputs[1] is not None or x is None or max(params["lhs_dilation"]) > 1:
        raise NotImplementedError(f"No receptive field through {equation}")
    lhs, rhs, out = params["dimension_numbers"]
    at = [None if dim is None else lhs.index(dim) - 2 for dim in x.dims]
    kernel = equation.invars[1].aval.shape

    def of(values: Sequence[Any], default: Any) -> tuple[Any, Any]:
        return tuple(default if i is None else values[i] for i in at)

    window = Window(
        of([kernel[dim] for dim in rhs[2:]], 1),
        of(params["window_strides"], 1),
        of(params["padding"], (0, 0)),
        of(params["rhs_dilation"], 1),
        params["feature_group_count"],
    )
    return _slide(x, window, of(out[2:], None))


def _reduce_window(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    x, params = _only(inputs), equation.params

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


def _whole(x: Map, axes: Sequence[bool], dims: tuple[int | None, ...]) -> Map:
    """A window as large as the map along the given axes."""
    sizes = [
        len(field) if axis else 1 for field, axis in zip(x.fields, axes, strict=True)
    ]
    return _slide(x, Window(tuple(sizes)), dims)


def _reduce(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    x, axes = _only(inputs), equation.params["axes"]
    over = [dim in axes for dim in x.dims]
    dims = tuple(
        None if dim is None or dim in axes else dim - sum(a < dim for a in axes)
        for dim in x.dims
    )
    if not any(over):
        return dataclasses.replace(x, dims=dims, window=None)
    return dataclasses.replace(_whole(x, over, dims), pooled=dims == (None, None))


def _dot(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    x = _only(inputs)
    side = inputs.index(x)
    contracted, batch = equation.params["dimension_numbers"]
    shape = equation.invars[side].aval.shape
    free = [d for d in range(len(shape)) if d not in (*contracted[side], *batch[side])]
    start = len(batch[side])
    if side == 1:
        other = equation.invars[0].aval.shape
        start += len(other) - len(contracted[0]) - len(batch[0])
    order = [*batch[side], *[None] * (start - len(batch[side])), *free]
    dims = tuple(order.index(dim) if dim in free else None for dim in x.dims)
    over = [dim is None or dim in contracted[side] for dim in x.dims]
    if any(dim in batch[side] for dim in x.dims if dim is not None):
        raise NotImplementedError(f"No receptive field through {equation}")
    return _whole(x, over, dims)


def _reshape(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    """Rows and columns stay dimensions of their own, or become channels."""
    x = _only(inputs)
    old, new = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    if x.dims == (None, None):
        sizes = tuple(map(len, x.fields))
        dims = (1, 2) if len(new) == 4 and new[1:3] == sizes else (None, None)
    else:
        dims = _follow(old, new, x.dims)
    lost = [d is None and len(f) > 1 for d, f in zip(dims, x.fields, strict=True)]
    if any(lost) and len(new) > 2:
        raise NotImplementedError(f"No receptive field through {equation}")
    return dataclasses.replace(x, dims=(None, None) if any(lost) else dims, window=None)


def _follow(
    old: Sequence[int], new: Sequence[int], dims: Sequence[int | None]
) -> tuple[int | None, ...]:
    """Where dimensions are after a reshape: behind as many numbers as before."""

    def before(shape: Sequence[int], dim: int) -> int:
        count = 1
        for size in shape[:dim]:
            count *= size
        return count

    found = []
    for dim in dims:
        matches = [
            i
            for i, size in enumerate(new)
            if dim is not None
            and i not in found
            and size == old[dim]
            and before(new, i) == before(old, dim)
        ]
        found.append(matches[0] if matches else None)
    return tuple(found)


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
    dims = tuple(
        None if dim is None or dim in gone else dim - sum(d < dim for d in gone)
        for dim in x.dims
    )
    return dataclasses.replace(x, dims=dims, window=None)


def _transpose(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    x, order = _only(inputs), list(equation.params["permutation"])
    dims = tuple(None if dim is None else order.index(dim) for dim in x.dims)
    return dataclasses.replace(x, dims=dims, window=None)


def _along(x: Map, change: Callable[[Field, int], Field]) -> Map:
    """Changes the field of each axis that is a dimension."""
    fields = tuple(
        field if dim is None else change(field, dim)
        for field, dim in zip(x.fields, x.dims, strict=True)
    )
    return dataclasses.replace(x, fields=fields, window=None)


def _slice(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    x, params = _only(inputs), equation.params
    steps = params["strides"] or [1] * len(params["start_indices"])

    def cut(field: Field, dim: int) -> Field:
        start, stop = params["start_indices"][dim], params["limit_indices"][dim]
        step = steps[dim]
        return field.take(slice(start, stop, step), field.stride * step)

    sliced = _along(x, cut)
    strides = tuple(1 if dim is None else steps[dim] for dim in x.dims)
    if strides == (1, 1):
        return sliced
    return dataclasses.replace(sliced, window=Window(stride=strides))


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
    if x is None or any(config[dim][2] for dim in x.dims if dim is not None):
        raise NotImplementedError(f"No receptive field through {equation}")
    padded = _along(x, lambda field, dim: field.pad(*map(int, config[dim][:2])))
    padding = tuple(
        (0, 0) if dim is None else tuple(map(int, config[dim][:2])) for dim in x.dims
    )
    if padding == ((0, 0), (0, 0)):
        return padded
    return dataclasses.replace(padded, window=Window(padding=padding))


def _gather(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    """Of channels only."""
    x, params = inputs[0], equation.params
    numbers, shape = params["dimension_numbers"], equation.invars[0].aval.shape
    kept = [d for d in range(len(shape)) if d not in numbers.collapsed_slice_dims]
    for dim in x.dims if x is not None else ():
        if dim is not None and params["slice_sizes"][dim] != shape[dim]:
            raise NotImplementedError(f"No receptive field through {equation}")
    dims = tuple(
        None if dim is None else numbers.offset_dims[kept.index(dim)] for dim in x.dims
    )
    return dataclasses.replace(x, dims=dims, window=None)


def _concatenate(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    maps, dimension = [x for x in inputs if x is not None], equation.params["dimension"]
    axes = [a for a in (0, 1) if maps[0].dims[a] == dimension]
    if not axes:
        return _merge(maps)
    (axis,) = axes
    if len(maps) < len(inputs):
        raise NotImplementedError(f"No receptive field through {equation}")
    fields = [merge([x.fields[a] for x in maps]) if a != axis else None for a in (0, 1)]
    fields[axis] = join([x.fields[axis] for x in maps])
    return dataclasses.replace(maps[0], fields=tuple(fields), window=None)


def _stack(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    """Of single rows, or columns."""
    maps, new = [x for x in inputs if x is not None], equation.params["axis"]
    lost = [a for a in (0, 1) if maps[0].dims[a] is None]
    if len(lost) != 1 or len(maps) < len(inputs):
        raise NotImplementedError(f"No receptive field through {equation}")
    (axis,) = lost
    merged = _merge(maps)
    fields, dims = (
        list(merged.fields),
        [d + (d >= new) for d in maps[0].dims if d is not None],
    )
    fields[axis] = join([x.fields[axis] for x in maps])
    dims.insert(axis, new)
    return dataclasses.replace(merged, dims=tuple(dims), fields=tuple(fields))


def _rev(equation: core.JaxprEqn, inputs: Inputs) -> Map:
    flipped = equation.params["dimensions"]
    return _along(
        _only(inputs),
        lambda f, dim: (
            f.take(slice(None, None, -1), -f.stride) if dim in flipped else f
        ),
    )


RULES: dict[str, Callable[[core.JaxprEqn, Inputs], Map | list[Map]]] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "conv_general_dilated": _conv,
    "dot_general": _dot,
    "gather": _gather,
    "pad": _pad,
    "reduce_max": _reduce,
    "reduce_min": _reduce,
    "reduce_sum": _reduce,
    "reduce_window": _reduce_window,
    "reduce_window_max": _reduce_window,
    "reduce_window_min": _reduce_window,
    "reduce_window_sum": _reduce_window,
    "reshape": _reshape,
    "rev": _rev,
    "slice": _slice,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "transpose": _transpose,
}
