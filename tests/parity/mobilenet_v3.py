"""MobileNetV3."""

from tests.reference.compare import Parity

PARITY = (
    Parity("mobilenet_v3_small", "mobilenet_v3_small", "torchvision"),
    Parity("mobilenet_v3_large", "mobilenet_v3_large", "torchvision"),
)
