"""Inception-ResNets of facenet-pytorch, pytorchcv, timm and Keras."""

import functools

from facenet_pytorch import InceptionResnetV1
import keras
from network import Network
from pytorchcv.model_provider import get_model
import timm


def inception_resnet_v2_keras() -> keras.Model:
    keras.backend.clear_session()  # or its numbers of layers would go on
    return keras.applications.InceptionResNetV2(
        weights=None, classes=10, classifier_activation=None, input_shape=(75, 107, 3)
    )


NETWORKS = {
    "inception_resnet_v1": Network(
        functools.partial(InceptionResnetV1, classify=True, num_classes=10),
        (107, 139, 3),
        train=True,
        second=(75, 107, 3),
    ),
    # Its last pool needs maps of 8x8.
    "inception_resnet_v1_pytorchcv": Network(
        functools.partial(get_model, "inceptionresnetv1", num_classes=10), (299, 299, 3)
    ),
    "inception_resnet_v2": Network(
        functools.partial(timm.create_model, "inception_resnet_v2", num_classes=10),
        (75, 107, 3),
    ),
    "inception_resnet_v2_keras": Network(
        inception_resnet_v2_keras, (75, 107, 3), {r"conv2d.*kernel": 0.85}
    ),
}
