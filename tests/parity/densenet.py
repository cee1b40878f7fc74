"""Dense networks."""

from tests.reference.compare import Parity

PARITY = (
    Parity("densenet121", "densenet121", "torchvision"),
    Parity("densenet161", "densenet161", "torchvision"),
    Parity("densenet169", "densenet169", "torchvision"),
    Parity("densenet201", "densenet201", "torchvision"),
    Parity("densenet100_k12_bc_cifar", "densenet100_k12_bc_cifar10", "pytorchcv"),
    Parity("densenet190_k40_bc_cifar", "densenet190_k40_bc_cifar10", "pytorchcv"),
)
