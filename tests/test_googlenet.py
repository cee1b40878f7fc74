"""GoogLeNet against its paper, torchvision and SciPy."""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, signal

from jaxcnn import models
from jaxcnn.models import googlenet
from jaxcnn.models.branches import Branches
from tests.blocks import count, counted, output_shapes

# In one process, which makes what the tests share once.
pytestmark = pytest.mark.xdist_group("googlenet")

# Szegedy et al. 2015, Table 1: output size, params in units of 1024 (weights alone) and
# millions of operations. None: misprinted, the filters of that row give another number.
TABLE_1 = {
    "stage1_block1": ((28, 28, 256), 159, 128),  # inception (3a)
    "stage1_block2": ((28, 28, 480), 380, 304),
    "stage2_block1": ((14, 14, 512), None, 73),
    "stage2_block2": ((14, 14, 512), None, 88),
    "stage2_block3": ((14, 14, 512), None, 100),
    "stage2_block4": ((14, 14, 528), None, 119),
    "stage2_block5": ((14, 14, 832), None, 170),
    "stage3_block1": ((7, 7, 832), None, None),
    "stage3_block2": ((7, 7, 1024), None, 71),
    "head": ((1000,), 1000, 1),
}
SHAPE = (224, 224, 3)


@pytest.fixture(scope="module")
def paper():
    """(parameters, output shapes) of the paper's network."""
    model = models.create_model("googlenet_2014", 1000)
    variables = models.abstract_variables(model, SHAPE)
    return variables["params"], output_shapes(model, SHAPE)


def weights(params):
    """Numbers in the kernels of some parameters."""
    return sum(p.size for p in jax.tree.leaves(params) if p.ndim > 1)


def test_modules_of_the_paper_have_the_rows_of_its_table(paper):
    params, shapes = paper
    for group, (shape, kilos, millions) in TABLE_1.items():
        assert shapes[group] == shape, group
        found = weights(params[group])
        pixels = 1 if group == "head" else shape[0] * shape[1]
        if kilos is not None:
            assert found / 1024 == pytest.approx(kilos, abs=1), group
        if millions is not None:
            assert found * pixels / 1e6 == pytest.approx(millions, abs=1), group


def test_the_stem_of_the_paper_has_the_row_of_its_table(paper):
    # "convolution, 3x3/1, depth 2": 112K parameters and 360M operations at 56x56.
    params, shapes = paper
    stem = params["stem"]
    found = weights([stem["conv2"], stem["conv3"]])
    assert found / 1024 == 112
    assert round(found * 56 * 56 / 1e6) == 360
    assert shapes["stem"] == (28, 28, 192)


def test_auxiliary_heads_of_the_paper_have_the_sizes_of_section_5(paper):
    # A 1x1 convolution with 128 filters, 1024 units on 4x4 maps, and the classes.
    variables = {"params": paper[0]}
    for group, channels in ("aux1", 512), ("aux2", 528):
        expected = (channels + 1) * 128 + (4 * 4 * 128 + 1) * 1024 + 1025 * 1000
        assert count(variables, group) == expected


def test_parameters_and_multiply_adds_are_those_of_torchvision():
    # num_params and _ops of GoogLeNet_Weights in torchvision 0.28, without the
    # auxiliary heads.
    parameters, macs = counted("googlenet", 224)
    assert parameters == 6_624_904
    assert round(macs / 1e9, 3) == 1.498
    model = models.create_model("googlenet", 1000, aux=googlenet.AdaptiveAuxiliary)
    variables = models.abstract_variables(model, SHAPE)
    groups = models.sort_groups(variables["params"])
    assert groups[-3:] == ("aux1", "aux2", "head")
    assert count(variables, *(set(groups) - {"aux1", "aux2"})) == 6_624_904
    assert round(models.count_macs(model, SHAPE) / 1e9, 3) == 1.498


@pytest.mark.parametrize("train", [True, False])
def test_auxiliary_logits_are_sown_in_training_alone(train):
    images = jnp.zeros((2, 224, 224, 3))
    model = models.create_model("googlenet_2014", 7)
    apply = functools.partial(model.apply, train=train, mutable=["intermediates"])
    variables = models.abstract_variables(model, SHAPE)
    rngs = {"dropout": jax.random.key(0)}
    logits, sown = jax.eval_shape(
        lambda variables, images: apply(variables, images, rngs=rngs),
        variables,
        images,
    )
    assert logits.shape == (2, 7)
    shapes = jax.tree.map(lambda v: v.shape, sown.get("intermediates", {}))
    expected = {aux: {"logits": ((2, 7),)} for aux in ("aux1", "aux2")}
    assert shapes == (expected if train else {})


def test_without_classes_there_are_no_auxiliary_heads():
    groups = models.layer_groups(models.create_model("googlenet_2014", 0))
    assert groups[-1] == "stage3_block2"


@pytest.mark.slow
def test_a_module_of_the_paper_is_that_of_scipy():
    # Figure 2(b), at (3a): four branches, ReLU after each convolution.
    x = np.random.default_rng(0).normal(size=(1, 6, 5, 192)).astype(np.float32)
    conv = functools.partial(googlenet.plain_conv, norm=None)
    block = Branches(googlenet.inception(googlenet.TABLE_1[0][0], largest=5), conv)
    init = jax.jit(functools.partial(block.init_with_output, train=False))
    y, variables = jax.device_get(init(jax.random.key(0), x))

    def convolve(x, name):
        kernel = variables["params"][name]["conv"]["kernel"]
        maps = [
            sum(
                signal.correlate(x[..., i], kernel[..., i, o], "same")
                for i in range(x.shape[-1])
            )
            for o in range(kernel.shape[-1])
        ]
        return np.maximum(np.stack(maps, -1) + 0.2, 0)  # Caffe's bias

    x = x[0]
    pooled = ndimage.maximum_filter(x, (3, 3, 1), mode="constant", cval=-np.inf)
    expected = [
        convolve(x, "branch1_conv1"),
        convolve(convolve(x, "branch2_conv1"), "branch2_conv2"),
        convolve(convolve(x, "branch3_conv1"), "branch3_conv2"),
        convolve(pooled, "branch4_conv1"),
    ]
    np.testing.assert_allclose(y[0], np.concatenate(expected, -1), atol=1e-4)


def test_response_normalisation_of_the_stem_is_the_formula_of_caffe():
    # Caffe's LRN layer: (1 + alpha/n * sum of n squares)^beta, with local_size 5,
    # alpha 0.0001 and beta 0.75 in models/bvlc_googlenet.
    class Passing(nn.Module):
        filters: int
        kernel: int
        stride: int = 1

        @nn.compact
        def __call__(self, x, *, train):
            return x

    x = 100 * np.random.default_rng(0).normal(size=(1, 1, 1, 8)).astype(np.float32)
    stem = googlenet.PaperStem(Passing)
    expected = x
    for _ in range(2):  # pools of one pixel give the pixel
        before = expected
        expected = np.empty_like(x)
        for i in range(8):
            squares = before[..., max(0, i - 2) : i + 3] ** 2
            total = squares.sum(-1)
            expected[..., i] = before[..., i] / (1 + 1e-4 / 5 * total) ** 0.75
    with pytest.raises(ValueError, match="needs larger images"):
        stem.apply({}, x, train=False)  # 3x3 windows do not fit one pixel
    y = stem.apply({}, np.tile(x, (1, 9, 9, 1)), train=False)
    np.testing.assert_allclose(y, np.tile(expected, (1, *y.shape[1:3], 1)), rtol=1e-5)


def test_images_may_have_other_sizes_and_be_grey():
    model = models.create_model("googlenet", 10)
    assert output_shapes(model, (40, 97, 1))["stage3_block2"] == (1, 3, 1024)
    # Smaller than an auxiliary head could pool.
    model = models.create_model("googlenet_2014", 10)
    assert output_shapes(model, (64, 64, 3))["stage3_block2"] == (2, 2, 1024)
    with pytest.raises(ValueError, match="this network needs larger images"):
        models.abstract_variables(model, (4, 4, 3))
