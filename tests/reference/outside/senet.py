"""Squeeze-and-excitation networks of timm."""

import functools

from network import Network
import timm


def _timm(name: str) -> functools.partial:
    # Its dropout is a function, which make_reference.py cannot turn off.
    return functools.partial(timm.create_model, name, num_classes=10, drop_rate=0.0)


SMALL = (64, 64, 3)
QUIET = {r"layer[1-4].*bn3\.weight": 0.5}  # the last scale of each branch

NETWORKS = {
    "legacy_seresnet50": Network(
        _timm("legacy_seresnet50"), SMALL, gains=QUIET, train=True, second=(50, 71, 3)
    ),
    "legacy_seresnet101": Network(_timm("legacy_seresnet101"), SMALL, gains=QUIET),
    "legacy_seresnet152": Network(_timm("legacy_seresnet152"), SMALL, gains=QUIET),
    "legacy_seresnext50_32x4d": Network(
        _timm("legacy_seresnext50_32x4d"), SMALL, gains=QUIET
    ),
    "legacy_seresnext101_32x4d": Network(
        _timm("legacy_seresnext101_32x4d"), SMALL, gains=QUIET
    ),
    "legacy_senet154": Network(
        _timm("legacy_senet154"), SMALL, gains=QUIET, second=(50, 71, 3)
    ),
}
