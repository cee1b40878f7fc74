"""Pre-activated residual networks against numbers that other people published."""

import functools

import jax
import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.models import resnet_v2
from tests.blocks import counted

# Parameters at 1000 classes in timm 1.0.31; at 10 classes those of preresnet20_cifar10
# and its kin in pytorchcv 0.0.74.
OUTSIDE = {
    "resnetv2_50": 25_549_352,
    "resnetv2_101": 44_541_480,
    "resnetv2_152": 60_185_128,
    "resnetv2_20_cifar": 272_282,
    "resnetv2_56_cifar": 855_578,
    "resnetv2_110_cifar": 1_730_522,
    "resnetv2_164_cifar": 1_703_258,
    "resnetv2_1001_cifar": 10_327_706,
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_parameters_are_those_of_timm_and_pytorchcv(name):
    sizes = (32, 10) if name.endswith("_cifar") else (224, 1000)
    assert counted(name, *sizes)[0] == OUTSIDE[name]


@pytest.mark.parametrize(
    "block",
    [
        resnet_v2.BasicBlock(filters=16, stride=1),
        resnet_v2.BottleneckBlock(filters=4, stride=1),
    ],
)
def test_nothing_stands_on_the_path_of_the_identity(block):
    # He et al. 2016, eq. 3: where the shape stays, output less input is the branch
    # alone; a branch of zeros leaves the input, below zero too.
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 16))
    init = functools.partial(block.init, train=False)
    variables = jax.jit(init)(jax.random.key(1), x)
    last = sorted(name for name in variables["params"] if name.startswith("conv"))[-1]
    variables["params"][last]["kernel"] *= 0
    np.testing.assert_array_equal(block.apply(variables, x, train=False), x)


def test_the_last_normalisation_is_a_group_of_its_own():
    model = models.create_model("resnetv2_20_cifar", 10, depths=(1, 1, 1))
    assert models.layer_groups(model, (32, 32, 3)) == (
        *("stem", "stage1_block1", "stage2_block1", "stage3_block1"),
        *("stage4_block1", "head"),
    )
