"""The type of a row in a VARIANTS table."""

from collections.abc import Callable
import dataclasses

from flax import linen as nn


@dataclasses.dataclass(frozen=True)
class Variant:
    """A network of a paper: how to build it, and facts that cannot be computed.

    Attributes:
        build: Module class, or a functools.partial of one, called as
            build(num_classes=..., **fields).
        paper: Authors, year and link.
        image_size: Size that the paper or the reference uses, in pixels: a number for
            squares, or (height, width).
        channels: Image channels: 1 grey, 3 RGB.
        num_classes: Number of classes of the paper's or the reference's dataset.
        scale: Values of black and of white in the input that the network is made for,
            where ink is white. None: images are normalised by their own mean and
            standard deviation.
        top1: Published accuracy in percent, with one crop and one network. None: not
            published.
        top1_source: The dataset, and who published the accuracy.
        reference: Source that the network is checked against if no other library has
            it; for all others see docs/parity.md.
        task: Task that the network is made for, a key of tasks.TASKS.
    """

    build: Callable[..., nn.Module]
    paper: str
    image_size: int | tuple[int, int] = 224
    channels: int = 3
    num_classes: int = 1000
    scale: tuple[float, float] | None = None
    top1: float | None = None
    top1_source: str = ""
    reference: str = ""
    task: str = "classification"

    @property
    def normalisation(self) -> tuple[float, float] | None:
        """(mean, standard deviation) by which grey levels in [0, 1] get the scale; None
        where it has none."""
        if self.scale is None:
            return None
        black, white = self.scale
        return -black / (white - black), 1 / (white - black)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images, in pixels."""
        size = self.image_size
        height, width = (size, size) if isinstance(size, int) else size
        return height, width, self.channels
