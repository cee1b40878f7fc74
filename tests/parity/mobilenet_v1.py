"""The first MobileNet: timm's, and Keras' with its own padding and epsilon."""

from tests.reference.compare import Parity

PARITY = tuple(
    Parity(f"mobilenetv1_{width}{suffix}", f"mobilenetv1_{width}{suffix}", library)
    for library, suffix in (("timm", ""), ("keras", "_keras"))
    for width in ("025", "050", "075", "100")
)
