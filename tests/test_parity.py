"""Every network against one that nobody here wrote: the same weights, the same numbers.

A family is a file tests/parity/<family>.py with its rows, of which the first runs by
default and the others are marked as slow.
"""

import importlib
from pathlib import Path

import numpy as np
import pytest

from tests.reference import compare

LIMITS = {"float32": 1e-4, "float64": 1e-8, "second": 1e-8}
GRADIENT_LIMIT = 1e-7
SAMPLES = 5  # tensors that are perturbed

ONE_SIZE = {"lenet"}  # families whose topology takes images of one size only

HERE = Path(__file__).parent
FAMILIES = {
    path.stem: importlib.import_module(f"tests.parity.{path.stem}").PARITY
    for path in sorted((HERE / "parity").glob("*.py"))
}


def rows(content=None):
    """The rows of every family whose files have this content."""
    found = []
    for family in FAMILIES.values():
        for row in family:
            with np.load(HERE / "reference" / f"{row.reference}.npz") as file:
                if content is None or content in file.files:
                    marks = [] if row is family[0] else [pytest.mark.slow]
                    name = f"{row.model}-{row.library}"
                    found.append(pytest.param(row, marks=marks, id=name))
    return found


@pytest.mark.parametrize("row", rows())
def test_logits_are_those_of_the_reference(row):
    comparison = compare.Comparison(row)
    whichs = [which for which in LIMITS if which in comparison.numbers]
    errors = {which: comparison.logits_error(which) for which in whichs}
    wrong = {w: error for w, error in errors.items() if not error < LIMITS[w]}
    assert wrong == {}


@pytest.mark.parametrize("row", rows("train_outputs"))
def test_logits_and_gradients_in_training_are_those_of_the_reference(row):
    errors = compare.Comparison(row).training_errors()
    wrong = {name: e for name, e in errors.items() if not e < GRADIENT_LIMIT}
    assert wrong == {}


@pytest.mark.parametrize("row", [family[0] for family in FAMILIES.values()])
def test_a_comparison_fails_when_any_tensor_is_another(row):
    comparison = compare.Comparison(row)
    order = np.random.default_rng(0).permutation(list(comparison.tensors))
    for name in order[:SAMPLES]:
        others = comparison.tensors | {name: 1.01 * comparison.tensors[name]}
        assert comparison.logits_error("float32", others) > LIMITS["float32"], name


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_compared_in_training_and_at_a_second_size(family):
    contents = set()
    for row in FAMILIES[family]:
        with np.load(HERE / "reference" / f"{row.reference}.npz") as file:
            contents |= set(file.files)
    assert "train_outputs" in contents
    assert "second" in contents or family in ONE_SIZE
