"""ConvNeXt against torchvision and timm."""

from tests.reference.compare import Parity

SIZES = ("tiny", "small", "base", "large")

PARITY = (
    *(Parity(f"convnext_{s}", f"convnext_{s}", "torchvision") for s in SIZES),
    Parity("convnext_tiny", "convnext_tiny_timm", "timm"),
)
