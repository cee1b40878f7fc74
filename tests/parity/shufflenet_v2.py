"""ShuffleNetV2."""

from tests.reference.compare import Parity

PARITY = tuple(
    Parity(f"shufflenet_v2_{width}", f"shufflenet_v2_{width}", "torchvision")
    for width in ("x0_5", "x1_0", "x1_5", "x2_0")
)
