"""Pre-activation residual networks in timm and pytorchcv.

timm counts stages and blocks from 0, we count from 1; its last linear layer is a 1x1
convolution.
"""

from jaxcnn.pretrained.names import Rule, Source

_BLOCK = r"stage(\d+)_block(\d+)"


def _timm(i: int, j: int) -> str:
    return f"stages.{i - 1}.blocks.{j - 1}"


TIMM = (
    Rule(r"stem/conv", lambda: "stem.conv"),
    Rule(
        rf"{_BLOCK}/(conv|norm)(\d)", lambda i, j, what, k: f"{_timm(i, j)}.{what}{k}"
    ),
    Rule(rf"{_BLOCK}/proj", lambda i, j: f"{_timm(i, j)}.downsample.conv"),
    Rule(r"stage5_block1/norm", lambda: "norm"),
    Rule(r"head", lambda: "head.fc", ndim=4),
)


def _unit(i: int, j: int) -> str:
    return f"features.stage{i}.unit{j}"


PYTORCHCV = (
    Rule(r"stem/conv", lambda: "features.init_block"),
    Rule(rf"{_BLOCK}/conv(\d)", lambda i, j, k: f"{_unit(i, j)}.body.conv{k}.conv"),
    Rule(rf"{_BLOCK}/norm(\d)", lambda i, j, k: f"{_unit(i, j)}.body.conv{k}.bn"),
    Rule(rf"{_BLOCK}/proj", lambda i, j: f"{_unit(i, j)}.identity_conv"),
    Rule(r"stage4_block1/norm", lambda: "features.post_activ.bn"),
    Rule(r"head", lambda: "output"),
)

SOURCES = (
    Source("timm", r"resnetv2_\d+", TIMM),
    Source("pytorchcv", r"(resnetv2_\d+|wide_resnet\d+_\d+)_cifar", PYTORCHCV),
)
