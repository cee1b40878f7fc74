"""Whole networks by the operations for CPUs: as exact as those of plain JAX.

The error of a gradient in float32 is relative to LAX in float64, for all parameters at
once. ReLU is replaced by SiLU: where a ReLU is at its kink, the gradient jumps, and any
rounding decides to which side.
"""

import dataclasses
import functools

from flax import linen as nn
from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import ops
from jaxcnn.ops import backends
from tests.small_networks import small

TABLES = ["portable", *([] if backends.missing() else ["native"])]
NUM_SEEDS = 5
# Together they have every operation that the tables replace.
FAMILIES = ["lenet", "mobilenet_v2", "resnet", "wide_resnet"]


def without_dropout(function, arguments, choices, context):
    """Passes on the input of a Dropout, whose mask depends on the dtype."""
    if isinstance(context.module, nn.Dropout):
        return arguments[0]
    return function(*arguments, **choices)


def random_like(shapes, rng):
    """Numbers of a usual size: kernels of variance 2 / fan-in, scales about 1."""
    values = {}
    for path, leaf in traverse_util.flatten_dict(shapes).items():
        noise = rng.normal(size=leaf.shape)
        if leaf.ndim > 1:
            values[path] = noise * np.sqrt(2 / np.prod(leaf.shape[:-1]))
        else:
            values[path] = 0.1 * noise + (path[-1] in ("scale", "var"))
    return traverse_util.unflatten_dict(values)


def gradient(model, table, params, others, images):
    """The gradient of a weighted sum of the logits, as one vector."""

    def loss(params):
        with (
            ops.using(dataclasses.replace(table, relu=jax.nn.silu)),
            nn.intercept_methods(without_dropout),
        ):
            outputs, _ = model.apply(
                {"params": params, **others},
                images,
                train=True,
                mutable=["batch_stats", "intermediates"],
                rngs={"dropout": jax.random.key(0)},
            )
        logits = jax.tree.leaves(outputs)[0]
        weights = jnp.cos(jnp.arange(logits.size, dtype=logits.dtype))
        return jnp.sum(logits * weights.reshape(logits.shape))

    return jnp.concatenate([g.ravel() for g in jax.tree.leaves(jax.grad(loss)(params))])


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_as_exact_as_those_of_plain_jax(family):
    model, shape = small(family)
    images = jax.ShapeDtypeStruct((4, *shape), jnp.float32)
    keys = dict.fromkeys(("params", "dropout"), jax.random.key(0))
    variables = jax.eval_shape(functools.partial(model.init, train=True), keys, images)
    variables.pop("intermediates", None)
    functions = {
        name: jax.jit(functools.partial(gradient, model, ops.TABLES[name]))
        for name in ("lax", *TABLES)
    }
    errors = {name: [] for name in functions}
    for seed in range(NUM_SEEDS):
        rng = np.random.default_rng(seed)
        values = {name: random_like(v, rng) for name, v in variables.items()}
        arrays = [values.pop("params"), values, rng.normal(size=images.shape)]

        def compute(name, dtype, arrays=arrays):
            cast = jax.tree.map(lambda a: jnp.asarray(a, dtype), arrays)
            return np.asarray(functions[name](*cast), np.float64)

        with jax.enable_x64(True):
            exact = compute("lax", jnp.float64)
        for name in functions:
            off = np.linalg.norm(compute(name, jnp.float32) - exact)
            errors[name].append(off / np.linalg.norm(exact))
    middle = {name: np.median(values) for name, values in errors.items()}
    assert middle["lax"] < 1e-3, middle
    for name in TABLES:
        assert middle[name] <= 2 * middle["lax"], middle
