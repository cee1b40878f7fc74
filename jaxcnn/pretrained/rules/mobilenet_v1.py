"""MobileNetV1 in timm, which counts from 0, and in Keras, which numbers the blocks
consecutively over all stages."""

from jaxcnn.models.mobilenet_v1 import STAGES
from jaxcnn.pretrained.names import Rule, Source

_BLOCK = r"stage(\d)_block(\d)"


def _timm(i: int, j: int) -> str:
    return f"blocks.{i - 1}.{j - 1}"


TIMM = (
    Rule(r"stem/conv", lambda: "conv_stem"),
    Rule(r"stem/norm", lambda: "bn1"),
    Rule(rf"{_BLOCK}/depthwise/conv", lambda *block: f"{_timm(*block)}.conv_dw"),
    Rule(rf"{_BLOCK}/depthwise/norm", lambda *block: f"{_timm(*block)}.bn1"),
    Rule(rf"{_BLOCK}/pointwise/conv", lambda *block: f"{_timm(*block)}.conv_pw"),
    Rule(rf"{_BLOCK}/pointwise/norm", lambda *block: f"{_timm(*block)}.bn2"),
    Rule(r"head", lambda: "classifier"),
)


def _keras(i: int, j: int) -> int:
    return sum(depth for _, depth in STAGES[: i - 1]) + j


KERAS = (
    Rule(r"stem/conv", lambda: "conv1"),
    Rule(r"stem/norm", lambda: "conv1_bn"),
    Rule(
        rf"{_BLOCK}/depthwise/conv",
        lambda *block: f"conv_dw_{_keras(*block)}",
        depthwise=True,
    ),
    Rule(rf"{_BLOCK}/depthwise/norm", lambda *block: f"conv_dw_{_keras(*block)}_bn"),
    Rule(rf"{_BLOCK}/pointwise/conv", lambda *block: f"conv_pw_{_keras(*block)}"),
    Rule(rf"{_BLOCK}/pointwise/norm", lambda *block: f"conv_pw_{_keras(*block)}_bn"),
    Rule(r"head", lambda: "conv_preds", ndim=4),
)


def _today(name: str) -> str:
    """Renames the depthwise kernels of Keras 2 to their current name."""
    return name.replace("/depthwise_kernel", "/kernel")


SOURCES = (
    Source("timm", r"mobilenetv1_\d+", TIMM),
    Source("keras", r"mobilenetv1_\d+_keras", KERAS, rename=_today),
)
