"""ResNets of keras.applications."""

from tests.reference.compare import Parity

PARITY = (
    Parity("resnet50_v1_keras", "resnet50_v1_keras", "keras"),
    Parity("resnet101_v1_keras", "resnet101_v1_keras", "keras"),
    Parity("resnet152_v1_keras", "resnet152_v1_keras", "keras"),
    Parity("resnetv2_50_keras", "resnetv2_50_keras", "keras"),
    Parity("resnetv2_101_keras", "resnetv2_101_keras", "keras"),
    Parity("resnetv2_152_keras", "resnetv2_152_keras", "keras"),
)
