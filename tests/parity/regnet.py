"""RegNets against torchvision and timm."""

from jaxcnn.models import regnet
from tests.reference.compare import Parity

FIRST = "regnet_y_400mf"  # with gates

PARITY = (
    Parity(FIRST, FIRST, "torchvision"),
    *(Parity(name, name, "torchvision") for name in regnet.VARIANTS if name != FIRST),
    Parity(FIRST, "regnety_004", "timm"),
)
