"""MobileNetV3 of torchvision.

In PyTorch the slope of hardsigmoid, 1/6, is a float32 also in float64: its gradients
differ by 3e-8 a gate, 7e-8 in all.
"""

import functools

from network import Network
from torchvision.models import mobilenet_v3_large, mobilenet_v3_small

NETWORKS = {
    "mobilenet_v3_small": Network(
        functools.partial(mobilenet_v3_small, num_classes=10),
        (40, 40, 3),
        {r".*block.*0\.weight": 1.1, r".*block\.[23]\.1\.weight": 0.8},
        train=True,
        second=(53, 47, 3),
    ),
    "mobilenet_v3_large": Network(
        functools.partial(mobilenet_v3_large, num_classes=10),
        (40, 40, 3),
        {r".*block\.[23]\.1\.weight": 0.7},
    ),
}
