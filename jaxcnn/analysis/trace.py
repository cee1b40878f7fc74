"""Groups the equations of a network into layers."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import re
from typing import Any

from flax import linen as nn
import jax
from jax.extend import core
import numpy as np

from jaxcnn import models
from jaxcnn.analysis import propagate
from jaxcnn.analysis.propagate import UNKNOWN_WINDOW, Map, Window
from jaxcnn.analysis.receptive_field import pixels
from jaxcnn.models import counting, layers

GATE_NOTE = "the gate is left out of the receptive field"

LOOP_NOTE = (
    "the multiply-adds of a loop of unknown length are counted for one iteration"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Fixed:
    """An array that does not come from the image.

    Attributes:
        parameters: Names of the parameters that it is computed from.
        value: Function that computes it. None: it depends on variables.
    """

    parameters: frozenset[str] = frozenset()
    value: Callable[[], Any] | None = None


Value = Map | Fixed

NORMS = (
    *(layers.BatchNorm, layers.LayerNorm),
    *(nn.BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.InstanceNorm),
)


@dataclasses.dataclass(frozen=True)
class Place:
    """Position of an equation: the module call, and a function that is one layer.

    Attributes:
        call: Number of the module call.
        function: Name of the function that the equation belongs to. None: none.
        number: Number of the call of that function.
    """

    call: int
    function: str | None = None
    number: int = 0


@dataclasses.dataclass(eq=False)
class Draft:
    """A row under construction.

    Attributes:
        place: Position of its equations.
        module: The module that is called there.
        source: The row that its input comes from. None: the image.
        pointwise: Whether each of its units is a function of one unit of its input.
        output: The result of its last equation.
        span: The input, if several equations make the row; of several inputs the one
            with the largest fields.
        parameters: Names of the parameters that it uses.
    """

    type: str
    place: Place
    module: nn.Module
    source: "Draft | None"
    pointwise: bool = False
    output: Map | None = None
    span: Map | None = None
    window: Window = Window()
    channels: int = 0
    connections: int = 0
    parameters: set[str] = dataclasses.field(default_factory=set)
    macs: int = 0
    note: str = ""


POOLS = {"max": "max_pool", "min": "min_pool", "sum": "avg_pool"}
WINDOWS = {"slice": "subsample", "pad": "pad", "concatenate": "pad"}
# Functions of JAX that are one layer, by the names of what they compile.
FUNCTIONS = {counting.RESIZE: "resize"}
MERGES = {
    **{"add": "sum", "sub": "difference", "mul": "product", "div": "quotient"},
    **{"max": "maximum", "min": "minimum", "concatenate": "concat", "stack": "concat"},
    **{"dot_general": "product", "conv_general_dilated": "product"},
}
# What is an activation without a function's name around it, too.
ACTIVATIONS = {
    **{"tanh": "tanh", "logistic": "sigmoid", "erf": "erf", "erfc": "erf"},
    **{"max": "max", "min": "min", "clamp": "clamp", "exp": "exp"},
}
PAD = "_pad"  # jnp.pad, whose equations are one row, too
BIASES = {"add", "add_any", "sub"}
SELF_GATED = {"sigmoid": "silu", "erf": "gelu", "tanh": "gelu"}  # x * f(x), by f


class Trace:
    """Follows the image through the equations of a network."""

    BATCH = 2  # a batch of 1 would look like a map of one pixel

    def __init__(self, model: nn.Module, image_shape: models.ImageShape) -> None:
        self.drafts: list[Draft] = []
        self._calls: list[nn.Module] = []
        self._open: list[int] = []
        self._entered = 0
        self._spans: dict[tuple[Place, Draft | None], Draft] = {}
        variables = models.abstract_variables(model, image_shape)
        with nn.intercept_methods(self._number):
            jaxpr = counting.forward(model, variables, image_shape, self.BATCH)
        self.sizes = {}
        inputs: list[Value] = []
        for path, leaf in jax.tree_util.tree_flatten_with_path(variables)[0]:
            collection, *keys = (key.key for key in path)
            name = "/".join(keys)
            if collection == "params":
                self.sizes[name] = leaf.size
            inputs.append(Fixed(frozenset({name} if collection == "params" else ())))
        inputs.append(Map((1, 2), tuple(map(pixels, image_shape[:2]))))
        constants = [_constant(value) for value in jaxpr.consts]
        self._run(jaxpr.jaxpr, inputs, Place(0), constants)

    def _number(self, method: Any, args: Any, kwargs: Any, context: Any) -> Any:
        """Marks the equations of each call of a module with the call's number."""
        if not self._open or self._calls[self._open[-1]] is not context.module:
            self._open.append(len(self._calls))
            self._calls.append(context.module)
        else:  # super().__call__
            self._open.append(self._open[-1])
        with jax.named_scope(f"call{self._open[-1]}"):
            result = method(*args, **kwargs)
        self._open.pop()
        return result

    def _run(
        self,
        jaxpr: core.Jaxpr,
        inputs: Sequence[Value],
        outer: Place,
        constants: Sequence[Value] = (),
    ) -> list[Value]:
        values = dict(zip(jaxpr.invars, inputs, strict=True))
        values.update(zip(jaxpr.constvars, constants, strict=False))

        def read(atom: Any) -> Value:
            if isinstance(atom, core.Literal):
                return _constant(atom.val)
            return values.get(atom, Fixed())

        for equation in counting.live(jaxpr):
            results = self._follow(equation, [read(a) for a in equation.invars], outer)
            values.update(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _follow(
        self, equation: core.JaxprEqn, inputs: Sequence[Value], outer: Place
    ) -> list[Value]:
        """The results of an equation; makes the row that begins with it."""
        maps = [x if isinstance(x, Map) else None for x in inputs]
        fixed = [x for x in inputs if isinstance(x, Fixed)]
        weights = frozenset().union(*(x.parameters for x in fixed))
        if not any(maps):
            return _compute(equation, fixed, weights)
        place = _place(equation, outer)
        module = self._calls[place.call]
        draft = None
        if place.function or isinstance(module, NORMS):
            draft = self._span(place, maps)
            draft.parameters |= weights
        if isinstance(module, NORMS):
            results = _keep_shape(equation, maps)
        elif draft is None and _is_activation(equation, maps):
            draft = self._add(equation.params["name"], place, maps, pointwise=True)
            draft.parameters |= weights
            results = [next(filter(None, maps))] * len(equation.outvars)
        elif (body := counting.body(equation)) is not None:
            constants = [_constant(value) for value in counting.constants(equation)]
            return self._run(body, inputs, self._enter(equation, place), constants)
        else:
            results = propagate.step(
                equation, maps, lambda i: _evaluate(inputs[i], maps[i])
            )
            draft = draft or self._draft(equation, maps, results[0], weights, place)
        if draft is None:
            return results
        if draft.type != "resize":
            draft.macs += counting.equation_macs(equation) // self.BATCH
        self._count_connections(equation, draft, maps, weights)
        if equation.primitive.name == "while" and draft.macs:
            draft.note = LOOP_NOTE
        return [
            self._close(draft, x, var.aval.size) if isinstance(x, Map) else x
            for x, var in zip(results, equation.outvars, strict=True)
        ]

    def _enter(self, equation: core.JaxprEqn, place: Place) -> Place:
        """The position of the equations that an equation calls."""
        name = equation.params.get("name")
        if name not in (*FUNCTIONS, PAD):
            return place
        self._entered += 1
        return Place(place.call, FUNCTIONS.get(name), self._entered)

    def _count_connections(
        self,
        equation: core.JaxprEqn,
        draft: Draft,
        maps: Sequence[Map | None],
        weights: frozenset[str],
    ) -> None:
        """Counts the inputs of an equation's units. A bias is one more input."""
        size = equation.outvars[0].aval.size // self.BATCH
        if equation.primitive.name in BIASES and len(maps) == 2 and weights:
            draft.connections += size
        elif not isinstance(draft.module, NORMS) and draft.type != "resize":
            draft.connections += counting.equation_connections(equation) // self.BATCH

    def _close(self, draft: Draft, output: Map, size: int) -> Map:
        """Stores the row's output so far."""
        if output.window is not None and draft.type in ("pad", "resize"):
            draft.window = _compose(draft.window, output.window)
        elif output.window is not None:
            draft.window = output.window
        draft.output = output
        draft.channels = output.channels(size // self.BATCH)
        return dataclasses.replace(output, layer=draft, window=None)

    def _draft(
        self,
        equation: core.JaxprEqn,
        maps: Sequence[Map | None],
        result: Map,
        weights: frozenset[str],
        place: Place,
    ) -> Draft | None:
        """The row that an equation belongs to. None: the row of its input."""
        name = equation.primitive.name
        sources = list(dict.fromkeys(x.layer for x in maps if x is not None))
        if len(sources) > 1:
            for source in sources:
                if source is not None and source.pointwise and source.source in sources:
                    if name == "mul":
                        source.type = SELF_GATED.get(source.type, source.type)
                    return source
            if propagate.is_gated(equation, maps):
                draft = self._add("gate", place, maps)
                draft.note = GATE_NOTE
                return draft
            return self._add(MERGES.get(name, name), place, maps)
        if name in propagate.CONVOLUTIONS:
            draft = self._add(_convolution(equation, maps, result), place, maps)
        elif result.window not in (None, Window()):
            kind = WINDOWS.get(name) or POOLS.get(name.rpartition("_")[2], name)
            draft = sources[0] if kind == "pad" and place.number else None
            if draft is None or (draft.type, draft.place) != (kind, place):
                draft = self._add(kind, place, maps)
        elif weights and (name in ("mul", "div") or sources == [None]):
            draft = self._add("scale", place, maps)
        elif name in ACTIVATIONS and len([x for x in maps if x is not None]) == 1:
            draft = self._add(ACTIVATIONS[name], place, maps, pointwise=True)
        else:
            draft = sources[0] if weights else None
        if draft is not None:
            draft.parameters |= weights
        return draft

    def _span(self, place: Place, maps: Sequence[Map | None]) -> Draft:
        """The row of a normalisation or of a function that is one layer."""
        outside = row = None
        for x in filter(None, maps):
            if x.layer is not None and x.layer.place == place:
                row = row or x.layer
            else:
                outside = outside or x
        if row is not None:
            if outside is not None and _is_wider(outside, row.span):
                row.span = outside
            return row
        if (place, outside.layer) not in self._spans:
            kind = place.function or _snake(type(self._calls[place.call]).__name__)
            draft = self._add(kind, place, maps)
            draft.span = outside
            self._spans[place, outside.layer] = draft
        return self._spans[place, outside.layer]

    def _add(
        self,
        kind: str,
        place: Place,
        maps: Sequence[Map | None],
        pointwise: bool = False,
    ) -> Draft:
        source = next(filter(None, maps)).layer
        module = self._calls[place.call]
        draft = Draft(kind, place, module, source, pointwise)
        self.drafts.append(draft)
        return draft


def _is_wider(x: Map, other: Map) -> bool:
    """Whether a map's units see more pixels than another's."""
    sides = zip(x.fields, other.fields, strict=True)
    return any(field.size > old.size for field, old in sides)


def _keep_shape(equation: core.JaxprEqn, maps: Sequence[Map | None]) -> list[Value]:
    """The results of an equation of a normalisation: statistics count as constants."""
    origins = []
    for var in equation.outvars:
        same = [
            x
            for x, atom in zip(maps, equation.invars, strict=True)
            if x is not None and atom.aval.shape == var.aval.shape
        ]
        origins.append(same[0] if same else Fixed())
    return origins


def _convolution(
    equation: core.JaxprEqn, maps: Sequence[Map | None], result: Map
) -> str:
    """The type of a convolution's or a matrix product's row."""
    if len([x for x in maps if x is not None]) > 1:
        return "product"
    if max(equation.params.get("lhs_dilation", (1,))) > 1:
        return "conv_transpose"
    is_filter = result.window is None or result.window.depth is not None
    return "conv" if is_filter else "matmul"


def _compose(first: Window, second: Window) -> Window:
    """The window of two paddings or resizes, which have different axes or sides."""
    if UNKNOWN_WINDOW in (first, second):
        return UNKNOWN_WINDOW
    padding = tuple(
        tuple(a + b for a, b in zip(*sides, strict=True))
        for sides in zip(first.padding, second.padding, strict=True)
    )
    kernel, stride = (
        tuple(a * b for a, b in zip(*pair, strict=True))
        for pair in ((first.kernel, second.kernel), (first.stride, second.stride))
    )
    return Window(kernel, stride, padding)


def _constant(value: Any) -> Fixed:
    return Fixed(value=lambda: value)


def _compute(
    equation: core.JaxprEqn, inputs: Sequence[Fixed], parameters: frozenset[str]
) -> list[Value]:
    """The results of an equation whose inputs do not depend on the image."""
    count = len(equation.outvars)
    if any(x.value is None for x in inputs):
        return [Fixed(parameters)] * count

    @functools.cache
    def results() -> Sequence[Any]:
        values = [x.value() for x in inputs]
        if counting.body(equation) is not None:
            params = equation.params
            called = params["jaxpr"] if "jaxpr" in params else params["call_jaxpr"]
            if isinstance(called, core.Jaxpr):
                called = core.ClosedJaxpr(called, ())
            return core.jaxpr_as_fun(called)(*values)
        made = equation.primitive.bind(*values, **equation.params)
        return made if equation.primitive.multiple_results else [made]

    return [Fixed(parameters, lambda i=i: results()[i]) for i in range(count)]


def _evaluate(value: Value, image: Map | None) -> np.ndarray | None:
    if image is not None or value.value is None:
        return None
    return np.asarray(value.value())


def _place(equation: core.JaxprEqn, outer: Place) -> Place:
    """The innermost module call that an equation is marked with, and a function in
    it."""
    parts = str(equation.source_info.name_stack).split("/")
    calls = [i for i, part in enumerate(parts) if re.fullmatch(r"call\d+", part)]
    if calls:
        outer = Place(int(parts[calls[-1]].removeprefix("call")))
        parts = parts[calls[-1] + 1 :]
    functions = [part for part in parts if part in layers.NAMED]
    if functions and outer.function is None:
        return dataclasses.replace(outer, function=functions[0])
    return outer


def _is_activation(equation: core.JaxprEqn, maps: Sequence[Map | None]) -> bool:
    """Whether it calls a named function that acts on each unit separately."""
    name = equation.params.get("name")
    body = counting.body(equation)
    if body is None or not isinstance(name, str) or name.startswith("_"):
        return False
    return len({x.layer for x in maps if x is not None}) == 1 and _is_pointwise(body)


def _is_pointwise(jaxpr: core.Jaxpr) -> bool:
    return all(
        _is_pointwise(body)
        if (body := counting.body(equation)) is not None
        else equation.primitive.name in propagate.POINTWISE
        or all(atom.aval.shape == () for atom in equation.invars)
        for equation in jaxpr.eqns
    )


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
