"""ResNets, ResNeXts and Wide-ResNets of torchvision and pytorchcv."""

import functools

from network import Network
from pytorchcv.model_provider import get_model
from pytorchcv.models.resnet_cifar import get_resnet_cifar
from pytorchcv.models.resnext_cifar import get_resnext_cifar
from torch import nn
from torchvision import models

QUIET = {r"layer.*bn3\.weight": 0.3}  # the last scale of each branch
QUIET_BODY = {r".*body\.conv3\.bn\.weight": 0.3}


def _any_size(name: str) -> nn.Module:
    """A network of pytorchcv with a last pool that takes images of any size."""
    network = get_model(name, num_classes=10)
    network.features.final_pool = nn.AdaptiveAvgPool2d(1)
    return network


def _torchvision(name: str, **fields) -> functools.partial:
    return functools.partial(models.get_model, name, num_classes=10, **fields)


def _small_images() -> nn.Module:
    """torchvision's resnet18 with the stem that is usual for CIFAR."""
    network = models.resnet18(num_classes=10)
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


SMALL, CIFAR = (64, 64, 3), (32, 32, 3)

NETWORKS = {
    "resnet18": Network(
        _torchvision("resnet18"), SMALL, train=True, second=(50, 71, 3)
    ),
    "resnet34": Network(
        _torchvision("resnet34"), SMALL, gains={r"layer.*bn2\.weight": 0.3}
    ),
    "resnet50": Network(_torchvision("resnet50"), SMALL, gains=QUIET),
    "resnet101": Network(_torchvision("resnet101"), SMALL, gains=QUIET),
    "resnet152": Network(_torchvision("resnet152"), SMALL, gains=QUIET),
    "resnet50_dilated": Network(
        _torchvision("resnet50", replace_stride_with_dilation=[False, True, True]),
        SMALL,
        gains=QUIET,
        second=(50, 71, 3),
    ),
    "resnet50_v1": Network(
        functools.partial(_any_size, "resnet50"),
        SMALL,
        gains=QUIET_BODY,
        train=True,
        second=(50, 71, 3),
    ),
    "resnet101_v1": Network(
        functools.partial(_any_size, "resnet101"), SMALL, gains=QUIET_BODY
    ),
    "resnet152_v1": Network(
        functools.partial(_any_size, "resnet152"), SMALL, gains=QUIET_BODY
    ),
    "resnet20_cifar10": Network(
        functools.partial(get_model, "resnet20_cifar10"), CIFAR, train=True
    ),
    **{
        f"resnet{depth}_cifar10": Network(
            functools.partial(get_resnet_cifar, 10, depth, False),
            CIFAR,
            gains={r".*body\.conv2\.bn\.weight": 0.3},
        )
        for depth in (32, 44, 56, 110)
    },
    "resnet18_cifar": Network(_small_images, CIFAR, gains={r"layer.*bn2\.weight": 0.3}),
    "wide_resnet50_2": Network(_torchvision("wide_resnet50_2"), SMALL, gains=QUIET),
    "wide_resnet101_2": Network(_torchvision("wide_resnet101_2"), SMALL, gains=QUIET),
    "resnext50_32x4d": Network(
        _torchvision("resnext50_32x4d"), SMALL, gains=QUIET, train=True
    ),
    "resnext101_32x8d": Network(_torchvision("resnext101_32x8d"), SMALL, gains=QUIET),
    "resnext101_64x4d": Network(_torchvision("resnext101_64x4d"), SMALL, gains=QUIET),
    "resnext29_8x64d_cifar": Network(
        functools.partial(get_resnext_cifar, 10, 29, 8, 64),
        CIFAR,
        gains=QUIET_BODY,
    ),
}
