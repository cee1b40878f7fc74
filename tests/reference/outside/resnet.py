"""ResNets of torchvision and pytorchcv."""

import functools

from network import Network
from pytorchcv.model_provider import get_model
from torchvision.models import resnet18, resnet50

NETWORKS = {
    "resnet18": Network(
        functools.partial(resnet18, num_classes=10),
        (64, 64, 3),
        train=True,
        second=(50, 71, 3),
    ),
    "resnet50": Network(
        functools.partial(resnet50, num_classes=10),
        (64, 64, 3),
        gains={r"layer.*bn3\.weight": 0.3},
    ),
    "resnet20_cifar10": Network(
        functools.partial(get_model, "resnet20_cifar10"), (32, 32, 3), train=True
    ),
}
