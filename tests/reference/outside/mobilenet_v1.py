"""The first MobileNets of timm and Keras.

timm has only the widest by name. Keras' are compared at an even and at an odd size,
which it pads differently.
"""

import functools

import keras
from network import Network
from timm.models.efficientnet import _gen_mobilenet_v1

WIDTHS = {"025": 0.25, "050": 0.5, "075": 0.75, "100": 1.0}
ODD = (75, 61, 3)


def keras_network(width: float, image_shape: tuple[int, int, int]) -> keras.Model:
    return keras.applications.MobileNet(
        input_shape=image_shape,
        alpha=width,
        weights=None,
        classes=10,
        classifier_activation=None,
    )


def timm_row(name: str, **fields) -> Network:
    build = functools.partial(
        _gen_mobilenet_v1, "mobilenetv1_100", WIDTHS[name], num_classes=10
    )
    return Network(build, (40, 40, 3), {r".*conv_pw\.weight": 1.2}, **fields)


def keras_row(name: str, image_shape: tuple[int, int, int], **fields) -> Network:
    build = functools.partial(keras_network, WIDTHS[name], image_shape)
    return Network(build, image_shape, {r"conv_pw.*kernel": 1.2}, **fields)


NETWORKS = {
    "mobilenetv1_025": timm_row("025", train=True, second=(53, 47, 3)),
    "mobilenetv1_050": timm_row("050"),
    "mobilenetv1_075": timm_row("075"),
    "mobilenetv1_100": timm_row("100"),
    "mobilenetv1_025_keras": keras_row("025", ODD, train=True),
    "mobilenetv1_050_keras": keras_row("050", (64, 64, 3)),
    "mobilenetv1_075_keras": keras_row("075", ODD),
    "mobilenetv1_100_keras": keras_row("100", (64, 64, 3)),
}
