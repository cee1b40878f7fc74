"""Residual networks of Keras against its numbers."""

import jax
import pytest

from jaxcnn import models

# Trainable parameters, and all of them, of Keras 3.15.1 at 1000 classes.
KERAS = {
    "resnet50_v1_keras": (25_583_592, 25_636_712),
    "resnet101_v1_keras": (44_601_832, 44_707_176),
    "resnet152_v1_keras": (60_268_520, 60_419_944),
    "resnetv2_50_keras": (25_568_360, 25_613_800),
    "resnetv2_101_keras": (44_577_896, 44_675_560),
    "resnetv2_152_keras": (60_236_904, 60_380_648),
}


@pytest.mark.parametrize(
    "name",
    [
        name if "50" in name else pytest.param(name, marks=pytest.mark.slow)
        for name in KERAS
    ],
)
def test_parameters_are_those_of_keras(name):
    model = models.create_model(name, num_classes=1000)
    variables = models.abstract_variables(model, (224, 224, 3))
    sizes = {
        collection: sum(v.size for v in jax.tree.leaves(tree))
        for collection, tree in variables.items()
    }
    assert (sizes["params"], sum(sizes.values())) == KERAS[name]
