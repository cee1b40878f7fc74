"""Xception in timm and Keras."""

from jaxcnn.pretrained.names import Rule, Source

_DEPTHWISE = {"kernel": "depthwise_kernel"}
_POINTWISE = {"kernel": "pointwise_kernel"}
# Keras' numbers of the layers on the shortcuts, which have only automatic names.
_SHORTCUTS = {(1, 1): "", (1, 2): "_1", (1, 3): "_2", (3, 1): "_3"}


def _timm_block(i: int, j: int) -> int:
    """timm numbers the blocks consecutively over entry, middle and exit flow."""
    return j + (0, 3, 11)[i - 1]


def _timm_step(i: int, j: int, k: int) -> int:
    """Index of a block's kth convolution in timm's Sequential.

    ReLU, convolution and normalisation alternate; the first block has no first ReLU.
    """
    return 3 * (k - 1) + (0 if (i, j) == (1, 1) else 1)


def _timm_conv(i: int, j: int, k: int, part: str) -> str:
    name = f"block{_timm_block(i, j)}.rep"
    step = _timm_step(i, j, k)
    return {
        "depthwise": f"{name}.{step}.conv1",
        "pointwise/conv": f"{name}.{step}.pointwise",
        "pointwise/norm": f"{name}.{step + 1}",
    }[part]


def _timm_last(k: int, part: str) -> str:
    return {
        "depthwise": f"conv{k + 2}.conv1",
        "pointwise/conv": f"conv{k + 2}.pointwise",
        "pointwise/norm": f"bn{k + 2}",
    }[part]


_PARTS = "(depthwise|pointwise/conv|pointwise/norm)"

TIMM = (
    Rule(r"stem/conv(\d)/conv", lambda k: f"conv{k}"),
    Rule(r"stem/conv(\d)/norm", lambda k: f"bn{k}"),
    Rule(rf"stage3_block2/conv(\d)/{_PARTS}", _timm_last),
    Rule(rf"stage(\d)_block(\d)/conv(\d)/{_PARTS}", _timm_conv),
    Rule(
        r"stage(\d)_block(\d)/proj/conv", lambda i, j: f"block{_timm_block(i, j)}.skip"
    ),
    Rule(
        r"stage(\d)_block(\d)/proj/norm",
        lambda i, j: f"block{_timm_block(i, j)}.skipbn",
    ),
    Rule(r"head", lambda: "fc"),
)


def _keras_conv(i: int, j: int, k: int) -> str:
    """Keras counts blocks like timm, but the stem is its block 1."""
    return f"block{_timm_block(i, j) + 1}_sepconv{k}"


_CONV = r"stage(\d)_block(\d)/conv(\d)"

KERAS = (
    Rule(r"stem/conv(\d)/conv", lambda k: f"block1_conv{k}"),
    Rule(r"stem/conv(\d)/norm", lambda k: f"block1_conv{k}_bn"),
    Rule(rf"{_CONV}/depthwise", _keras_conv, depthwise=True, leaves=_DEPTHWISE),
    Rule(rf"{_CONV}/pointwise/conv", _keras_conv, leaves=_POINTWISE),
    Rule(rf"{_CONV}/pointwise/norm", lambda i, j, k: f"{_keras_conv(i, j, k)}_bn"),
    Rule(r"stage(\d)_block(\d)/proj/conv", lambda i, j: f"conv2d{_SHORTCUTS[i, j]}"),
    Rule(
        r"stage(\d)_block(\d)/proj/norm",
        lambda i, j: f"batch_normalization{_SHORTCUTS[i, j]}",
    ),
    Rule(r"head", lambda: "predictions"),
)

SOURCES = (
    Source("timm", r"xception", TIMM),
    Source("keras", r"xception_keras", KERAS),
)
