"""MobileNetV2 in torchvision, which numbers the blocks consecutively over all stages,
and in timm, which counts from 0. Both name layers by position, so a block without
expansion needs its own rules."""

from jaxcnn.models.mobilenet_v2 import STAGES
from jaxcnn.pretrained.names import Rule, Source
from jaxcnn.pretrained.rules.common import conv_norm

_BLOCK = r"stage(\d)_block(\d)"


def _torchvision(i: int, j: int) -> str:
    return f"features.{sum(stage.depth for stage in STAGES[: i - 1]) + j}"


TORCHVISION = (
    conv_norm(r"stem", lambda: "features.0"),
    conv_norm(r"stage1_block1/depthwise", lambda: "features.1.conv.0"),
    Rule(r"stage1_block1/project/conv", lambda: "features.1.conv.1"),
    Rule(r"stage1_block1/project/norm", lambda: "features.1.conv.2"),
    conv_norm(rf"{_BLOCK}/expand", lambda *block: f"{_torchvision(*block)}.conv.0"),
    conv_norm(rf"{_BLOCK}/depthwise", lambda *block: f"{_torchvision(*block)}.conv.1"),
    Rule(rf"{_BLOCK}/project/conv", lambda *block: f"{_torchvision(*block)}.conv.2"),
    Rule(rf"{_BLOCK}/project/norm", lambda *block: f"{_torchvision(*block)}.conv.3"),
    conv_norm(r"stage(8)_block(1)", _torchvision),
    Rule(r"head", lambda: "classifier.1"),
)


def _timm(i: int, j: int) -> str:
    return f"blocks.{i - 1}.{j - 1}"


TIMM = (
    Rule(r"stem/conv", lambda: "conv_stem"),
    Rule(r"stem/norm", lambda: "bn1"),
    Rule(r"stage1_block1/depthwise/conv", lambda: "blocks.0.0.conv_dw"),
    Rule(r"stage1_block1/depthwise/norm", lambda: "blocks.0.0.bn1"),
    Rule(r"stage1_block1/project/conv", lambda: "blocks.0.0.conv_pw"),
    Rule(r"stage1_block1/project/norm", lambda: "blocks.0.0.bn2"),
    Rule(rf"{_BLOCK}/expand/conv", lambda *block: f"{_timm(*block)}.conv_pw"),
    Rule(rf"{_BLOCK}/expand/norm", lambda *block: f"{_timm(*block)}.bn1"),
    Rule(rf"{_BLOCK}/depthwise/conv", lambda *block: f"{_timm(*block)}.conv_dw"),
    Rule(rf"{_BLOCK}/depthwise/norm", lambda *block: f"{_timm(*block)}.bn2"),
    Rule(rf"{_BLOCK}/project/conv", lambda *block: f"{_timm(*block)}.conv_pwl"),
    Rule(rf"{_BLOCK}/project/norm", lambda *block: f"{_timm(*block)}.bn3"),
    Rule(r"stage8_block1/conv", lambda: "conv_head"),
    Rule(r"stage8_block1/norm", lambda: "bn2"),
    Rule(r"head", lambda: "classifier"),
)

_NAMES = r"mobilenet_v2|mobilenetv2_\d+"

SOURCES = (
    Source("torchvision", _NAMES, TORCHVISION),
    Source("timm", _NAMES, TIMM),
)
