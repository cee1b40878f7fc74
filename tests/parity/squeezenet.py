"""SqueezeNets."""

from tests.reference.compare import Parity

PARITY = (
    Parity("squeezenet1_1", "squeezenet1_1", "torchvision"),
    Parity("squeezenet1_0", "squeezenet1_0", "torchvision"),
)
