"""Inception-ResNets against their paper and counts of others."""

import operator

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.models import inception_resnet
from jaxcnn.models.branches import Unit
from tests.blocks import counted, output_shapes

SHAPE = (299, 299, 3)

# For 1000 classes the counts that the self-tests of pytorchcv 0.0.74 assert; for 1001
# that of facenet-pytorch 2.6.0; what count_params says of Keras 3.15.1's
# InceptionResNetV2, less its moving statistics.
NUM_PARAMS = {
    "inception_resnet_v1": 23_995_624,
    "inception_resnet_v2": 55_843_464,
    "inception_resnet_v2_keras": 55_813_192,
}

# Szegedy et al. 2017, Figure 15 for v1; v2 as the authors released it.
SIZES = {
    "inception_resnet_v1": [(35, 35, 256), (17, 17, 896), (8, 8, 1792), (512,)],
    "inception_resnet_v2": [(35, 35, 320), (17, 17, 1088), (8, 8, 2080), (1536,)],
}


@pytest.mark.parametrize("name", NUM_PARAMS)
def test_parameters_are_those_of_others(name):
    assert counted(name, 299)[0] == NUM_PARAMS[name]


def test_parameters_of_the_embedding_are_those_of_facenet():
    model = models.create_model("inception_resnet_v1", 1001)
    assert models.count_params(model, (160, 160, 3)) == 23_996_137


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_stages_end_with_the_sizes_of_the_paper(name):
    model = models.create_model(name, 10)
    shapes = output_shapes(model, SHAPE)
    for i, stage in enumerate(model.stages):
        assert shapes[f"stage{i + 1}_block{len(stage)}"] == SIZES[name][i]
    assert shapes["stage4_block1"] == SIZES[name][3]


def test_a_residual_module_adds_its_scaled_branches():
    # Section 3.3 and Figure 20: ReLU(x + scale * branches). By hand, with weights of
    # one: the branch gives the sum of both channels, "up" gives it to each.
    class Sum(nn.Module):
        filters: int
        kernel: int
        stride: int = 1
        padding: int | None = None

        @nn.compact
        def __call__(self, x, *, train):
            return x.sum(-1, keepdims=True)

    x = jnp.array([1.0, -4.0]).reshape(1, 1, 1, 2)
    module = inception_resnet.Residual(((Unit(1),),), Sum, scale=0.1)
    variables = {
        "params": {"up": {"kernel": jnp.ones((1, 1, 1, 2)), "bias": jnp.ones(2)}}
    }
    y = module.apply(variables, x, train=False)
    np.testing.assert_allclose(y.ravel(), [1 + 0.1 * (-3 + 1), 0], rtol=1e-6)
    y = module.clone(scale=1.0, join=operator.add).apply(variables, x, train=False)
    np.testing.assert_allclose(y.ravel(), [1 - 2, -4 - 2], rtol=1e-6)


def test_scales_are_those_of_the_authors():
    # 0.17, 0.1 and 0.2, and a last module that is neither scaled nor has a ReLU.
    for name, depths in ("v1", (5, 10, 5)), ("v2", (10, 20, 9)):
        stages = models.create_model(f"inception_resnet_{name}", 10).stages
        for stage, depth, scale in zip(stages, depths, (0.17, 0.1, 0.2), strict=True):
            scales = [m.keywords["scale"] for m in stage if "scale" in m.keywords]
            assert scales[:depth] == [scale] * depth
        last = stages[2][-1]
        assert (last.keywords["scale"], last.keywords["join"]) == (1.0, operator.add)


@pytest.mark.slow
@pytest.mark.parametrize("name", inception_resnet.VARIANTS)
def test_images_may_have_other_sizes_and_be_grey(name):
    model = models.create_model(name, 10)
    for shape in (75, 75, 1), (90, 200, 3):
        assert "head" in models.abstract_variables(model, shape)["params"]
    with pytest.raises(ValueError, match="this network needs larger images"):
        models.abstract_variables(model, (74, 74, 3))


def test_features_are_the_embedding_of_512():
    model = models.create_model("inception_resnet_v1", 0)
    images = jnp.zeros((2, 160, 160, 3))  # as facenet-pytorch uses
    y, _ = jax.eval_shape(
        lambda key, x: model.init_with_output(key, x, train=False),
        jax.random.key(0),
        images,
    )
    assert y.shape == (2, 512)
