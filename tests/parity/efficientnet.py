"""EfficientNets: torchvision's, and timm's names of the first."""

from tests.reference.compare import Parity

NAMES = ("b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "v2_s", "v2_m", "v2_l")

PARITY = (
    *(
        Parity(f"efficientnet_{name}", f"efficientnet_{name}", "torchvision")
        for name in NAMES
    ),
    Parity("efficientnet_b0", "efficientnet_b0_timm", "timm"),
)
