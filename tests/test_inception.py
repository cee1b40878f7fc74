"""Inception-v3 and -v4 against their papers and counts of others."""

import functools

import jax
import jax.numpy as jnp
import pytest

from jaxcnn import models
from jaxcnn.models import inception
from jaxcnn.models.branches import Branches, Fork, Unit
from tests.blocks import counted, output_shapes

SHAPE = (299, 299, 3)

# num_params of Inception_V3_Weights in torchvision 0.28, auxiliary head included; the
# count that the self-test of pytorchcv 0.0.74's inceptionv4.py asserts; what
# count_params says of Keras 3.15.1's InceptionV3, less its moving statistics.
NUM_PARAMS = {
    "inception_v3": 27_161_264,
    "inception_v4": 42_679_816,
    "inception_v3_keras": 23_817_352,
}

# Sizes after each stage: Szegedy et al. 2016, Table 1 (the last row has 2048 channels);
# Szegedy et al. 2017, Figure 9.
SIZES = {
    "inception_v3": [(35, 35, 288), (17, 17, 768), (8, 8, 2048)],
    "inception_v4": [(35, 35, 384), (17, 17, 1024), (8, 8, 1536)],
}


@pytest.mark.parametrize("name", NUM_PARAMS)
def test_parameters_are_those_of_torchvision_pytorchcv_and_keras(name):
    assert counted(name, 299)[0] == NUM_PARAMS[name]


def test_multiply_adds_are_those_of_torchvision():
    # _ops of Inception_V3_Weights, without the auxiliary head.
    _, macs = counted("inception_v3", 299)
    assert round(macs / 1e9, 3) == 5.713


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_stages_end_with_the_sizes_of_the_papers(name):
    model = models.create_model(name, 1000)
    shapes = output_shapes(model, SHAPE)
    for i, stage in enumerate(model.stages):
        assert shapes[f"stage{i + 1}_block{len(stage)}"] == SIZES[name][i]


def apply(model, image_size, train):
    shape = (image_size, image_size, 3)
    rngs = {"dropout": jax.random.key(0)}
    mutable = ["batch_stats", "intermediates"]
    run = functools.partial(model.apply, train=train, mutable=mutable, rngs=rngs)
    variables = models.abstract_variables(model, shape)
    return jax.eval_shape(run, variables, jnp.zeros((2, *shape)))


@pytest.mark.slow
def test_the_auxiliary_head_runs_in_training_alone():
    model = models.create_model("inception_v3", 7)
    logits, updated = apply(model, 299, train=True)
    assert logits.shape == (2, 7)
    (aux,) = updated["intermediates"]["aux1"]["logits"]
    assert aux.shape == (2, 7)
    # The smallest images have maps that it could not pool.
    logits, updated = apply(model, 75, train=False)
    assert logits.shape == (2, 7)
    assert "intermediates" not in updated
    with pytest.raises(ValueError, match="this network needs larger images"):
        apply(model, 75, train=True)
    logits, _ = apply(model.clone(aux=None), 75, train=True)
    assert logits.shape == (2, 7)


def test_parameters_of_the_auxiliary_head_do_not_depend_on_the_size_of_images():
    model = models.create_model("inception_v3", 7)
    shapes = [
        jax.tree.map(
            lambda v: v.shape, models.abstract_variables(model, (size,) * 2 + (3,))
        )
        for size in (75, 299)
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", inception.VARIANTS)
def test_images_may_have_other_sizes_and_be_grey(name):
    model = models.create_model(name, 10)
    for shape in (75, 75, 1), (90, 200, 3):
        assert "head" in models.abstract_variables(model, shape)["params"]
    with pytest.raises(ValueError, match="this network needs larger images"):
        models.abstract_variables(model, (74, 74, 3))


def test_initial_values_are_those_of_torchvision():
    # Its Inception3: standard deviation 0.1, but in the auxiliary head's 5x5
    # convolution 0.01 and in its linear layer 0.001.
    conv = functools.partial(
        models.layers.ConvNorm, kernel_init=jax.nn.initializers.normal(0.1)
    )
    head = inception.AuxiliaryV3(100, conv)
    x = jnp.zeros((1, 17, 17, 64))
    init = jax.jit(functools.partial(head.init, train=False))
    params = init(jax.random.key(0), x)["params"]
    kernels = [params["conv1"]["conv"], params["conv2"]["conv"], params["dense"]]
    for kernel, std in zip(kernels, [0.1, 0.01, 0.001], strict=True):
        assert kernel["kernel"].std() == pytest.approx(std, rel=0.05)
    model = models.create_model("inception_v3", 10)
    assert model.kernel_init(jax.random.key(0), (1000,)).std() == pytest.approx(
        0.1, rel=0.1
    )


def test_branches_run_side_by_side_in_their_order():
    # By hand: 1x1 convolutions with weights of one; a fork doubles the end of a branch.
    def double(x):
        return 2 * x

    block = Branches(
        (
            (Unit(1),),
            (double,),
            (Unit(2), double, Fork(Unit(1), Unit(3, (1, 1)))),
        ),
        functools.partial(
            models.layers.ConvAct,
            kernel_init=jax.nn.initializers.ones,
            bias_init=jax.nn.initializers.zeros,
        ),
    )
    x = jnp.array([1.0, 2.0]).reshape(1, 1, 1, 2)
    y, variables = block.init_with_output(jax.random.key(0), x, train=False)
    assert y.ravel().tolist() == [3, 2, 4, 12, 12, 12, 12]
    assert sorted(variables["params"]) == [
        *("branch1_conv1", "branch3_conv1", "branch3_conv2a", "branch3_conv2b")
    ]
