"""Wide residual networks against numbers that other people published."""

import pytest

from jaxcnn import models
from tests.blocks import counted

# "num_params" and "GFLOPS" (of multiply-adds) at 1000 classes on torchvision's model
# cards, https://pytorch.org/vision/stable/models.html
TORCHVISION_CARDS = {
    "wide_resnet50_2": (68_883_240, 11.398),
    "wide_resnet101_2": (126_886_696, 22.753),
}

# Millions of parameters in Zagoruyko and Komodakis 2016, Table 4.
TABLE_4 = {
    "wide_resnet16_8_cifar": 11.0,
    "wide_resnet28_10_cifar": 36.5,
    "wide_resnet40_4_cifar": 8.9,
}


@pytest.mark.parametrize("name", TORCHVISION_CARDS)
def test_parameters_and_multiply_adds_are_those_of_torchvision(name):
    num_params, giga_macs = TORCHVISION_CARDS[name]
    parameters, macs = counted(name, 224)
    assert parameters == num_params
    assert round(macs / 1e9, 3) == giga_macs


@pytest.mark.parametrize("name", TABLE_4)
def test_parameters_of_cifar_networks_are_those_of_the_paper(name):
    millions = counted(name, 32, num_classes=10)[0] / 1e6
    assert round(millions, 1) == TABLE_4[name]


@pytest.mark.parametrize(
    # pytorchcv 0.0.74's wrn28_10_cifar10, wrn16_10_cifar10 and wrn40_8_cifar10.
    ("name", "fields", "num_params"),
    [
        ("wide_resnet28_10_cifar", {}, 36_479_194),
        ("wide_resnet16_8_cifar", {"filters": 160}, 17_116_634),
        ("wide_resnet40_4_cifar", {"filters": 128}, 35_748_314),
    ],
)
def test_other_widths_are_a_field_away_and_those_of_pytorchcv(name, fields, num_params):
    model = models.create_model(name, num_classes=10, **fields)
    assert models.count_params(model, (32, 32, 3)) == num_params
