"""The operations for CPUs: the numbers and gradients of LAX, whatever the shape.

The reference is LAX in float64. In float32 an operation may be off by twice as much as
LAX itself in float32, over all shapes of a kind, and by four times in any one of them.
"""

import functools
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import ops
from jaxcnn.ops import backends

# What this machine has; without a C++ compiler the native ones are not to be had.
TABLES = ["portable", *([] if backends.missing() else ["native"])]

NO_PADDING = ((0, 0), (0, 0))
# (kernel, stride, padding, dilation, groups, channels, filters)
KINDS = {
    "plain": [
        ((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1, 5, 6),
        ((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 1, 5, 6),
        ((5, 4), (3, 1), ((2, 0), (0, 1)), (1, 1), 1, 3, 8),
        ((7, 7), (2, 2), ((3, 3), (3, 3)), (1, 1), 1, 3, 8),
        ((2, 2), (2, 2), NO_PADDING, (1, 1), 1, 4, 4),
        ((2, 3), (3, 3), ((1, 0), (2, 2)), (1, 1), 1, 4, 4),
        ((1, 7), (1, 1), ((0, 0), (3, 3)), (1, 1), 1, 4, 4),
        ((11, 9), (4, 2), ((2, 2), (2, 2)), (1, 1), 1, 1, 4),
    ],
    "grey": [
        ((5, 5), (1, 1), NO_PADDING, (1, 1), 1, 1, 6),
        ((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 1, 1, 8),
        ((7, 6), (2, 3), ((3, 2), (0, 3)), (1, 1), 1, 1, 5),
        ((2, 3), (1, 2), ((0, 3), (2, 1)), (3, 1), 1, 1, 4),
        ((9, 7), (1, 1), ((4, 4), (3, 3)), (1, 1), 1, 1, 1),
        ((1, 1), (2, 1), NO_PADDING, (1, 1), 1, 1, 4),
    ],
    "1x1": [
        ((1, 1), (1, 1), NO_PADDING, (1, 1), 1, 8, 4),
        ((1, 1), (2, 2), NO_PADDING, (1, 1), 1, 8, 4),
        ((1, 1), (3, 2), NO_PADDING, (1, 1), 1, 5, 3),
        ((1, 1), (1, 1), ((1, 2), (0, 0)), (1, 1), 1, 3, 4),
        ((1, 1), (2, 1), ((1, 2), (0, 3)), (1, 1), 1, 3, 4),
    ],
    "dilated": [
        ((3, 3), (1, 1), ((2, 2), (2, 2)), (2, 2), 1, 4, 4),
        ((3, 2), (2, 2), ((1, 2), (0, 2)), (2, 3), 1, 4, 4),
        ((3, 3), (2, 3), ((3, 3), (2, 2)), (4, 2), 1, 2, 4),
        ((2, 3), (3, 2), ((0, 3), (2, 1)), (3, 1), 1, 4, 3),
        ((3, 3), (1, 1), ((2, 2), (2, 2)), (2, 2), 4, 4, 8),
        ((3, 3), (2, 2), ((2, 2), (2, 2)), (2, 2), 2, 4, 8),
    ],
    "depthwise": [
        ((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 6, 6, 6),
        ((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 6, 6, 6),
        ((5, 5), (2, 2), ((2, 2), (2, 2)), (1, 1), 4, 4, 4),
        ((3, 2), (2, 3), ((0, 2), (1, 0)), (1, 1), 3, 3, 6),
        ((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 3, 3, 9),
        ((1, 1), (2, 2), NO_PADDING, (1, 1), 4, 4, 4),
        ((2, 2), (3, 3), NO_PADDING, (1, 1), 4, 4, 4),
    ],
    "grouped": [
        ((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 2, 8, 6),
        ((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 4, 8, 8),
        ((1, 1), (1, 1), NO_PADDING, (1, 1), 3, 6, 9),
        ((1, 1), (2, 2), NO_PADDING, (1, 1), 2, 4, 4),
        ((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 3, 120, 6),
        ((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 40, 80, 80),
        ((2, 5), (2, 1), ((0, 1), (2, 2)), (1, 1), 2, 4, 2),
    ],
}
SIZES = itertools.cycle([(2, 11, 12), (1, 13, 9), (3, 12, 12), (2, 15, 11)])


def off_by(found, reference):
    """Relative errors, in the root mean square."""
    return [
        np.linalg.norm(np.asarray(f, np.float64) - r) / np.linalg.norm(r)
        for f, r in zip(found, reference, strict=True)
    ]


def with_gradients(function, *arrays):
    """The first output, and the gradients of a weighted sum of all outputs."""
    outputs, pull_back = jax.vjp(function, *arrays)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    weights = tuple(
        jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape) for y in outputs
    )
    return outputs[0], *pull_back(weights if len(weights) > 1 else weights[0])


def errors(name, *arrays, **choices):
    """Errors of the output and each gradient, by table: {table: [(of LAX in float32, of
    the table in float32, of the table in float64)]}."""
    functions = {
        table: functools.partial(getattr(ops.TABLES[table], name), **choices)
        for table in ("lax", *TABLES)
    }

    @jax.jit
    def compute(arrays):
        return {
            (table, dtype.__name__): with_gradients(
                function, *(a.astype(dtype) for a in arrays)
            )
            for table, function in functions.items()
            for dtype in (jnp.float64, jnp.float32)
        }

    with jax.enable_x64(True):
        found = compute([jnp.asarray(a) for a in arrays])
    reference = [np.asarray(r) for r in found["lax", "float64"]]
    off = {key: off_by(value, reference) for key, value in found.items()}
    return {
        table: (off["lax", "float32"], off[table, "float32"], off[table, "float64"])
        for table in TABLES
    }


def check(found, most=2):
    """Checks the errors of many shapes, see above."""
    for table in TABLES:
        rows = [row[table] for row in found]
        lax, other, wide = map(np.array, zip(*rows, strict=True))
        assert wide.max() < 1e-13, table
        # An error of less than half a digit is none.
        floor = np.finfo(np.float32).eps / 4
        ratio = np.maximum(other, floor) / np.maximum(lax, floor)
        assert (np.median(ratio, axis=0) <= most).all(), (table, ratio)
        assert ratio.max() <= 4, (table, ratio)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_convolutions_are_those_of_lax(kind):
    rng, found = np.random.default_rng(0), []
    for window, stride, padding, dilation, groups, channels, filters in KINDS[kind]:
        x = rng.normal(size=(*next(SIZES), channels))
        kernel = rng.normal(size=(*window, channels // groups, filters))
        place = {"stride": stride, "padding": padding, "dilation": dilation}
        found.append(
            errors("conv", x, kernel, rng.normal(size=filters), groups=groups, **place)
        )
    # oneDNN sums all pixels of a group one after the other.
    check(found, 2.5 if kind == "grouped" else 2)


# As KINDS; the padding is cut off the result.
TRANSPOSED = [
    ((2, 2), (2, 2), NO_PADDING, (1, 1), 1, 4, 3),
    ((3, 3), (2, 2), ((1, 0), (1, 0)), (1, 1), 1, 5, 6),
    ((5, 4), (3, 1), ((0, 0), (1, 2)), (1, 1), 2, 4, 6),
    ((1, 2), (2, 3), ((0, -1), (0, -2)), (1, 1), 1, 4, 4),
    ((3, 2), (2, 3), ((2, -1), (1, 0)), (2, 3), 1, 4, 4),
    ((3, 3), (1, 1), ((2, 2), (2, 2)), (2, 2), 2, 4, 6),
    ((8, 16), (4, 8), ((2, 2), (4, 4)), (1, 1), 1, 3, 4),
    ((4, 4), (2, 2), ((1, 1), (1, 1)), (1, 1), 6, 6, 6),
    ((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 40, 80, 80),
    ((2, 2), (2, 2), NO_PADDING, (1, 1), 3, 120, 6),
]


@pytest.mark.slow
def test_transposed_convolutions_are_those_of_lax():
    rng, found = np.random.default_rng(0), []
    for window, stride, padding, dilation, groups, channels, filters in TRANSPOSED:
        x = rng.normal(size=(2, 5, 6, channels))
        kernel = rng.normal(size=(*window, channels // groups, filters))
        place = {"stride": stride, "padding": padding, "dilation": dilation}
        arrays = x, kernel, rng.normal(size=filters)
        found.append(errors("conv_transpose", *arrays, groups=groups, **place))
    check(found)


@pytest.mark.skipif("native" not in TABLES, reason="no native operations here")
@pytest.mark.parametrize(("window", "stride"), [(2, 2), (3, 1), (4, 2), (16, 8)])
def test_transposed_convolutions_are_computed_by_kernels(window, stride):
    # Forward and both gradients; large ones as convolutions without a stride.
    x, kernel = jnp.ones((1, 6, 6, 8)), jnp.ones((window, window, 8, 8))
    place = {"stride": (stride,) * 2, "padding": NO_PADDING, "dilation": (1, 1)}
    conv = functools.partial(ops.NATIVE.conv_transpose, groups=1, **place)
    jaxpr = str(jax.make_jaxpr(functools.partial(with_gradients, conv))(x, kernel))
    for name in ("conv_forward", "conv_image", "conv_kernel"):
        assert jaxpr.count(f"target_name=jaxcnn_{name}") == 1
    assert "conv_general_dilated" not in jaxpr


def unpadded(shapes):
    """Errors of convolutions: (images, width of the kernel, filters, groups)."""
    rng, found = np.random.default_rng(0), []
    for shape, window, filters, groups in shapes:
        x = rng.normal(size=shape)
        kernel = rng.normal(size=(window, window, shape[3] // groups, filters))
        place = {"stride": (1, 1), "padding": NO_PADDING, "dilation": (1, 1)}
        found.append(errors("conv", x, kernel, groups=groups, **place))
    return found


@pytest.mark.slow
def test_convolutions_of_every_size_are_those_of_lax():
    shapes = [
        ((1, 34, 35, 3), 3, 4, 1),  # few channels of a large image
        ((1, 17, 18, 65), 2, 4, 1),  # many
        ((2, 3, 3, 40), 1, 30, 1),  # a kernel larger than the images beside it
        ((2, 3, 3, 40), 3, 30, 1),
    ]
    check(unpadded(shapes))


@pytest.mark.slow
def test_the_long_sums_of_large_batches_are_as_exact_as_those_of_lax():
    shapes = [
        ((64, 34, 34, 16), 3, 16, 1),
        ((32, 32, 32, 3), 3, 8, 1),
        ((64, 32, 32, 1), 5, 6, 1),
        ((16, 50, 50, 24), 3, 24, 24),
    ]
    check(unpadded(shapes))


WINDOWS = [
    ((2, 2), (2, 2), NO_PADDING),
    ((3, 3), (2, 2), ((1, 1), (1, 1))),
    ((3, 3), (1, 1), ((1, 1), (1, 1))),
    ((3, 2), (3, 1), ((0, 1), (1, 0))),
    ((2, 2), (3, 3), NO_PADDING),
]


def unpooling_errors(x, size, **place):
    """Errors of max_unpool with each table's own switches, which are those of LAX."""
    values, switches = ops.LAX.max_pool_switches(jnp.asarray(x), **place)
    for table in TABLES:
        _, found = ops.TABLES[table].max_pool_switches(jnp.asarray(x), **place)
        assert found.dtype == switches.dtype
        np.testing.assert_array_equal(found, switches)
    return errors("max_unpool", values, switches=switches, size=size, **place)


@pytest.mark.parametrize("window", WINDOWS)
def test_pooling_is_that_of_lax(window):
    rng, found = np.random.default_rng(0), []
    place = dict(zip(("window", "stride", "padding"), window, strict=True))
    batch, height, width = next(SIZES)
    x = rng.normal(size=(batch, height, width, 15))  # 8 + 4 + 2 + 1 lanes
    found = [errors("max_pool", x, **place)]
    # Of equal ones the first gets the gradient.
    found.append(errors("max_pool", np.round(x), **place))
    found.append(unpooling_errors(np.round(x), (height + 1, width - 1), **place))
    for count in False, True:
        found.append(errors("avg_pool", x, count_include_pad=count, **place))
    check(found)


@pytest.mark.parametrize("table", TABLES)
def test_the_gradient_of_pooling_compares_no_pixels(table):
    # XLA may compute them again, and round otherwise: then none equals the largest.
    window, stride, padding = WINDOWS[1]
    pool = functools.partial(
        ops.TABLES[table].max_pool, window=window, stride=stride, padding=padding
    )
    _, pull_back = jax.vjp(pool, jnp.ones((2, 9, 9, 3)))
    kept = jax.tree.leaves(pull_back)
    assert kept
    assert all(jnp.issubdtype(array.dtype, jnp.integer) for array in kept)


def test_batch_norm_is_that_of_lax():
    rng = np.random.default_rng(0)
    found = []
    for shape in (4, 7, 6, 5), (32, 5), (2, 3, 3, 1), (3, 4, 4, 27):
        channels = shape[-1]
        x = rng.normal(2, 3, shape)
        values = [rng.normal(1, 0.5, channels) for _ in range(3)]
        # With the gradients of the running statistics.
        choices = {"momentum": 0.8, "epsilon": 1e-3}
        var = rng.uniform(1, 2, channels)
        found.append(errors("batch_norm_train", x, *values, var, **choices))
    check(found)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_numbers_of_few_digits_keep_their_dtype(dtype, table):
    table = ops.TABLES[table]
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 9, 9, 4)), dtype)
    place = {"stride": (2, 2), "padding": ((1, 1), (1, 1))}
    for groups in 1, 2, 4:
        kernel = jnp.asarray(rng.normal(size=(3, 3, 4 // groups, 4)), dtype)
        conv = functools.partial(table.conv, **place, dilation=(1, 1), groups=groups)
        found = jax.eval_shape(functools.partial(with_gradients, conv), x, kernel)
        assert {f.dtype for f in found} == {jnp.dtype(dtype)}
    for pool in (
        functools.partial(table.max_pool, window=(3, 3), **place),
        lambda x: table.max_pool_switches(x, window=(3, 3), **place)[0],
        functools.partial(
            table.avg_pool, window=(3, 3), count_include_pad=False, **place
        ),
    ):
        found = jax.eval_shape(functools.partial(with_gradients, pool), x)
        assert {f.dtype for f in found} == {jnp.dtype(dtype)}
    for norm in ops.LAX.batch_norm_train, table.batch_norm_train:
        norm = functools.partial(norm, momentum=0.9, epsilon=1e-5)
        ones = jnp.ones(4, jnp.float32)
        found = jax.eval_shape(norm, x, None, None, ones, ones)
        assert [f.dtype.name for f in found] == [x.dtype.name, "float32", "float32"]


@pytest.mark.parametrize("transform", ["vmap", "scan", "checkpoint"])
def test_gradients_pass_through_the_transformations_of_jax(transform):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(3, 2, 8, 8, 4)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(3, 3, 1, 4)), jnp.float32)

    def loss(table, kernel):
        def layer(x):
            conv = functools.partial(table.conv, stride=(2, 2), padding=((1, 1),) * 2)
            y = conv(x, kernel, dilation=(1, 1), groups=4)
            return table.max_pool(
                y, window=(2, 2), stride=(2, 2), padding=NO_PADDING
            ).sum()

        if transform == "vmap":
            return jax.vmap(layer)(x).sum()
        if transform == "checkpoint":
            return jax.checkpoint(layer)(x[0])
        return jax.lax.scan(lambda c, x: (c + layer(x), None), 0.0, x)[0]

    expected = jax.grad(functools.partial(loss, ops.LAX))(kernel)
    for table in TABLES:
        found = jax.grad(functools.partial(loss, ops.TABLES[table]))(kernel)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def places():
    """Convolutions at random that have at least one window."""
    return st.fixed_dictionaries(
        {
            "size": st.tuples(st.integers(4, 9), st.integers(4, 9)),
            "batch": st.integers(1, 5),
            "window": st.tuples(st.integers(1, 4), st.integers(1, 4)),
            "stride": st.tuples(st.integers(1, 3), st.integers(1, 3)),
            "padding": st.tuples(
                *(st.tuples(st.integers(0, 3), st.integers(0, 3)) for _ in range(2))
            ),
            "dilation": st.tuples(st.integers(1, 2), st.integers(1, 2)),
            "groups": st.sampled_from([1, 1, 2, 3]),
            "inputs": st.integers(1, 5),
            "filters": st.integers(1, 5),
        }
    ).filter(
        lambda p: all(
            n + sum(pad) > d * (k - 1)
            for n, pad, d, k in zip(
                *(p["size"], p["padding"], p["dilation"], p["window"]), strict=True
            )
        )
    )


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True)
@given(places())
def test_convolutions_at_random_are_those_of_lax(place):
    rng, groups = np.random.default_rng(0), place["groups"]
    channels, filters = groups * place["inputs"], groups * place["filters"]
    x = rng.normal(size=(place["batch"], *place["size"], channels))
    kernel = rng.normal(size=(*place["window"], place["inputs"], filters))
    choices = {name: place[name] for name in ("stride", "padding", "dilation")}

    def found(table, dtype):
        conv = functools.partial(ops.TABLES[table].conv, groups=groups, **choices)
        return with_gradients(conv, jnp.asarray(x, dtype), jnp.asarray(kernel, dtype))

    with jax.enable_x64(True):
        reference = [np.asarray(r) for r in found("lax", jnp.float64)]
    for table in TABLES:
        for _ in range(3):  # what threads do is not the same each time
            for result, expected in zip(
                found(table, jnp.float32), reference, strict=True
            ):
                off = np.linalg.norm(result - expected)
                assert off <= 1e-5 * np.linalg.norm(expected) + 1e-30
