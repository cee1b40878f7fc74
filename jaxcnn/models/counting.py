"""The computation of a network for one image, equation by equation, and its cost."""

from collections.abc import Iterator
import math
from typing import Any

from flax import linen as nn
import jax
from jax.extend import core
import jax.numpy as jnp


def forward(
    model: nn.Module,
    variables: Any,
    image_shape: tuple[int, int, int],
    batch_size: int = 1,
) -> core.ClosedJaxpr:
    """The jaxpr of evaluation, a function of the variables' leaves and the images.

    Args:
        variables: Arrays, or their shapes and dtypes.
    """
    images = jax.ShapeDtypeStruct((batch_size, *image_shape), jnp.float32)

    def apply(variables, images):
        return model.apply(variables, images, train=False)

    return jax.make_jaxpr(apply)(variables, images)


def live(jaxpr: core.Jaxpr) -> list[core.JaxprEqn]:
    """The equations that the results need, in order: auxiliary heads fall out."""
    needed, found = set(_variables(jaxpr.outvars)), []
    for equation in reversed(jaxpr.eqns):
        if needed.intersection(equation.outvars):
            found.append(equation)
            needed.update(_variables(equation.invars))
    return found[::-1]


def _variables(atoms: list[Any]) -> Iterator[core.Var]:
    return (atom for atom in atoms if not isinstance(atom, core.Literal))


def body(equation: core.JaxprEqn) -> core.Jaxpr | None:
    """What an equation calls, whose inputs and results are the equation's own."""
    for name in "jaxpr", "call_jaxpr":
        if name in equation.params:
            called = equation.params[name]
            return called.jaxpr if isinstance(called, core.ClosedJaxpr) else called
    return None


def macs(jaxpr: core.Jaxpr) -> int:
    """Multiply-adds of all convolutions and matrix products that are needed."""
    total = 0
    for equation in live(jaxpr):
        called = body(equation)
        total += equation_macs(equation) if called is None else macs(called)
    return total


def equation_macs(equation: core.JaxprEqn) -> int:
    """Multiply-adds of a convolution or a matrix product; 0 of anything else.

    Counted from shapes, the padded border included, as papers and torchvision count;
    XLA's cost analysis leaves the border out.
    """
    shapes = [atom.aval.shape for atom in equation.invars]
    out = math.prod(equation.outvars[0].aval.shape)
    if equation.primitive.name == "conv_general_dilated":
        filters = shapes[1][equation.params["dimension_numbers"].rhs_spec[0]]
        return out * math.prod(shapes[1]) // filters
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return out * math.prod(shapes[0][d] for d in contracted)
    return 0
