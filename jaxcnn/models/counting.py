"""The jaxpr of a network's forward pass, and the multiply-adds of its equations."""

from collections.abc import Iterator, Sequence
import math
from typing import Any

from flax import linen as nn
import jax
from jax.extend import core
import jax.numpy as jnp

from jaxcnn.models import adapter

RESIZE = "_resize"  # the function that jax.image.resize and ops.lax.resize compile


def forward(
    model: nn.Module,
    variables: Any,
    image_shape: tuple[int, int, int],
    batch_size: int = 1,
) -> core.ClosedJaxpr:
    """Returns the jaxpr of the forward pass in evaluation.

    Its inputs are the leaves of the variables, then the images.

    Args:
        model: The network.
        variables: Variables of the network, or their shapes and dtypes.
        image_shape: Shape [H, W, C] of an image.
        batch_size: Number of images.
    """
    images = jax.ShapeDtypeStruct((batch_size, *image_shape), jnp.float32)

    def apply(variables, images):
        return adapter.adapted(model).apply(variables, images, train=False)

    return jax.make_jaxpr(apply)(variables, images)


def live(
    jaxpr: core.Jaxpr, results: Sequence[Any] | None = None
) -> list[core.JaxprEqn]:
    """Returns the equations that the results depend on, in order.

    Auxiliary heads are thereby left out.

    Args:
        jaxpr: The jaxpr.
        results: Some of its results; None: all of them.
    """
    results = jaxpr.outvars if results is None else results
    needed, equations = set(_variables(results)), []
    for equation in reversed(jaxpr.eqns):
        if needed.intersection(equation.outvars):
            equations.append(equation)
            needed.update(_variables(equation.invars))
    return equations[::-1]


def _variables(atoms: Sequence[Any]) -> Iterator[core.Var]:
    return (atom for atom in atoms if not isinstance(atom, core.Literal))


def body(equation: core.JaxprEqn) -> core.Jaxpr | None:
    """What an equation calls, whose inputs and results are the equation's own."""
    if equation.primitive.name == "scan":
        return None  # its body takes a part of its inputs
    for name in "jaxpr", "call_jaxpr":
        if name in equation.params:
            called = equation.params[name]
            return called.jaxpr if isinstance(called, core.ClosedJaxpr) else called
    return None


def constants(equation: core.JaxprEqn) -> list[Any]:
    """The constants in what an equation calls."""
    called = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    return list(called.consts) if isinstance(called, core.ClosedJaxpr) else []


def macs(jaxpr: core.Jaxpr) -> int:
    """Number of multiply-adds of all convolutions and matrix products that are live.

    Those with which a map is resized are left out, as in PyTorch's FlopCounterMode: how
    many there are depends on how it is computed.
    """
    total = 0
    for equation in live(jaxpr):
        if equation.params.get("name") == RESIZE:
            continue
        called = body(equation)
        total += equation_macs(equation) if called is None else macs(called)
    return total


def equation_macs(equation: core.JaxprEqn) -> int:
    """Number of multiply-adds of a convolution or a matrix product; 0 for others.

    Counted from shapes, the padded border included, as papers and torchvision count;
    XLA's cost analysis leaves the border out. A transposed convolution multiplies each
    input by each weight of its filters; the zeros between its inputs do not count. With
    a stride of 1 it is a convolution, and counted as one. A loop counts all its rounds,
    or one if their number depends on the data; a branch is the most expensive one.
    """
    name, params = equation.primitive.name, equation.params
    shapes = [atom.aval.shape for atom in equation.invars]
    out = math.prod(equation.outvars[0].aval.shape)
    if name == "conv_general_dilated":
        lhs, rhs, _ = params["dimension_numbers"]
        filters = shapes[1][rhs[0]]
        if max(params["lhs_dilation"]) > 1:
            image = math.prod(shapes[0][d] for d in lhs[2:])
            positions = image // math.prod(params["window_strides"])
            out = shapes[0][lhs[0]] * positions * filters
        return out * math.prod(shapes[1]) // filters
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        return out * math.prod(shapes[0][d] for d in contracted)
    if name == "scan":
        return params["length"] * macs(params["jaxpr"].jaxpr)
    if name == "while":
        return macs(params["body_jaxpr"].jaxpr)
    if name == "cond":
        return max(macs(branch.jaxpr) for branch in params["branches"])
    return 0


def equation_connections(equation: core.JaxprEqn) -> int:
    """Inputs of all units that a convolution, a matrix product or a pool computes; 0
    for anything else. They are counted from shapes, the padded border included."""
    name, params = equation.primitive.name, equation.params
    if name in ("conv_general_dilated", "dot_general"):
        return equation_macs(equation)
    if name.startswith("reduce_window"):
        out = math.prod(equation.outvars[0].aval.shape)
        return out * math.prod(params["window_dimensions"])
    if name.startswith("reduce_") and "axes" in params:
        return math.prod(equation.invars[0].aval.shape)
    return 0
