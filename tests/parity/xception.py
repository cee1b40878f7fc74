"""Xception."""

from tests.reference.compare import Parity

PARITY = (
    Parity("xception", "xception", "timm"),
    Parity("xception_keras", "xception_keras", "keras"),
)
