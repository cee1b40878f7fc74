"""Every network against one that nobody here wrote: the same weights, the same numbers.

A family is a file tests/parity/<family>.py with its rows, of which the first runs by
default and the others are marked as slow.
"""

import statistics

import numpy as np
import pytest

from tests.reference import compare, parity_table
from tests.reference.parity_table import FAMILIES

LIMITS = {"float32": 1e-4, "float64": 1e-8, "second": 1e-8}
MEDIAN = 1e-5  # of float32, over all networks
GRADIENT_LIMIT = 1e-7
SAMPLES = 5  # tensors that are perturbed
ROUNDING = {"float32": 1e-6, "float64": 1e-13}  # errors that may differ by machine

ONE_SIZE = {"lenet"}  # families whose topology takes images of one size only


def contents(row):
    """Names of what the file of a row holds."""
    with np.load(compare.FOLDER / f"{row.reference}.npz") as file:
        return set(file.files)


def rows(content=None):
    """The rows that docs/parity.md has and whose files have this content.

    A row of tests/parity/ that was never measured is no claim yet, and its file may
    still be missing: parity_table.py measures it and adds its line.
    """
    found, page = [], parity_table.read()
    for family in FAMILIES.values():
        for row in family:
            measured = row is family[0] or parity_table.key(row) in page
            if measured and (content is None or content in contents(row)):
                marks = [] if row is family[0] else [pytest.mark.slow]
                name = f"{row.model}-{row.reference}-{row.library}"
                found.append(pytest.param(row, marks=marks, id=name))
    return found


FIRST = [pytest.param(rows[0], id=family) for family, rows in FAMILIES.items()]


@pytest.mark.parametrize("row", rows())
def test_logits_are_those_of_the_reference(row):
    errors = parity_table.evaluation_errors(row)
    wrong = {w: error for w, error in errors.items() if not error < LIMITS[w]}
    assert wrong == {}


@pytest.mark.slow
@pytest.mark.parametrize("row", rows("train_outputs"))
def test_logits_and_gradients_in_training_are_those_of_the_reference(row):
    errors = compare.Comparison(row).training_errors()
    wrong = {name: e for name, e in errors.items() if not e < GRADIENT_LIMIT}
    assert wrong == {}


@pytest.mark.slow
@pytest.mark.parametrize("row", FIRST)
def test_a_comparison_fails_when_any_tensor_is_another(row):
    comparison = compare.Comparison(row)
    order = np.random.default_rng(0).permutation(list(comparison.tensors))
    for name in order[:SAMPLES]:
        others = comparison.tensors | {name: 1.1 * comparison.tensors[name]}
        assert comparison.logits_error("float32", others) > LIMITS["float32"], name


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_compared_in_training_and_at_a_second_size(family):
    page = parity_table.read()
    measured = [row for row in FAMILIES[family] if parity_table.key(row) in page]
    found = set.union(*map(contents, measured))
    assert "train_outputs" in found
    assert "second" in found or family in ONE_SIZE


def test_the_page_of_errors_has_no_line_of_another_table():
    page = parity_table.read()
    assert set(page) <= set(parity_table.every_row())
    assert {parity_table.key(f[0]) for f in FAMILIES.values()} <= set(page)
    errors = [float(line[4]) for line in page.values()]
    assert max(errors) < LIMITS["float32"]
    assert statistics.median(errors) < MEDIAN


@pytest.mark.parametrize("row", FIRST)
def test_the_page_of_errors_is_not_stale(row):
    line = parity_table.read()[parity_table.key(row)]
    facts = parity_table.facts(row, compare.Comparison(row))
    assert line[: len(facts)] == facts
    errors = parity_table.evaluation_errors(row)
    for which, text in zip(parity_table.ERRORS, line[len(facts) :], strict=True):
        if which in ROUNDING and which in errors:
            page, now = max(float(text), ROUNDING[which]), errors[which]
            assert max(now, ROUNDING[which]) < 30 * page
            assert page < 30 * max(now, ROUNDING[which])
