"""What one row of a VARIANTS table says."""

from collections.abc import Callable
import dataclasses
from typing import Any

from flax import linen as nn


@dataclasses.dataclass(frozen=True)
class Variant:
    """A network of a paper: how to build it, and what cannot be computed from it.

    Attributes:
        build: Called as build(num_classes=..., **fields): a module class, or a
            functools.partial of one.
        paper: Authors, year and link.
        image_size: Height and width that the paper or the reference uses, pixels.
        channels: 1 grey, 3 RGB.
        num_classes: Of the data set that the paper or the reference is about.
        top1: Published accuracy, percent, one crop and one network; None: none is.
        top1_source: The data set, and who published the accuracy.
        imprint: Called as imprint(model, variables, images, key) with normalised
            training images before the first step, for what is taken from them without
            a gradient; gives the variables. None: nothing is.
        reference: What it is checked against, where no other library has it; for all
            others docs/parity.md says it.
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
