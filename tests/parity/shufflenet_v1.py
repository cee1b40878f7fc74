"""The first ShuffleNet."""

from tests.reference.compare import Parity

PARITY = tuple(
    Parity(f"shufflenet_g{groups}_w1", f"shufflenet_g{groups}_w1", "pytorchcv")
    for groups in (3, 1, 2, 4, 8)
)
