"""EfficientNets of torchvision, and the first of timm."""

import functools

from network import Network
import timm
import torchvision.models


def row(name: str, **fields) -> Network:
    build = functools.partial(getattr(torchvision.models, name), num_classes=10)
    return Network(build, (64, 64, 3), **fields)


NETWORKS = {
    "efficientnet_b0": row("efficientnet_b0", train=True, second=(75, 61, 3)),
    "efficientnet_b1": row("efficientnet_b1"),
    "efficientnet_b2": row("efficientnet_b2"),
    "efficientnet_b3": row("efficientnet_b3"),
    "efficientnet_b4": row("efficientnet_b4"),
    "efficientnet_b5": row("efficientnet_b5"),
    "efficientnet_b6": row("efficientnet_b6"),
    "efficientnet_b7": row("efficientnet_b7"),
    "efficientnet_v2_s": row("efficientnet_v2_s"),
    "efficientnet_v2_m": row("efficientnet_v2_m"),
    "efficientnet_v2_l": row("efficientnet_v2_l"),
    "efficientnet_b0_timm": Network(
        functools.partial(timm.create_model, "efficientnet_b0", num_classes=10),
        (64, 64, 3),
    ),
}
