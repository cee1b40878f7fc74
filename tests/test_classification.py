"""The classification task against scikit-learn, and cases computed by hand."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from sklearn import metrics, preprocessing
from sklearn.utils.class_weight import compute_class_weight

from jaxcnn.config import TaskConfig
from jaxcnn.errors import UserError
from jaxcnn.targets import Target, classes
from jaxcnn.tasks import Classification
from jaxcnn.tasks.parts import Matrix, Table
from jaxcnn.training import step

NAMES = tuple(f"class{i}" for i in range(7))


def of(num_classes, **options) -> Classification:
    return Classification(tuple(map(str, range(num_classes))), **options)


def created(config, names, labels=None) -> Classification:
    """The task for a data set, with what it measures of the training labels."""
    targets, statistics = classes(names), {}
    if labels is not None:
        column = {"label": np.asarray(labels)}.__getitem__
        statistics = Classification.measure(config, targets, column)
    return Classification.create(config, targets, statistics)


def examples(num_classes=7, count=200, padding=6):
    """Logits, labels and weights: class 5 is never true, class 6 never predicted."""
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(count + padding, num_classes))
    label = generator.integers(0, num_classes, count + padding)
    if num_classes == 7:
        label[label == 5] = 4
        logits[:, 6] -= 10
    logits[np.arange(count), label[:count]] += 1.0
    weight = np.concatenate([np.ones(count), np.zeros(padding)])
    return logits.astype(np.float32), label.astype(np.int32), weight.astype(np.float32)


def test_metrics_are_those_of_scikit_learn():
    logits, label, weight = examples()
    task = created(TaskConfig(label_smoothing=0.1), NAMES)
    sums = jax.jit(task.eval_sums)(logits, {"label": label, "weight": weight})
    found = task.metrics(sums, {})

    logits, label, labels = logits[weight > 0], label[weight > 0], np.arange(7)
    probabilities = special.softmax(logits.astype(np.float64), axis=1)
    predicted = logits.argmax(axis=1)
    expected = {
        "loss": metrics.log_loss(label, probabilities, labels=labels),
        "accuracy": metrics.accuracy_score(label, predicted),
        "top5_accuracy": metrics.top_k_accuracy_score(
            label, logits, k=5, labels=labels
        ),
        "macro_f1": metrics.f1_score(
            label, predicted, average="macro", labels=labels, zero_division=0
        ),
    }
    report = metrics.classification_report(
        label, predicted, labels=labels, output_dict=True, zero_division=0
    )
    theirs = {"precision": "precision", "recall": "recall", "f1": "f1-score"}
    for name in (*theirs, "support"):
        expected[name] = [report[str(i)][theirs.get(name, name)] for i in labels]
    expected["confusion"] = metrics.confusion_matrix(label, predicted, labels=labels)
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, err_msg=name)


def test_sums_add_up_over_batches():
    logits, label, weight = examples()
    eval_sums = jax.jit(of(7).eval_sums)
    whole = eval_sums(logits, {"label": label, "weight": weight})
    parts = [
        eval_sums(logits[rows], {"label": label[rows], "weight": weight[rows]})
        for rows in (slice(0, 51), slice(51, None))
    ]
    for name in ("top5", "confusion"):
        np.testing.assert_array_equal(whole[name], sum(part[name] for part in parts))
    np.testing.assert_allclose(whole["loss"], sum(p["loss"] for p in parts), rtol=1e-6)


def test_of_equal_logits_the_lower_class_comes_first():
    # All equal: class 0 is predicted, and classes 0 to 4 are the first five.
    label = np.arange(7)
    batch = {"label": label, "weight": np.ones(7, np.float32)}
    sums = of(7).eval_sums(jnp.zeros((7, 7)), batch)
    assert sums["top5"] == 5
    np.testing.assert_array_equal(sums["confusion"], np.tile(np.eye(7)[0], (7, 1)))


def test_five_classes_have_no_top5_accuracy():
    logits, label, weight = examples(num_classes=5)
    task = of(5)
    found = task.metrics(task.eval_sums(logits, {"label": label, "weight": weight}), {})
    assert "top5_accuracy" not in found


def test_each_metric_to_choose_by_says_what_is_best():
    task = of(7)
    assert task.metric(None).name == "accuracy"
    for name in Classification.METRICS:
        metric = task.metric(name)
        assert metric.name == name
        assert metric.greater_is_better == (name != "loss")


def test_the_loss_is_the_cross_entropy_of_smoothed_labels():
    # By hand, two classes, logits (ln 3, 0): p = (3/4, 1/4). Label 0 smoothed by 0.2
    # is (0.9, 0.1), Szegedy et al. 2016, eq. 6: -(0.9 ln 3/4 + 0.1 ln 1/4).
    task = created(TaskConfig(label_smoothing=0.2), "ab")
    loss = task.loss(jnp.log(jnp.array([[3.0, 1.0]])), {"label": jnp.array([0])})
    np.testing.assert_allclose(
        loss, [-(0.9 * np.log(0.75) + 0.1 * np.log(0.25))], rtol=1e-6
    )


def test_balanced_weights_are_those_of_scikit_learn():
    _, label, _ = examples(num_classes=10)
    config = TaskConfig(class_weights="balanced")
    task = created(config, "abcdefghij", label)
    expected = compute_class_weight("balanced", classes=np.arange(10), y=label)
    np.testing.assert_allclose(task.class_weights, expected, rtol=1e-12)
    assert np.mean(np.array(task.class_weights)[label]) == pytest.approx(1.0)


def test_the_weighted_loss_is_that_of_scikit_learn():
    logits, label, _ = examples(num_classes=10)
    config = TaskConfig(class_weights="balanced")
    task = created(config, "abcdefghij", label)
    loss = task.loss(logits, {"label": label})
    weights = compute_class_weight("balanced", classes=np.arange(10), y=label)[label]
    probabilities = special.softmax(logits.astype(np.float64), axis=1)
    expected = metrics.log_loss(
        label, probabilities, sample_weight=weights, normalize=False
    )
    np.testing.assert_allclose(np.sum(loss), expected, rtol=1e-5)


def test_the_loss_of_a_mixture_is_the_cross_entropy_of_its_smoothed_target():
    # PyTorch's CrossEntropyLoss(label_smoothing=e) for a target t of probabilities:
    # that of (1 - e) t + e / K.
    logits, label, _ = examples(num_classes=4, count=20, padding=0)
    rng = np.random.default_rng(1)
    other, share = rng.integers(0, 4, 20), rng.uniform(0, 0.5, 20)
    batch = {"label": label, "other": {"label": other}, "other_share": share}
    loss = step.example_losses(of(4, label_smoothing=0.1), logits, batch)
    one_hot = np.eye(4)
    target = (1 - share)[:, None] * one_hot[label] + share[:, None] * one_hot[other]
    target = 0.9 * target + 0.1 / 4
    expected = -np.sum(target * special.log_softmax(logits, axis=1), axis=1)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    # The accuracy asks for the class of the larger part.
    accuracy = of(4).train_metrics(logits, batch)["accuracy"]
    assert accuracy == pytest.approx(np.mean(logits.argmax(axis=1) == label))


def test_the_classes_of_a_mixture_have_weights_of_their_own():
    # Equal logits of 2 classes: the cross entropy of either is ln 2.
    task = of(2, class_weights=(1.0, 3.0))
    batch = {"label": [0], "other": {"label": [1]}, "other_share": [0.25]}
    batch = jax.tree.map(jnp.array, batch, is_leaf=lambda x: isinstance(x, list))
    loss = step.example_losses(task, jnp.zeros((1, 2)), batch)
    np.testing.assert_allclose(loss, (0.75 * 1 + 0.25 * 3) * np.log(2), rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "expected"), [("bfloat16", "float32"), ("float64", "float64")]
)
def test_losses_and_sums_are_in_the_wider_of_float32_and_the_logits_dtype(
    given, expected
):
    with jax.enable_x64(True):
        logits = jnp.ones((2, 7), given)
        batch = {"label": jnp.array([0, 1]), "weight": jnp.ones(2, jnp.float32)}
        task = of(7, class_weights=(1.0,) * 7)
        for value in (
            jax.eval_shape(task.loss, logits, batch),
            *jax.eval_shape(task.eval_sums, logits, batch).values(),
        ):
            assert value.dtype == expected


def test_the_accuracy_of_a_batch_is_the_part_that_is_right():
    logits, label = (
        jnp.array([[0.0, 1.0], [2.0, 1.0], [0.0, 3.0]]),
        jnp.array([1, 1, 1]),
    )
    found = of(2).train_metrics(logits, {"label": label})
    assert found["accuracy"] == np.float32(2 / 3)


@pytest.mark.parametrize(
    ("choices", "labels", "text"),
    [
        (
            {"class_weights": "balance"},
            None,
            "Unknown class weights 'balance'; nearest: balanced; known: balanced, no",
        ),
        (
            {"class_weights": "balanced"},
            [0, 1, 1, 3, 4, 5],
            "needs a training example of each class; there is none of class2, class6.",
        ),
        ({"class_weights": "balanced"}, None, "must be 'none' where no training"),
    ],
)
def test_a_choice_that_is_not_allowed_is_refused(choices, labels, text):
    with pytest.raises(UserError, match=text):
        created(TaskConfig(**choices), NAMES, labels)


@pytest.mark.parametrize(
    ("name", "num_classes", "text"),
    [
        (
            "acuracy",
            7,
            "Unknown metric 'acuracy'; nearest: accuracy; known",
        ),
        ("top5_accuracy", 5, "metric of 5 classes 'top5_accuracy'; nearest: accuracy"),
    ],
)
def test_a_metric_that_does_not_exist_is_refused(name, num_classes, text):
    with pytest.raises(UserError, match=text):
        of(num_classes).metric(name)


def test_a_prediction_is_the_softmax_and_its_largest_class():
    logits, _, _ = examples()
    found = jax.jit(of(7).predict)(logits)
    expected = special.softmax(logits.astype(np.float64), axis=1)
    np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-5)
    np.testing.assert_array_equal(found["class"], logits.argmax(axis=1))


PETS = Classification(("cat", "dog", "owl", "pig"))
PREDICTED = {
    "class": np.array(1),
    "probabilities": np.array([0.125, 0.375, 0.375, 0.125], np.float32),
}
ANSWER = {
    "classes": [
        {"class": "dog", "probability": 0.375},
        {"class": "owl", "probability": 0.375},
        {"class": "cat", "probability": 0.125},
    ]
}


def test_an_answer_lists_the_likeliest_classes_of_equal_ones_the_lower_first():
    assert PETS.answer(PREDICTED, 3) == ANSWER
    assert len(PETS.answer(PREDICTED, 9)["classes"]) == 4
    assert json.loads(json.dumps(PETS.answer(PREDICTED, 3))) == ANSWER


def test_an_answer_is_a_row_of_csv_and_a_cell_of_a_table_for_each_class():
    assert PETS.rows(ANSWER) == [
        {"rank": 1, "class": "dog", "probability": "0.375000"},
        {"rank": 2, "class": "owl", "probability": "0.375000"},
        {"rank": 3, "class": "cat", "probability": "0.125000"},
    ]
    assert PETS.cells(ANSWER) == ["dog 0.3750", "owl 0.3750", "cat 0.1250"]


def test_a_spread_has_a_column_for_each_class_in_their_order():
    columns = PETS.spread(PREDICTED)
    assert list(columns.items()) == [
        ("prediction", "dog"),
        ("P(cat)", "0.125000"),
        ("P(dog)", "0.375000"),
        ("P(owl)", "0.375000"),
        ("P(pig)", "0.125000"),
    ]


def test_the_report_has_a_row_for_each_class_and_the_confusion_matrix():
    # By hand: cat is right once of 2, dog both times; an owl is called a dog.
    logits = np.eye(4, dtype=np.float32)[[0, 1, 1, 1, 1]]
    batch = {"label": np.array([0, 0, 1, 1, 2]), "weight": np.ones(5, np.float32)}
    table, matrix = PETS.report(PETS.metrics(PETS.eval_sums(logits, batch), {}), {})
    assert isinstance(table, Table)
    assert isinstance(matrix, Matrix)
    assert table.header == ("class", "precision", "recall", "f1", "images")
    assert table.rows == [
        ("cat", "1.0000", "0.5000", "0.6667", "2"),
        ("dog", "0.5000", "1.0000", "0.6667", "2"),
        ("owl", "0.0000", "0.0000", "0.0000", "1"),
        ("pig", "0.0000", "0.0000", "0.0000", "0"),
    ]
    assert matrix.names == PETS.class_names
    assert matrix.counts == [[1, 1, 0, 0], [0, 2, 0, 0], [0, 1, 0, 0], [0] * 4]


def column(values, name="label"):
    return {name: np.array(values, np.int32)}.__getitem__


def test_groups_and_strata_are_the_classes():
    labels = [3, 0, 0, 1]
    groups = PETS.groups(column(labels))
    assert tuple(groups) == PETS.strata_names == PETS.class_names
    expected = preprocessing.label_binarize(labels, classes=range(4))
    np.testing.assert_array_equal(np.stack([*groups.values()], axis=1), expected)
    assert PETS.strata(column(labels)).tolist() == labels


def test_a_caption_is_the_name_of_the_class_or_the_number_of_none():
    assert [PETS.caption({"label": i}) for i in (2, 4, -1)] == ["owl", "4", "-1"]


def test_classes_are_counted_where_they_are_weighted_alone():
    def unread(name):
        raise AssertionError(f"{name} was read")

    targets = classes(PETS.class_names)
    assert Classification.measure(TaskConfig(), targets, unread) == {}
    config = TaskConfig(class_weights="balanced")
    measured = Classification.measure(config, targets, column([2, 0, 2]))
    assert json.loads(json.dumps(measured)) == {"counts": [1, 0, 2, 0]}
    text = "Example 1 of the train split: label 4 is out of range; with 4 classes"
    with pytest.raises(UserError, match=text):
        Classification.measure(config, targets, column([2, 4]))


def test_the_target_is_the_only_label_or_the_one_that_is_named():
    depth = {"depth": Target("image", "float32", (1,))}
    two = {"kind": classes("ab")["label"], "colour": classes("xyz")["label"], **depth}
    task = Classification.create(TaskConfig(target="colour"), two, {})
    assert (task.target, task.outputs) == ("colour", {"num_classes": 3})
    assert task.targets == {"colour": two["colour"]}
    batch = {"colour": jnp.array([2]), "kind": jnp.array([0])}
    assert task.train_metrics(jnp.eye(3)[2:], batch)["accuracy"] == 1
    assert created(TaskConfig(), "ab").target == "label"
    text = r"needs one target of kind 'label'; the data set has kind \(label\), colour"
    with pytest.raises(UserError, match=text):
        Classification.create(TaskConfig(), two, {})
    with pytest.raises(UserError, match=r"set has depth \(image\)\. task.target"):
        Classification.create(TaskConfig(), depth, {})
    with pytest.raises(UserError, match="task.target must be in .*, not 'depth'"):
        Classification.create(TaskConfig(target="depth"), two, {})
