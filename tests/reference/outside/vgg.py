"""VGGs of torchvision and Keras."""

from collections.abc import Callable
import functools

import keras
from network import Network
from torch import nn
from torchvision.models import vgg


def narrow() -> nn.Module:
    """vgg11_bn with hidden layers of 48 and 32 units, whose gradients are small."""
    network = vgg.vgg11_bn(num_classes=10)
    network.classifier[0] = nn.Linear(512 * 7 * 7, 48)
    network.classifier[3] = nn.Linear(48, 32)
    network.classifier[6] = nn.Linear(32, 10)
    return network


def _keras(build: Callable[..., keras.Model]) -> Network:
    """Its linear layers need the 7x7 maps of images of 224 pixels."""
    build = functools.partial(
        build, weights=None, classes=10, classifier_activation=None
    )
    return Network(build, (224, 224, 3))


NETWORKS = {
    "vgg11_bn_narrow": Network(narrow, (64, 96, 3), train=True, second=(224, 130, 3)),
    **{
        name: Network(
            functools.partial(getattr(vgg, name), num_classes=10), (64, 96, 3)
        )
        for name in (
            *("vgg11", "vgg11_bn", "vgg13", "vgg13_bn"),
            *("vgg16", "vgg16_bn", "vgg19", "vgg19_bn"),
        )
    },
    "vgg16_keras": _keras(keras.applications.VGG16),
    "vgg19_keras": _keras(keras.applications.VGG19),
}
