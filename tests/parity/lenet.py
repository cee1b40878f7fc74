"""LeNet-5."""

from tests.reference.compare import Parity

PARITY = (Parity("lenet5", "lenet5", "pytorch"),)
