"""AlexNet and ZFNet against their papers and numbers that other people published."""

import functools

import jax
import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.models import alexnet
from tests.blocks import counted, output_shapes

# num_params and _ops of AlexNet_Weights in torchvision 0.28; the counts that the
# self-test of pytorchcv 0.0.74's zfnet.py asserts.
NUM_PARAMS = {"alexnet": 61_100_840, "zfnet": 62_357_608, "zfnetb": 107_627_624}


@pytest.mark.parametrize("name", NUM_PARAMS)
def test_parameters_are_those_of_torchvision_and_pytorchcv(name):
    assert counted(name, 224)[0] == NUM_PARAMS[name]


def test_multiply_adds_are_those_of_torchvision():
    _, macs = counted("alexnet", 224)
    assert round(macs / 1e9, 3) == 0.714


def test_parameters_of_2012_follow_from_the_figure():
    # Krizhevsky et al., section 3.5: (kernels, kernel height * width * depth) of each
    # layer; "60 million parameters".
    figure_2 = [
        *((96, 11 * 11 * 3), (256, 5 * 5 * 48), (384, 3 * 3 * 256)),
        *((384, 3 * 3 * 192), (256, 3 * 3 * 192)),
        *((4096, 6 * 6 * 256), (4096, 4096), (1000, 4096)),
    ]
    expected = sum(kernels * (size + 1) for kernels, size in figure_2)
    assert counted("alexnet_2012", 224)[0] == expected == 60_965_224


def test_layers_of_2012_have_the_units_of_the_paper():
    # Section 3.5; of the first number it prints 253,440, which is no multiple of 55^2.
    printed = [290_400, 186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000]
    model = models.create_model("alexnet_2012", 1000)
    shapes = output_shapes(model, (224, 224, 3))
    units = [np.prod(shapes[group]) for group in models.layer_groups(model)]
    assert units == printed
    assert 253_440 % 55**2


def test_maps_of_zfnet_have_the_sizes_of_the_figure():
    # Zeiler and Fergus, Figure 3: 110, 26 and three times 13 pixels.
    model = models.create_model("zfnet", 1000)
    shapes = output_shapes(model, (224, 224, 3))
    assert shapes["stem"] == (110, 110, 96)
    assert shapes["stage1_block1"] == (26, 26, 256)
    assert [shapes[f"stage2_block{j}"] for j in (1, 2, 3)] == [
        *((13, 13, 384), (13, 13, 384), (13, 13, 256))
    ]


def start(layer, x):
    init = functools.partial(layer.init_with_output, train=False)
    return jax.device_get(jax.jit(init)(jax.random.key(0), x))


def test_the_second_layer_of_2012_is_the_formula_of_its_paper():
    # Sections 3.3 and 3.5: each half of the kernels sees the maps of its own GPU, and
    # b_i = a_i / (k + alpha * sum of a_j^2 for |j - i| <= n/2)^beta.
    x = 60 * np.random.default_rng(0).normal(size=(1, 6, 6, 96)).astype(np.float32)
    y, variables = start(alexnet.FIGURE_2[1][0](), x)
    kernel = variables["params"]["conv"]["kernel"]  # [5, 5, 48, 256]
    padded = np.pad(x[0], ((2, 2), (2, 2), (0, 0)))
    a = np.zeros((6, 6, 256))
    for row in range(6):
        for column in range(6):
            window = padded[row : row + 5, column : column + 5]
            for gpu in range(2):
                maps, kernels = (
                    slice(48 * gpu, 48 * gpu + 48),
                    slice(128 * gpu, 128 * gpu + 128),
                )
                sums = np.einsum("hwi,hwio->o", window[..., maps], kernel[..., kernels])
                a[row, column, kernels] = np.maximum(sums + 1, 0)  # the bias is 1
    b = np.zeros_like(a)
    for i in range(256):
        near = a[..., max(0, i - 2) : i + 3]
        b[..., i] = a[..., i] / (2 + 1e-4 * (near**2).sum(-1)) ** 0.75
    assert a.max() > 50  # so that the sum matters
    np.testing.assert_allclose(y[0], b, rtol=1e-4, atol=1e-4)


def initial(layer, x):
    """The parameters alone: what the layer computes need not be compiled."""
    init = functools.partial(layer.init, train=False)
    return jax.device_get(jax.jit(init)(jax.random.key(0), x))["params"]


@pytest.mark.slow
def test_initial_values_of_2012_are_those_of_the_paper():
    # Section 5: N(0, 0.01^2); biases of 1 in the second, fourth and fifth convolution
    # and in the hidden layers.
    convs = [layer for stage in alexnet.FIGURE_2 for layer in stage]
    for conv, bias in zip(convs, [0, 1, 0, 1, 1], strict=True):
        params = initial(conv(), np.zeros((1, 16, 16, 96)))["conv"]
        assert set(params["bias"].tolist()) == {bias}
        assert np.std(params["kernel"]) == pytest.approx(0.01, rel=0.02)
    params = initial(alexnet.DenseDropout(64, 0.5), np.zeros((1, 512)))
    assert set(params["dense"]["bias"].tolist()) == {1}
    assert np.std(params["dense"]["kernel"]) == pytest.approx(0.01, rel=0.02)


@pytest.mark.slow
def test_dropout_comes_before_the_linear_layer_of_torchvision_and_after_that_of_2012():
    x = np.ones((1, 64), np.float32)
    for layer, zeros in (alexnet.DropoutDense, False), (alexnet.DenseDropout, True):
        layer = layer(512, 0.9)
        kernel = initial(layer, x)["dense"]["kernel"]
        params = {"dense": {"kernel": kernel, "bias": np.full(512, 1e3)}}
        rngs = {"dropout": jax.random.key(1)}  # no unit is 0 by itself
        y = layer.apply({"params": params}, x, train=True, rngs=rngs)
        assert (np.mean(y == 0) > 0.5) == zeros


@pytest.mark.parametrize("name", alexnet.VARIANTS)
def test_images_may_have_other_sizes_and_be_grey(name):
    model = models.create_model(name, 10)
    for shape in (63, 63, 1), (96, 301, 3):
        groups = models.abstract_variables(model, shape)["params"]
        assert groups["stage3_block1"]["dense"]["kernel"].shape[0] % 36 == 0
    with pytest.raises(ValueError, match="this network needs larger images"):
        models.abstract_variables(model, (31, 31, 3))
