"""Xception against its paper and counts of others."""

import jax
import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.models import xception
from tests.blocks import counted, output_shapes


@pytest.mark.parametrize("name", xception.VARIANTS)
def test_parameters_are_those_of_the_paper_and_of_pytorchcv(name):
    # Chollet 2017, Table 3: 22,855,952; as the self-test of pytorchcv 0.0.74 asserts.
    assert counted(name, 299)[0] == 22_855_952


def test_flows_have_the_sizes_of_the_figure():
    # Figure 5: entry flow to 19x19x728, the middle flow keeps it, exit flow to 2048.
    shapes = output_shapes(models.create_model("xception", 1000), (299, 299, 3))
    assert shapes["stem"] == (147, 147, 64)
    assert shapes["stage1_block3"] == (19, 19, 728)
    middle = [shape for name, shape in shapes.items() if name.startswith("stage2")]
    assert middle == [(19, 19, 728)] * 8
    assert shapes["stage3_block1"] == (10, 10, 1024)
    assert shapes["stage3_block2"] == (10, 10, 2048)


@pytest.mark.parametrize("size", [(5, 6), (6, 5), (3, 9)])
def test_the_pool_of_keras_is_its_formula(size):
    # padding="same": ceil(size / 2) windows, the odd one of the padding behind.
    x = np.random.default_rng(0).normal(size=(1, *size, 1)).astype(np.float32)
    outputs = [-(-n // 2) for n in size]
    expected = np.empty(outputs)
    for i in range(outputs[0]):
        for j in range(outputs[1]):
            slices = []
            for k, n, output in zip((i, j), size, outputs, strict=True):
                before = max((output - 1) * 2 + 3 - n, 0) // 2
                slices.append(slice(max(2 * k - before, 0), 2 * k - before + 3))
            expected[i, j] = x[0, slices[0], slices[1], 0].max()
    y = xception.keras_pool(x)
    np.testing.assert_array_equal(y[0, ..., 0], expected)


def test_a_separable_convolution_has_a_filter_a_channel_and_no_activation_between():
    # By hand: the 3x3 sums of each channel, then their sum; negative ones pass.
    conv = xception.SeparableConvNorm(1, models.layers.BatchNorm)
    x = -np.ones((1, 3, 3, 2), np.float32)
    variables = conv.init(jax.random.key(0), x, train=False)
    variables["params"] = jax.tree.map(np.ones_like, variables["params"])
    assert variables["params"]["depthwise"]["kernel"].shape == (3, 3, 1, 2)
    variables["params"]["pointwise"]["norm"]["bias"][:] = 0
    y = conv.apply(variables, x, train=False)
    assert y[0, 1, 1, 0] == pytest.approx(-18, rel=1e-4)
    assert y[0, 0, 0, 0] == pytest.approx(-8, rel=1e-4)


def test_images_may_have_other_sizes_and_be_grey():
    model = models.create_model("xception", 10)
    for shape in (7, 7, 1), (90, 201, 3):
        assert "head" in models.abstract_variables(model, shape)["params"]
    with pytest.raises(ValueError, match="this network needs larger images"):
        models.abstract_variables(model, (4, 4, 3))
