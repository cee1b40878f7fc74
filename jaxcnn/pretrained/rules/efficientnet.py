"""EfficientNets in torchvision and timm, which count blocks from 0.

timm's B0 to B4 equal ours; its larger networks use a different epsilon.
"""

from jaxcnn.pretrained.names import Rule, Source
from jaxcnn.pretrained.rules.common import conv_norm

_BLOCK = r"stage(\d)_block(\d+)"


def _torchvision(i: int, j: int) -> str:
    return f"features.{i}.{j - 1}.block"


_STEM_AND_HEAD = (
    conv_norm(r"stem", lambda: "features.0"),
    conv_norm(r"stage(\d)_block1", lambda i: f"features.{i}"),
    Rule(r"head", lambda: "classifier.1"),
)
_MBCONV = (
    conv_norm(rf"{_BLOCK}/expand", lambda *ij: f"{_torchvision(*ij)}.0"),
    conv_norm(rf"{_BLOCK}/depthwise", lambda *ij: f"{_torchvision(*ij)}.1"),
    Rule(rf"{_BLOCK}/gate/(fc\d)", lambda i, j, fc: f"{_torchvision(i, j)}.2.{fc}"),
    conv_norm(rf"{_BLOCK}/project", lambda *ij: f"{_torchvision(*ij)}.3"),
)

TORCHVISION = (
    *_STEM_AND_HEAD,
    # The first stage does not expand.
    conv_norm(r"stage(1)_block(\d)/depthwise", lambda *ij: f"{_torchvision(*ij)}.0"),
    Rule(
        r"stage(1)_block(\d)/gate/(fc\d)",
        lambda i, j, fc: f"{_torchvision(i, j)}.1.{fc}",
    ),
    conv_norm(r"stage(1)_block(\d)/project", lambda *ij: f"{_torchvision(*ij)}.2"),
    *_MBCONV,
)

TORCHVISION_V2 = (
    *_STEM_AND_HEAD,
    conv_norm(rf"{_BLOCK}/fused", lambda *ij: f"{_torchvision(*ij)}.0"),
    conv_norm(r"stage([23])_block(\d+)/project", lambda *ij: f"{_torchvision(*ij)}.1"),
    *_MBCONV,
)


def _timm(i: int, j: int) -> str:
    return f"blocks.{i - 1}.{j - 1}"


_SQUEEZE = {"fc1": "conv_reduce", "fc2": "conv_expand"}

TIMM = (
    Rule(r"stem/conv", lambda: "conv_stem"),
    Rule(r"stem/norm", lambda: "bn1"),
    Rule(rf"{_BLOCK}/gate/(fc\d)", lambda i, j, fc: f"{_timm(i, j)}.se.{_SQUEEZE[fc]}"),
    Rule(rf"{_BLOCK}/depthwise/conv", lambda *ij: f"{_timm(*ij)}.conv_dw"),
    # The first stage does not expand.
    Rule(r"stage(1)_block(\d)/depthwise/norm", lambda *ij: f"{_timm(*ij)}.bn1"),
    Rule(r"stage(1)_block(\d)/project/conv", lambda *ij: f"{_timm(*ij)}.conv_pw"),
    Rule(r"stage(1)_block(\d)/project/norm", lambda *ij: f"{_timm(*ij)}.bn2"),
    Rule(rf"{_BLOCK}/expand/conv", lambda *ij: f"{_timm(*ij)}.conv_pw"),
    Rule(rf"{_BLOCK}/expand/norm", lambda *ij: f"{_timm(*ij)}.bn1"),
    Rule(rf"{_BLOCK}/depthwise/norm", lambda *ij: f"{_timm(*ij)}.bn2"),
    Rule(rf"{_BLOCK}/project/conv", lambda *ij: f"{_timm(*ij)}.conv_pwl"),
    Rule(rf"{_BLOCK}/project/norm", lambda *ij: f"{_timm(*ij)}.bn3"),
    Rule(r"stage8_block1/conv", lambda: "conv_head"),
    Rule(r"stage8_block1/norm", lambda: "bn2"),
    Rule(r"head", lambda: "classifier"),
)

SOURCES = (
    Source("torchvision", r"efficientnet_b\d", TORCHVISION),
    Source("torchvision", r"efficientnet_v2_[sml]", TORCHVISION_V2),
    Source("timm", r"efficientnet_b[0-4]", TIMM),
)
