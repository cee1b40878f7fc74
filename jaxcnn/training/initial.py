"""Initial values, with as little compiled as possible.

XLA would compile a generator of random numbers for each parameter of a network, which
can take as long as to compile the step. Here random numbers come from generators for a
few sizes, and the little that is left is computed by NumPy.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core
import numpy as np

from jaxcnn.models import counting

# How many random numbers are drawn at once; for more there is a generator of their own.
_SIZES = tuple(4**n for n in range(5, 12))  # 1,024 to 4,194,304

Draw = Callable[..., jax.Array]  # of a key, limits, a shape and a dtype

_DRAWS: dict[str, Draw] = {
    "_normal": lambda key, shape, dtype: jax.random.normal(key, shape, dtype),
    "_uniform": lambda key, low, high, shape, dtype: jax.random.uniform(
        key, shape, dtype, low, high
    ),
    "_truncated_normal": lambda key, low, high, shape, dtype: (
        jax.random.truncated_normal(key, low, high, shape, dtype)
    ),
}

_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "div": np.divide,
    "mul": np.multiply,
    "neg": np.negative,
    "sqrt": np.sqrt,
    "sub": np.subtract,
}

# What _computed knows besides. JAX makes normal numbers of uniform ones by erf_inv,
# from 0.12 on in the initialisation itself.
_OTHERS = frozenset(
    {"random_fold_in", "broadcast_in_dim", "convert_element_type", "copy", "erf_inv"}
)


def evaluate(
    function: Callable[..., Any],
    argument: Any,
    part: Callable[[Any], Any] = lambda result: result,
) -> Any:
    """part(function(argument)) as arrays of NumPy, equal to what jax.jit computes but
    for rounding.

    Where JAX has traced the function already, it is not traced again.

    Args:
        function: The initialisation of a network or an optimizer, see state.py.
        argument: Key of jax.random, or arrays.
        part: Result of the function -> what is wanted of it.
    """
    traced, shapes = jax.make_jaxpr(function, return_shape=True)(argument)
    results = part(jax.tree.unflatten(jax.tree.structure(shapes), traced.jaxpr.outvars))
    wanted, structure = jax.tree.flatten(results)
    equations = counting.live(traced.jaxpr, wanted)
    leaves = jax.tree.leaves(argument)
    if not all(map(_is_by_position, leaves)) or not all(map(_is_known, equations)):
        return jax.device_get(jax.jit(lambda x: part(function(x)))(argument))
    constants = map(np.asarray, traced.consts)
    known = dict(zip(traced.jaxpr.constvars, constants, strict=True))
    known |= zip(traced.jaxpr.invars, leaves, strict=True)

    def value(atom: Any) -> Any:
        if isinstance(atom, core.Literal):
            return np.asarray(atom.val, atom.aval.dtype)
        return known[atom]

    for equation in equations:
        values = map(value, equation.invars)
        known[equation.outvars[0]] = _computed(equation, *values)
    return jax.tree.unflatten(structure, [np.array(value(atom)) for atom in wanted])


def _is_by_position(key: Any) -> bool:
    """Whether a random number depends on its position only, not on how many there
    are; True for what is no key."""
    if not jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key):
        return True
    threefry = str(jax.random.key_impl(key)) == "threefry2x32"
    return threefry and jax.config.jax_threefry_partitionable


def _is_known(equation: core.JaxprEqn) -> bool:
    name = equation.primitive.name
    return name in _ARITHMETIC or name in _OTHERS or _is_drawn(equation)


def _is_drawn(equation: core.JaxprEqn) -> bool:
    """Whether an equation is what JAX makes of a function of _DRAWS."""
    draw = _DRAWS.get(equation.params.get("name", ""))
    if draw is None:
        return False
    result = equation.outvars[0].aval
    again = jax.make_jaxpr(lambda *values: draw(*values, result.shape, result.dtype))(
        *(atom.aval for atom in equation.invars)
    )
    # JAX keeps what it has traced, so that the same call is the same object; under
    # another table of operations, such as that of a backbone, it has the same text.
    ours = equation.params["jaxpr"]
    jaxprs = [other.params.get("jaxpr") for other in again.eqns]
    return any(jaxpr is ours for jaxpr in jaxprs) or str(ours) in map(str, jaxprs)


def _computed(equation: core.JaxprEqn, *values: Any) -> Any:
    """The result of an equation, as an array of NumPy or a key."""
    name, result = equation.primitive.name, equation.outvars[0].aval
    if name == "random_fold_in":
        return jax.random.fold_in(*values)
    if name == "copy":
        return values[0]
    if name == "convert_element_type":
        return values[0].astype(result.dtype)
    if name == "broadcast_in_dim":
        places = equation.params["broadcast_dimensions"]
        sizes = dict(zip(places, values[0].shape, strict=True))
        shape = [sizes.get(axis, 1) for axis in range(len(result.shape))]
        return np.broadcast_to(values[0].reshape(shape), result.shape)
    if name in _ARITHMETIC:
        return _ARITHMETIC[name](*values)
    size = next((size for size in _SIZES if size >= result.size), result.size)
    if name == "erf_inv":
        filled = np.resize(values[0], size)
        return np.asarray(jax.lax.erf_inv(filled))[: result.size].reshape(result.shape)
    drawn = _DRAWS[equation.params["name"]](*values, (size,), result.dtype)
    return np.asarray(drawn)[: result.size].reshape(result.shape)
