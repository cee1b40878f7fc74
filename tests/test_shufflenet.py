"""ShuffleNets against numbers that other people published."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.models import layers, shufflenet_v1, shufflenet_v2
from tests.blocks import counted

# The counts that pytorchcv 0.0.74 asserts of its shufflenet_g*_w1.
PYTORCHCV = {
    "shufflenet_g1_w1": 1_531_936,
    "shufflenet_g2_w1": 1_733_848,
    "shufflenet_g3_w1": 1_865_728,
    "shufflenet_g4_w1": 1_968_344,
    "shufflenet_g8_w1": 2_434_768,
}

# "num_params" and "_ops" (billions of multiply-adds) of the weights in torchvision
# 0.28.0, 1000 classes.
TORCHVISION_WEIGHTS = {
    "shufflenet_v2_x0_5": (1_366_792, 0.04),
    "shufflenet_v2_x1_0": (2_278_604, 0.145),
    "shufflenet_v2_x1_5": (3_503_624, 0.296),
    "shufflenet_v2_x2_0": (7_393_996, 0.583),
}


@pytest.mark.parametrize("name", PYTORCHCV)
def test_parameters_are_those_of_pytorchcv(name):
    assert counted(name, 224)[0] == PYTORCHCV[name]


@pytest.mark.parametrize("name", PYTORCHCV)
def test_multiply_adds_are_some_140_million(name):
    # Zhang et al. 2018, Table 2: "140 MFLOPs" whatever the groups.
    _, macs = counted(name, 224)
    assert macs / 1e6 == pytest.approx(140, rel=0.05)


@pytest.mark.parametrize("name", TORCHVISION_WEIGHTS)
def test_parameters_and_multiply_adds_are_those_of_torchvision(name):
    num_params, giga_macs = TORCHVISION_WEIGHTS[name]
    parameters, macs = counted(name, 224)
    assert parameters == num_params
    assert round(macs / 1e9, 3) == giga_macs


def start(block, x):
    return block.init_with_output(jax.random.key(1), x, train=False)


def test_a_split_unit_passes_one_half_untouched():
    # Ma et al. 2018, Figure 3c; after the shuffle every second channel is the one.
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 8))
    y, _ = start(shufflenet_v2.SplitUnit(), x)
    np.testing.assert_array_equal(y[..., ::2], x[..., :4])
    assert not np.allclose(y[..., 1::2], x[..., 4:])


@pytest.mark.slow
def test_a_strided_unit_appends_its_pooled_input():
    # Zhang et al. 2018, Figure 2c: the mean of 3x3 pixels, the border counted as 0.
    x = np.random.default_rng(0).uniform(size=(1, 4, 4, 4)).astype(np.float32)
    block = shufflenet_v1.ShuffleUnit(16, stride=2, first_groups=1, groups=2)
    y, _ = start(block, jnp.asarray(x))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.empty((1, 2, 2, 4))
    for row in range(2):
        for column in range(2):
            window = padded[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            expected[:, row, column] = window.mean(axis=(1, 2))
    np.testing.assert_allclose(y[..., 12:], expected, rtol=1e-5)
    assert y.shape == (1, 2, 2, 16)


@pytest.mark.parametrize("name", ["shufflenet_g3_w1", "shufflenet_v2_x0_5"])
def test_every_convolution_has_its_norm(name):
    calls = []

    class Recorder(layers.BatchNorm):
        def __call__(self, x, *, train):
            calls.append(self.path)
            return super().__call__(x, train=train)

    model = models.create_model(name, 10, norm=Recorder)
    variables = models.abstract_variables(model, (64, 64, 3))
    kernels = [v for v in jax.tree.leaves(variables["params"]) if v.ndim == 4]
    assert len(calls) == len(set(calls)) == len(kernels)
