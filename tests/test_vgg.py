"""VGGs against their paper and numbers that other people published."""

import jax
import pytest

from jaxcnn import models
from jaxcnn.models import vgg
from tests.blocks import counted, output_shapes

# num_params and _ops of the weights in torchvision 0.28.
TORCHVISION = {
    "vgg11": (132_863_336, 7.609),
    "vgg11_bn": (132_868_840, 7.609),
    "vgg13": (133_047_848, 11.308),
    "vgg13_bn": (133_053_736, 11.308),
    "vgg16": (138_357_544, 15.47),
    "vgg16_bn": (138_365_992, 15.47),
    "vgg19": (143_667_240, 19.632),
    "vgg19_bn": (143_678_248, 19.632),
}

# Simonyan and Zisserman 2015, Table 1: weight layers; Table 2: millions of parameters.
PAPER = {
    "vgg11": (11, 133),
    "vgg13": (13, 133),
    "vgg16": (16, 138),
    "vgg19": (19, 144),
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_parameters_and_multiply_adds_are_those_of_torchvision(name):
    num_params, giga_macs = TORCHVISION[name]
    parameters, macs = counted(name, 224)
    assert parameters == num_params
    assert macs / 1e9 == pytest.approx(giga_macs, abs=6e-4)


@pytest.mark.parametrize("name", PAPER)
def test_layers_and_parameters_are_those_of_the_paper(name):
    num_layers, millions = PAPER[name]
    groups = models.layer_groups(models.create_model(name, 10))
    assert len(groups) == num_layers  # a group is a layer
    assert round(counted(name, 224)[0] / 1e6) == millions


def test_blocks_are_the_layers_that_the_paper_names():
    # Table 1, column D: conv3-64 twice, conv3-128 twice, ...; 4.1: five max-pools.
    shapes = output_shapes(models.create_model("vgg16", 1000), (224, 224, 3))
    expected = {}
    for i, (depth, filters) in enumerate(
        [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)]
    ):
        for j in range(depth):
            size = 224 // 2**i
            expected[f"stage{i + 1}_block{j + 1}"] = (size, size, filters)
    expected |= {"stage6_block1": (4096,), "stage6_block2": (4096,), "head": (1000,)}
    assert shapes == expected


def test_only_the_networks_with_bn_normalise_and_each_convolution_does():
    calls = []

    class Recorder(models.layers.BatchNorm):
        def __call__(self, x, *, train):
            calls.append(self.path)
            return super().__call__(x, train=train)

    for name, norms in [("vgg11", 0), ("vgg11_bn", 8), ("vgg19_bn", 16)]:
        calls.clear()
        model = models.create_model(name, 10, norm=Recorder)
        models.abstract_variables(model, (32, 32, 3))
        assert len(set(calls)) == norms


def test_initial_values_are_those_of_torchvision():
    # Its VGG: kaiming_normal_ of fan_out for convolutions, N(0, 0.01^2) for the rest.
    x = jax.numpy.zeros((1, 2, 2, 64))
    layer = vgg.ConvRelu(128, models.layers.BatchNorm)
    params = layer.init(jax.random.key(0), x, train=False)["params"]["conv"]
    std = (2 / (9 * 128)) ** 0.5
    assert params["kernel"].std() == pytest.approx(std, rel=0.02)
    assert not params["bias"].any()
    layer = vgg.DenseLayer(128, 0.5)
    params = layer.init(jax.random.key(0), x[:, 0, 0], train=False)["params"]["dense"]
    assert params["kernel"].std() == pytest.approx(0.01, rel=0.02)
    assert not params["bias"].any()


def test_images_may_have_other_sizes_and_be_grey():
    model = models.create_model("vgg11", 10)
    for shape in (32, 32, 1), (100, 250, 3):
        variables = models.abstract_variables(model, shape)
        kernel = variables["params"]["stage6_block1"]["dense"]["kernel"]
        assert kernel.shape == (7 * 7 * 512, 4096)
    with pytest.raises(ValueError, match="this network needs larger images"):
        models.abstract_variables(model, (31, 31, 3))


def test_the_width_of_the_hidden_layers_is_a_field():
    model = models.create_model("vgg11", 10, hidden=(512,))
    assert models.layer_groups(model)[-2:] == ("stage6_block1", "head")
    assert output_shapes(model, (32, 32, 3))["stage6_block1"] == (512,)
