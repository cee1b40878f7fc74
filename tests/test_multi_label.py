"""Multi-label classification against scikit-learn and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from sklearn import metrics as sklearn_metrics

from jaxcnn.config import TaskConfig
from jaxcnn.errors import UserError
from jaxcnn.targets import Target
from jaxcnn.tasks import MultiLabel, create_task

NAMES = ("disc", "ring", "square", "nothing")
TASK = MultiLabel(NAMES)


def example(number=60, seed=0):
    """Logits that know something of labels; the last class never occurs."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((number, 4)) < 0.4).astype(np.uint8)
    labels[:, 3] = 0
    logits = labels * 1.5 + rng.normal(size=labels.shape) - 0.7
    logits[::7] = np.round(logits[::7])  # some are equal
    return logits, labels


def measured(logits, labels, task=TASK):
    batch = {"labels": jnp.asarray(labels), "weight": jnp.ones(len(labels))}
    sums = task.eval_sums(jnp.asarray(logits), batch)
    records = task.eval_records(jnp.asarray(logits), batch)
    records = {name: np.asarray(x) for name, x in records.items()}
    return task.metrics({name: np.float64(x) for name, x in sums.items()}, records)


def test_metrics_are_those_of_scikit_learn():
    with jax.enable_x64(True):
        logits, labels = example()
        values = measured(logits, labels)
    scores = scipy.special.expit(logits)
    predicted = scores >= 0.5
    for k in range(3):
        np.testing.assert_allclose(
            values["average_precision"][k],
            sklearn_metrics.average_precision_score(labels[:, k], scores[:, k]),
            rtol=1e-12,
        )
    precision, recall, f1, support = sklearn_metrics.precision_recall_fscore_support(
        labels, predicted, average=None, zero_division=0
    )
    np.testing.assert_allclose(values["precision"], precision)
    np.testing.assert_allclose(values["recall"], recall)
    np.testing.assert_allclose(values["f1"], f1)
    np.testing.assert_array_equal(values["support"], support)
    for name in ("macro", "micro"):
        expected = sklearn_metrics.f1_score(
            labels, predicted, average=name, zero_division=0
        )
        assert values[f"{name}_f1"] == pytest.approx(expected)
    exact = sklearn_metrics.accuracy_score(labels, predicted)
    assert values["exact_match"] == pytest.approx(exact)
    losses = [
        sklearn_metrics.log_loss(labels[:, k], scores[:, k], labels=[0, 1])
        for k in range(4)
    ]
    assert values["loss"] == pytest.approx(np.mean(losses), rel=1e-6)


def test_the_mean_average_precision_is_over_the_classes_that_occur():
    logits, labels = example()
    values = measured(logits, labels)
    assert values["average_precision"][3] is None
    expected = np.mean(values["average_precision"][:3])
    assert values["mean_average_precision"] == pytest.approx(expected)


def test_average_precision_of_a_case_by_hand():
    # Ranked: yes, no, yes. Precision 1 at recall 1/2, 2/3 at recall 1.
    values = measured(
        np.array([[3.0, 0, 0, 0], [2.0, 0, 0, 0], [1.0, 0, 0, 0]]),
        np.array([[1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]),
    )
    assert values["average_precision"][0] == pytest.approx(1 / 2 + 1 / 3)


def test_padding_counts_for_nothing_in_the_loss():
    logits, labels = example(6)
    batch = {
        "labels": jnp.asarray(labels),
        "weight": jnp.asarray([1.0] * 4 + [0.0] * 2),
    }
    part = {"labels": jnp.asarray(labels[:4]), "weight": jnp.ones(4)}
    whole = TASK.eval_sums(jnp.asarray(logits), batch)["loss"]
    assert whole == pytest.approx(TASK.eval_sums(jnp.asarray(logits[:4]), part)["loss"])


def test_an_answer_has_the_most_likely_classes_first():
    predicted = {"probabilities": np.array([0.1, 0.9, 0.5, 0.3])}
    answer = TASK.answer(predicted, 2)
    assert answer == {
        "classes": [
            {"class": "ring", "probability": 0.9, "predicted": True},
            {"class": "square", "probability": 0.5, "predicted": True},
        ]
    }
    assert TASK.cells(answer) == ["+ ring 0.9000", "+ square 0.5000"]
    assert TASK.rows(answer)[0]["probability"] == "0.900000"
    assert TASK.spread(predicted)["P(disc)"] == "0.100000"


def test_groups_and_captions_are_those_of_the_labels():
    labels = np.array([[1, 0, 1, 0], [0, 0, 0, 0]])
    groups = TASK.groups({"labels": labels}.__getitem__)
    assert {name: who.tolist() for name, who in groups.items()} == {
        "disc": [True, False],
        "ring": [False, False],
        "square": [True, False],
        "nothing": [False, False],
    }
    captions = [TASK.caption({"labels": row}) for row in labels]
    assert captions == ["disc, square", "no class"]


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"label_smoothing": 0.1}, "task.label_smoothing must be 0.0 for task"),
    ],
)
def test_options_that_are_not_allowed_are_refused(config, text):
    targets = {"labels": Target("labels", "uint8", (2,), names=("a", "b"))}
    with pytest.raises(UserError, match=text):
        create_task(TaskConfig(name="multi_label", **config), targets, {})


def test_a_data_set_of_single_labels_is_refused():
    targets = {"label": Target("label", "int32", names=("a", "b"))}
    with pytest.raises(UserError, match="needs one target of kind 'labels'; the data "):
        create_task(TaskConfig(name="multi_label"), targets, {})
