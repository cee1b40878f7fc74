"""The table of operations: each one's numbers, and that networks call nothing else."""

import ast
import collections
import dataclasses
import functools
import pathlib
import threading

from flax import linen as nn
import jax
from jax.extend import core
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxcnn import models, ops
from jaxcnn.config import Config
from jaxcnn.models import layers, resnet
from jaxcnn.training.precision import FLOAT32, make_precision
from tests.small_networks import FAMILIES, small

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(4, 7, 6, 4))


@jax.custom_vjp
def guided_relu(x):
    """ReLU that lets no negative gradient pass (Springenberg et al., 2015)."""
    return jnp.maximum(x, 0)


guided_relu.defvjp(
    lambda x: (guided_relu(x), x),
    lambda x, g: (jnp.where((x > 0) & (g > 0), g, 0),),
)
GUIDED = ops.Table(relu=guided_relu)


def slope(x):
    """The gradient of -relu(x), and how it is compiled."""
    return jax.grad(lambda x: -layers.relu(x))(x)


def test_a_function_that_is_compiled_under_one_table_is_not_used_under_another():
    traced = []

    @jax.jit
    def step(x):
        traced.append(ops.current())
        return slope(x)

    for _ in range(2):
        assert step(1.0) == -1.0
        with ops.using(GUIDED):
            assert step(1.0) == 0.0
            with ops.using(ops.LAX):
                assert step(1.0) == -1.0
    assert traced == [ops.LAX, GUIDED]  # and neither is compiled a second time


def test_steps_that_keep_their_table_are_told_apart_by_it():
    # As a training step: the table is one of its arguments, whatever is in force
    # when it is called.
    def step(x, *, table):
        with ops.using(table):
            return slope(x)

    static = jax.jit(step, static_argnames="table")
    closed = {
        table: jax.jit(functools.partial(step, table=table))
        for table in (ops.LAX, GUIDED)
    }
    ahead = {t: f.lower(1.0).compile() for t, f in closed.items()}
    for outside in (ops.LAX, GUIDED):
        with ops.using(outside):
            for table, expected in ((ops.LAX, -1.0), (GUIDED, 0.0)):
                assert static(1.0, table=table) == expected
                assert closed[table](1.0) == expected
                assert ahead[table](1.0) == expected


@pytest.mark.parametrize(
    "transform",
    [
        jax.checkpoint,
        lambda f: jax.vmap(f, axis_size=1),
        lambda f: lambda x: jax.lax.scan(lambda c, _: (f(c), None), x, length=1)[0],
        lambda f: jax.pmap(f, axis_size=1),
    ],
    ids=["checkpoint", "vmap", "scan", "pmap"],
)
def test_a_table_reaches_into_the_transformations_of_jax(transform):
    # Each of them keeps what it has traced before.
    function = transform(slope_of_each)
    x = jnp.ones((1, 1))
    for table, expected in ((ops.LAX, -1.0), (GUIDED, 0.0), (ops.LAX, -1.0)):
        with ops.using(table):
            assert function(x).item() == expected


def slope_of_each(x):
    return jax.grad(lambda x: -layers.relu(x).sum())(x)


def test_a_table_ends_with_its_context_and_is_seen_by_its_own_thread_alone():
    seen = []
    with ops.using(GUIDED):
        assert ops.current() == GUIDED
        thread = threading.Thread(target=lambda: seen.append(ops.current()))
        thread.start()
        thread.join()
    assert seen == [ops.LAX]
    assert ops.current() == ops.LAX
    with pytest.raises(KeyError), ops.using(GUIDED):
        {}["an error"]
    assert ops.current() == ops.LAX


def test_tables_of_the_same_functions_are_the_same():
    same = dataclasses.replace(ops.LAX, relu=guided_relu)
    assert same == GUIDED != ops.LAX
    assert hash(same) == hash(GUIDED)


@pytest.mark.parametrize("table", [None, {"relu": guided_relu}, ops.Table])
def test_only_a_table_can_be_used(table):
    with pytest.raises(TypeError, match="takes a Table, not"):
        ops.using(table)


def test_operations_that_are_composed_follow_the_ones_that_they_are_made_of():
    # By hand, for a ReLU that is zero everywhere.
    with ops.using(ops.Table(relu=jnp.zeros_like)):
        for act in (layers.relu6, layers.hard_sigmoid, layers.hard_swish):
            assert act(jnp.ones(())) == 0
        assert layers.add_relu(jnp.ones(()), jnp.ones(())) == 0
    with ops.using(ops.Table(relu=jnp.zeros_like, relu6=jnp.ones_like)):
        assert layers.hard_sigmoid(jnp.ones(())) == np.float32(1 / 6)


def windows(x, window, stride, padding, fill, dilation=(1, 1)):
    """(pixels [B, H', W', kh * kw, C], whether they are inside [H', W', kh * kw])."""
    pads = ((0, 0), *padding, (0, 0))
    values = np.pad(x, pads, constant_values=fill)
    inside = np.pad(np.ones(x.shape[1:3], bool), padding)
    starts = [
        range(0, size - d * (k - 1), s)
        for size, k, s, d in zip(inside.shape, window, stride, dilation, strict=True)
    ]
    taps = [d * np.arange(k) for k, d in zip(window, dilation, strict=True)]
    rows, columns = (
        np.add.outer(list(start), tap) for start, tap in zip(starts, taps, strict=True)
    )
    index = rows[:, None, :, None], columns[None, :, None, :]  # [H', W', kh, kw]
    cut = values[:, index[0], index[1]]
    cut = cut.reshape(*cut.shape[:3], -1, x.shape[-1])
    return cut, inside[index].reshape(*cut.shape[1:4])


PLACES = [
    {"stride": (1, 1), "padding": ((0, 0), (0, 0))},
    {"stride": (2, 3), "padding": ((1, 0), (2, 1))},
    {"stride": (3, 1), "padding": ((0, 2), (0, 1))},
]


@pytest.mark.parametrize(
    ("place", "groups", "dilation"),
    [
        (PLACES[0], 1, (1, 1)),
        (PLACES[1], 1, (2, 1)),
        (PLACES[1], 4, (1, 1)),
        (PLACES[2], 2, (1, 2)),
        (PLACES[2], 4, (2, 2)),
    ],
)
def test_conv_is_the_sum_over_each_window(place, groups, dilation):
    kernel = RANDOM.normal(size=(3, 2, 4 // groups, 8))
    bias = RANDOM.normal(size=8)
    cut, _ = windows(IMAGES, (3, 2), fill=0, dilation=dilation, **place)
    cut = cut.reshape(*cut.shape[:-1], groups, -1)
    weights = kernel.reshape(6, 4 // groups, groups, 8 // groups)
    expected = np.einsum("bhwtgc,tcgf->bhwgf", cut, weights)
    expected = expected.reshape(*expected.shape[:3], 8)
    with jax.enable_x64(True):
        conv = functools.partial(
            ops.LAX.conv, **place, dilation=dilation, groups=groups
        )
        np.testing.assert_allclose(conv(IMAGES, kernel), expected, rtol=1e-9)
        y = conv(IMAGES, kernel, bias)
        np.testing.assert_allclose(y, expected + bias, rtol=1e-9)


def test_dense_is_a_matrix_product_over_the_last_axis():
    kernel, bias = RANDOM.normal(size=(4, 5)), RANDOM.normal(size=5)
    with jax.enable_x64(True):
        y = ops.LAX.dense(jnp.asarray(IMAGES), jnp.asarray(kernel), jnp.asarray(bias))
    expected = np.einsum("bhwc,cf->bhwf", IMAGES, kernel) + bias
    np.testing.assert_allclose(y, expected, rtol=1e-9)


@pytest.mark.parametrize("place", PLACES)
def test_pooling_is_the_largest_and_the_mean_of_each_window(place):
    x = IMAGES - 10  # zeros of padding would be the largest
    cut, _ = windows(x, (3, 3), fill=-np.inf, **place)
    with jax.enable_x64(True):
        y = ops.LAX.max_pool(x, window=(3, 3), **place)
        np.testing.assert_allclose(y, cut.max(axis=3), rtol=1e-9)
        cut, inside = windows(x, (3, 3), fill=0, **place)
        pool = functools.partial(ops.LAX.avg_pool, x, window=(3, 3), **place)
        y = pool(count_include_pad=True)
        np.testing.assert_allclose(y, cut.mean(axis=3), rtol=1e-9)
        y = pool(count_include_pad=False)
        expected = cut.sum(axis=3) / inside.sum(axis=2)[..., None]
        np.testing.assert_allclose(y, expected, rtol=1e-6)


@pytest.mark.parametrize("axes", [(1, 2), (1,), (2,)])
def test_global_pooling_is_the_mean_over_whole_axes(axes):
    with jax.enable_x64(True):
        for keepdims in False, True:
            y = ops.LAX.global_avg_pool(IMAGES, axes=axes, keepdims=keepdims)
            expected = IMAGES.mean(axes, keepdims=keepdims)
            np.testing.assert_allclose(y, expected, rtol=1e-9)


def test_layers_that_average_follow_the_table():
    x, largest = jnp.asarray(IMAGES), IMAGES.max(axis=(1, 2))
    gate = layers.SqueezeExcitation(2)
    variables = gate.init(jax.random.key(0), x, train=False)
    pools = {
        "global": layers.global_avg_pool,
        "adaptive": lambda x: layers.adaptive_avg_pool(x, 1)[:, 0, 0],
    }
    with ops.using(ops.Table(global_avg_pool=largest_instead)):
        for pool in pools.values():
            np.testing.assert_allclose(pool(x), largest, rtol=1e-6)
        gated = gate.apply(variables, x, train=False)
    # A gate depends on the pooled image alone, here one that is the same all over.
    flat = jnp.broadcast_to(largest[:, None, None].astype(np.float32), x.shape)
    expected = gate.apply(variables, flat, train=False) / flat * x
    np.testing.assert_allclose(gated, expected, rtol=1e-4)


NORM = {
    "scale": RANDOM.uniform(1, 2, 4),
    "bias": RANDOM.normal(size=4),
    "mean": RANDOM.normal(size=4),
    "var": RANDOM.uniform(1, 2, 4),
}
PARAMETERS = [("scale", "bias"), ("scale",), ("bias",), ()]


def flax_norm(x, present, *, train, **fields):
    """(y, running statistics) of Flax's BatchNorm with the numbers of NORM."""
    norm = nn.BatchNorm(
        use_scale="scale" in present, use_bias="bias" in present, **fields
    )
    stats = {name: NORM[name] for name in ("mean", "var")}
    variables = {"params": {n: NORM[n] for n in present}, "batch_stats": stats}
    apply = functools.partial(norm.apply, use_running_average=not train)
    y, changed = apply(variables, x, mutable=["batch_stats"])
    return y, changed["batch_stats"]


def arguments(present):
    names = ("scale", "bias", "mean", "var")
    kept = {*present, "mean", "var"}
    return [jnp.asarray(NORM[n]) if n in kept else None for n in names]


@pytest.mark.parametrize(
    ("present", "ndim"), list(zip(PARAMETERS, (4, 2, 4, 4), strict=True))
)
def test_batch_norm_is_that_of_flax(present, ndim):
    numbers = {"momentum": 0.8, "epsilon": 1e-2}
    with jax.enable_x64(True):
        x = jnp.asarray(IMAGES if ndim == 4 else IMAGES[:, 0, 0])
        theirs = functools.partial(flax_norm, present=present, train=False, **numbers)
        expected, _ = jax.jit(theirs)(x)
        ours = functools.partial(ops.LAX.batch_norm, epsilon=1e-2)
        y = jax.jit(ours)(x, *arguments(present))
        np.testing.assert_allclose(y, expected, rtol=1e-9)

        def ours(x):
            return ops.LAX.batch_norm_train(x, *arguments(present), **numbers)

        def theirs(x):
            y, stats = flax_norm(x, present, train=True, **numbers)
            return y, stats["mean"], stats["var"]

        def with_gradient(norm):
            """y, the running statistics, and the gradient of a weighted sum of y."""
            (y, *stats), pull_back = jax.vjp(norm, x)
            weights = np.cos(np.arange(x.size)).reshape(x.shape)
            rest = [jnp.zeros_like(s) for s in stats]
            return y, *stats, *pull_back((jnp.asarray(weights), *rest))

        compute = jax.jit(with_gradient, static_argnums=0)
        for got, expected in zip(compute(ours), compute(theirs), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-12)


def test_batch_norm_shares_its_statistics_over_a_named_axis_as_flax_does():
    x = jnp.asarray(IMAGES, jnp.float32).reshape(2, 2, 7, 6, 4)
    values = [v.astype(jnp.float32) for v in arguments(("scale", "bias"))]
    numbers = {"momentum": 0.9, "epsilon": 1e-5}
    ours = functools.partial(ops.LAX.batch_norm_train, **numbers, axis_name="replicas")
    shared = jax.vmap(lambda x: ours(x, *values), axis_name="replicas")
    y, mean, var = jax.jit(shared)(x)
    theirs = functools.partial(
        flax_norm, present=("scale", "bias"), train=True, **numbers
    )
    whole, stats = jax.jit(theirs)(x.reshape(4, 7, 6, 4))
    np.testing.assert_allclose(y.reshape(whole.shape), whole, atol=1e-4)
    for replica in range(2):
        np.testing.assert_allclose(mean[replica], stats["mean"], atol=1e-5)
        np.testing.assert_allclose(var[replica], stats["var"], atol=1e-5)


def test_batch_norm_in_groups_is_flax_for_each_group_and_the_mean_of_their_statistics():
    numbers = {"momentum": 0.8, "epsilon": 1e-2}
    for present in PARAMETERS[0], PARAMETERS[-1]:
        with jax.enable_x64(True):
            norm = functools.partial(ops.LAX.batch_norm_train, **numbers, groups=2)
            y, mean, var = jax.jit(norm)(IMAGES, *arguments(present))
            theirs = functools.partial(
                flax_norm, present=present, train=True, **numbers
            )
            parts = [jax.jit(theirs)(part) for part in (IMAGES[:2], IMAGES[2:])]
        expected = np.concatenate([part for part, _ in parts])
        np.testing.assert_allclose(y, expected, rtol=1e-9)
        for name, got in (("mean", mean), ("var", var)):
            wanted = np.mean([stats[name] for _, stats in parts], axis=0)
            np.testing.assert_allclose(got, wanted, rtol=1e-9)


def test_a_batch_that_does_not_divide_into_groups_is_refused():
    norm = layers.BatchNorm(num_examples=3)
    variables = norm.init(jax.random.key(0), IMAGES, train=False)
    with pytest.raises(ValueError, match="num_examples=3 does not divide a batch of 4"):
        norm.apply(variables, IMAGES, train=True, mutable=["batch_stats"])


@pytest.mark.parametrize("present", PARAMETERS)
def test_layer_norm_is_that_of_flax(present):
    norm = nn.LayerNorm(
        epsilon=1e-2, use_scale="scale" in present, use_bias="bias" in present
    )
    with jax.enable_x64(True):
        expected = jax.jit(norm.apply)(
            {"params": {n: NORM[n] for n in present}}, IMAGES
        )
        ours = functools.partial(ops.LAX.layer_norm, epsilon=1e-2)
        y = jax.jit(ours)(IMAGES, *arguments(present)[:2])
        np.testing.assert_allclose(y, expected, rtol=1e-9)


def test_normalisations_of_half_precision_compute_in_float32():
    # The mean of 1000 + small noise has no digits left in bfloat16.
    x = jnp.asarray(1000 + 16 * IMAGES, jnp.bfloat16)
    one, zero = jnp.ones(4, jnp.bfloat16), jnp.zeros(4, jnp.bfloat16)
    exact = np.asarray(x, np.float64)
    expected = (exact - exact.mean((0, 1, 2))) / exact.std((0, 1, 2))
    y, mean, var = ops.LAX.batch_norm_train(
        x, one, zero, jnp.zeros(4), jnp.ones(4), momentum=0.0, epsilon=1e-5
    )
    assert y.dtype == jnp.bfloat16
    assert mean.dtype == var.dtype == jnp.float32
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, atol=0.05)
    np.testing.assert_allclose(mean, exact.mean((0, 1, 2)), rtol=1e-6)


FORMULAS = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "silu": lambda x: x * special.expit(x),
    "gelu": lambda x: x * special.ndtr(x),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "sigmoid": special.expit,
    "tanh": np.tanh,
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard_swish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_an_activation_is_its_formula(name):
    x = np.linspace(-8, 8, 33)
    with jax.enable_x64(True):
        y = getattr(layers, name)(jnp.asarray(x))
        np.testing.assert_allclose(y, FORMULAS[name](x), rtol=1e-9, atol=1e-12)


def test_add_relu_is_relu_of_the_sum():
    x, y = IMAGES[0], IMAGES[1]
    got = layers.add_relu(jnp.asarray(x), jnp.asarray(y))
    np.testing.assert_allclose(got, np.maximum(x + y, 0), rtol=1e-6, atol=1e-7)


def test_every_operation_is_called_by_a_layer():
    # layers.py reads each field of the table.
    names = {field.name for field in dataclasses.fields(ops.Table)}
    assert names == set(used_operations())
    assert set(FORMULAS) <= names


# Blocks of these networks that end with the ReLU of a sum, by their papers' figures.
RESIDUAL_JOINS = {
    **dict.fromkeys(("deeplab", "fcn", "pspnet"), 8),
    **dict.fromkeys(("deepgaze", "unet"), 9),
    "inception_resnet": 3,
    "regnet": 5,
    "resnet": 4,
    "resnet_keras": 4,
    "resnext": 4,
    "senet": 4,
    "shufflenet_v1": 3,
}

# Sums over whole rows and columns that are no average: a class of the TDNN sums its
# unit over time.
SUMS = {"tdnn": 1}

# What the operations of LAX leave in a jaxpr; there it comes from nothing else.
TRACES = {
    "relu": ("relu",),
    "resize": ("resize",),
    "reduce_window_max": ("max_pool", "max_pool_switches"),
    "conv_general_dilated": ("conv", "conv_transpose"),
    "dot_general": ("dense",),
    "rsqrt": ("batch_norm_train", "layer_norm"),
    "logistic": ("sigmoid", "silu"),
    "tanh": ("tanh",),
}


def equations(jaxpr):
    """How often each primitive and each function with its own gradient stands there."""
    found = collections.Counter()
    for equation in jaxpr.eqns:
        name = equation.params.get("name", "")
        if name in ("relu", "_resize"):
            found[name.removeprefix("_")] += 1
            continue
        found[equation.primitive.name] += 1
        if name := _over_whole_axes(equation):
            found[name] += 1
        for value in jax.tree.leaves(
            list(equation.params.values()),
            is_leaf=lambda v: isinstance(v, core.Jaxpr | core.ClosedJaxpr),
        ):
            if isinstance(value, core.ClosedJaxpr):
                value = value.jaxpr
            if isinstance(value, core.Jaxpr):
                found += equations(value)
    return found


def _over_whole_axes(equation):
    """ "spatial sum" or "spatial max" where rows, columns or both of images are
    reduced; None for all else."""
    axes = set(equation.params.get("axes") or (0,))
    name = {"reduce_sum": "spatial sum", "reduce_max": "spatial max"}
    if axes <= {1, 2} and equation.invars[0].aval.ndim == 4:
        return name.get(equation.primitive.name)
    return None


def average_instead(x, *, window, stride, padding):
    return ops.LAX.avg_pool(
        x, window=window, stride=stride, padding=padding, count_include_pad=True
    )


def average_and_switches(x, **place):
    y = average_instead(x, **place)
    return y, jnp.zeros(y.shape, jnp.uint8)


def largest_instead(x, *, axes, keepdims):
    return jnp.max(x, axis=axes, keepdims=keepdims)


def counting(table):
    """(the same table, whose functions count their calls, the counts)."""
    calls = collections.Counter()

    def count(name, function):
        def call(*args, **kwargs):
            calls[name] += 1
            return function(*args, **kwargs)

        return call

    functions = {f.name: getattr(table, f.name) for f in dataclasses.fields(table)}
    return ops.Table(**{n: count(n, f) for n, f in functions.items()}), calls


@pytest.mark.slow
# An LSTM of Flax computes by itself.
@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "crnn"])
def test_a_network_calls_the_table_for_all_that_it_computes(family):
    model, shape = small(family)
    images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    keys = dict.fromkeys(("params", "dropout"), jax.random.key(0))
    init = functools.partial(model.init_with_output, train=True)
    apply = functools.partial(
        model.apply, train=True, mutable=["batch_stats", "intermediates"]
    )
    jaxpr, (_, variables) = jax.make_jaxpr(init, return_shape=True)(keys, images)
    default = equations(jaxpr.jaxpr)
    swaps = {"relu": guided_relu, "max_pool": average_instead}
    swaps["max_pool_switches"] = average_and_switches
    swapped, calls = counting(ops.Table(**swaps, global_avg_pool=largest_instead))
    with ops.using(swapped):
        jaxpr = jax.make_jaxpr(apply)(variables, images, rngs=keys)
    other = equations(jaxpr.jaxpr)
    assert default["conv_general_dilated"] + default["dot_general"] > 0
    for primitive, names in TRACES.items():
        assert sum(calls[n] for n in names) == default[primitive], primitive
    assert other["custom_vjp_call"] == default["relu"]
    assert not other["relu"]
    assert not other["reduce_window_max"]
    assert calls["add_relu"] == RESIDUAL_JOINS.get(family, 0)
    pools = default["spatial sum"] - SUMS.get(family, 0)
    assert calls["global_avg_pool"] == other["spatial max"] == pools
    assert other["spatial sum"] == SUMS.get(family, 0)


def test_every_family_is_among_them():
    folder = pathlib.Path(models.__file__).parent
    with_variants = {
        path.stem for path in folder.glob("*.py") if "\nVARIANTS = " in path.read_text()
    }
    assert with_variants == set(FAMILIES)


def test_a_swapped_gradient_changes_the_gradient_of_a_residual_network():
    # A block whose branch is zero: relu(x + 0), so the gradient by hand is that of a
    # ReLU, and guided it is cut where it is negative.
    block = resnet.BasicBlock(filters=4, stride=1)
    x = jnp.asarray(IMAGES, jnp.float32)
    shapes = jax.eval_shape(
        functools.partial(block.init, train=False), jax.random.key(0), x
    )
    variables = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    weights = jnp.asarray(RANDOM.normal(size=x.shape), jnp.float32)

    @jax.jit
    def gradient(x):
        def loss(x):
            return jnp.sum(weights * block.apply(variables, x, train=False))

        return jax.grad(loss)(x)

    np.testing.assert_allclose(gradient(x), np.where(x > 0, weights, 0))
    with ops.using(GUIDED):
        expected = np.where((x > 0) & (weights > 0), weights, 0)
        np.testing.assert_allclose(gradient(x), expected)


# What a model file may use of Flax and JAX; the rest is for layers and operations.
ALLOWED = (
    *("flax.linen.Module", "flax.linen.compact", "flax.linen.initializers"),
    *("flax.linen.dtypes", "flax.linen.scan", "flax.linen.meta"),
    *("flax.linen.module", "flax.linen.intercept_methods"),
    *("flax.linen.Sequential", "flax.linen.nowrap", "flax.linen.share_scope"),
    *("jax.lax.dynamic_slice", "jax.lax.slice_in_dim"),
)
ALLOWED_IN_LAYERS = (
    *("flax.linen.Dropout", "flax.linen.RNN", "flax.linen.OptimizedLSTMCell"),
)
GUARDED = ("flax.linen.", "jax.nn.", "jax.lax.", "jax.scipy.")
REFUSED = {
    *("tanh", "dot", "matmul", "vdot", "inner", "einsum", "tensordot", "convolve"),
    *("correlate", "sinc", "logaddexp"),
}


def full_names(tree):
    """The full dotted name of each attribute chain and each imported name."""
    aliases = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                aliases[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                aliases[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if parts and isinstance(node, ast.Name) and node.id in aliases:
            yield ".".join([aliases[node.id], *reversed(parts)])


def computations(source, allowed):
    """What a file computes without a layer or an operation."""
    tree = ast.parse(source)
    for name in full_names(tree):
        if name.startswith(GUARDED) and not name.startswith(allowed):
            yield name
        if name.startswith("jax.numpy.") and name.split(".")[2] in REFUSED:
            yield name
    for node in ast.walk(tree):
        if isinstance(getattr(node, "op", None), ast.MatMult):
            yield "@"
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) == "relu"
            and isinstance(getattr(node.args[0], "op", None), ast.Add)
        ):
            yield "relu of a sum, which is add_relu"


MODEL_FILES = sorted(pathlib.Path(models.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", MODEL_FILES, ids=lambda path: path.stem)
def test_a_model_file_computes_with_layers_and_layers_with_operations(path):
    allowed = ALLOWED + (ALLOWED_IN_LAYERS if path.stem == "layers" else ())
    assert list(computations(path.read_text(), allowed)) == []


@pytest.mark.parametrize(
    "source",
    [
        "import jax\ny = jax.nn.relu(x)",
        "from jax import nn as f\ny = f.relu(x)",
        "from jax.nn import relu",
        "from jax import lax\ny = lax.conv(x, k)",
        "from flax import linen as nn\ny = nn.max_pool(x, (2, 2))",
        "from flax import linen as nn\ny = nn.Conv(3, (2, 2))(x)",
        "import flax.linen\ny = flax.linen.relu(x)",
        "import jax.numpy as jnp\ny = jnp.tanh(x)",
        "from jax.numpy import einsum",
        "y = x @ kernel",
        "y = relu(x + y)",
    ],
)
def test_the_reading_of_the_code_finds_what_it_looks_for(source):
    assert list(computations(source, ALLOWED))


def used_operations():
    """Names that layers.py and the operations themselves read from current()."""
    folder = pathlib.Path(ops.__file__).parent
    for path in pathlib.Path(layers.__file__), folder / "table.py":
        for node in ast.walk(ast.parse(path.read_text())):
            called = ("ops.current()", "current()")
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in called:
                yield node.attr


def test_a_run_keeps_the_table_in_force_where_it_was_prepared():
    calls = []

    def counted(x):
        calls.append(x.shape)
        return jax.nn.relu(x)

    with ops.using(ops.Table(relu=counted)):
        kept = make_precision(Config())
    model = models.create_model("character_net", 10)
    shape = jax.ShapeDtypeStruct((1, 32, 32, 1), jnp.float32)
    variables = models.abstract_variables(model, (32, 32, 1))

    def trace(precision):
        calls.clear()
        forward = functools.partial(precision.apply, model, train=False)
        jax.eval_shape(lambda v, x: forward(v, x), variables, shape)
        return len(calls)

    assert trace(kept) > 0  # outside of the context
    assert trace(make_precision(Config())) == 0
    with ops.using(ops.Table(relu=counted)):  # FLOAT32 takes what is in force
        assert trace(FLOAT32) > 0
    assert trace(FLOAT32) == 0
