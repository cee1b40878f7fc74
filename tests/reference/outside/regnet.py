"""RegNets of torchvision and timm."""

import functools

from network import Network
import timm
from torchvision.models import get_model

LAST_SCALES = r"trunk_output\..*\.f\.c\.1\.weight"


def row(
    name: str, shape: tuple[int, int, int] = (32, 32, 3), **fields: object
) -> Network:
    """torchvision's network of that name."""
    build = functools.partial(get_model, name, num_classes=10)
    return Network(build, shape, gains={LAST_SCALES: 0.3}, **fields)


SMALL = (
    *("x_800mf", "x_1_6gf", "x_3_2gf", "x_8gf", "x_16gf", "x_32gf"),
    *("y_800mf", "y_1_6gf", "y_3_2gf", "y_8gf", "y_16gf", "y_32gf"),
)

NETWORKS = {
    "regnet_y_400mf": row(
        "regnet_y_400mf", (64, 64, 3), train=True, second=(50, 71, 3)
    ),
    "regnet_x_400mf": row("regnet_x_400mf"),
    **{f"regnet_{name}": row(f"regnet_{name}") for name in SMALL},
    "regnet_y_128gf": row("regnet_y_128gf", float64=False),
    "regnety_004": Network(
        functools.partial(timm.create_model, "regnety_004", num_classes=10),
        (32, 32, 3),
        gains={r".*\.conv3\.bn\.weight": 0.3},
    ),
}
