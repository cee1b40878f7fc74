"""ResNet, ResNeXt and Wide-ResNet in torchvision and pytorchcv. torchvision counts
blocks from 0, we count from 1."""

from jaxcnn.pretrained.names import Rule, Source

_BLOCK = r"stage(\d+)_block(\d+)"

TORCHVISION = (
    Rule(r"stem/conv/conv", lambda: "conv1"),
    Rule(r"stem/conv/norm", lambda: "bn1"),
    Rule(rf"{_BLOCK}/conv(\d)/conv", lambda i, j, k: f"layer{i}.{j - 1}.conv{k}"),
    Rule(rf"{_BLOCK}/conv(\d)/norm", lambda i, j, k: f"layer{i}.{j - 1}.bn{k}"),
    Rule(rf"{_BLOCK}/proj/conv", lambda i, j: f"layer{i}.{j - 1}.downsample.0"),
    Rule(rf"{_BLOCK}/proj/norm", lambda i, j: f"layer{i}.{j - 1}.downsample.1"),
    Rule(r"head", lambda: "fc"),
)


def _unit(i: int, j: int) -> str:
    return f"features.stage{i}.unit{j}"


def _pytorchcv(stem: str) -> tuple[Rule, ...]:
    return (
        Rule(r"stem/conv/conv", lambda: f"{stem}.conv"),
        Rule(r"stem/conv/norm", lambda: f"{stem}.bn"),
        Rule(
            rf"{_BLOCK}/conv(\d)/conv",
            lambda i, j, k: f"{_unit(i, j)}.body.conv{k}.conv",
        ),
        Rule(
            rf"{_BLOCK}/conv(\d)/norm",
            lambda i, j, k: f"{_unit(i, j)}.body.conv{k}.bn",
        ),
        Rule(rf"{_BLOCK}/proj/conv", lambda i, j: f"{_unit(i, j)}.identity_conv.conv"),
        Rule(rf"{_BLOCK}/proj/norm", lambda i, j: f"{_unit(i, j)}.identity_conv.bn"),
        Rule(r"head", lambda: "output"),
    )


PYTORCHCV = _pytorchcv("features.init_block.conv")
PYTORCHCV_CIFAR = _pytorchcv("features.init_block")

SOURCES = (
    Source(
        "torchvision",
        r"resnet(18(_cifar)?|34|50|101|152)|resnext\d+_\d+x\d+d|wide_resnet\d+_2",
        TORCHVISION,
    ),
    Source("pytorchcv", r"resnet\d+_v1", PYTORCHCV),
    Source(
        "pytorchcv",
        r"resnet(20|32|44|56|110)_cifar|resnext\d+_\d+x\d+d_cifar",
        PYTORCHCV_CIFAR,
    ),
)
