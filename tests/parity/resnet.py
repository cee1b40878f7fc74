"""ResNets; pytorchcv's for CIFAR-10 have projections."""

from jaxcnn.models import resnet
from tests.reference.compare import Parity

PARITY = (
    Parity("resnet18", "resnet18", "torchvision"),
    Parity("resnet50", "resnet50", "torchvision"),
    Parity(
        "resnet20_cifar",
        "resnet20_cifar10",
        "pytorchcv",
        {"block": resnet.BasicBlock},
    ),
)
