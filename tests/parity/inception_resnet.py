"""Inception-ResNets."""

from tests.reference.compare import Parity

PARITY = (
    Parity("inception_resnet_v1", "inception_resnet_v1", "facenet-pytorch"),
    Parity("inception_resnet_v1", "inception_resnet_v1_pytorchcv", "pytorchcv"),
    Parity("inception_resnet_v2", "inception_resnet_v2", "timm"),
    Parity("inception_resnet_v2_keras", "inception_resnet_v2_keras", "keras"),
)
