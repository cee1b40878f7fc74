"""GoogLeNet of torchvision. Nobody has that of the paper: tests/test_googlenet.py."""

from jaxcnn.models import googlenet
from tests.reference.compare import Parity

PARITY = (
    Parity("googlenet", "googlenet", "torchvision"),
    Parity(
        "googlenet",
        "googlenet_aux",
        "torchvision",
        {"aux": googlenet.AdaptiveAuxiliary},
        "auxiliary heads",
    ),
)
