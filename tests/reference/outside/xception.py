"""Xception of timm and Keras."""

import functools

import keras
from network import Network
import timm


def xception_keras() -> keras.Model:
    keras.backend.clear_session()  # or its numbers of layers would go on
    return keras.applications.Xception(
        weights=None, classes=10, classifier_activation=None, input_shape=(71, 96, 3)
    )


NETWORKS = {
    "xception": Network(
        functools.partial(timm.create_model, "legacy_xception", num_classes=10),
        (71, 96, 3),
        gains={r".*pointwise\.weight": 0.5, r"block.*rep\.8\.weight": 0.5},
        train=True,
        second=(50, 33, 3),
    ),
    # Of these sizes some are even where a max-pool begins, and some odd.
    "xception_keras": Network(
        xception_keras,
        (71, 96, 3),
        gains={
            r".*pointwise_kernel|conv2d.*kernel": 0.5,
            r"block.*_sepconv3_bn/gamma": 0.5,
        },
    ),
}
