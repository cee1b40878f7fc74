"""Pre-activated and wide ResNets of timm and pytorchcv."""

import functools

from network import Network
from pytorchcv.model_provider import get_model
from pytorchcv.models.wrn_cifar import get_wrn_cifar
import timm


def _timm(name: str) -> functools.partial:
    return functools.partial(timm.create_model, name, num_classes=10)


def _pytorchcv(name: str) -> functools.partial:
    return functools.partial(get_model, f"{name}_cifar10")


SMALL, CIFAR = (64, 64, 3), (32, 32, 3)
QUIET = {r"stages.*conv3\.weight": 0.3}  # the last kernel of each branch
QUIET_2 = {r".*body\.conv2\.conv\.weight": 0.3}
QUIET_3 = {r".*body\.conv3\.conv\.weight": 0.3}

NETWORKS = {
    "resnetv2_50": Network(
        _timm("resnetv2_50"), SMALL, gains=QUIET, train=True, second=(50, 71, 3)
    ),
    "resnetv2_101": Network(_timm("resnetv2_101"), SMALL, gains=QUIET),
    "resnetv2_152": Network(_timm("resnetv2_152"), SMALL, gains=QUIET),
    "resnetv2_20_cifar": Network(
        _pytorchcv("preresnet20"), CIFAR, gains=QUIET_2, train=True
    ),
    "resnetv2_56_cifar": Network(_pytorchcv("preresnet56"), CIFAR, gains=QUIET_2),
    "resnetv2_110_cifar": Network(_pytorchcv("preresnet110"), CIFAR, gains=QUIET_2),
    "resnetv2_164_cifar": Network(_pytorchcv("preresnet164bn"), CIFAR, gains=QUIET_3),
    "resnetv2_1001_cifar": Network(
        _pytorchcv("preresnet1001"),
        CIFAR,
        gains={r".*body\.conv3\.conv\.weight": 0.1},
        float64=False,
    ),
    "wide_resnet16_8_cifar": Network(
        functools.partial(get_wrn_cifar, 10, 16, 8), CIFAR, gains=QUIET_2
    ),
    "wide_resnet28_10_cifar": Network(_pytorchcv("wrn28_10"), CIFAR, gains=QUIET_2),
    "wide_resnet40_4_cifar": Network(
        functools.partial(get_wrn_cifar, 10, 40, 4), CIFAR, gains=QUIET_2
    ),
}
