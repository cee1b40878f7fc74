"""EfficientNets of torchvision, and the first of timm."""

import functools

from network import Network
import timm
import torchvision.models

# Kernels within blocks are larger, and the last norms of blocks smaller the more blocks
# there are, so that neither gates nor shortcuts drown the images.
LAST = {"b": r".*block\.3\.1", "v2": r"(.*\.block\.3|features\.[23].*\.block\.1)\.1"}
KERNELS = {"b": {r".*block.*0\.weight": 1.2}, "v2": {}}
SHAPE = (40, 40, 3)


def row(name: str, gain: float, **fields) -> Network:
    build = functools.partial(
        getattr(torchvision.models, f"efficientnet_{name}"), num_classes=10
    )
    kind = "v2" if name.startswith("v2") else "b"
    gains = KERNELS[kind] | {rf"{LAST[kind]}\.(weight|bias)": gain}
    return Network(build, SHAPE, gains, **fields)


NETWORKS = {
    "efficientnet_b0": row("b0", 0.6, train=True, second=(53, 47, 3)),
    "efficientnet_b1": row("b1", 0.55),
    "efficientnet_b2": row("b2", 0.55),
    "efficientnet_b3": row("b3", 0.56),
    "efficientnet_b4": row("b4", 0.5),
    "efficientnet_b5": row("b5", 0.42),
    "efficientnet_b6": row("b6", 0.42),
    "efficientnet_b7": row("b7", 0.33),
    "efficientnet_v2_s": row("v2_s", 0.5),
    "efficientnet_v2_m": row("v2_m", 0.48),
    "efficientnet_v2_l": row("v2_l", 0.4),
    "efficientnet_b0_timm": Network(
        functools.partial(timm.create_model, "efficientnet_b0", num_classes=10),
        SHAPE,
        {
            r"blocks\..*(conv.*|se\..*)\.weight": 1.2,
            r"blocks\.0.*bn2\.(weight|bias)|.*bn3\.(weight|bias)": 0.6,
        },
    ),
}
