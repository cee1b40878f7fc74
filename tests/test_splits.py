"""Cuts against the definition of a stratified split and scikit-learn's."""

from collections import Counter
import hashlib

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from jaxcnn.config import DataConfig
from jaxcnn.data import splits
from jaxcnn.data.examples import (
    ArrayExamples,
    Dataset,
    Subset,
    identities,
    make_dataset,
    names_of,
)
from jaxcnn.data.files import FileExamples
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


def test_of_examples_without_classes_there_are_a_few_in_all():
    whole = dataset(MIXED)
    five, ten = (
        splits.few(whole, None, (), number, 0).splits["train"] for number in (5, 10)
    )
    assert (len(five), len(ten)) == (5, 10)
    assert set(five.indices) < set(ten.indices)
    number = len(whole.splits["train"])
    rule = f"at most {number}, the number of training images, not {number + 1}"
    with pytest.raises(UserError, match=rule):
        splits.few(whole, None, (), number + 1, 0)


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


# By the hash of names.

SHARES = {"test": 0.2, "validation": 0.1}


def named(names, labels) -> ArrayExamples:
    whole = examples(labels)
    return ArrayExamples(whole.images, whole.targets, example_names=list(names))


def split_of(names, labels, seed=0, groups=None, given=None, **fractions):
    """Name -> its split, of examples with names."""
    config = DataConfig(
        split_seed=seed,
        groups=groups,
        **{"test_fraction": 0.2, "validation_fraction": 0.1, **fractions},
    )
    found = splits.complete(
        {"train": named(names, labels), **(given or {})},
        classes([f"class {i}" for i in range(max(labels) + 1)]),
        config,
        stratify_by="label",
        missing=("test", "validation"),
    )
    assert sorted(sum((names_of(part) for part in found.values()), [])) == sorted(
        [
            *names,
            *(name for part in (given or {}).values() for name in part.example_names),
        ]
    )
    return {name: split for split, part in found.items() for name in names_of(part)}


def test_a_split_is_an_interval_of_the_hash_of_the_name():
    names = [f"cat/{i}.jpg" for i in range(500)]
    found = split_of(names, [0] * 500, seed=7)
    for name in names:
        digest = hashlib.blake2b(f"position 7 {name}".encode(), digest_size=8).digest()
        position = int.from_bytes(digest, "big") / 2**64
        expected = "test" if position < 0.2 else "train"
        if 0.2 <= position < 0.2 + 0.8 * 0.1:  # of what the test split leaves
            expected = "validation"
        assert found[name] == expected
    # Binomial: 500 * 0.2 has a standard deviation of 8.9, 500 * 0.08 one of 6.1.
    counts = Counter(found.values())
    assert abs(counts["test"] - 100) < 4 * 8.9
    assert abs(counts["validation"] - 40) < 4 * 6.1
    assert split_of(names, [0] * 500, seed=8) != found


@pytest.mark.parametrize("size", [13, 40, 300])
def test_an_example_that_is_added_moves_no_other(size):
    moved = 0
    for seed in range(40):
        names = [f"{label}/{i}.jpg" for label in "ab" for i in range(size)]
        labels = [0] * size + [1] * size
        before = split_of(names, labels, seed)
        after = split_of(["a/new.jpg", *names], [0, *labels], seed)
        moved += any(before[name] != after[name] for name in names)
        assert not any(
            before[name] == "train" and after[name] == "test" for name in names
        )
    # Where chance leaves a class out of a split: 0.8**13 + 0.92**13 is 0.4.
    assert moved == 0 if size > 100 else moved < 20


def test_no_training_example_of_a_small_class_is_ever_tested():
    rng, chance = np.random.default_rng(0), 0
    for trial in range(300):
        number = int(rng.integers(3, 12))
        names = [f"{trial}/{i}" for i in range(number)]
        keys = splits.hashes([*names, f"{trial}/new"], 0) / 2.0**64
        before = split_of(names, [0] * number)
        after = split_of([*names, f"{trial}/new"], [0] * (number + 1))
        assert set(before.values()) == {"train", "validation", "test"}
        if (keys[:-1] < 0.2).all():
            chance += 1  # the one case that the module names
            continue
        assert not any(before[n] == "train" and after[n] == "test" for n in names)
    assert chance <= 5


def test_a_class_that_chance_leaves_out_of_a_split_is_mended_by_its_hashes():
    def cut(*positions, **fractions):
        keys = (np.array(positions) * 2.0**64).astype(np.uint64)
        found = splits.by_hash(keys, fractions or SHARES)
        return {split: [positions[i] for i in part] for split, part in found.items()}

    # The intervals are [0, 0.2), [0.2, 0.28) and [0.28, 1).
    assert cut(0.9, 0.1, 0.25) == {"test": [0.1], "validation": [0.25], "train": [0.9]}
    assert cut(0.9, 0.5, 0.4) == {"test": [0.4], "validation": [0.5], "train": [0.9]}
    assert cut(0.1, 0.12, 0.9) == {"test": [0.1], "validation": [0.12], "train": [0.9]}
    assert cut(0.1, 0.12, 0.14) == {
        "test": [0.1],
        "validation": [0.12],
        "train": [0.14],
    }
    assert cut(0.21, 0.23, 0.25) == {
        "test": [0.21],
        "validation": [0.23],
        "train": [0.25],
    }
    assert cut(0.1, 0.2, validation=0.5) == {"validation": [0.1], "train": [0.2]}
    with pytest.raises(UserError, match="split has 2 examples; at least 3 are needed"):
        cut(0.1, 0.9)


def test_copies_of_one_array_are_in_the_same_split_and_fold():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 2, 2), np.uint8)
    images, labels = np.concatenate([images, images]), np.arange(120) % 2
    whole = Dataset.from_arrays(images, labels).splits
    contents = {
        split: {image.tobytes() for image in part.images}
        for split, part in whole.items()
    }
    assert len(contents["train"]) + len(contents["validation"]) == 60
    assert not contents["train"] & contents["validation"]
    keys = splits.hashes([image.tobytes().hex() for image in images], 0, "fold")
    folds = splits.folds(keys, 5, strata=labels)
    np.testing.assert_array_equal(folds[:60], folds[60:])


def test_a_class_of_equal_images_is_cut_by_their_order():
    images = np.zeros((40, 2, 2), np.uint8)
    images[20:] = np.arange(80).reshape(20, 2, 2)
    labels = np.arange(40) // 20
    dataset = Dataset.from_arrays(images, labels)
    for part in dataset.splits.values():
        assert set(part.column("label")) == {0, 1}
    (remark,) = dataset.remarks
    assert remark.endswith("validation images are copies of training images.")
    assert splits.apart(["a", "b", "a"], None, 2) == ["a", "b", "a"]
    assert splits.apart(["a", "b", "a"], None, 3) == ["a", "b", "a 1"]


def test_names_of_any_text_are_split():
    names = ["a\udcff.jpg", "\ud800", "", "é", "x" * 10_000]
    assert len(set(splits.hashes(names, 0).tolist())) == 5


# Groups.

SUBJECTS = [f"{'ab'[i % 2]}/subject{i // 4}_{i}.png" for i in range(240)]


def subject(name):
    return name.partition("_")[0].partition("/")[2]


def test_a_group_is_in_one_split_by_pattern_and_by_file(tmp_path):
    labels = [i % 2 for i in range(240)]  # each subject has images of both classes
    found = split_of(SUBJECTS, labels, groups="(subject[0-9]+)_")
    by_group = {}
    for name, split in found.items():
        by_group.setdefault(subject(name), set()).add(split)
    assert len(by_group) == 60
    assert {len(inside) for inside in by_group.values()} == {1}
    assert set(found.values()) == {"train", "validation", "test"}
    lines = [f"{name},{subject(name)}" for name in SUBJECTS]
    (tmp_path / "groups.csv").write_text("\n".join(["name,group", *lines]))
    assert split_of(SUBJECTS, labels, groups=f"{tmp_path}/groups.csv") == found


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        ("subject[0-9]+", "one group, such as .*, not 'subject"),
        ("(subject", "with one group.*missing \\)"),
        (
            "(person[0-9]+)",
            "gives no group for the example 'a/subject0_0.png'; it must",
        ),
        ("none.csv", "There is no file 'none.csv' of data.groups"),
        ("{}/short.csv", "short.csv has no line for the example 'b/subject0_1.png'"),
        ("{}/long.csv", "long.csv names 'a/other.png', which is no example of the"),
        ("{}/twice.csv", "line 2: 'a/subject0_0.png' is in the groups 'x' and 'y'"),
        ("{}/wide.csv", "line 1: it must be name,group, not .'a', 'b', 'c'."),
    ],
)
def test_groups_that_do_not_fit_are_one_line(tmp_path, groups, text):
    every = "".join(f"{name},g\n" for name in SUBJECTS)
    (tmp_path / "short.csv").write_text(f"{SUBJECTS[0]},x\n")
    (tmp_path / "long.csv").write_text(f"{every}a/other.png,g\n")
    (tmp_path / "twice.csv").write_text(f"{SUBJECTS[0]},x\n{SUBJECTS[0]},y\n")
    (tmp_path / "wide.csv").write_text("a,b,c\n")
    with pytest.raises(UserError, match=text) as caught:
        split_of(SUBJECTS, [i % 2 for i in range(240)], groups=groups.format(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_group_in_two_given_splits_and_examples_without_names_are_refused():
    labels = [i % 2 for i in range(240)]
    test = named(["a/subject3_900.png"], [0])
    with pytest.raises(UserError, match="'subject3' .* in the train and the test spl"):
        split_of(SUBJECTS, labels, groups="(subject[0-9]+)_", given={"test": test})
    with pytest.raises(UserError, match="but the examples have no names"):
        splits.complete(
            {"train": examples(labels)},
            classes("ab"),
            DataConfig(groups="(x)"),
            stratify_by="label",
        )
    few_groups = [f"subject{i % 2}_{i}" for i in range(240)]
    with pytest.raises(UserError, match="120 examples in 1 group; at least 3 are"):
        split_of(few_groups, labels, groups="(subject[0-9]+)_")


# Folds and a few of each class.


def test_folds_are_blocks_of_hashes_and_one_more_moves_few():
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 2**63, 103).astype(np.uint64)
    strata = np.repeat([0, 1], [70, 33])
    found = splits.folds(keys, 5, strata=strata)
    for stratum in (0, 1):
        counts = np.bincount(found[strata == stratum], minlength=5)
        assert counts.max() - counts.min() <= 1
    more = splits.folds(np.append(keys, np.uint64(5)), 5, strata=np.append(strata, 0))
    assert (more[:-1] != found).sum() <= 4  # one over each border of its class
    assert np.bincount(found).max() - np.bincount(found).min() <= 2


def test_groups_are_in_one_fold_and_few_groups_are_refused():
    keys = np.repeat(np.arange(20, dtype=np.uint64) * np.uint64(977), 6)
    strata = np.arange(120) // 60
    found = splits.folds(keys, 5, strata=strata)
    assert all(len(set(found[keys == key])) == 1 for key in keys)
    assert np.bincount(found).tolist() == [24] * 5
    with pytest.raises(
        UserError, match="'a' has 60 images .* split in 10 groups; 11 folds need"
    ):
        splits.folds(keys, 11, strata=strata, names="ab")
    with pytest.raises(UserError, match="folds must be at most 20; there are 120"):
        splits.folds(keys, 21)


def test_groups_with_examples_of_all_classes_are_spread_over_the_folds():
    keys = np.repeat(np.arange(12, dtype=np.uint64) * np.uint64(977), 4)
    strata = np.tile([0, 1, 1, 0], 12)  # as many of each in every group
    found = splits.folds(keys, 4, strata=strata)
    assert all(len(set(found[keys == key])) == 1 for key in keys)
    for stratum in (0, 1):
        assert np.bincount(found[strata == stratum]).tolist() == [6] * 4
    # Class 0 is the commonest of four groups and class 1 of one.
    strata = np.tile([0, 0, 1, 0, 1, 1], 5)[:20]
    found = splits.folds(keys[:20], 5, strata=strata)
    assert np.bincount(found).tolist() == [4] * 5
    with pytest.raises(UserError, match="'b' has 3 images .*; 4 folds need"):
        splits.folds(
            keys, 4, strata=np.isin(np.arange(48), [0, 4, 8]).astype(int), names="ab"
        )


def test_a_class_that_is_in_one_fold_alone_is_refused():
    keys = np.arange(20, dtype=np.uint64)
    strata = np.zeros(60, int)
    strata[[0, 3]] = 1  # in the first two of 20 groups, where 0 is commonest
    with pytest.raises(UserError, match="All images of 'b' are held out in the same"):
        splits.folds(np.repeat(keys, 3), 2, strata=strata, names="ab")


def test_a_few_by_name_are_nested_and_one_more_replaces_at_most_one():
    names = [f"{label}/{i}" for label in "ab" for i in range(50)]
    strata = np.repeat([0, 1], 50)

    def few_names(names, strata, number):
        found = splits.few_indices(np.asarray(strata), "ab", number, 0, names)
        assert (np.diff(found) > 0).all()
        return {names[i] for i in found}

    ten = few_names(names, strata, 10)
    assert few_names(names, strata, 5) < ten
    assert Counter(name[0] for name in ten) == {"a": 10, "b": 10}
    for i in range(30):
        more = few_names([*names, f"a/new{i}"], [*strata, 0], 10)
        assert len(ten - more) <= 1


def test_identities_are_of_name_and_size_and_follow_a_subset():
    whole = named(["a", "b", "c"], [0, 0, 1])
    found = identities(whole)
    assert len(set(found.tolist())) == 3
    chosen = Subset(whole, np.array([2, 0]))
    np.testing.assert_array_equal(identities(chosen), found[[2, 0]])
    assert names_of(chosen) == ["c", "a"]
    assert identities(examples([0, 1])) is None
    first, same, other = (
        identities(FileExamples([f"{root}/a.jpg"], {}, 3, ["a.jpg"], np.array([size])))
        for root, size in (("x", 9), ("moved", 9), ("x", 10))
    )
    assert first == same != other
