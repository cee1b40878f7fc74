"""Cuts against the definition of a stratified split and scikit-learn's."""

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from jaxcnn.data import splits
from jaxcnn.data.examples import ArrayExamples, Dataset
from jaxcnn.errors import UserError


def examples(labels) -> ArrayExamples:
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return ArrayExamples(images, np.asarray(labels, np.int32))


MIXED = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [100, 40, 20]))


def test_the_parts_hold_every_example_once_in_order():
    rest, cut = splits.cut(examples(MIXED), 0.25, 0, "validation")
    assert sorted([*rest.indices, *cut.indices]) == list(range(160))
    for part in (rest, cut):
        assert (np.diff(part.indices) > 0).all()
        np.testing.assert_array_equal(part.labels, MIXED[part.indices])


def test_class_counts_are_those_of_scikit_learn():
    rest, cut = splits.cut(examples(MIXED), 0.25, 0, "validation")
    theirs = train_test_split(MIXED, test_size=0.25, stratify=MIXED, random_state=0)
    for part, their_labels in zip((rest, cut), theirs, strict=True):
        np.testing.assert_array_equal(
            np.bincount(part.labels), np.bincount(their_labels)
        )


def test_the_seed_alone_decides():
    first, again, other = (
        splits.cut(examples(MIXED), 0.25, seed, "validation")[1].indices
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_every_class_is_in_both_parts(fraction):
    labels = np.repeat([0, 2, 3], [500, 2, 3])  # class 1 has no examples at all
    for part in splits.cut(examples(labels), fraction, 0, "test"):
        assert set(part.labels) == {0, 2, 3}


def test_without_stratification_no_label_is_read():
    class Unlabelled:
        def __len__(self):
            return 1000

    rest, cut = splits.cut(Unlabelled(), 0.1, 0, "validation", stratify=False)
    assert (len(rest), len(cut)) == (900, 100)
    assert not set(rest.indices) & set(cut.indices)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_outside_0_to_1_is_refused(fraction):
    with pytest.raises(UserError, match=f"the validation split is {fraction}; it must"):
        splits.cut(examples(MIXED), fraction, 0, "validation")


def test_a_class_of_one_is_refused_by_name():
    with pytest.raises(UserError, match="Class 'cat' has 1 examples where the test"):
        splits.cut(examples([0, 0, 1]), 0.5, 0, "test", class_names=["dog", "cat"])


def dataset(labels) -> Dataset:
    parts = {"train": examples(labels), "test": examples([0, 1, 2])}
    return Dataset(("a", "b", "c"), parts, 1, (0.5,), (0.25,), "")


def test_a_few_of_each_class_are_nested_and_in_order():
    whole = dataset(MIXED)
    five, ten, other = (
        splits.few(whole, number, seed).splits["train"]
        for number, seed in ((5, 0), (10, 0), (5, 1))
    )
    assert np.bincount(five.labels).tolist() == [5, 5, 5]
    assert np.bincount(ten.labels).tolist() == [10, 10, 10]
    assert set(five.indices) < set(ten.indices)
    assert (np.diff(ten.indices) > 0).all()
    assert set(other.indices) != set(five.indices)
    assert splits.few(whole, 5, 0).splits["test"] is whole.splits["test"]


@pytest.mark.parametrize(
    ("per_class", "rule"), [(0, "at least 1"), (21, "at most 20, .* 'c', not 21")]
)
def test_more_of_each_class_than_there_are_is_refused(per_class, rule):
    with pytest.raises(UserError, match=f"data.num_per_class must be {rule}"):
        splits.few(dataset(MIXED), per_class, 0)


def test_a_class_without_images_has_no_few():
    with pytest.raises(UserError, match="at most 0, .* 'c'"):
        splits.few(dataset([0, 0, 1, 1]), 1, 0)
