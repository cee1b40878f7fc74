"""ResNets of keras.applications."""

from collections.abc import Callable

import keras
from network import Network

SMALL = (64, 64, 3)


def _keras(name: str) -> Callable[[], keras.Model]:
    """A network for images of any size."""

    def build() -> keras.Model:
        features = getattr(keras.applications, name)(
            include_top=False, weights=None, input_shape=(None, None, 3), pooling="avg"
        )
        head = keras.layers.Dense(10, name="predictions")
        return keras.Model(features.inputs[0], head(features.outputs[0]))

    return build


QUIET = {r".*_3_bn/gamma": 0.3}  # the last scale of each branch
QUIET_V2 = {r".*_3_conv/kernel": 0.3}

NETWORKS = {
    "resnet50_v1_keras": Network(
        _keras("ResNet50"), SMALL, gains=QUIET, train=True, second=(50, 71, 3)
    ),
    "resnet101_v1_keras": Network(_keras("ResNet101"), SMALL, gains=QUIET),
    "resnet152_v1_keras": Network(_keras("ResNet152"), SMALL, gains=QUIET),
    "resnetv2_50_keras": Network(
        _keras("ResNet50V2"), SMALL, gains=QUIET_V2, train=True, second=(50, 71, 3)
    ),
    "resnetv2_101_keras": Network(_keras("ResNet101V2"), SMALL, gains=QUIET_V2),
    "resnetv2_152_keras": Network(_keras("ResNet152V2"), SMALL, gains=QUIET_V2),
}
