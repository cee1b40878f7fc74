"""VGGs of torchvision and Keras."""

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
    "vgg16_keras": Network(
        functools.partial(
            keras.applications.VGG16,
            weights=None,
            classes=10,
            classifier_activation=None,
        ),
        (224, 224, 3),
    ),
}
