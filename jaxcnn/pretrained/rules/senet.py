"""Squeeze-and-excitation networks in timm, which counts blocks from 0, we from 1."""

from jaxcnn.pretrained.names import Rule, Source

_BLOCK = r"stage(\d+)_block(\d+)"


def _block(i: int, j: int) -> str:
    return f"layer{i}.{j - 1}"


BLOCKS = (
    Rule(rf"{_BLOCK}/conv(\d)/conv", lambda i, j, k: f"{_block(i, j)}.conv{k}"),
    Rule(rf"{_BLOCK}/conv(\d)/norm", lambda i, j, k: f"{_block(i, j)}.bn{k}"),
    Rule(rf"{_BLOCK}/gate/fc(\d)", lambda i, j, k: f"{_block(i, j)}.se_module.fc{k}"),
    Rule(rf"{_BLOCK}/proj/conv", lambda i, j: f"{_block(i, j)}.downsample.0"),
    Rule(rf"{_BLOCK}/proj/norm", lambda i, j: f"{_block(i, j)}.downsample.1"),
    Rule(r"head", lambda: "last_linear"),
)

TIMM = (
    Rule(r"stem/conv/conv", lambda: "layer0.conv1"),
    Rule(r"stem/conv/norm", lambda: "layer0.bn1"),
    *BLOCKS,
)

TIMM_154 = (
    Rule(r"stem/conv(\d)/conv", lambda k: f"layer0.conv{k}"),
    Rule(r"stem/conv(\d)/norm", lambda k: f"layer0.bn{k}"),
    *BLOCKS,
)

SOURCES = (
    Source("timm", r"legacy_sere.*", TIMM),
    Source("timm", r"legacy_senet154", TIMM_154),
)
