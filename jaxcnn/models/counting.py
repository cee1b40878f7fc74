"""The jaxpr of a network's forward pass, and the multiply-adds of its equations."""

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
        return model.apply(variables, images, train=False)

    return jax.make_jaxpr(apply)(variables, images)


def live(jaxpr: core.Jaxpr) -> list[core.JaxprEqn]:
    """Returns the equations that the results depend on, in order.

    Auxiliary heads are thereby left out.
    """
    needed, found = set(_variables(jaxpr.outvars)), []
    for equation in reversed(jaxpr.eqns):
        if needed.intersection(equation.outvars):
            found.append(equation)
            needed.update(_variables(equation.invars))
    return found[::-1]


def _variables(atoms: list[Any]) -> Iterator[core.Var]:
    return (atom for atom in atoms if not isinstance(atom, core.Literal))


def body(equation: core.JaxprEqn) -> core.Jaxpr | None:
    """Returns the jaxpr that an equation calls with its own inputs and results."""
    for name in "jaxpr", "call_jaxpr":
        if name in equation.params:
            called = equation.params[name]
            return called.jaxpr if isinstance(called, core.ClosedJaxpr) else called
    return None


def macs(jaxpr: core.Jaxpr) -> int:
    """Number of multiply-adds of all convolutions and matrix products that are live."""
    total = 0
    for equation in live(jaxpr):
        called = body(equation)
        total += equation_macs(equation) if called is None else macs(called)
    return total


def equation_macs(equation: core.JaxprEqn) -> int:
    """Number of multiply-adds of a convolution or a matrix product; 0 for others.

    They are counted from shapes and include the padding, as in papers and torchvision;
    XLA's cost analysis excludes it.
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
