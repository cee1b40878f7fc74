"""ShuffleNetV2 of torchvision."""

import functools

from network import Network
import torchvision.models


def row(name: str, **fields) -> Network:
    build = functools.partial(getattr(torchvision.models, name), num_classes=10)
    return Network(build, (40, 40, 3), {r".*branch2\.6\.weight": 0.7}, **fields)


NETWORKS = {
    "shufflenet_v2_x0_5": row("shufflenet_v2_x0_5", train=True, second=(53, 47, 3)),
    "shufflenet_v2_x1_0": row("shufflenet_v2_x1_0"),
    "shufflenet_v2_x1_5": row("shufflenet_v2_x1_5"),
    "shufflenet_v2_x2_0": row("shufflenet_v2_x2_0"),
}
