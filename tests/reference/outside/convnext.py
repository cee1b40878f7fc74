"""ConvNeXt of torchvision and timm."""

import functools

from network import Network
import timm
from torchvision.models import get_model


def row(size: str, branch: float, **fields: object) -> Network:
    """torchvision's; branch scales what the residual branches add."""
    build = functools.partial(get_model, f"convnext_{size}", num_classes=10)
    gains = {r".*layer_scale": branch}
    return Network(build, (32, 32, 3), gains=gains, **fields)


NETWORKS = {
    "convnext_tiny": row("tiny", 0.5, train=True, second=(70, 45, 3)),
    "convnext_small": row("small", 0.3),
    "convnext_base": row("base", 0.3),
    "convnext_large": row("large", 0.3, float64=False),
    "convnext_tiny_timm": Network(
        functools.partial(timm.create_model, "convnext_tiny", num_classes=10),
        (32, 32, 3),
        gains={r".*gamma": 0.5},
    ),
}
