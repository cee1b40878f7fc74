"""Every network against one that nobody here wrote: the same weights, the same numbers.

A family is a file tests/parity/<family>.py with its rows, of which the first runs by
default and the others are marked as slow.
"""

import statistics

import jax
import numpy as np
import pytest

from jaxcnn import models
from tests.reference import compare, parity_table
from tests.reference.parity_table import FAMILIES

LIMITS = {"float32": 1e-4, "float64": 1e-8, "second": 1e-8}
MEDIAN = 1e-5  # of float32, over all networks
GRADIENT_LIMIT = 1e-7
SAMPLES = 3  # tensors that are perturbed
# Errors that may differ by machine.
ROUNDING = {"float32": 1e-6, "float64": 1e-13, "second": 1e-13}

ONE_SIZE = {"lenet"}  # families whose topology takes images of one size only


@pytest.fixture(autouse=True)
def _caches_are_cleared():
    """Or every network that was compiled would stay in memory, 8 GB in all."""
    yield
    jax.clear_caches()


def file_of(row):
    return np.load(compare.FOLDER / f"{row.reference}.npz")


def contents(row):
    """Names of what the file of a row holds."""
    with file_of(row) as file:
        return set(file.files)


def rows(content="float32"):
    """The rows whose files have this content."""
    found = []
    for family in FAMILIES.values():
        for row in family:
            if content in contents(row):
                marks = [] if row is family[0] else [pytest.mark.slow]
                name = f"{row.model}-{row.reference}-{row.library}"
                found.append(pytest.param(row, marks=marks, id=name))
    return found


@pytest.mark.parametrize("row", rows())
def test_logits_are_those_of_the_reference_and_errors_those_of_the_page(row):
    comparison = compare.Comparison(row)
    errors = comparison.evaluation_errors()
    wrong = {w: error for w, error in errors.items() if not error < LIMITS[w]}
    assert wrong == {}

    line = parity_table.read()[parity_table.key(row)]
    facts = parity_table.facts(comparison)
    assert line[: len(facts)] == facts
    texts = dict(zip(parity_table.ERRORS, line[len(facts) :], strict=True))
    for which, error in errors.items():
        page, now = (max(e, ROUNDING[which]) for e in (float(texts[which]), error))
        assert page / 30 < now < 30 * page


@pytest.mark.slow
@pytest.mark.parametrize("row", rows("train_outputs"))
def test_logits_and_gradients_in_training_are_those_of_the_reference(row):
    errors = compare.Comparison(row).training_errors()
    wrong = {name: e for name, e in errors.items() if not e < GRADIENT_LIMIT}
    assert wrong == {}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_comparison_fails_when_any_tensor_is_another(family):
    comparison = compare.Comparison(FAMILIES[family][0])
    order = np.random.default_rng(0).permutation(list(comparison.tensors))
    for name in order[:SAMPLES]:
        others = comparison.tensors | {name: 1.1 * comparison.tensors[name]}
        assert comparison.logits_error("float32", others) > LIMITS["float32"], name


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_compared_in_training_and_at_a_second_size(family):
    found = set.union(*map(contents, FAMILIES[family]))
    assert "train_outputs" in found
    assert "second" in found or family in ONE_SIZE


def test_the_logits_of_two_images_are_not_the_same():
    for row in parity_table.every_row().values():
        with file_of(row) as file:
            first, second = file["float32"]
        assert compare.relative_error(second, first) >= 0.1, row


def test_the_page_has_a_line_for_each_comparison():
    page = parity_table.read()
    assert set(page) == set(parity_table.every_row())
    errors = [float(line[5]) for line in page.values()]
    assert max(errors) < LIMITS["float32"]
    assert statistics.median(errors) < MEDIAN


def test_the_catalogue_names_the_library_of_each_comparison():
    references = {row["model"]: row["reference"] for row in models.catalogue()}
    compared = list(parity_table.every_row().values())
    plain = {row.model for row in compared if not row.note}
    for row in compared:
        if row.note and row.model in plain:
            continue
        with file_of(row) as file:
            library = str(file["library"])
        text = f"{library} ({row.note})" if row.note else library
        assert text in references[row.model].split(", "), row.model
