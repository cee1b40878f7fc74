"""ResNets against numbers that other people published."""

import functools

import jax
import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.models import resnet, resnet_keras, resnet_v2
from tests.blocks import counted

# "num_params" and "GFLOPS" (of multiply-adds) at 1000 classes on torchvision's model
# cards, https://pytorch.org/vision/stable/models/generated/torchvision.models.resnet18
TORCHVISION_CARDS = {
    "resnet18": (11_689_512, 1.814),
    "resnet34": (21_797_672, 3.664),
    "resnet50": (25_557_032, 4.089),
    "resnet101": (44_549_160, 7.801),
    "resnet152": (60_192_808, 11.514),
}

# 1e9 multiply-adds in He et al. 2016, Table 1, of the bottlenecks that stride first.
TABLE_1 = {"resnet50_v1": 3.8, "resnet101_v1": 7.6, "resnet152_v1": 11.3}

# Millions of parameters in He et al. 2016, Table 6.
TABLE_6 = {
    "resnet20_cifar": 0.27,
    "resnet32_cifar": 0.46,
    "resnet44_cifar": 0.66,
    "resnet56_cifar": 0.85,
    "resnet110_cifar": 1.7,
}


def resnet20_with_projections():
    return models.create_model("resnet20_cifar", 10, block=resnet.BasicBlock)


@pytest.mark.parametrize("name", TORCHVISION_CARDS)
def test_parameters_and_multiply_adds_are_those_of_torchvision(name):
    num_params, giga_macs = TORCHVISION_CARDS[name]
    parameters, macs = counted(name, 224)
    assert parameters == num_params
    assert round(macs / 1e9, 3) == giga_macs


@pytest.mark.parametrize("name", TABLE_1)
def test_the_original_strides_cost_what_the_paper_says(name):
    parameters, macs = counted(name, 224)
    giga_macs = macs / 1e9
    assert abs(giga_macs - TABLE_1[name]) < 0.1
    num_params, later = TORCHVISION_CARDS[name.removesuffix("_v1")]
    assert parameters == num_params
    assert later > giga_macs + 0.2


@pytest.mark.parametrize("name", TABLE_6)
def test_parameters_of_cifar_networks_are_those_of_the_paper(name):
    millions = counted(name, 32, num_classes=10)[0] / 1e6
    digits = len(str(TABLE_6[name])) - 2
    assert round(millions, digits) == TABLE_6[name]


def test_projections_cost_what_they_cost_in_pytorchcv():
    # The count of pytorchcv 0.0.74's resnet20_cifar10.
    assert models.count_params(resnet20_with_projections(), (32, 32, 3)) == 272_474


def start(block, x):
    init = functools.partial(block.init_with_output, train=False)
    return jax.jit(init)(jax.random.key(1), x)


@pytest.mark.parametrize(
    "block",
    [
        resnet.BasicBlock(filters=16, stride=1),
        resnet.BottleneckBlock(filters=4, stride=1),
        resnet.OriginalBottleneckBlock(filters=4, stride=1),
    ],
)
def test_a_block_starts_as_its_shortcut(block):
    # Goyal et al. 2017, sec. 5.1: with the last scale at 0 the branch adds nothing.
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 16))
    y, _ = start(block, x)
    np.testing.assert_array_equal(y, np.maximum(x, 0.0))


def test_option_a_takes_every_second_pixel_and_pads_the_filters_with_zeros():
    # He et al. 2016, sec. 3.3 (A) and 4.2: "extra zero entries padded", "performed
    # with a stride of 2". The block starts as this shortcut.
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    block = resnet.BasicBlock(filters=5, stride=2, shortcut=resnet.Subsampling)
    y, variables = start(block, x)
    expected = np.zeros((2, 4, 4, 5))
    for row in range(4):
        for column in range(4):
            expected[:, row, column, :3] = x[:, 2 * row, 2 * column]
    np.testing.assert_array_equal(y, np.maximum(expected, 0.0))
    assert set(variables["params"]) == {"conv1", "conv2"}


def test_normalisation_is_passed_down_to_every_layer():
    calls = []

    class Recorder(models.layers.BatchNorm):
        def __call__(self, x, *, train):
            calls.append(self.path)
            return super().__call__(x, train=train)

    for name, norms in [("resnet50", 53), ("resnet18", 20), ("resnet20_cifar", 19)]:
        calls.clear()
        model = models.create_model(name, 10, norm=Recorder)
        variables = models.abstract_variables(model, (64, 64, 3))
        # The number of convolutions: every convolution of a ResNet has its norm.
        kernels = [v for v in jax.tree.leaves(variables["params"]) if v.ndim == 4]
        assert len(calls) == len(set(calls)) == len(kernels) == norms


SMALL = {"num_classes": 0, "depths": (1, 2, 2), "filters": 4}
DILATABLE = {
    "basic": functools.partial(resnet.ResNet, block=resnet.BasicBlock, **SMALL),
    "option A": functools.partial(
        resnet.ResNet,
        block=functools.partial(resnet.BasicBlock, shortcut=resnet.Subsampling),
        **SMALL,
    ),
    "v1.5": functools.partial(resnet.ResNet, block=resnet.BottleneckBlock, **SMALL),
    "v1": functools.partial(
        resnet.ResNet, block=resnet.OriginalBottleneckBlock, **SMALL
    ),
    "v2 basic": functools.partial(
        resnet_v2.ResNetV2, block=resnet_v2.BasicBlock, **SMALL
    ),
    "v2": functools.partial(
        resnet_v2.ResNetV2, block=resnet_v2.BottleneckBlock, **SMALL
    ),
    "Keras v1": functools.partial(
        resnet.ResNet, block=resnet_keras.BlockV1, stem=resnet_keras.StemV1, **SMALL
    ),
    "Keras v2": functools.partial(
        resnet_v2.ResNetV2,
        block=resnet_keras.BlockV2,
        stem=resnet_keras.StemV2,
        steps=resnet_keras.late_block_steps,
        **SMALL,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "build",
    [
        pytest.param(build, id=name, marks=[pytest.mark.slow] if name != "v1.5" else [])
        for name, build in DILATABLE.items()
    ],
)
def test_dilated_stages_compute_the_pixels_between_those_of_the_strided(build):
    # Yu, Koltun and Funkhouser 2017, sec. 2: dilation keeps every neuron's receptive
    # field, so the strided network's are among the dilated one's.
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3))
    variables = randomised(build(), images)
    strided, dilated = (
        last_features(build(dilated_stages=n), variables, images) for n in (0, 2)
    )
    assert strided.shape[1:3] == (2, 2)
    assert dilated.shape[1:3] == (8, 8)
    scale = np.abs(strided).max()  # without trained statistics features grow large
    same, between = dilated[:, ::4, ::4] / scale, dilated[:, 1::4, 1::4] / scale
    np.testing.assert_allclose(same, strided / scale, atol=1e-5)
    assert not np.allclose(between, strided / scale, atol=1e-3)


def randomised(model, images):
    """Variables of a network of which none is 0 or 1."""
    init = functools.partial(model.init, train=False)
    variables = jax.jit(init)(jax.random.key(0), images)
    generator = np.random.default_rng(1)
    return jax.tree.map(
        lambda v: v + 0.1 * np.abs(generator.normal(size=v.shape)), variables
    )


def last_features(model, variables, images):
    """What the last block gives."""
    _, state = model.apply(
        variables,
        images,
        train=False,
        capture_intermediates=lambda module, method: module.name == "stage3_block2",
    )
    return state["intermediates"]["stage3_block2"]["__call__"][0]


@pytest.mark.parametrize("dilated_stages", [-1, 4])
def test_a_stage_that_does_not_stride_cannot_be_dilated(dilated_stages):
    text = f"dilated_stages={dilated_stages}; of 4 stages the last 3 can be dilated"
    for name in "resnet18", "resnetv2_50":
        with pytest.raises(ValueError, match=text):
            models.create_model(name, 10, dilated_stages=dilated_stages)


def test_a_network_of_another_depth_is_a_field_away():
    model = models.create_model("resnet18", 10, depths=(1, 1))
    groups = ("stem", "stage1_block1", "stage2_block1", "head")
    assert models.layer_groups(model) == groups
    assert isinstance(model, resnet.ResNet)
