"""MobileNets.

The first: timm's, and Keras' with its own padding and epsilon. The second:
torchvision's and timm's, the same network by two names. The third: torchvision's.
"""

from tests.reference.compare import Parity

PARITY = (
    *(
        Parity(f"mobilenetv1_{width}{suffix}", f"mobilenetv1_{width}{suffix}", library)
        for library, suffix in (("timm", ""), ("keras", "_keras"))
        for width in ("025", "050", "075", "100")
    ),
    Parity("mobilenet_v2", "mobilenet_v2", "torchvision"),
    Parity("mobilenetv2_050", "mobilenetv2_050", "timm"),
    Parity("mobilenetv2_075", "mobilenetv2_075", "torchvision"),
    Parity("mobilenetv2_140", "mobilenetv2_140", "timm"),
    Parity("mobilenet_v3_small", "mobilenet_v3_small", "torchvision"),
    Parity("mobilenet_v3_large", "mobilenet_v3_large", "torchvision"),
)
