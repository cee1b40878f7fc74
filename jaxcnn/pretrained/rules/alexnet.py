"""AlexNet in torchvision, ZFNet in pytorchcv."""

from jaxcnn.pretrained.names import Rule, Source

TORCHVISION = (
    Rule(r"stem/conv", lambda: "features.0"),
    Rule(r"stage1_block1/conv", lambda: "features.3"),
    Rule(r"stage2_block(\d)/conv", lambda j: f"features.{4 + 2 * j}"),
    Rule(r"stage3_block1/dense", lambda: "classifier.1", channels=256),
    Rule(r"stage3_block2/dense", lambda: "classifier.4"),
    Rule(r"head", lambda: "classifier.6"),
)


def pytorchcv(channels: int) -> tuple[Rule, ...]:
    """Returns the rules if the last convolution has `channels` output channels."""
    return (
        Rule(r"stem/conv", lambda: "features.stage1.unit1.conv"),
        Rule(r"stage1_block1/conv", lambda: "features.stage2.unit1.conv"),
        Rule(r"stage2_block(\d)/conv", lambda j: f"features.stage3.unit{j}.conv"),
        Rule(r"stage3_block1/dense", lambda: "output.fc1.fc", channels=channels),
        Rule(r"stage3_block2/dense", lambda: "output.fc2.fc"),
        Rule(r"head", lambda: "output.fc3"),
    )


SOURCES = (
    Source("torchvision", r"alexnet", TORCHVISION),
    Source("pytorchcv", r"zfnet", pytorchcv(256)),
    Source("pytorchcv", r"zfnetb", pytorchcv(512)),
)
