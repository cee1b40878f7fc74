"""Cuts against the definition of a stratified split and scikit-learn's."""

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from jaxcnn.config import DataConfig
from jaxcnn.data import splits
from jaxcnn.data.examples import ArrayExamples, Dataset, make_dataset
from jaxcnn.errors import UserError
from jaxcnn.targets import classes


def examples(labels) -> ArrayExamples:
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return ArrayExamples(images, {"label": np.asarray(labels, np.int32)})


def stratified(labels, fraction, seed=0, what="validation", **names):
    whole = examples(labels)
    return splits.cut(
        whole, fraction, seed, what, strata=whole.column("label"), **names
    )


MIXED = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [100, 40, 20]))


def test_the_parts_hold_every_example_once_in_order():
    rest, cut = stratified(MIXED, 0.25)
    assert sorted([*rest.indices, *cut.indices]) == list(range(160))
    for part in (rest, cut):
        assert (np.diff(part.indices) > 0).all()
        np.testing.assert_array_equal(part.column("label"), MIXED[part.indices])


def test_class_counts_are_those_of_scikit_learn():
    rest, cut = stratified(MIXED, 0.25)
    theirs = train_test_split(MIXED, test_size=0.25, stratify=MIXED, random_state=0)
    for part, their_labels in zip((rest, cut), theirs, strict=True):
        np.testing.assert_array_equal(
            np.bincount(part.column("label")), np.bincount(their_labels)
        )


def test_the_seed_alone_decides():
    first, again, other = (
        stratified(MIXED, 0.25, seed)[1].indices for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_every_class_is_in_both_parts(fraction):
    labels = np.repeat([0, 2, 3], [500, 2, 3])  # class 1 has no examples at all
    for part in stratified(labels, fraction):
        assert set(part.column("label")) == {0, 2, 3}


def test_without_strata_no_target_is_read():
    class Targetless:
        def __len__(self):
            return 1000

    rest, cut = splits.cut(Targetless(), 0.1, 0, "validation")
    assert (len(rest), len(cut)) == (900, 100)
    assert not set(rest.indices) & set(cut.indices)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_outside_0_to_1_is_refused(fraction):
    with pytest.raises(UserError, match=f"the validation split is {fraction}; it must"):
        stratified(MIXED, fraction)


def test_a_class_of_one_is_refused_by_name():
    with pytest.raises(
        UserError, match="Class 'cat' has 1 example; at least 2 are needed"
    ):
        stratified([0, 0, 1], 0.5, what="test", names=["dog", "cat"])


def dataset(labels) -> Dataset:
    parts = {"train": examples(labels), "test": examples([0, 1, 2])}
    return make_dataset(
        parts,
        targets=classes("abc"),
        channels=1,
        mean=(0.5,),
        std=(0.25,),
        fingerprint="",
    )


def few(whole, number, seed=0) -> Dataset:
    strata = whole.splits["train"].column("label")
    return splits.few(whole, strata, "abc", number, seed)


def test_a_few_of_each_class_are_nested_and_in_order():
    whole = dataset(MIXED)
    five, ten, other = (
        few(whole, number, seed).splits["train"]
        for number, seed in ((5, 0), (10, 0), (5, 1))
    )
    assert np.bincount(five.column("label")).tolist() == [5, 5, 5]
    assert np.bincount(ten.column("label")).tolist() == [10, 10, 10]
    assert set(five.indices) < set(ten.indices)
    assert (np.diff(ten.indices) > 0).all()
    assert set(other.indices) != set(five.indices)
    fewer = few(whole, 5)
    assert fewer.splits["test"] is whole.splits["test"]
    assert fewer.info.num_examples == {"train": 15, "test": 3}


@pytest.mark.parametrize(
    ("per_class", "rule"), [(0, "at least 1"), (21, "at most 20, .* 'c', not 21")]
)
def test_more_of_each_class_than_there_are_is_refused(per_class, rule):
    with pytest.raises(UserError, match=f"data.num_per_class must be {rule}"):
        few(dataset(MIXED), per_class)


def test_examples_without_classes_have_no_few_of_each():
    with pytest.raises(UserError, match="must be None for a task without classes"):
        splits.few(dataset(MIXED), None, (), 5, 0)


def test_a_class_without_images_has_no_few():
    with pytest.raises(UserError, match="at most 0, .* 'c'"):
        few(dataset([0, 0, 1, 1]), 1)


def test_strata_without_names_are_called_by_their_number():
    strata = np.array([1, 3, 1, 3, 3])  # no example has 0 or 2
    whole = dataset([0, 0, 1, 1, 1])
    some = splits.few(whole, strata, (), 2, 0).splits["train"]
    assert sorted(strata[some.indices]) == [1, 1, 3, 3]
    with pytest.raises(UserError, match="at most 2, the number .* images of 1, not 3"):
        splits.few(whole, strata, (), 3, 0)


def test_what_is_missing_is_cut_off_as_by_hand_and_what_is_there_stays():
    whole = examples(MIXED)
    config = DataConfig(test_fraction=0.25, validation_fraction=0.1, split_seed=3)
    options = {"stratify_by": "label", "missing": ("test", "validation")}
    found = splits.complete({"train": whole}, classes("abc"), config, **options)
    rest, test = stratified(MIXED, 0.25, seed=3)
    train, validation = splits.cut(
        rest, 0.1, 3, "validation", strata=rest.column("label")
    )
    expected = {"train": train, "validation": validation, "test": test}
    assert list(found) == list(expected)
    for split, part in expected.items():
        np.testing.assert_array_equal(
            found[split].column("label"), part.column("label")
        )
    again = splits.complete(found, classes("abc"), config, **options)
    assert again == found


def test_a_split_of_one_example_without_classes_is_not_cut():
    with pytest.raises(UserError, match="The training split has 1 example; at least 2"):
        splits.cut(examples([0]), 0.5, 0, "validation")
