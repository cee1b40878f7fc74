"""Inception-v3 and -v4."""

from tests.reference.compare import Parity

PARITY = (
    Parity(
        "inception_v3",
        "inception_v3",
        "torchvision",
        {"aux": None},
        "no auxiliary head",
    ),
    Parity("inception_v3", "inception_v3_aux", "torchvision"),
    Parity("inception_v3_keras", "inception_v3_keras", "keras"),
    Parity("inception_v4", "inception_v4", "timm"),
)
