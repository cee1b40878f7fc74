"""MobileNetV2: torchvision's, with other widths too, and timm's names of the same."""

from tests.reference.compare import Parity

PARITY = (
    Parity("mobilenet_v2", "mobilenet_v2", "torchvision"),
    Parity("mobilenetv2_050", "mobilenetv2_050", "timm"),
    Parity("mobilenetv2_075", "mobilenetv2_075", "torchvision"),
    Parity("mobilenetv2_140", "mobilenetv2_140", "timm"),
)
