"""AlexNet and ZFNets. Nobody has the AlexNet of 2012, see tests/test_alexnet.py."""

from tests.reference.compare import Parity

PARITY = (
    Parity("alexnet", "alexnet", "torchvision"),
    Parity("zfnet", "zfnet", "pytorchcv"),
    Parity("zfnetb", "zfnetb", "pytorchcv"),
)
