"""Writes the files for make_export_reference.py: python -m tests.reference.exported DIR

The networks are the first of each library that another exports to.
"""

import importlib
from pathlib import Path
import sys

import jax
import numpy as np

from jaxcnn.pretrained import weights
from tests.reference import compare

# (file tests/parity/<family>.py, name of the reference)
EXPORTED = (
    ("lenet", "lenet5"),
    ("resnet", "resnet18"),
    ("resnet", "resnet20_cifar10"),
)


def write(family: str, reference: str, path: Path) -> None:
    """Imports the tensors of a reference, and exports what they have become."""
    rows = importlib.import_module(f"tests.parity.{family}").PARITY
    (row,) = (row for row in rows if row.reference == reference)
    comparison = compare.Comparison(row)
    variables = jax.tree.map(np.float32, comparison.own_variables, is_leaf=_is_array)
    weights.export(row.model, comparison.model, variables, row.library, path)


def _is_array(value: object) -> bool:
    return isinstance(value, np.ndarray)


if __name__ == "__main__":
    for family, reference in EXPORTED:
        write(family, reference, Path(sys.argv[1]) / f"{reference}.safetensors")
