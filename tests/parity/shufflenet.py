"""ShuffleNets, the first and the second."""

from tests.reference.compare import Parity

PARITY = (
    *(
        Parity(f"shufflenet_v2_{width}", f"shufflenet_v2_{width}", "torchvision")
        for width in ("x0_5", "x1_0", "x1_5", "x2_0")
    ),
    *(
        Parity(f"shufflenet_g{groups}_w1", f"shufflenet_g{groups}_w1", "pytorchcv")
        for groups in (1, 2, 3, 4, 8)
    ),
)
