"""SqueezeNets of torchvision."""

import functools

from network import Network
from torchvision.models import squeezenet1_0, squeezenet1_1

NETWORKS = {
    "squeezenet1_1": Network(
        functools.partial(squeezenet1_1, num_classes=10),
        (64, 64, 3),
        train=True,
        second=(75, 62, 3),
    ),
    "squeezenet1_0": Network(
        functools.partial(squeezenet1_0, num_classes=10),
        (64, 64, 3),
    ),
}
