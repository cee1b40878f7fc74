"""VGG in torchvision and Keras."""

from jaxcnn.models import vgg
from jaxcnn.pretrained.names import Rule, Source


def torchvision(model: vgg.VGG) -> tuple[Rule, ...]:
    """Returns torchvision's rules; it numbers all layers, ReLUs and pools included."""
    conv_layers = 3 if model.layer is vgg.ConvNormRelu else 2
    numbers, number = {}, 0
    for i, depth in enumerate(model.depths):
        for j in range(depth):
            numbers[i + 1, j + 1] = number
            number += conv_layers
        number += 1  # the max-pool
    return (
        Rule(r"stage([1-5])_block(\d)/conv", lambda i, j: f"features.{numbers[i, j]}"),
        Rule(
            r"stage([1-5])_block(\d)/norm", lambda i, j: f"features.{numbers[i, j] + 1}"
        ),
        Rule(r"stage6_block1/dense", lambda: "classifier.0", channels=512),
        Rule(r"stage6_block2/dense", lambda: "classifier.3"),
        Rule(r"head", lambda: "classifier.6"),
    )


KERAS = (
    Rule(r"stage([1-5])_block(\d)/conv", lambda i, j: f"block{i}_conv{j}"),
    Rule(r"stage6_block(\d)/dense", lambda j: f"fc{j}"),
    Rule(r"head", lambda: "predictions"),
)

SOURCES = (
    Source("torchvision", r"vgg(11|13|16|19)(_bn)?", torchvision),
    Source("keras", r"vgg1[69]", KERAS),
)
