"""EfficientNets against numbers that other people published."""

from flax import linen as nn
import jax
import pytest

from jaxcnn import models
from jaxcnn.models import layers
from tests.blocks import counted

# "num_params", "_ops" (billions of multiply-adds) and size of the crop of the weights
# in torchvision 0.28.0, 1000 classes.
TORCHVISION_WEIGHTS = {
    "efficientnet_b0": (5_288_548, 0.386, 224),
    "efficientnet_b1": (7_794_184, 0.687, 240),
    "efficientnet_b2": (9_109_994, 1.088, 288),
    "efficientnet_b3": (12_233_232, 1.827, 300),
    "efficientnet_b4": (19_341_616, 4.394, 380),
    "efficientnet_b5": (30_389_784, 10.266, 456),
    "efficientnet_b6": (43_040_704, 19.068, 528),
    "efficientnet_b7": (66_347_960, 37.746, 600),
    "efficientnet_v2_s": (21_458_488, 8.366, 384),
    "efficientnet_v2_m": (54_139_356, 24.582, 480),
    "efficientnet_v2_l": (118_515_272, 56.08, 480),
}


@pytest.mark.parametrize("name", TORCHVISION_WEIGHTS)
def test_parameters_and_multiply_adds_are_those_of_torchvision(name):
    num_params, giga_macs, size = TORCHVISION_WEIGHTS[name]
    parameters, macs = counted(name, size)
    assert parameters == num_params
    assert macs / 1e9 == pytest.approx(giga_macs, abs=5.1e-4)


def modules(name, kind, depth=None):
    """Path -> each module of a kind that is called.

    Args:
        depth: Number of blocks in each stage, if not that of the network.
    """
    found = {}
    model = models.create_model(name, 10)
    if depth is not None:
        stages = tuple(stage._replace(depth=depth) for stage in model.stages)
        model = model.clone(stages=stages)

    def record(call, args, kwargs, context):
        if isinstance(context.module, kind):
            found["/".join(context.module.path)] = context.module
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        models.abstract_variables(model, (64, 64, 3))
    return found


def test_stochastic_depth_grows_in_a_straight_line():
    # By hand: B0 has 16 blocks; those with a shortcut, counted from 0.
    with_shortcut = {
        "stage2_block2": 2,
        "stage3_block2": 4,
        "stage4_block2": 6,
        "stage4_block3": 7,
        "stage5_block2": 9,
        "stage5_block3": 10,
        "stage6_block2": 12,
        "stage6_block3": 13,
        "stage6_block4": 14,
    }
    found = modules("efficientnet_b0", layers.StochasticDepth)
    rates = {path.split("/")[0]: module.rate for path, module in found.items()}
    expected = {block: 0.2 * i / 16 for block, i in with_shortcut.items()}
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "epsilon", "momentum"),
    [
        # torchvision's "eps" and 1 less its "momentum".
        ("efficientnet_b4", 1e-5, 0.9),
        ("efficientnet_b5", 1e-3, 0.99),
        ("efficientnet_b7", 1e-3, 0.99),
        ("efficientnet_v2_s", 1e-3, 0.9),
    ],
)
def test_norms_have_the_numbers_of_the_variant(name, epsilon, momentum):
    norms = modules(name, layers.BatchNorm, depth=2).values()
    assert {(norm.epsilon, norm.momentum) for norm in norms} == {(epsilon, momentum)}


def test_every_convolution_but_those_of_gates_has_its_norm():
    found = modules("efficientnet_v2_s", layers.Conv | layers.BatchNorm, depth=2)
    convs = {path for path in found if path.endswith("/conv")}
    norms = {path for path in found if path.endswith("/norm")}
    gates = set(found) - convs - norms
    assert {path.removesuffix("conv") for path in convs} == {
        path.removesuffix("norm") for path in norms
    }
    assert all("/gate/fc" in path for path in gates)


def test_a_gate_squeezes_to_a_quarter_of_the_input_of_its_block():
    # Not of what it is expanded to: Tan and Le 2019's code, se_ratio 0.25.
    model = models.create_model("efficientnet_b0", 10)
    params = models.abstract_variables(model, (64, 64, 3))["params"]
    shapes = jax.tree.map(lambda v: v.shape, params["stage2_block1"]["gate"])
    assert shapes["fc1"]["kernel"] == (1, 1, 96, 4)
