"""The type of a row in a VARIANTS table."""

from collections.abc import Callable
import dataclasses
from typing import Any

from flax import linen as nn


@dataclasses.dataclass(frozen=True)
class Variant:
    """A network of a paper: how to build it, and facts that cannot be computed.

    Attributes:
        build: Module class, or a functools.partial of one, called as
            build(num_classes=..., **fields).
        paper: Authors, year and link.
        image_size: Height and width that the paper or the reference uses, in pixels.
        channels: Image channels: 1 grey, 3 RGB.
        num_classes: Number of classes of the paper's or the reference's dataset.
        top1: Published accuracy in percent, with one crop and one network. None: not
            published.
        top1_source: The dataset, and who published the accuracy.
        imprint: Function that sets variables from normalised training images before the
            first step, without a gradient; called as imprint(model, variables, images,
            key), returns the variables. None: not needed.
        reference: Source that the network is checked against if no other library has
            it; for all others see docs/parity.md.
    """

    build: Callable[..., nn.Module]
    paper: str
    image_size: int = 224
    channels: int = 3
    num_classes: int = 1000
    top1: float | None = None
    top1_source: str = ""
    imprint: Callable[..., dict[str, Any]] | None = None
    reference: str = ""
