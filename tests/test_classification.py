"""The classification task against scikit-learn, and cases computed by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from sklearn import metrics
from sklearn.utils.class_weight import compute_class_weight

from jaxcnn.config import TaskConfig
from jaxcnn.errors import UserError
from jaxcnn.tasks import METRICS, TASKS, Classification

NAMES = [f"class{i}" for i in range(7)]


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
    task = TASKS["classification"].create(TaskConfig(label_smoothing=0.1), NAMES)
    sums = jax.jit(task.eval_sums)(logits, {"label": label, "weight": weight})
    found = task.metrics(sums)

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
    eval_sums = jax.jit(Classification(7).eval_sums)
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
    sums = Classification(7).eval_sums(jnp.zeros((7, 7)), batch)
    assert sums["top5"] == 5
    np.testing.assert_array_equal(sums["confusion"], np.tile(np.eye(7)[0], (7, 1)))


def test_five_classes_have_no_top5_accuracy():
    logits, label, weight = examples(num_classes=5)
    task = Classification(5)
    found = task.metrics(task.eval_sums(logits, {"label": label, "weight": weight}))
    assert "top5_accuracy" not in found


def test_each_metric_to_choose_by_says_what_is_best():
    task = Classification(7)
    for name, metric in METRICS.items():
        task.check_metric(name)
        assert metric.name == name
        assert metric.greater_is_better == (name != "loss")


def test_the_loss_is_the_cross_entropy_of_smoothed_labels():
    # By hand, two classes, logits (ln 3, 0): p = (3/4, 1/4). Label 0 smoothed by 0.2
    # is (0.9, 0.1), Szegedy et al. 2016, eq. 6: -(0.9 ln 3/4 + 0.1 ln 1/4).
    task = Classification.create(TaskConfig(label_smoothing=0.2), ["a", "b"])
    loss = task.loss(jnp.log(jnp.array([[3.0, 1.0]])), {"label": jnp.array([0])})
    np.testing.assert_allclose(
        loss, [-(0.9 * np.log(0.75) + 0.1 * np.log(0.25))], rtol=1e-6
    )


def test_balanced_weights_are_those_of_scikit_learn():
    _, label, _ = examples(num_classes=10)
    config = TaskConfig(class_weights="balanced")
    task = Classification.create(config, list("abcdefghij"), np.bincount(label))
    expected = compute_class_weight("balanced", classes=np.arange(10), y=label)
    np.testing.assert_allclose(task.class_weights, expected, rtol=1e-12)
    assert np.mean(np.array(task.class_weights)[label]) == pytest.approx(1.0)


def test_the_weighted_loss_is_that_of_scikit_learn():
    logits, label, _ = examples(num_classes=10)
    config = TaskConfig(class_weights="balanced")
    task = Classification.create(config, list("abcdefghij"), np.bincount(label))
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
    loss = Classification(4, label_smoothing=0.1).loss(logits, batch)
    one_hot = np.eye(4)
    target = (1 - share)[:, None] * one_hot[label] + share[:, None] * one_hot[other]
    target = 0.9 * target + 0.1 / 4
    expected = -np.sum(target * special.log_softmax(logits, axis=1), axis=1)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    # The accuracy asks for the class of the larger part.
    accuracy = Classification(4).train_metrics(logits, batch)["accuracy"]
    assert accuracy == pytest.approx(np.mean(logits.argmax(axis=1) == label))


def test_the_classes_of_a_mixture_have_weights_of_their_own():
    # Equal logits of 2 classes: the cross entropy of either is ln 2.
    task = Classification(2, class_weights=(1.0, 3.0))
    batch = {"label": [0], "other": {"label": [1]}, "other_share": [0.25]}
    batch = jax.tree.map(jnp.array, batch, is_leaf=lambda x: isinstance(x, list))
    loss = task.loss(jnp.zeros((1, 2)), batch)
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
        task = Classification(7, class_weights=(1.0,) * 7)
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
    found = Classification(2).train_metrics(logits, {"label": label})
    assert found["accuracy"] == np.float32(2 / 3)


@pytest.mark.parametrize(
    ("choices", "counts", "text"),
    [
        ({"label_smoothing": 1.0}, None, r"label_smoothing must be in \[0, 1\), not 1"),
        ({"label_smoothing": -0.1}, None, "label_smoothing must be in"),
        (
            {"class_weights": "balance"},
            None,
            "Unknown class weights 'balance'; nearest: balanced; known: balanced, no",
        ),
        (
            {"class_weights": "balanced"},
            [1, 2, 0, 1, 1, 1, 0],
            "needs a training example of each class; there is none of class2, class6.",
        ),
        ({"class_weights": "balanced"}, None, "must be 'none' where no training"),
    ],
)
def test_a_choice_that_is_not_allowed_is_refused(choices, counts, text):
    with pytest.raises(UserError, match=text):
        Classification.create(TaskConfig(**choices), NAMES, counts)


@pytest.mark.parametrize(
    ("name", "num_classes", "text"),
    [
        (
            "acuracy",
            7,
            "Unknown metric of 7 classes 'acuracy'; nearest: accuracy; known",
        ),
        ("top5_accuracy", 5, "metric of 5 classes 'top5_accuracy'; nearest: accuracy"),
    ],
)
def test_a_metric_that_does_not_exist_is_refused(name, num_classes, text):
    with pytest.raises(UserError, match=text):
        Classification(num_classes).check_metric(name)
