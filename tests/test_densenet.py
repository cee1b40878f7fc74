"""Dense networks against numbers that other people published."""

import pytest

from jaxcnn import models
from jaxcnn.pretrained import rules
from tests.blocks import counted

# "num_params" and "GFLOPS" (of multiply-adds) at 1000 classes on torchvision's model
# cards, https://pytorch.org/vision/stable/models.html
TORCHVISION_CARDS = {
    "densenet121": (7_978_856, 2.834),
    "densenet161": (28_681_000, 7.728),
    "densenet169": (14_149_480, 3.36),
    "densenet201": (20_013_928, 4.291),
}

# Parameters of densenet100_k12_bc_cifar10 and densenet190_k40_bc_cifar10 in pytorchcv
# 0.0.74, and millions in Huang et al. 2017, Table 2.
CIFAR = {
    "densenet100_k12_bc_cifar": (769_162, 0.8),
    "densenet190_k40_bc_cifar": (25_624_430, 25.6),
}


@pytest.mark.parametrize("name", TORCHVISION_CARDS)
def test_parameters_and_multiply_adds_are_those_of_torchvision(name):
    num_params, giga_macs = TORCHVISION_CARDS[name]
    parameters, macs = counted(name, 224)
    assert parameters == num_params
    assert round(macs / 1e9, 3) == giga_macs


@pytest.mark.parametrize("name", CIFAR)
def test_parameters_of_cifar_networks_are_those_of_pytorchcv_and_the_paper(name):
    num_params, millions = CIFAR[name]
    assert counted(name, 32, num_classes=10)[0] == num_params
    assert round(num_params / 1e6, 1) == millions


def test_every_layer_and_every_transition_is_a_group():
    model = models.create_model("densenet121", 10, depths=(2, 1))
    assert models.layer_groups(model, (32, 32, 3)) == (
        *("stem", "stage1_block1", "stage1_block2", "stage1_block3"),
        *("stage2_block1", "stage3_block1", "head"),
    )
    params = models.abstract_variables(model, (32, 32, 3))["params"]
    # By hand: 64 channels, 32 more a layer, half of them after the transition.
    shape = params["stage1_block3"]["conv"]["kernel"].shape
    assert shape == (1, 1, 64 + 2 * 32, (64 + 2 * 32) // 2)


def test_the_smallest_image_is_that_of_torchvision():
    # "min_size" on torchvision's model cards: height=29, width=29.
    model = models.create_model("densenet121", 10, depths=(1, 1, 1, 1))
    models.abstract_variables(model, (29, 29, 3))
    with pytest.raises(ValueError, match="window of 2 pixels does not fit 1 pixels"):
        models.abstract_variables(model, (28, 29, 3))


def test_layers_have_other_names_in_the_files_that_torchvision_offers():
    # torchvision.models.densenet._load_state_dict renames them so.
    rename = rules.find("torchvision", "densenet121").rename
    old = "features.denseblock1.denselayer12.norm.1.running_mean"
    assert rename(old) == "features.denseblock1.denselayer12.norm1.running_mean"
    for name in "features.norm0.weight", "features.transition1.conv.weight":
        assert rename(name) == name
