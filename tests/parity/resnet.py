"""ResNets, ResNeXts, Wide-ResNets.

pytorchcv's for CIFAR-10 have projections; the shortcuts without parameters that the
paper has there are in tests/test_resnet.py.
"""

from jaxcnn.models import resnet
from tests.reference.compare import Parity

PROJECTIONS = {"block": resnet.BasicBlock}
CIFAR = (20, 32, 44, 56, 110)  # layers

PARITY = (
    Parity("resnet18", "resnet18", "torchvision"),
    Parity("resnet34", "resnet34", "torchvision"),
    Parity("resnet50", "resnet50", "torchvision"),
    Parity("resnet101", "resnet101", "torchvision"),
    Parity("resnet152", "resnet152", "torchvision"),
    Parity(
        "resnet50",
        "resnet50_dilated",
        "torchvision",
        {"dilated_stages": 2},
        "dilation in two stages",
    ),
    Parity("resnet50_v1", "resnet50_v1", "pytorchcv"),
    Parity("resnet101_v1", "resnet101_v1", "pytorchcv"),
    Parity("resnet152_v1", "resnet152_v1", "pytorchcv"),
    *(
        Parity(
            f"resnet{depth}_cifar",
            f"resnet{depth}_cifar10",
            "pytorchcv",
            PROJECTIONS,
            "projections",
        )
        for depth in CIFAR
    ),
    Parity("resnet18_cifar", "resnet18_cifar", "torchvision"),
    Parity("wide_resnet50_2", "wide_resnet50_2", "torchvision"),
    Parity("wide_resnet101_2", "wide_resnet101_2", "torchvision"),
    Parity("resnext50_32x4d", "resnext50_32x4d", "torchvision"),
    Parity("resnext101_32x8d", "resnext101_32x8d", "torchvision"),
    Parity("resnext101_64x4d", "resnext101_64x4d", "torchvision"),
    Parity("resnext29_8x64d_cifar", "resnext29_8x64d_cifar", "pytorchcv"),
)
