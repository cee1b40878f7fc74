"""Inception-v3 in torchvision and Keras, Inception-v4 in timm."""

from collections.abc import Iterator

from jaxcnn.models import inception
from jaxcnn.pretrained.names import Rule, Source
from jaxcnn.pretrained.rules.branches import BN, conv_norm, sequential, steps

STEM_V3 = ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")

_PLAIN = {1: "1x1", 4: "_pool"}  # branches of one convolution
_A = _PLAIN | {2: "5x5", 3: "3x3dbl"}
_C = _PLAIN | {2: "7x7", 3: "7x7dbl"}
_E = _PLAIN | {2: "3x3", 3: "3x3dbl"}


def _block_v3(i: int, j: int) -> str:
    """torchvision's name of a module: letters start at b in stage 1, else at a."""
    return f"Mixed_{i + 4}{'abcde'[j if i == 1 else j - 1]}"


def _branch_v3(i: int, j: int, branch: int, conv: str, part: str) -> str:
    """torchvision's name of a convolution in a module, or of its normalisation."""
    if j == 1 and i == 2:  # the first reduction
        kind = {1: "3x3", 2: "3x3dbl"}[branch]
        number = "" if branch == 1 else f"_{conv}"
    elif j == 1 and i == 3:
        kind, number = {1: "3x3", 2: "7x7x3"}[branch], f"_{conv}"
    else:
        kind = {1: _A, 2: _C, 3: _E}[i][branch]
        number = "" if branch in _PLAIN else f"_{conv}"
    return f"{_block_v3(i, j)}.branch{kind}{number}.{BN[part]}"


TORCHVISION = (
    Rule(
        r"stem/conv(\d)/(conv|norm)",
        lambda k, part: f"Conv2d_{STEM_V3[k - 1]}.{BN[part]}",
    ),
    Rule(r"stage(\d)_block(\d)/branch(\d)_conv(\d[ab]?)/(conv|norm)", _branch_v3),
    Rule(
        r"aux1/conv(\d)/(conv|norm)",
        lambda k, part: f"AuxLogits.conv{k - 1}.{BN[part]}",
    ),
    Rule(r"aux1/dense", lambda: "AuxLogits.fc"),
    Rule(r"head", lambda: "fc"),
)


def timm(model: inception.Inception) -> tuple[Rule, ...]:
    """Returns the rules for Inception-v4, which timm builds as one Sequential."""
    modules = [
        (f"stage{i + 1}_block{j + 1}", branches)
        for i, stage in enumerate(model.stages)
        for j, branches in enumerate(stage)
    ]
    return (
        *(conv_norm(f"stem/conv{k + 1}", f"features.{k}") for k in range(3)),
        conv_norm("stem/mixed1/branch2_conv1", "features.3.conv"),
        *sequential("stem/mixed2", "features.4", inception.V4_STEM[1]),
        conv_norm("stem/mixed3/branch1_conv1", "features.5.conv"),
        *(
            rule
            for k, (path, branches) in enumerate(modules)
            for rule in sequential(path, f"features.{k + 6}", branches)
        ),
        Rule(r"head", lambda: "last_linear"),
    )


def keras_names(paths: Iterator[str]) -> tuple[Rule, ...]:
    """Returns the rules for convolutions that Keras numbers in order of creation."""
    rules = []
    for number, path in enumerate(paths):
        end = f"_{number}" if number else ""
        rules += [
            Rule(f"{path}/conv", lambda end=end: f"conv2d{end}"),
            Rule(f"{path}/norm", lambda end=end: f"batch_normalization{end}"),
        ]
    return tuple(rules)


def keras(model: inception.Inception) -> tuple[Rule, ...]:
    """Returns the rules for Inception-v3."""

    def paths() -> Iterator[str]:
        yield from (f"stem/conv{k + 1}" for k in range(5))
        for i, stage in enumerate(model.stages):
            for j, branches in enumerate(stage):
                for conv, *_ in steps(branches):
                    yield f"stage{i + 1}_block{j + 1}/{conv}"

    return *keras_names(paths()), Rule(r"head", lambda: "predictions")


SOURCES = (
    Source("torchvision", r"inception_v3", TORCHVISION),
    Source("keras", r"inception_v3_keras", keras),
    Source("timm", r"inception_v4", timm),
)
