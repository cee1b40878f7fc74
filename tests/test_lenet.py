"""LeNet-5 against the paper's tables and formulas."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from jaxcnn import models
from jaxcnn.models import lenet

# Trainable parameters in LeCun et al. 1998, section II.B; C5 and F6 from its text.
PUBLISHED = {
    "stem/conv": 156,  # C1
    "stem/subsample": 12,  # S2
    "stage1_block1/conv": 1_516,  # C3
    "stage1_block1/subsample": 32,  # S4
    "stage2_block1": 48_120,  # C5
    "stage2_block2": 10_164,  # F6
}

# Its Table I: a row for each map of S2, a column for each map of C3.
TABLE_I = """
    X . . . X X X . . X X X X . X X
    X X . . . X X X . . X X X X . X
    X X X . . . X X X . . X . X X X
    . X X X . . X X X X . . X . X X
    . . X X X . . X X X X . X X . X
    . . . X X X . . X X X X . X X X
"""


def squash(x):
    return 1.7159 * np.tanh(2 / 3 * x)


@pytest.fixture(scope="module")
def printed():
    """The network as printed, with variables of which none is 0, and images."""
    model = models.create_model("lenet5_1998", 10)
    generator = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda v: generator.normal(size=v.shape, scale=0.2).astype(np.float32),
        models.abstract_variables(model, (32, 32, 1)),
    )
    return model, variables, generator.normal(size=(2, 32, 32, 1)).astype(np.float32)


def test_each_layer_has_the_published_number_of_parameters(printed):
    params = printed[1]["params"]
    counts = dict.fromkeys(PUBLISHED, 0)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if not name.startswith("head/"):
            (layer,) = (known for known in PUBLISHED if name.startswith(known))
            counts[layer] += leaf.size
    assert counts == PUBLISHED
    assert sum(counts.values()) == 60_000


def test_multiply_adds_are_the_published_connections_without_biases(printed):
    # 122,304 connections of C1, 151,600 of C3, 48,120 of C5, 10,164 of F6 (section
    # II.B), each less one bias a unit; and 84 weights for each of 10 classes.
    expected = 122_304 - 6 * 28**2 + 151_600 - 16 * 10**2
    expected += 48_120 - 120 + 10_164 - 84 + 840
    assert models.count_macs(printed[0], (32, 32, 1)) == expected


def test_maps_of_c3_see_the_maps_of_s2_in_table_1(printed):
    params = printed[1]["params"]["stage1_block1"]
    # One image for each map of S2, of which only that map is not 0; and one of zeros.
    s2 = np.eye(7, 6)[:, None, None] * np.ones((7, 14, 14, 6), np.float32)
    s4 = lenet.PartialConvBlock().apply({"params": params}, s2, train=False)
    connected = np.any(s4[:6] != s4[6], axis=(1, 2))  # [S2, C3]
    printed = [
        [mark == "X" for mark in row.split()] for row in TABLE_I.split("\n")[1:-1]
    ]
    np.testing.assert_array_equal(connected, printed)


@pytest.mark.slow
def test_a_unit_of_s2_is_the_formula_of_the_paper(printed):
    model, variables, images = printed
    _, seen = model.apply(
        variables,
        images,
        train=False,
        capture_intermediates=True,
        mutable=["intermediates"],
    )
    (s2,) = seen["intermediates"]["stem"]["__call__"]
    stem = variables["params"]["stem"]
    row, column, m = 3, 11, 4
    total = 0
    for i in 2 * row, 2 * row + 1:
        for j in 2 * column, 2 * column + 1:
            patch = images[1, i : i + 5, j : j + 5, 0]
            weighted = (patch * stem["conv"]["kernel"][:, :, 0, m]).sum()
            total += squash(weighted + stem["conv"]["bias"][m])
    subsample = stem["subsample"]
    expected = squash(subsample["coefficient"][m] * total + subsample["bias"][m])
    np.testing.assert_allclose(s2[1, row, column, m], expected, rtol=1e-5)


def test_a_map_of_c3_is_the_sum_over_its_four_maps_of_s2(printed):
    _, variables, _ = printed
    params = variables["params"]["stage1_block1"]
    s2 = np.random.default_rng(1).normal(size=(14, 14, 6)).astype(np.float32)
    # Column 13 of Table I, counted from 0, has crosses at 1, 2, 4 and 5.
    kernel, bias = params["conv14"]["kernel"][..., 0], params["conv14"]["bias"][0]
    c3 = sum(
        signal.correlate2d(s2[..., m], kernel[..., i], "valid")
        for i, m in enumerate((1, 2, 4, 5))
    )
    c3 = squash(c3 + bias)
    sums = c3.reshape(5, 2, 5, 2).sum((1, 3))
    subsample = params["subsample"]
    expected = squash(subsample["coefficient"][13] * sums + subsample["bias"][13])
    block = lenet.PartialConvBlock()
    s4 = block.apply({"params": params}, s2[None], train=False)
    np.testing.assert_allclose(s4[0, ..., 13], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "shape", "fan_in"),
    [
        (lenet.PaperConv(120), (1, 5, 5, 16), 400),
        (lenet.PaperDense(84), (1, 120), 120),
    ],
)
def test_weights_as_printed_start_uniform_within_2_4_over_fan_in(layer, shape, fan_in):
    # Appendix A. The largest of many draws is close to the bound.
    params = layer.init(jax.random.key(0), jnp.zeros(shape))["params"]
    largest = np.abs(params["kernel"]).max()
    assert 0.95 * 2.4 / fan_in < largest <= 2.4 / fan_in


def test_today_s_lenet_has_the_known_number_of_parameters():
    # The count of PyTorch's tutorial network for 32x32x1.
    model = models.create_model("lenet5", 10)
    assert models.count_params(model, (32, 32, 1)) == 61_706


@pytest.mark.parametrize("name", lenet.VARIANTS)
def test_colour_images_and_any_number_of_classes_are_taken(name):
    model = models.create_model(name, 7)
    init = functools.partial(model.init_with_output, train=False)
    logits, _ = jax.eval_shape(init, jax.random.key(0), jnp.zeros((3, 32, 32, 3)))
    assert logits.shape == (3, 7)


def test_dropout_sets_hidden_units_to_0_in_training_only():
    layer = lenet.DenseLayer(1000, dropout=0.25)
    params = {"dense": {"kernel": np.zeros((1, 1000)), "bias": np.ones(1000)}}

    def share_of_zeros(train):
        rngs = {"dropout": jax.random.key(0)}
        y = layer.apply({"params": params}, np.ones((1, 1)), train=train, rngs=rngs)
        return np.mean(np.asarray(y) == 0)

    assert share_of_zeros(train=False) == 0
    # The share of 1,000 draws has a standard deviation of 0.014.
    assert abs(share_of_zeros(train=True) - 0.25) < 0.06


def test_dropout_of_everything_is_refused():
    with pytest.raises(ValueError, match=r"Dropout must be in \[0, 1\); dropout=1"):
        models.create_model("lenet5", 10, dropout=1.0)


def test_images_that_are_too_small_are_refused():
    model = models.create_model("lenet5_1998", 10)
    with pytest.raises(ValueError, match="this network needs larger images"):
        models.count_params(model, (28, 28, 1))
