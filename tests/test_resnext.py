"""ResNeXts against numbers that other people published."""

import jax
import pytest

from jaxcnn import models
from tests.blocks import counted

# "num_params" and "GFLOPS" (of multiply-adds) at 1000 classes on torchvision's model
# cards, https://pytorch.org/vision/stable/models.html
TORCHVISION_CARDS = {
    "resnext50_32x4d": (25_028_904, 4.23),
    "resnext101_32x8d": (88_791_336, 16.414),
    "resnext101_64x4d": (83_455_272, 15.46),
}


@pytest.mark.parametrize("name", TORCHVISION_CARDS)
def test_parameters_and_multiply_adds_are_those_of_torchvision(name):
    num_params, giga_macs = TORCHVISION_CARDS[name]
    parameters, macs = counted(name, 224)
    assert parameters == num_params
    assert round(macs / 1e9, 3) == giga_macs


def test_parameters_of_the_cifar_network_are_those_of_pytorchcv():
    # pytorchcv 0.0.74's CIFARResNeXt with 29 layers, cardinality 8, width 64.
    parameters, _ = counted("resnext29_8x64d_cifar", 32, num_classes=10)
    assert parameters == 34_426_698


def test_a_name_says_cardinality_and_width_of_the_first_stage():
    # Xie et al. 2017, Table 1: conv2 has 1x1 to 128, 3x3 to 128 with C=32, 1x1 to 256.
    model = models.create_model("resnext50_32x4d", num_classes=10)
    params = models.abstract_variables(model, (64, 64, 3))["params"]["stage1_block1"]
    shapes = {
        name: params[name]["conv"]["kernel"].shape
        for name in ("conv1", "conv2", "conv3")
    }
    assert shapes == {
        "conv1": (1, 1, 64, 128),
        "conv2": (3, 3, 128 // 32, 128),
        "conv3": (1, 1, 128, 256),
    }
    assert {v.dtype.name for v in jax.tree.leaves(params)} == {"float32"}
