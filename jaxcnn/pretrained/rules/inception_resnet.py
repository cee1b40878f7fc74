"""Inception-ResNet-v1 in facenet-pytorch and pytorchcv, -v2 in timm and Keras."""

from collections.abc import Iterator

from jaxcnn.models.inception_resnet import InceptionResNet
from jaxcnn.pretrained.names import Rule, Source
from jaxcnn.pretrained.rules.branches import BN, conv_norm, sequential, steps
from jaxcnn.pretrained.rules.inception import keras_names

STEM = ("1a", "2a", "2b", "3b", "4a", "4b")


def _modules(
    model: InceptionResNet, repeats: tuple[str, str, str], mixed: tuple[str, ...]
) -> tuple[Rule, ...]:
    """Returns the rules for the stem and the modules of all stages.

    Args:
        model: The network.
        repeats: Names of each stage's residual modules in the library.
        mixed: Names of the modules that are not residual in the library.
    """
    rules, mixed = [], list(mixed)
    for i, stage in enumerate(model.stages):
        residuals = 0
        for j, module in enumerate(stage):
            path = f"stage{i + 1}_block{j + 1}"
            branches = module.args[0]
            if "scale" not in module.keywords:
                rules += sequential(path, mixed.pop(0), branches)
                continue
            name = f"{repeats[i]}.{residuals}"
            if module.keywords["scale"] == 1.0:
                name = "block8"
            residuals += 1
            rules += sequential(f"{path}/mixed", name, branches)
            rules.append(Rule(f"{path}/up", lambda name=name: f"{name}.conv2d"))
    return (
        Rule(
            r"stem/conv(\d)/(conv|norm)",
            lambda k, part: f"conv2d_{STEM[k - 1]}.{BN[part]}",
        ),
        *rules,
    )


def facenet(model: InceptionResNet) -> tuple[Rule, ...]:
    """Returns the rules for v1."""
    return (
        *_modules(
            model, ("repeat_1", "repeat_2", "repeat_3"), ("mixed_6a", "mixed_7a")
        ),
        Rule(r"stage4_block1/conv/conv", lambda: "last_linear", ndim=2),
        Rule(r"stage4_block1/conv/norm", lambda: "last_bn"),
        Rule(r"head", lambda: "logits"),
    )


def timm(model: InceptionResNet) -> tuple[Rule, ...]:
    """Returns the rules for v2."""
    mixed = ("mixed_5b", "mixed_6a", "mixed_7a")
    return (
        *_modules(model, ("repeat", "repeat_1", "repeat_2"), mixed),
        conv_norm("stage4_block1/conv", "conv2d_7b"),
        Rule(r"head", lambda: "classif"),
    )


def pytorchcv(model: InceptionResNet) -> tuple[Rule, ...]:
    """Returns the rules for v1, whose units have the same numbers as ours."""
    rules = []
    for i, stage in enumerate(model.stages):
        for j, module in enumerate(stage):
            path, unit = (
                f"stage{i + 1}_block{j + 1}",
                f"features.stage{i + 1}.unit{j + 1}",
            )
            branches = module.args[0]
            inner = f"{path}/mixed" if "scale" in module.keywords else path
            for conv, branch, k, _ in steps(branches):
                name = f"{unit}.branches.branch{branch + 1}"
                alone = len(branches[branch]) == 1 and "scale" in module.keywords
                name += ".conv" if alone else f".conv_list.conv{k + 1}"
                rules.append(conv_norm(f"{inner}/{conv}", name))
            rules.append(Rule(f"{path}/up", lambda unit=unit: f"{unit}.conv"))
    return (
        Rule(
            r"stem/conv(\d)/(conv|norm)",
            lambda k, part: f"features.init_block.conv{k}.{BN[part]}",
        ),
        *rules,
        Rule(r"stage4_block1/conv/conv", lambda: "output.fc1", ndim=2),
        Rule(r"stage4_block1/conv/norm", lambda: "output.bn"),
        Rule(r"head", lambda: "output.fc2"),
    )


KERAS_BLOCKS = ("block35", "block17", "block8")


def keras(model: InceptionResNet) -> tuple[Rule, ...]:
    """Returns the rules for v2."""

    def paths() -> Iterator[str]:
        yield from (f"stem/conv{k + 1}" for k in range(5))
        for i, stage in enumerate(model.stages):
            for j, module in enumerate(stage):
                inner = "/mixed" if "scale" in module.keywords else ""
                for conv, *_ in steps(module.args[0]):
                    yield f"stage{i + 1}_block{j + 1}{inner}/{conv}"

    return (
        *keras_names(paths()),
        Rule(  # the first block of each stage is not residual
            r"stage(\d)_block(\d+)/up",
            lambda i, j: f"{KERAS_BLOCKS[i - 1]}_{j - 1}_conv",
        ),
        Rule(r"stage4_block1/conv/conv", lambda: "conv_7b"),
        Rule(r"stage4_block1/conv/norm", lambda: "conv_7b_bn"),
        Rule(r"head", lambda: "predictions"),
    )


SOURCES = (
    Source("facenet-pytorch", r"inception_resnet_v1", facenet),
    Source("pytorchcv", r"inception_resnet_v1", pytorchcv),
    Source("timm", r"inception_resnet_v2", timm),
    Source("keras", r"inception_resnet_v2_keras", keras),
)
