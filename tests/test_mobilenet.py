"""MobileNets against numbers that other people published."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.models import layers
from jaxcnn.models.mobilenet_v1 import EndPaddedConvNorm, SamePaddedConvNorm
from tests.blocks import counted

# "num_params" and "_ops" (billions of multiply-adds) of the weights in torchvision
# 0.28.0, 1000 classes.
TORCHVISION_WEIGHTS = {
    "mobilenet_v2": (3_504_872, 0.301),
    "mobilenet_v3_small": (2_542_856, 0.057),
    "mobilenet_v3_large": (5_483_032, 0.217),
}

# Millions of multiply-adds and of parameters: Howard et al. 2017, Table 6 (of the
# widest, 569 in its Table 8), and, for the second, the authors' list of weights,
# https://github.com/tensorflow/models, research/slim/nets/mobilenet.
PUBLISHED = {
    "mobilenetv1_025": (41, 0.5),
    "mobilenetv1_050": (149, 1.3),
    "mobilenetv1_075": (325, 2.6),
    "mobilenetv1_100": (569, 4.2),
    "mobilenetv2_050": (97, 1.95),
    "mobilenetv2_075": (209, 2.61),
    "mobilenetv2_140": (582, 6.06),
}

# The counts of timm 1.0.31.
TIMM = {
    "mobilenetv1_100": 4_231_976,
    "mobilenetv2_050": 1_968_680,
    "mobilenetv2_075": 2_636_424,
    "mobilenetv2_140": 6_108_776,
}


def create(name):
    return models.create_model(name, num_classes=1000)


@pytest.mark.parametrize("name", TORCHVISION_WEIGHTS)
def test_parameters_and_multiply_adds_are_those_of_torchvision(name):
    num_params, giga_macs = TORCHVISION_WEIGHTS[name]
    parameters, macs = counted(name, 224)
    assert parameters == num_params
    assert round(macs / 1e9, 3) == giga_macs


@pytest.mark.parametrize("name", TIMM)
def test_parameters_are_those_of_timm(name):
    assert counted(name, 224)[0] == TIMM[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_multiply_adds_and_parameters_are_those_of_the_authors(name):
    million_macs, million_params = PUBLISHED[name]
    params, macs = (count / 1e6 for count in counted(name, 224))
    assert macs == pytest.approx(million_macs, abs=1)  # they cut digits off
    # The second's list is of the weights without biases of the last layer.
    assert params == pytest.approx(million_params, abs=0.06)


def test_weights_and_statistics_are_as_many_as_in_keras():
    # keras.applications.MobileNet(alpha=0.5).count_params() of Keras 3.15.1.
    variables = models.abstract_variables(create("mobilenetv1_050_keras"), (64, 64, 3))
    assert sum(v.size for v in jax.tree.leaves(variables)) == 1_342_536


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        # Sandler et al. 2018, Table 2, times 1.4 and 0.35; the nearest multiple of 8,
        # one more where that is under 90%.
        (1.4 * 32, 48),
        (1.4 * 24, 32),
        (1.4 * 96, 136),
        (0.35 * 16, 8),
        (0.75 * 24, 24),
        (0.75 * 16, 16),
        (1280, 1280),
    ],
)
def test_widths_are_rounded_to_multiples_of_eight(filters, expected):
    assert layers.round_filters(filters) == expected


def test_activations_are_the_formulas_of_the_papers():
    # Howard et al. 2019, section 5.2; ReLU6 as in Sandler et al. 2018, section 3.
    x = np.linspace(-8, 8, 33)
    six = np.clip(x, 0, 6)
    np.testing.assert_allclose(layers.relu6(jnp.asarray(x)), six, atol=1e-6)
    hard = x * np.clip(x + 3, 0, 6) / 6
    np.testing.assert_allclose(layers.hard_swish(jnp.asarray(x)), hard, atol=1e-6)


@pytest.mark.parametrize(
    ("conv", "size", "expected"),
    [
        # One kernel of ones over an image of ones: how much of each window is inside.
        (layers.ConvNorm, 4, [2, 3]),
        (EndPaddedConvNorm, 4, [3, 2]),
        (EndPaddedConvNorm, 5, [3, 3]),
        (SamePaddedConvNorm, 4, [3, 2]),
        (SamePaddedConvNorm, 5, [2, 3, 2]),
    ],
)
def test_keras_pads_below_and_to_the_right(conv, size, expected):
    ones = jax.nn.initializers.ones
    layer = conv(1, 3, 2, act=None, kernel_init=ones)
    x = jnp.ones((1, size, size, 1))
    y, _ = layer.init_with_output(jax.random.key(0), x, train=False)
    np.testing.assert_allclose(y[0, :, :, 0], np.outer(expected, expected), rtol=1e-4)


@pytest.mark.parametrize("name", ["mobilenetv1_025", "mobilenet_v2"])
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


def test_the_last_hidden_layer_is_no_part_of_the_head():
    # Howard et al. 2019, Table 2: 1024 features reach the last layer.
    model = models.create_model("mobilenet_v3_small", 0)
    init = lambda key, x: model.init_with_output(key, x, train=False)[0]  # noqa: E731
    features = jax.eval_shape(init, jax.random.key(0), jnp.zeros((2, 64, 64, 3)))
    assert features.shape == (2, 1024)
    assert models.layer_groups(model)[-1] == "stage6_block2"
