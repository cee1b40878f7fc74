"""MobileNetV2 of torchvision and timm."""

import functools

from network import Network
import timm
from torchvision.models import mobilenet_v2

SHAPE = (40, 40, 3)
GAINS = {r"features.*conv\.3\.weight|.*bn3\.weight": 0.7}  # shortcuts add up

NETWORKS = {
    "mobilenet_v2": Network(
        functools.partial(mobilenet_v2, num_classes=10),
        SHAPE,
        GAINS,
        train=True,
        second=(53, 47, 3),
    ),
    "mobilenetv2_050": Network(
        functools.partial(timm.create_model, "mobilenetv2_050", num_classes=10),
        SHAPE,
        GAINS,
    ),
    "mobilenetv2_075": Network(
        functools.partial(mobilenet_v2, width_mult=0.75, num_classes=10),
        SHAPE,
        GAINS,
    ),
    "mobilenetv2_140": Network(
        functools.partial(timm.create_model, "mobilenetv2_140", num_classes=10),
        SHAPE,
        GAINS,
    ),
}
