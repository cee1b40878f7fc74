"""Layers against PyTorch's rules, written out in NumPy and SciPy."""

import functools

from flax import errors
from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal, stats

from jaxcnn.models import layers

IMAGES = np.random.default_rng(0).normal(size=(2, 7, 6, 4)).astype(np.float32)


def convolve(x, kernel, stride, padding, dilation, groups):
    """PyTorch's nn.Conv2d: correlation of SciPy over a padded image, then a stride."""
    pads = [(0, 0), *((p, p) for p in padding), (0, 0)]
    x = np.pad(x, pads)
    kh, kw, inputs, filters = kernel.shape
    holes = np.zeros((dilation * (kh - 1) + 1, dilation * (kw - 1) + 1))
    maps = []
    for f in range(filters):
        first = f // (filters // groups) * inputs
        total = 0
        for c in range(inputs):
            holes[::dilation, ::dilation] = kernel[:, :, c, f]
            total += np.stack(
                [signal.correlate2d(m, holes, "valid") for m in x[..., first + c]]
            )
        maps.append(total[:, ::stride, ::stride])
    return np.stack(maps, axis=-1)


@pytest.mark.parametrize(
    ("fields", "padding"),
    [
        ({"kernel": 3}, (1, 1)),
        ({"kernel": 3, "stride": 2}, (1, 1)),
        ({"kernel": 3, "stride": 2, "padding": 0}, (0, 0)),
        ({"kernel": (1, 5)}, (0, 2)),
        ({"kernel": 3, "padding": (2, 0)}, (2, 0)),
        ({"kernel": 3, "dilation": 2}, (2, 2)),
        ({"kernel": 2}, (0, 0)),
        ({"kernel": 3, "groups": 2}, (1, 1)),
        ({"kernel": 3, "stride": 2, "groups": 4}, (1, 1)),
    ],
)
def test_a_convolution_is_the_correlation_of_scipy(fields, padding):
    conv = layers.Conv(8, **fields)
    y, variables = conv.init_with_output(jax.random.key(0), IMAGES)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    expected = convolve(
        IMAGES,
        np.asarray(kernel),
        fields.get("stride", 1),
        padding,
        fields.get("dilation", 1),
        fields.get("groups", 1),
    )
    np.testing.assert_allclose(y, expected + bias, atol=2e-5)


def test_batch_norm_has_the_epsilon_and_the_momentum_of_pytorch():
    # The formulas of torch.nn.BatchNorm2d: eps=1e-5, momentum=0.1. The variance is
    # small, so that epsilon counts.
    x = (1 + 0.01 * IMAGES).astype(np.float64)
    with jax.enable_x64(True):
        norm = layers.BatchNorm()
        variables = norm.init(jax.random.key(0), x, train=False)
        variables = jax.tree.map(lambda v: v.astype(jnp.float64), variables)
        y, updated = norm.apply(variables, x, train=True, mutable=["batch_stats"])
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5), rtol=1e-9)
        running = updated["batch_stats"]
        np.testing.assert_allclose(running["mean"], 0.1 * mean, rtol=1e-9)
        np.testing.assert_allclose(running["var"], 0.9 + 0.1 * var, rtol=1e-9)
        y = norm.apply({**variables, **updated}, x, train=False)
        expected = (x - 0.1 * mean) / np.sqrt(0.9 + 0.1 * var + 1e-5)
        np.testing.assert_allclose(y, expected, rtol=1e-9)


@pytest.mark.slow
def test_replicas_of_pmap_share_their_statistics_by_the_name_of_their_axis():
    norm = functools.partial(layers.BatchNorm, axis_name="replicas")
    unit = layers.ConvNorm(5, 3, norm=norm)
    whole = layers.ConvNorm(5, 3)
    variables = whole.init(jax.random.key(0), IMAGES, train=False)

    def apply(model, images):
        return model.apply(variables, images, train=True, mutable=["batch_stats"])

    expected, expected_stats = apply(whole, IMAGES)
    y, batch_stats = jax.vmap(functools.partial(apply, unit), axis_name="replicas")(
        IMAGES[:, None]
    )
    np.testing.assert_allclose(y[:, 0], expected, atol=1e-5)
    jax.tree.map(
        lambda shared, one: np.testing.assert_allclose(shared[0], one, atol=1e-6),
        batch_stats,
        expected_stats,
    )


def test_layer_norm_is_the_formula_of_pytorch_and_of_each_pixel_alone():
    # torch.nn.LayerNorm over the channels. An axis of pmap, which every normalisation
    # of a network is given, does not make it share anything.
    norm = layers.LayerNorm(axis_name="replicas")
    fields = {"scale": np.array([1, 2, 3, 4.0]), "bias": np.array([4, 3, 2, 1.0])}
    y = norm.apply({"params": fields}, IMAGES, train=True)
    mean, var = IMAGES.mean(-1, keepdims=True), IMAGES.var(-1, keepdims=True)
    expected = (IMAGES - mean) / np.sqrt(var + 1e-6) * fields["scale"] + fields["bias"]
    np.testing.assert_allclose(y, expected, atol=1e-4)


def test_a_parameter_of_another_shape_is_refused_and_none_is_initialised_again():
    calls = []

    def init(key, shape, dtype):
        calls.append(shape)
        return jnp.ones(shape, dtype)

    layer = layers.Dense(3, kernel_init=init)
    variables = layer.init(jax.random.key(0), jnp.ones((1, 2)))
    assert layer.apply(variables, jnp.ones((1, 2))).shape == (1, 3)
    assert calls == [(2, 3)]
    with pytest.raises(errors.ScopeParamShapeError, match=r"\(5, 3\).*\(2, 3\)"):
        layer.apply(variables, jnp.ones((1, 5)))


def test_max_pool_pads_with_less_than_any_value():
    x = -np.ones((1, 2, 2, 1), np.float32)
    y = layers.max_pool(x, 3, 2, padding=1)
    np.testing.assert_array_equal(y, -np.ones((1, 1, 1, 1)))


def test_avg_pool_counts_the_padding_or_leaves_it_out():
    # By hand: a corner window of 3x3 holds four ones and five zeros of padding.
    x = np.ones((1, 4, 4, 1), np.float32)
    counted = layers.avg_pool(x, 3, 2, padding=1)
    np.testing.assert_allclose(counted[0, 0, 0, 0], 4 / 9, rtol=1e-6)
    left_out = layers.avg_pool(x, 3, 2, padding=1, count_include_pad=False)
    np.testing.assert_allclose(left_out, np.ones((1, 2, 2, 1)), rtol=1e-6)


@pytest.mark.parametrize("size", [(13, 7), (4, 6), (1, 12)])
def test_adaptive_avg_pool_has_the_windows_of_pytorch(size):
    # nn.AdaptiveAvgPool2d: output i is the mean from floor(i * size / outputs) to
    # ceil((i + 1) * size / outputs).
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    expected = np.empty((2, 6, 6, 3))
    for i in range(6):
        for j in range(6):
            rows, columns = (
                slice(int(np.floor(k * n / 6)), int(np.ceil((k + 1) * n / 6)))
                for k, n in zip((i, j), size, strict=True)
            )
            expected[:, i, j] = x[:, rows, columns].mean((1, 2))
    y = layers.adaptive_avg_pool(x, 6)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_global_avg_pool_is_the_mean_of_each_map():
    y = layers.global_avg_pool(jnp.asarray(IMAGES))
    np.testing.assert_allclose(y, IMAGES.mean((1, 2)), atol=1e-6)


def test_dropout_keeps_the_mean_in_training_and_everything_in_evaluation():
    x = np.ones((100, 100), np.float32)
    dropout = layers.Dropout(0.25)
    np.testing.assert_array_equal(dropout.apply({}, x, train=False), x)
    y = dropout.apply({}, x, train=True, rngs={"dropout": jax.random.key(0)})
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    # A share of 0.25 of 10,000 draws has a standard deviation of 0.0043.
    assert abs(np.mean(np.asarray(y) == 0) - 0.25) < 0.02


@pytest.mark.parametrize(
    ("layer", "shape", "fan_in"),
    [
        (layers.Dense(500), (2, 50), 50),
        (layers.Conv(500, 3), (2, 5, 5, 8), 72),
        (layers.Conv(500, 3, groups=4), (2, 5, 5, 8), 18),
    ],
)
def test_initial_values_are_uniform_within_1_over_the_root_of_fan_in(
    layer, shape, fan_in
):
    # torch.nn.Linear and Conv2d: uniform on +-1/sqrt(fan_in), kernel and bias.
    params = layer.init(jax.random.key(0), jnp.zeros(shape))["params"]
    bound = fan_in**-0.5
    for values in params["kernel"], params["bias"]:
        uniform = stats.uniform(-bound, 2 * bound).cdf
        assert stats.kstest(np.ravel(values), uniform).pvalue > 1e-3


def test_a_convolution_before_a_norm_starts_as_kaiming_normal_of_fan_out():
    # torch.nn.init.kaiming_normal_(mode="fan_out", nonlinearity="relu").
    unit = layers.ConvNorm(128, 3)
    variables = unit.init(jax.random.key(0), jnp.zeros((1, 5, 5, 16)), train=False)
    kernel = np.ravel(variables["params"]["conv"]["kernel"])
    normal = stats.norm(0, np.sqrt(2 / (128 * 9))).cdf
    assert stats.kstest(kernel, normal).pvalue > 1e-3
    assert set(variables["params"]["conv"]) == {"kernel"}  # no bias


# nn.LeakyReLU's slope is 0.01; softplus is log(1 + exp(x)).
FORMULAS = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": lambda x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1),
}


@pytest.mark.parametrize("name", layers.ACTIVATIONS)
def test_activations_are_their_formulas(name):
    x = np.linspace(-4, 4, 9)
    y = layers.ACTIVATIONS[name](jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(y, FORMULAS[name](x), rtol=1e-5, atol=1e-7)


def test_a_layer_computes_in_bfloat16_where_input_and_parameters_are():
    unit = nn.Sequential([layers.Conv(3, 3), layers.Dense(2)])
    variables = unit.init(jax.random.key(0), IMAGES)
    halves = jax.tree.map(lambda v: v.astype(jnp.bfloat16), variables)
    assert unit.apply(variables, IMAGES).dtype == jnp.float32
    y = unit.apply(halves, IMAGES.astype(jnp.bfloat16))
    assert y.dtype == jnp.bfloat16


@pytest.mark.parametrize(
    "layer",
    [
        lambda x: layers.Conv(1, 5, padding=0).init(jax.random.key(0), x),
        lambda x: layers.Conv(1, 3, padding=0, dilation=2).init(jax.random.key(0), x),
        lambda x: layers.max_pool(x, 5, 1),
        lambda x: layers.avg_pool(x, 5, 1),
    ],
)
def test_a_window_larger_than_the_image_is_refused(layer):
    with pytest.raises(ValueError, match="window of 5 pixels does not fit 4 pixels"):
        layer(jnp.zeros((1, 4, 4, 1)))


# torch 2.13.0: nn.functional.max_pool2d(x, window, stride, padding, ceil_mode=True) of
# torch.arange(size * size).reshape(1, 1, size, size), shape of the result.
@pytest.mark.parametrize(
    ("size", "window", "stride", "padding", "expected"),
    [
        (112, 3, 2, 0, 56),
        (2, 3, 2, 0, 1),
        (7, 3, 2, 1, 4),
        (6, 3, 2, 1, 4),
        (5, 2, 2, 0, 3),
        (4, 2, 2, 1, 3),
        (5, 2, 3, 1, 2),
    ],
)
def test_ceil_mode_has_the_windows_of_pytorch(size, window, stride, padding, expected):
    x = jnp.arange(size * size, dtype=jnp.float32).reshape(1, size, size, 1)
    y = layers.max_pool(x, window, stride, padding, ceil_mode=True)
    assert y.shape == (1, expected, expected, 1)
    last = min((expected - 1) * stride - padding + window, size) - 1
    assert y[0, -1, -1, 0] == last * size + last


def test_local_response_norm_is_the_formula_of_its_paper():
    # Krizhevsky et al. 2012, section 3.3, with their k, n, alpha and beta.
    x = np.random.default_rng(0).normal(size=(2, 3, 3, 8)) * 30
    expected = np.empty_like(x)
    for i in range(8):
        neighbours = x[..., max(0, i - 2) : min(8, i + 3)]
        total = (neighbours**2).sum(axis=-1)
        expected[..., i] = x[..., i] / (2 + 1e-4 * total) ** 0.75
    y = layers.local_response_norm(jnp.asarray(x), 5, alpha=1e-4, beta=0.75, k=2.0)
    np.testing.assert_allclose(y, expected, rtol=1e-5)


def test_channel_shuffle_takes_from_each_group_in_turn():
    # Zhang et al. 2018, Figure 1: three groups of two.
    x = jnp.arange(6.0).reshape(1, 1, 1, 6)
    y = layers.channel_shuffle(x, 3)
    assert y.ravel().tolist() == [0, 2, 4, 1, 3, 5]


def test_stochastic_depth_drops_whole_examples_and_keeps_the_mean():
    x = jnp.ones((2000, 2, 2, 3))
    layer = layers.StochasticDepth(0.25)
    y = layer.apply({}, x, train=True, rngs={"dropout": jax.random.key(0)})
    kept = y[:, 0, 0, 0] != 0
    np.testing.assert_array_equal(y[kept], np.full_like(y[kept], 1 / 0.75))
    assert not y[~kept].any()
    assert float(kept.mean()) == pytest.approx(0.75, abs=0.03)  # three deviations
    np.testing.assert_array_equal(layer.apply({}, x, train=False), x)


def test_squeeze_and_excitation_is_the_formula_of_its_paper():
    # Hu et al. 2018, equations 2 to 4.
    x = np.random.default_rng(0).normal(size=(2, 3, 3, 4))
    layer = layers.SqueezeExcitation(2)
    y, variables = layer.init_with_output(
        jax.random.key(0), jnp.asarray(x), train=False
    )
    fc1, fc2 = variables["params"]["fc1"], variables["params"]["fc2"]
    z = x.mean(axis=(1, 2))
    z = np.maximum(z @ fc1["kernel"][0, 0] + fc1["bias"], 0)
    gate = 1 / (1 + np.exp(-(z @ fc2["kernel"][0, 0] + fc2["bias"])))
    np.testing.assert_allclose(y, x * gate[:, None, None, :], rtol=1e-4, atol=1e-6)
