"""Squeeze-and-excitation networks against numbers that other people published."""

import pytest

from jaxcnn import models
from jaxcnn.models import layers
from tests.blocks import counted

# Parameters of legacy_se* at 1000 classes in timm 1.0.31.
TIMM = {
    "legacy_seresnet50": 28_088_024,
    "legacy_seresnet101": 49_326_872,
    "legacy_seresnet152": 66_821_848,
    "legacy_seresnext50_32x4d": 27_559_896,
    "legacy_seresnext101_32x4d": 48_955_416,
    "legacy_senet154": 115_088_984,
}


@pytest.mark.parametrize("name", TIMM)
def test_parameters_are_those_of_timm(name):
    assert counted(name, 224)[0] == TIMM[name]


def test_every_block_has_a_gate_with_reduction_16():
    # Hu et al. 2018, Table 1, "fc, [16, 256]" in the first stage of SE-ResNet-50.
    model = models.create_model("legacy_seresnet50", num_classes=10)
    params = models.abstract_variables(model, (64, 64, 3))["params"]
    blocks = [group for name, group in params.items() if name.startswith("stage")]
    assert len(blocks) == 3 + 4 + 6 + 3
    for block in blocks:
        out = block["conv3"]["conv"]["kernel"].shape[-1]
        assert block["gate"]["fc1"]["kernel"].shape == (1, 1, out, out // 16)
    assert params["stage1_block1"]["gate"]["fc2"]["kernel"].shape == (1, 1, 16, 256)


def test_only_the_largest_drops_features():
    # As in the authors' Caffe networks.
    for name in TIMM:
        rate = 0.2 if name == "legacy_senet154" else 0.0
        assert models.create_model(name, num_classes=10).dropout == rate


@pytest.mark.slow
def test_dilated_stages_of_the_largest_keep_its_parameters():
    shapes = [
        models.abstract_variables(
            models.create_model("legacy_senet154", 10, dilated_stages=n), (64, 64, 3)
        )
        for n in (0, 2)
    ]
    assert shapes[0] == shapes[1]


def test_an_image_without_a_window_of_the_pool_is_refused():
    model = models.create_model("legacy_seresnet50", num_classes=10)
    with pytest.raises(ValueError, match="window of 2 pixels does not fit 1 pixels"):
        models.layer_groups(model, (2, 2, 3))
    assert isinstance(model, models.resnet.ResNet)
    assert issubclass(model.norm, layers.BatchNorm)
