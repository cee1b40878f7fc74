"""Regression against scikit-learn and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn import metrics as sklearn_metrics

from jaxcnn.config import TaskConfig
from jaxcnn.errors import UserError
from jaxcnn.targets import Target
from jaxcnn.tasks import Regression, create_task

TARGETS = {"value": Target("value", "float32", (2,), names=("x", "y"))}


def task_of(values, **options):
    config = TaskConfig(name="regression", **options)
    statistics = Regression.measure(config, TARGETS, {"value": values}.__getitem__)
    return create_task(config, TARGETS, statistics)


def numbers(number=50):
    rng = np.random.default_rng(0)
    true = rng.normal([100.0, -0.01], [20.0, 0.002], (number, 2))
    return true, true + rng.normal(0, [5.0, 0.001], true.shape)


def test_metrics_are_those_of_scikit_learn():
    with jax.enable_x64(True):
        true, predicted = numbers()
        task = task_of(true)
        output = jnp.asarray((predicted - task.mean) / np.asarray(task.std))
        batch = {"value": jnp.asarray(true), "weight": jnp.ones(len(true))}
        sums = task.eval_sums(output, batch)
        records = task.eval_records(output, batch)
        values = task.metrics(
            {name: np.float64(x) for name, x in sums.items()},
            {name: np.asarray(x) for name, x in records.items()},
        )
    for name, function in (
        ("mae", sklearn_metrics.mean_absolute_error),
        ("rmse", sklearn_metrics.root_mean_squared_error),
        ("r2", sklearn_metrics.r2_score),
    ):
        each = function(true, predicted, multioutput="raw_values")
        np.testing.assert_allclose(values[f"{name}_each"], each, rtol=1e-9)
        assert values[name] == pytest.approx(function(true, predicted), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("squared", lambda error: error**2),
        ("absolute", np.abs),
        ("huber", lambda error: np.asarray(optax.huber_loss(error, delta=0.5))),
    ],
)
def test_losses_are_of_errors_in_standard_deviations(name, expected):
    true, predicted = numbers(8)
    task = task_of(true, loss=name, huber_delta=0.5)
    output = (predicted - true.mean(axis=0)) / true.std(axis=0)
    loss = task.loss(jnp.asarray(output), {"value": jnp.asarray(true)})
    error = (predicted - true) / true.std(axis=0)
    np.testing.assert_allclose(loss, expected(error).mean(axis=1), rtol=2e-4)


def test_a_prediction_is_in_the_unit_of_its_target():
    task = Regression(("x", "y"), mean=(100.0, 0.0), std=(20.0, 0.5))
    values = task.predict(jnp.array([[0.0, 1.0], [-1.0, 0.0]]))["values"]
    np.testing.assert_allclose(values, [[100.0, 0.5], [80.0, 0.0]])
    answer = task.answer({"values": np.asarray(values[1])}, 5)
    assert answer == {"values": {"x": 80.0, "y": 0.0}}
    assert task.rows(answer) == [{"x": "80", "y": "0"}]
    assert task.cells(answer) == ["x 80", "y 0"]
    assert task.caption({"value": np.array([1.5, 2.0])}) == "x 1.5, y 2"


def test_a_report_has_a_scatter_plot_for_each_number():
    task = Regression(("x",), mean=(0.0,), std=(1.0,))
    metrics = {"mae_each": [0.5], "rmse_each": [0.6], "r2_each": [0.9]}
    records = {"true": np.array([[1.0], [2.0]]), "predicted": np.array([[1.5], [2.5]])}
    table, scatter = task.report(metrics, records)
    assert table.rows == [("x", "0.5", "0.6", "0.9")]
    assert (scatter.x, scatter.y) == ([1.0, 2.0], [1.5, 2.5])


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            [[1.0, 2.0], [1.0, 3.0]],
            "The number 'x' is the same for all training images",
        ),
        ([[1.0, 2.0], [np.nan, 3.0]], "Example 1 of the train split: its value is nan"),
    ],
)
def test_targets_that_cannot_be_learned_are_refused(values, text):
    with pytest.raises(UserError, match=text):
        task_of(np.array(values))


def test_an_unknown_loss_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="loss 'l3'; known: absolute, huber, squared"):
        task_of(numbers()[0], loss="l3")


@pytest.mark.parametrize(
    "target",
    [Target("value", "float32"), Target("value", "float32", (2,), names=("x",))],
)
def test_a_target_without_a_name_for_each_number_is_refused(target):
    config = TaskConfig(name="regression")
    with pytest.raises(UserError, match="target 'height' has shape"):
        create_task(config, {"height": target}, {})
