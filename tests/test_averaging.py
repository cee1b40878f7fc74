"""Averages of the parameters against PyTorch's rule and NumPy's mean."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.config import AverageConfig
from jaxcnn.errors import UserError
from jaxcnn.training import averaging


def run(config, values, steps_per_epoch=2.0, start=0.0):
    """The average after each step, of one parameter that takes these values."""
    average = averaging.make_average(config, len(values), steps_per_epoch)
    tree = lambda x: {"params": {"x": jnp.asarray(x)}, "batch_stats": {}}  # noqa: E731
    now, found = tree(start), []
    for step, value in enumerate(values, start=1):
        now = average(now, tree(value), jnp.int32(step))
        found.append(float(now["params"]["x"]))
    return found


def test_the_exponential_average_is_its_formula():
    values = np.random.default_rng(0).normal(size=30).astype(np.float32)
    found = run(AverageConfig(name="ema", decay=0.6), values)
    expected = 0.0
    for step, value in enumerate(values, start=1):
        decay = min(0.6, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert found[step - 1] == pytest.approx(expected, abs=1e-5)


def test_the_stochastic_average_is_the_mean_at_the_ends_of_epochs():
    values = np.arange(10.0) ** 2
    found = run(AverageConfig(name="swa", start_epoch=2.0), values)
    # Two steps an epoch: the ends of epochs 2, 3, 4 and 5 are steps 4, 6, 8 and 10.
    assert found[:4] == pytest.approx(values[:4])
    assert found[5] == found[6] == pytest.approx(values[[3, 5]].mean())
    assert found[9] == pytest.approx(values[[3, 5, 7, 9]].mean())


@pytest.mark.parametrize(
    ("num_steps", "steps_per_epoch", "start", "due"),
    [
        (3, 1.0, 0.0, [1, 2, 3]),
        (38, 12.6, 0.0, [13, 26, 38]),  # three epochs, of which the last ends at 37.8
        (150, 1.5, 0.0, [math.ceil(1.5 * k) for k in range(1, 101)]),
        (37, 12.4, 1.0, [13, 25, 37]),  # the last of three epochs ends at 37.2
        (9, 2.0, 1.5, [3, 5, 7, 9]),
        (4, 0.5, 0.0, [1, 2, 3, 4]),
    ],
)
def test_each_epoch_counts_once_and_the_random_start_never(
    num_steps, steps_per_epoch, start, due
):
    values = np.random.default_rng(0).normal(size=num_steps + 1).cumsum()
    values[0] = 1000.0  # the start
    config = AverageConfig(name="swa", start_epoch=start)
    found = run(config, values[1:], steps_per_epoch, start=values[0])
    # The rule of PyTorch's AveragedModel, which copies the first parameters that it is
    # given: average + (parameters - average) / (number of averaged ones + 1).
    average = 0.0
    for number, step in enumerate(due):
        average += (values[step] - average) / (number + 1)
        assert found[step - 1] == pytest.approx(average, rel=1e-5), step
    assert found[-1] == pytest.approx(values[due].mean(), rel=1e-5)
    assert found[: due[0]] == pytest.approx(values[1 : due[0] + 1], rel=1e-5)


def test_starts_and_ends_by_hand():
    found = run(AverageConfig(name="swa"), [1.0, 2.0, 3.0], 1.0, start=1000.0)
    assert found == pytest.approx([1.0, 1.5, 2.0])


def test_a_run_may_keep_none():
    assert averaging.make_average(AverageConfig(), 10, 2.0) is None


def test_pooled_statistics_are_those_of_all_values():
    rng = np.random.default_rng(0)
    values = rng.normal(rng.normal(size=(3, 1, 4)), 2.0, (3, 16, 4))  # three batches
    batches = [
        {"stem": {"norm": {"mean": v.mean(axis=0), "var": v.var(axis=0)}}}
        for v in values
    ]
    old = {"stem": {"norm": {"mean": 0, "var": 0}}, "hmax": {"patches": jnp.ones(2)}}
    found = averaging.pooled_statistics(batches, old)
    flat = values.reshape(-1, 4)
    np.testing.assert_allclose(found["stem"]["norm"]["mean"], flat.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found["stem"]["norm"]["var"], flat.var(0), rtol=1e-5)
    assert jax.tree.leaves(found["hmax"])[0].sum() == 2


@pytest.mark.parametrize(
    ("choices", "text"),
    [
        ({"name": "EMA"}, "Unknown average 'EMA'; known: ema, none, swa"),
        ({"name": "swa", "start_epoch": 5.0}, "must be before the end of the run"),
    ],
)
def test_a_choice_that_is_not_allowed_is_refused(choices, text):
    with pytest.raises(UserError, match=text):
        averaging.make_average(AverageConfig(**choices), 10, 2.0)
