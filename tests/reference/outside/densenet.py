"""Dense networks of torchvision and pytorchcv."""

import functools

from network import Network
from pytorchcv.model_provider import get_model
from torchvision import models


def _torchvision(name: str) -> functools.partial:
    return functools.partial(models.get_model, name, num_classes=10)


SMALL, CIFAR = (64, 64, 3), (32, 32, 3)

NETWORKS = {
    "densenet121": Network(
        _torchvision("densenet121"), SMALL, train=True, second=(50, 71, 3)
    ),
    "densenet161": Network(_torchvision("densenet161"), SMALL),
    "densenet169": Network(_torchvision("densenet169"), SMALL),
    "densenet201": Network(_torchvision("densenet201"), SMALL),
    "densenet100_k12_bc_cifar10": Network(
        functools.partial(get_model, "densenet100_k12_bc_cifar10"), CIFAR
    ),
    "densenet190_k40_bc_cifar10": Network(
        functools.partial(get_model, "densenet190_k40_bc_cifar10"), CIFAR
    ),
}
