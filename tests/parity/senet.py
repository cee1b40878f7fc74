"""Squeeze-and-excitation networks."""

from tests.reference.compare import Parity

PARITY = (
    Parity("legacy_seresnet50", "legacy_seresnet50", "timm"),
    Parity("legacy_seresnet101", "legacy_seresnet101", "timm"),
    Parity("legacy_seresnet152", "legacy_seresnet152", "timm"),
    Parity("legacy_seresnext50_32x4d", "legacy_seresnext50_32x4d", "timm"),
    Parity("legacy_seresnext101_32x4d", "legacy_seresnext101_32x4d", "timm"),
    Parity("legacy_senet154", "legacy_senet154", "timm"),
)
