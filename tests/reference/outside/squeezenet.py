"""SqueezeNets of torchvision."""

import functools

from network import Network
from torchvision.models import squeezenet1_0, squeezenet1_1

GAINS = {r"features\.\d+\.\w+\.weight": 1.2}  # biases would drown the images

NETWORKS = {
    "squeezenet1_1": Network(
        functools.partial(squeezenet1_1, num_classes=10),
        (64, 64, 3),
        train=True,
        gains=GAINS,
        second=(75, 62, 3),
    ),
    "squeezenet1_0": Network(
        functools.partial(squeezenet1_0, num_classes=10),
        (64, 64, 3),
        gains=GAINS,
    ),
}
