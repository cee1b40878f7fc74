"""Every network against one that nobody here wrote: the same weights, the same numbers.

A family is a file tests/parity/<family>.py with its rows. Of the first everything is
measured; of the others float64, which sees what float32 would hide in its rounding.
"""

import statistics

import jax
import numpy as np
import pytest

from jaxcnn import models, ops
from jaxcnn.ops.backends import missing
from tests.reference import compare, parity_table
from tests.reference.parity_table import FAMILIES

LIMITS = {"float32": 1e-4, "float64": 1e-8, "second": 1e-8}
MEDIANS = {"float32": 1e-5, "float64": 1e-13}
GRADIENT_LIMIT = 1e-7
SAMPLES = 3  # variables that are perturbed
# Errors that may differ by machine.
ROUNDING = {"float32": 1e-6, "float64": 1e-13, "second": 1e-13}

ONE_SIZE = {"lenet"}  # families whose topology takes images of one size only
HEAVY = (pytest.mark.slow, pytest.mark.heavy)
# Families whose first row is compared within few seconds.
QUICK = ("lenet", "squeezenet")
# Together they have every operation that the tables for a CPU replace.
ON_A_CPU = ("googlenet", "lenet", "mobilenet", "resnet", "shufflenet")


def file_of(row):
    return np.load(compare.FOLDER / f"{row.reference}.npz")


def contents(row):
    """Names of what the file of a row holds."""
    with file_of(row) as file:
        return set(file.files)


def parameter(row, *marks):
    """What is asked of one row runs in one process, which compiles it once."""
    name = f"{row.model}-{row.reference}-{row.library}"
    marks += (pytest.mark.xdist_group(f"parity {name}"),)
    return pytest.param(row, marks=marks, id=name)


def rows(content="float32", quick=()):
    """The rows whose files have this content; first rows of quick families are fast."""
    found = []
    for family, of_family in FAMILIES.items():
        for i, row in enumerate(of_family):
            if content in contents(row):
                fast = i == 0 and family in quick
                found.append(parameter(row, *[] if fast else HEAVY))
    return found


@pytest.fixture(scope="module")
def comparison(request):
    """The comparison of a row, with its variables and what it has compiled."""
    yield compare.Comparison(request.param)
    jax.clear_caches()  # or every network would stay in memory, 8 GB in all


@pytest.mark.parametrize("comparison", rows(quick=QUICK), indirect=True)
def test_logits_are_those_of_the_reference_and_errors_those_of_the_page(comparison):
    row = comparison.row
    errors = comparison.evaluation_errors(everything=parity_table.is_first(row))
    wrong = {w: error for w, error in errors.items() if not error < LIMITS[w]}
    assert wrong == {}

    line = parity_table.read()[parity_table.key(row)]
    facts = parity_table.facts(comparison)
    assert line[: len(facts)] == facts
    texts = dict(zip(parity_table.ERRORS, line[len(facts) :], strict=True))
    measured = {w for w in compare.EVALUATIONS if texts[w]}
    assert measured == set(errors)
    for which, error in errors.items():
        page, now = (max(e, ROUNDING[which]) for e in (float(texts[which]), error))
        assert page / 30 < now < 30 * page


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.parametrize("table", ["portable", *(() if missing() else ("native",))])
@pytest.mark.parametrize(
    "comparison", [parameter(FAMILIES[family][0]) for family in ON_A_CPU], indirect=True
)
def test_logits_are_those_of_the_reference_with_the_operations_for_a_cpu(
    comparison, table
):
    with ops.using(ops.TABLES[table]):
        assert comparison.logits_error("float32") < LIMITS["float32"]


@pytest.mark.parametrize("comparison", rows("train_outputs"), indirect=True)
def test_logits_and_gradients_in_training_are_those_of_the_reference(comparison):
    errors = comparison.training_errors()
    wrong = {name: e for name, e in errors.items() if not e < GRADIENT_LIMIT}
    assert wrong == {}


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.parametrize(
    "comparison", [parameter(family[0]) for family in FAMILIES.values()], indirect=True
)
def test_a_comparison_fails_when_any_tensor_is_another(comparison):
    # A tensor of theirs is a variable of ours, in another order of its numbers.
    leaves, structure = jax.tree.flatten(comparison.own_variables)
    for chosen in np.random.default_rng(0).permutation(len(leaves))[:SAMPLES]:
        others = list(leaves)
        others[chosen] = 1.1 * leaves[chosen]
        error = comparison.logits_error("float32", structure.unflatten(others))
        assert error > LIMITS["float32"], chosen


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
    for which, median in MEDIANS.items():
        errors = parity_table.errors_of(page.values(), which)
        assert max(errors) < LIMITS[which]
        assert statistics.median(errors) < median


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
