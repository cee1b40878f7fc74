"""SqueezeNets against numbers that other people published."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.errors import UserError
from tests.blocks import counted

# "num_params", "_ops" (billions of multiply-adds) and "min_size" of the weights in
# torchvision 0.28.0, 1000 classes.
TORCHVISION_WEIGHTS = {
    "squeezenet1_0": (1_248_424, 0.819, 21),
    "squeezenet1_1": (1_235_496, 0.349, 17),
}


@pytest.mark.parametrize("name", TORCHVISION_WEIGHTS)
def test_parameters_and_multiply_adds_are_those_of_torchvision(name):
    num_params, giga_macs, _ = TORCHVISION_WEIGHTS[name]
    parameters, macs = counted(name, 224)
    assert parameters == num_params
    assert round(macs / 1e9, 3) == giga_macs


@pytest.mark.parametrize("name", TORCHVISION_WEIGHTS)
def test_the_smallest_image_is_that_of_torchvision(name):
    model = models.create_model(name, num_classes=10)
    smallest = TORCHVISION_WEIGHTS[name][2]
    models.abstract_variables(model, (smallest, smallest, 3))
    with pytest.raises(UserError, match="needs larger images"):
        models.abstract_variables(model, (smallest - 1, smallest - 1, 3))


@pytest.mark.slow
def test_the_head_is_a_convolution_whose_relu_is_averaged():
    # Iandola et al. 2016, Table 1: conv10 and avgpool10, with the ReLU of section 3.3
    # between them, which does not change places with the average.
    network = models.create_model("squeezenet1_1", 5)
    body = models.create_model("squeezenet1_1", 0)
    images = jax.random.normal(jax.random.key(0), (2, 40, 40, 3))
    init = jax.jit(lambda key, x: network.init_with_output(key, x, train=False))
    logits, variables = init(jax.random.key(1), images)
    # The input of the head: what the last fire module gives.
    params = {k: v for k, v in variables["params"].items() if k != "head"}
    features, state = body.apply(
        {"params": params}, images, train=False, capture_intermediates=True
    )
    (maps,) = state["intermediates"]["stage3_block4"]["__call__"]
    head = variables["params"]["head"]
    classes = np.maximum(maps @ head["kernel"] + head["bias"], 0)
    np.testing.assert_allclose(logits, classes.mean(axis=(1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(features, maps.mean(axis=(1, 2)), rtol=1e-4, atol=1e-6)
    assert jnp.all(logits >= 0)
