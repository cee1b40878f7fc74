"""Pre-activated ResNets, and the Wide-ResNets for CIFAR."""

from tests.reference.compare import Parity

PARITY = (
    Parity("resnetv2_50", "resnetv2_50", "timm"),
    Parity("resnetv2_101", "resnetv2_101", "timm"),
    Parity("resnetv2_152", "resnetv2_152", "timm"),
    Parity("resnetv2_20_cifar", "resnetv2_20_cifar", "pytorchcv"),
    Parity("resnetv2_56_cifar", "resnetv2_56_cifar", "pytorchcv"),
    Parity("resnetv2_110_cifar", "resnetv2_110_cifar", "pytorchcv"),
    Parity("resnetv2_164_cifar", "resnetv2_164_cifar", "pytorchcv"),
    Parity("resnetv2_1001_cifar", "resnetv2_1001_cifar", "pytorchcv"),
    Parity("wide_resnet16_8_cifar", "wide_resnet16_8_cifar", "pytorchcv"),
    Parity("wide_resnet28_10_cifar", "wide_resnet28_10_cifar", "pytorchcv"),
    Parity("wide_resnet40_4_cifar", "wide_resnet40_4_cifar", "pytorchcv"),
)
