"""Every tensor of other people's weights is used once, and every variable filled."""

import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.pretrained.torchvision import Rule, from_torchvision
from tests.reference import compare, filling

MODEL = models.create_model("resnet18", 10)


@pytest.fixture
def state_dict():
    """The tensors of torchvision's resnet18 with 10 classes."""
    return filling.tensors(compare.load("resnet18")[1])


def test_kernels_are_transposed_and_statistics_are_no_parameters(state_dict):
    state_dict["bn1.num_batches_tracked"] = np.array(7)
    variables = from_torchvision(state_dict, MODEL)
    block = variables["params"]["stage4_block2"]
    kernel = state_dict["layer4.1.conv2.weight"]  # [out, in, kh, kw]
    assert block["conv2"]["conv"]["kernel"][0, 2, 3, 5] == kernel[5, 3, 0, 2]
    head = variables["params"]["head"]["kernel"]
    assert head[3, 5] == state_dict["fc.weight"][5, 3]
    mean = variables["batch_stats"]["stem"]["conv"]["norm"]["mean"]
    np.testing.assert_array_equal(mean, state_dict["bn1.running_mean"])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda s: s.pop("bn1.bias"), "params/stem/conv/norm/bias is not filled"),
        (lambda s: s.update({"extra.weight": s["fc.weight"]}), "extra.weight has no p"),
        (lambda s: s.update({"fc.extra": s["fc.bias"]}), "fc.extra has no place"),
        (
            lambda s: s.update({"fc.bias": np.zeros(1000)}),
            r"fc.bias gives params/head/bias shape \(1000,\), not \(10,\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(state_dict, change, text):
    change(state_dict)
    with pytest.raises(ValueError, match=text):
        from_torchvision(state_dict, MODEL)


def test_two_tensors_for_one_variable_are_refused(state_dict):
    rules = (Rule(".*", lambda: "head"),)
    with pytest.raises(ValueError, match="params/head/bias is filled again by layer1"):
        from_torchvision(state_dict, MODEL, rules=rules)


def test_a_network_without_rules_is_refused():
    with pytest.raises(ValueError, match="No rules for weights of Mlp; known: ResNet"):
        from_torchvision({}, models.create_model("mlp", 10))
