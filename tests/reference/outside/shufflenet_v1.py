"""The first ShuffleNets of pytorchcv.

Their last pooling is the mean of 7x7 pixels, all there are for images of 224; it is
made the mean of whatever there is, so that smaller images can be used.
`shufflenet_g8_w1` is compared as it is.
"""

import functools

from network import Network
from pytorchcv.model_provider import get_model
from torch import nn


def any_size(name: str) -> nn.Module:
    network = get_model(name, num_classes=10)
    network.features.final_pool = nn.AdaptiveAvgPool2d(1)
    return network


SHAPE = (40, 40, 3)
GAINS = {r".*expand_bn3\.weight": 0.5}  # shortcuts add up

NETWORKS = {
    "shufflenet_g3_w1": Network(
        functools.partial(any_size, "shufflenet_g3_w1"),
        SHAPE,
        GAINS,
        train=True,
        second=(53, 47, 3),
    ),
    "shufflenet_g1_w1": Network(
        functools.partial(any_size, "shufflenet_g1_w1"), SHAPE, GAINS
    ),
    "shufflenet_g2_w1": Network(
        functools.partial(any_size, "shufflenet_g2_w1"), SHAPE, GAINS
    ),
    "shufflenet_g4_w1": Network(
        functools.partial(any_size, "shufflenet_g4_w1"), SHAPE, GAINS
    ),
    "shufflenet_g8_w1": Network(
        functools.partial(get_model, "shufflenet_g8_w1", num_classes=10),
        (224, 224, 3),
        GAINS,
    ),
}
