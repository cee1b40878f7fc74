"""ShuffleNetV2 in torchvision, which counts stages from 2 and units from 0."""

from jaxcnn.pretrained.names import Rule, Source
from jaxcnn.pretrained.rules.common import conv_norm

_UNIT = r"stage(\d)_block(\d)"


def _unit(i: int, j: int) -> str:
    return f"stage{i + 1}.{j - 1}"


TORCHVISION = (
    conv_norm(r"stem/conv", lambda: "conv1"),
    Rule(rf"{_UNIT}/proj/conv1/conv", lambda *ij: f"{_unit(*ij)}.branch1.0"),
    Rule(rf"{_UNIT}/proj/conv1/norm", lambda *ij: f"{_unit(*ij)}.branch1.1"),
    Rule(rf"{_UNIT}/proj/conv2/conv", lambda *ij: f"{_unit(*ij)}.branch1.2"),
    Rule(rf"{_UNIT}/proj/conv2/norm", lambda *ij: f"{_unit(*ij)}.branch1.3"),
    Rule(rf"{_UNIT}/branch/conv1/conv", lambda *ij: f"{_unit(*ij)}.branch2.0"),
    Rule(rf"{_UNIT}/branch/conv1/norm", lambda *ij: f"{_unit(*ij)}.branch2.1"),
    Rule(rf"{_UNIT}/branch/conv2/conv", lambda *ij: f"{_unit(*ij)}.branch2.3"),
    Rule(rf"{_UNIT}/branch/conv2/norm", lambda *ij: f"{_unit(*ij)}.branch2.4"),
    Rule(rf"{_UNIT}/branch/conv3/conv", lambda *ij: f"{_unit(*ij)}.branch2.5"),
    Rule(rf"{_UNIT}/branch/conv3/norm", lambda *ij: f"{_unit(*ij)}.branch2.6"),
    conv_norm(r"stage4_block1", lambda: "conv5"),
    Rule(r"head", lambda: "fc"),
)

SOURCES = (Source("torchvision", r"shufflenet_v2_x.*", TORCHVISION),)
