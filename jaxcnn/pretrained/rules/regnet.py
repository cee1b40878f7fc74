"""RegNets in torchvision and timm.

timm calls `regnet_x_1_6gf` `regnetx_016`. The three networks that torchvision gives
another width than the paper are `regnetx_004_tv`, `regnety_008_tv` and `regnety_080_tv`
there; weights of timm's own `regnetx_004`, `regnety_008` and `regnety_080` do not fit.
"""

from jaxcnn.pretrained.names import Rule, Source

_BLOCK = r"stage(\d+)_block(\d+)"
_LETTERS = {1: "a", 2: "b", 3: "c"}
_LAYERS = {"conv": 0, "norm": 1}  # their positions in torchvision's Sequential


def _torchvision(i: int, j: int) -> str:
    return f"trunk_output.block{i}.block{i}-{j - 1}"


TORCHVISION = (
    Rule(r"stem/conv/(\w+)", lambda layer: f"stem.{_LAYERS[layer]}"),
    Rule(
        rf"{_BLOCK}/conv(\d)/(\w+)",
        lambda i, j, k, layer: f"{_torchvision(i, j)}.f.{_LETTERS[k]}.{_LAYERS[layer]}",
    ),
    Rule(
        rf"{_BLOCK}/proj/(\w+)",
        lambda i, j, layer: f"{_torchvision(i, j)}.proj.{_LAYERS[layer]}",
    ),
    Rule(rf"{_BLOCK}/gate/fc(\d)", lambda i, j, k: f"{_torchvision(i, j)}.f.se.fc{k}"),
    Rule(r"head", lambda: "fc"),
)

_TIMM_LAYERS = {"conv": "conv", "norm": "bn"}

TIMM = (
    Rule(r"stem/conv/(\w+)", lambda layer: f"stem.{_TIMM_LAYERS[layer]}"),
    Rule(
        rf"{_BLOCK}/conv(\d)/(\w+)",
        lambda i, j, k, layer: f"s{i}.b{j}.conv{k}.{_TIMM_LAYERS[layer]}",
    ),
    Rule(
        rf"{_BLOCK}/proj/(\w+)",
        lambda i, j, layer: f"s{i}.b{j}.downsample.{_TIMM_LAYERS[layer]}",
    ),
    Rule(rf"{_BLOCK}/gate/fc(\d)", lambda i, j, k: f"s{i}.b{j}.se.fc{k}"),
    Rule(r"head", lambda: "head.fc"),
)

SOURCES = (
    Source("torchvision", r"regnet_[xy]_\w+", TORCHVISION),
    Source("timm", r"regnet_[xy]_\w+", TIMM),
)
