"""SqueezeNets in torchvision, which numbers convolutions, ReLUs, pools and fire
modules consecutively."""

from jaxcnn.models.squeezenet import SqueezeNet
from jaxcnn.pretrained.names import Rule, Source


def torchvision(model: SqueezeNet) -> tuple[Rule, ...]:
    """Returns the rules for version 1.0 or 1.1."""

    def fire(i: int, j: int) -> str:
        before = sum(1 + len(stage) for stage in model.stages[: i - 1])
        return f"features.{2 + before + j}"

    return (
        Rule(r"stem/conv", lambda: "features.0"),
        Rule(r"stage(\d)_block(\d)/squeeze", lambda *ij: f"{fire(*ij)}.squeeze"),
        Rule(
            r"stage(\d)_block(\d)/expand(\d)",
            lambda i, j, k: f"{fire(i, j)}.expand{k}x{k}",
        ),
        Rule(r"head", lambda: "classifier.1", ndim=4),
    )


SOURCES = (Source("torchvision", r"squeezenet1_\d", torchvision),)
