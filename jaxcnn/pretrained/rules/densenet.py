"""DenseNets in torchvision and pytorchcv.

pytorchcv makes a transition part of the stage that follows it, we of the stage that it
ends. torchvision's files use the layer names of an earlier version (norm.1 for norm1).
"""

import re

from jaxcnn.pretrained.names import Rule, Source

_BLOCK = r"stage(\d+)_block(\d+)"
_TRANSITION = r"stage(\d+)_block\d+"


def _layer(i: int, j: int) -> str:
    return f"features.denseblock{i}.denselayer{j}"


TORCHVISION = (
    Rule(r"stem/(conv|norm)", lambda what: f"features.{what}0"),
    Rule(
        rf"{_BLOCK}/(conv|norm)(\d)", lambda i, j, what, k: f"{_layer(i, j)}.{what}{k}"
    ),
    Rule(r"stage5_block1/norm", lambda: "features.norm5"),
    Rule(
        rf"{_TRANSITION}/(conv|norm)", lambda i, what: f"features.transition{i}.{what}"
    ),
    Rule(r"head", lambda: "classifier"),
)


def _unit(i: int, j: int) -> str:
    return f"features.stage{i}.unit{j}"


def _transition(i: int) -> str:
    return f"features.stage{i + 1}.trans{i + 1}"


PYTORCHCV = (
    Rule(r"stem/conv", lambda: "features.init_block"),
    Rule(rf"{_BLOCK}/conv(\d)", lambda i, j, k: f"{_unit(i, j)}.conv{k}.conv"),
    Rule(rf"{_BLOCK}/norm(\d)", lambda i, j, k: f"{_unit(i, j)}.conv{k}.bn"),
    Rule(r"stage4_block1/norm", lambda: "features.post_activ.bn"),
    Rule(rf"{_TRANSITION}/conv", lambda i: f"{_transition(i)}.conv.conv"),
    Rule(rf"{_TRANSITION}/norm", lambda i: f"{_transition(i)}.conv.bn"),
    Rule(r"head", lambda: "output"),
)


def _name_of_today(name: str) -> str:
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2.", name)


SOURCES = (
    Source(
        "torchvision", r"densenet(121|161|169|201)", TORCHVISION, rename=_name_of_today
    ),
    Source("pytorchcv", r"densenet\d+_k\d+_bc_cifar", PYTORCHCV),
)
