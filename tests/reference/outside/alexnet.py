"""AlexNet of torchvision and ZFNets of pytorchcv."""

import functools

from network import Network
from pytorchcv.model_provider import get_model
from torchvision.models import alexnet

NETWORKS = {
    "alexnet": Network(
        functools.partial(alexnet, num_classes=10),
        (127, 159, 3),
        train=True,
        second=(224, 224, 3),
    ),
    # Its linear layers need the 6x6 maps of images of 207 to 238 pixels.
    "zfnet": Network(
        functools.partial(get_model, "zfnet", num_classes=10), (207, 224, 3)
    ),
    "zfnetb": Network(
        functools.partial(get_model, "zfnetb", num_classes=10), (207, 224, 3)
    ),
}
