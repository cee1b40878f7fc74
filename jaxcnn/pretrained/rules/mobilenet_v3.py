"""MobileNetV3 in torchvision, which numbers the blocks consecutively over all stages,
and the parts within a block; some blocks have no expansion and some have no gate."""

from collections.abc import Iterator
import functools

from jaxcnn.models.mobilenet_v3 import Gate, MobileNetV3
from jaxcnn.pretrained.names import Rule, Source
from jaxcnn.pretrained.rules.common import conv_norm


def torchvision(model: MobileNetV3) -> tuple[Rule, ...]:
    """Returns the rules for the small or the large network."""
    return (*_stem_and_blocks(model), *_last(model))


def _stem_and_blocks(model: MobileNetV3) -> Iterator[Rule]:
    yield conv_norm(r"stem", lambda: "features.0")
    number, channels = 1, 16
    for i, rows in enumerate(model.stages, start=1):
        for j, row in enumerate(rows, start=1):
            parts = ["expand"] if row.expanded != channels else []
            parts += ["depthwise", "gate"] if row.gate is Gate else ["depthwise"]
            for k, part in enumerate([*parts, "project"]):
                theirs = f"features.{number}.block.{k}"
                ours = f"stage{i}_block{j}/{part}"
                name = functools.partial(_join, theirs)
                rule = Rule(rf"{ours}/(fc\d)", name)
                yield rule if part == "gate" else conv_norm(ours, name)
            number, channels = number + 1, row.filters


def _last(model: MobileNetV3) -> Iterator[Rule]:
    last = len(model.stages) + 1
    number = 1 + sum(map(len, model.stages))
    yield conv_norm(rf"stage{last}_block1", lambda: f"features.{number}")
    yield Rule(rf"stage{last}_block2/dense", lambda: "classifier.0")
    yield Rule(r"head", lambda: "classifier.3")


def _join(*parts: str) -> str:
    return ".".join(parts)


SOURCES = (Source("torchvision", r"mobilenet_v3_(small|large)", torchvision),)
