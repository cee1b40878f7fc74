"""ConvNeXt in torchvision and timm.

torchvision counts stages and downsampling layers in one list; timm counts stages from
0 and makes the downsampling layer a part of the stage that follows.
"""

from jaxcnn.pretrained.names import Rule, Source


def _block(i: int, j: int) -> int:
    """Index of a block in its stage, from 0; our stages 2 to 4 first downsample."""
    return j - 1 if i == 1 else j - 2


_TORCHVISION_LAYERS = {"conv": 0, "norm": 2, "fc1": 3, "fc2": 5}
_TIMM_LAYERS = {"conv": "conv_dw", "norm": "norm", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}

_DOWN = r"stage([2-4])_block1"
_BLOCK = r"stage([1-4])_block(\d+)"

TORCHVISION = (
    Rule(r"stem/conv", lambda: "features.0.0"),
    Rule(r"stem/norm", lambda: "features.0.1"),
    Rule(rf"{_DOWN}/norm", lambda i: f"features.{2 * i - 2}.0"),
    Rule(rf"{_DOWN}/conv", lambda i: f"features.{2 * i - 2}.1"),
    Rule(_BLOCK, lambda i, j: f"features.{2 * i - 1}.{_block(i, j)}", ndim=3),
    Rule(
        rf"{_BLOCK}/(\w+)",
        lambda i, j, layer: (
            f"features.{2 * i - 1}.{_block(i, j)}.block.{_TORCHVISION_LAYERS[layer]}"
        ),
    ),
    Rule(r"stage5_block1", lambda: "classifier.0"),
    Rule(r"head", lambda: "classifier.2"),
)

TIMM = (
    Rule(r"stem/conv", lambda: "stem.0"),
    Rule(r"stem/norm", lambda: "stem.1"),
    Rule(rf"{_DOWN}/norm", lambda i: f"stages.{i - 1}.downsample.0"),
    Rule(rf"{_DOWN}/conv", lambda i: f"stages.{i - 1}.downsample.1"),
    Rule(
        _BLOCK,
        lambda i, j: f"stages.{i - 1}.blocks.{_block(i, j)}",
        leaves={"layer_scale": "gamma"},
    ),
    Rule(
        rf"{_BLOCK}/(\w+)",
        lambda i, j, layer: (
            f"stages.{i - 1}.blocks.{_block(i, j)}.{_TIMM_LAYERS[layer]}"
        ),
    ),
    Rule(r"stage5_block1", lambda: "head.norm"),
    Rule(r"head", lambda: "head.fc"),
)

SOURCES = (
    Source("torchvision", r"convnext_(tiny|small|base|large)", TORCHVISION),
    Source("timm", r"convnext_(tiny|small|base|large)", TIMM),
)
