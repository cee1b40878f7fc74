"""ShuffleNetV1 in pytorchcv, which counts from 1, as we do."""

from jaxcnn.pretrained.names import Rule, Source

_UNIT = r"stage(\d)_block(\d)"
_PARTS = {1: "compress", 2: "dw", 3: "expand"}


def _unit(layer: str, i: int, j: int, k: int) -> str:
    return f"features.stage{i}.unit{j}.{_PARTS[k]}_{layer}{k}"


PYTORCHCV = (
    Rule(r"stem/conv/conv", lambda: "features.init_block.conv"),
    Rule(r"stem/conv/norm", lambda: "features.init_block.bn"),
    Rule(rf"{_UNIT}/conv(\d)/conv", lambda *ijk: _unit("conv", *ijk)),
    Rule(rf"{_UNIT}/conv(\d)/norm", lambda *ijk: _unit("bn", *ijk)),
    Rule(r"head", lambda: "output"),
)

SOURCES = (Source("pytorchcv", r"shufflenet_g\d_w1", PYTORCHCV),)
