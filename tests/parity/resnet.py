"""ResNets, ResNeXts, Wide-ResNets; pytorchcv's for CIFAR-10 have projections."""

from jaxcnn.models import resnet
from tests.reference.compare import Parity

PROJECTIONS = {"block": resnet.BasicBlock}

PARITY = (
    Parity("resnet18", "resnet18", "torchvision"),
    Parity("resnet34", "resnet34", "torchvision"),
    Parity("resnet50", "resnet50", "torchvision"),
    Parity("resnet101", "resnet101", "torchvision"),
    Parity("resnet152", "resnet152", "torchvision"),
    Parity("resnet50", "resnet50_dilated", "torchvision", {"dilated_stages": 2}),
    Parity("resnet50_v1", "resnet50_v1", "pytorchcv"),
    Parity("resnet101_v1", "resnet101_v1", "pytorchcv"),
    Parity("resnet152_v1", "resnet152_v1", "pytorchcv"),
    Parity("resnet20_cifar", "resnet20_cifar10", "pytorchcv", PROJECTIONS),
    Parity("wide_resnet50_2", "wide_resnet50_2", "torchvision"),
    Parity("wide_resnet101_2", "wide_resnet101_2", "torchvision"),
    Parity("resnext50_32x4d", "resnext50_32x4d", "torchvision"),
    Parity("resnext101_32x8d", "resnext101_32x8d", "torchvision"),
    Parity("resnext101_64x4d", "resnext101_64x4d", "torchvision"),
    Parity("resnext29_8x64d_cifar", "resnext29_8x64d_cifar", "pytorchcv"),
)
