"""GoogLeNet of torchvision, without and with its auxiliary heads."""

import functools

from network import Network
from torchvision.models import googlenet

_build = functools.partial(googlenet, num_classes=10, init_weights=False)

NETWORKS = {
    "googlenet": Network(
        functools.partial(_build, aux_logits=False), (64, 64, 3), second=(131, 97, 3)
    ),
    "googlenet_aux": Network(
        functools.partial(_build, aux_logits=True),
        (96, 80, 3),
        train=True,
        outputs=lambda found: (found.logits, found.aux_logits1, found.aux_logits2),
    ),
}
