"""What a family says of the networks that it is compared with."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


def _one(output: Any) -> tuple[Any, ...]:
    return (output,)


class Network(NamedTuple):
    """A network of another library, a row of NETWORKS in outside/<family>.py.

    Attributes:
        build: Makes it: a torch.nn.Module or a Keras model. Ten classes where it can.
        image_shape: [H, W, C], the smallest that the topology takes.
        gains: See filling.tensors.
        train: Whether logits and gradients in training are wanted too; of one network
            a family.
        second: Another image_shape, for one network a family.
        outputs: What it returns in training -> logits, and outputs of auxiliary heads
            in the order of their numbers.
        float64: False for networks that are too large for it.
    """

    build: Callable[[], Any]
    image_shape: tuple[int, int, int]
    gains: Mapping[str, float] = {}
    train: bool = False
    second: tuple[int, int, int] | None = None
    outputs: Callable[[Any], tuple[Any, ...]] = _one
    float64: bool = True
