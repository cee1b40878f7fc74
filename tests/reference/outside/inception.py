"""Inception-v3 of torchvision and Keras, Inception-v4 of timm."""

import functools

import keras
from network import Network
import timm
from torchvision.models import inception_v3

_v3 = functools.partial(inception_v3, num_classes=10, init_weights=False)


def inception_v3_keras() -> keras.Model:
    keras.backend.clear_session()  # or its numbers of layers would go on
    return keras.applications.InceptionV3(
        weights=None, classes=10, classifier_activation=None, input_shape=(75, 107, 3)
    )


NETWORKS = {
    "inception_v3": Network(
        functools.partial(_v3, aux_logits=False),
        (75, 107, 3),
        {r"Mixed_.*conv\.weight": 1.2},
        second=(139, 107, 3),
    ),
    # The auxiliary head needs maps of 17x17.
    "inception_v3_aux": Network(
        functools.partial(_v3, aux_logits=True),
        (299, 299, 3),
        train=True,
        outputs=tuple,
    ),
    "inception_v3_keras": Network(
        inception_v3_keras, (75, 107, 3), {r"conv2d.*kernel": 0.85}
    ),
    "inception_v4": Network(
        functools.partial(timm.create_model, "inception_v4", num_classes=10),
        (75, 107, 3),
        {r"features\..*conv\.weight": 1.07},
    ),
}
