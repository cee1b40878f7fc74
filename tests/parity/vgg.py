"""VGGs; the first has narrow hidden layers, which makes it quick."""

from tests.reference.compare import Parity

NAMES = (
    *("vgg11", "vgg11_bn", "vgg13", "vgg13_bn"),
    *("vgg16", "vgg16_bn", "vgg19", "vgg19_bn"),
)

PARITY = (
    Parity(
        "vgg11_bn",
        "vgg11_bn_narrow",
        "torchvision",
        {"hidden": (48, 32)},
        "hidden layers of 48 and 32",
    ),
    *(Parity(name, name, "torchvision") for name in NAMES),
    Parity("vgg16", "vgg16_keras", "keras"),
    Parity("vgg19", "vgg19_keras", "keras"),
)
