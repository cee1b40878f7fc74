"""Learning rates against closed forms and values computed by hand."""

import jax
import numpy as np
import pytest

from jaxcnn.config import Config, OptimConfig
from jaxcnn.errors import UserError
from jaxcnn.optim import SCHEDULES, make_schedule, scaled, schedules
from jaxcnn.training import prepare

STEPS = np.arange(100)
PART = STEPS / 100  # of the run that is over


def rates(num_steps=100, steps_per_epoch=10.0, **choices):
    config = OptimConfig(**{"peak_lr": 0.4, **choices})
    schedule = make_schedule(config, num_steps, steps_per_epoch)
    return np.array([schedule(step) for step in range(num_steps)], np.float64)


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ({"schedule": "constant"}, np.full(100, 0.4)),
        # Loshchilov and Hutter 2017, eq. 5:
        # min + (max - min) (1 + cos(pi T_cur / T_i)) / 2
        (
            {"schedule": "cosine", "end_lr_factor": 0.1},
            0.04 + 0.5 * (0.4 - 0.04) * (1 + np.cos(np.pi * PART)),
        ),
        ({"schedule": "linear", "end_lr_factor": 0.1}, 0.4 - 0.36 * PART),
        # The "poly" rate of Caffe and of PyTorch's PolynomialLR.
        ({"schedule": "polynomial", "power": 0.9}, 0.4 * (1 - PART) ** 0.9),
        # PyTorch's ExponentialLR with gamma = 0.01 ** (1 / 100).
        (
            {"schedule": "exponential", "decay_factor": 0.01},
            0.4 * (0.01 ** (1 / 100)) ** STEPS,
        ),
        # PyTorch's MultiStepLR with milestones 30 and 60.
        (
            {"schedule": "step", "decay_epochs": (3.0, 6.0)},
            0.4 * 0.1 ** ((STEPS >= 30).astype(float) + (STEPS >= 60)),
        ),
        # PyTorch's StepLR with step_size 25 and gamma 0.5.
        (
            {"schedule": "staircase", "decay_factor": 0.5, "decay_every_epochs": 2.5},
            0.4 * 0.5 ** (STEPS // 25),
        ),
        # Straight lines through peak/25, peak at 30%, peak/25 at 85%, peak/250000.
        (
            {"schedule": "one_cycle"},
            np.interp(STEPS, [0, 30, 85, 100], [0.016, 0.4, 0.016, 1.6e-6]),
        ),
    ],
    ids=lambda value: value["schedule"] if isinstance(value, dict) else "",
)
def test_a_schedule_follows_its_formula(choices, expected):
    np.testing.assert_allclose(rates(**choices), expected, rtol=2e-5, atol=1e-8)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_warm_up_rises_from_0_to_where_the_schedule_starts(schedule):
    choices = {"schedule": schedule}
    if schedule == "step":
        choices["decay_epochs"] = (5.0,)
    if schedule == "staircase":
        choices["decay_every_epochs"] = 4.0
    found = rates(warmup_epochs=2.0, **choices)
    first = 0.016 if schedule == "one_cycle" else 0.4
    np.testing.assert_allclose(found[:21], first * np.arange(21) / 20, rtol=1e-6)
    if schedule == "step":  # epochs count from the start of the run
        choices["decay_epochs"] = (3.0,)
    if schedule == "staircase":
        choices |= {"schedule": "step", "decay_epochs": (2.0, 6.0)}
    np.testing.assert_allclose(found[20:], rates(num_steps=80, **choices), rtol=1e-7)


def test_decay_epochs_count_the_warm_up():
    found = rates(schedule="step", decay_epochs=(3.0,), warmup_epochs=1.0)
    np.testing.assert_allclose(found[[29, 30]], [0.4, 0.04], rtol=1e-6)


def test_a_staircase_falls_in_the_warm_up_as_well():
    # As in TensorFlow's EfficientNet, where the exponent counts from the first step:
    # the warm-up of 5 epochs leads to the rate after two falls.
    found = rates(
        schedule="staircase",
        decay_factor=0.97,
        decay_every_epochs=2.4,
        warmup_epochs=5.0,
    )
    np.testing.assert_allclose(
        found[[50, 71, 72]], 0.4 * 0.97 ** np.array([2, 2, 3]), rtol=1e-6
    )


def test_a_warm_up_of_no_step_is_left_out():
    assert rates(warmup_epochs=0.04)[0] == np.float32(0.4)  # 0.4 of a step


def test_a_schedule_is_the_same_in_a_compiled_step():
    schedule = make_schedule(OptimConfig(warmup_epochs=1.0), 30, 10.0)
    compiled = jax.jit(schedule)
    found = [compiled(step) for step in range(30)]
    expected = [schedule(step) for step in range(30)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("choices", "text"),
    [
        (
            {"schedule": "cosin"},
            "Unknown schedule 'cosin'; nearest: cosine; known: con",
        ),
        (
            {"warmup_epochs": 10.0},
            r"epochs is 10.0 \(100 steps\); it must be shorter than the run \(100",
        ),
        (
            {"schedule": "staircase"},
            "optim.decay_every_epochs must be at least one step, not None.",
        ),
        (
            {"schedule": "staircase", "decay_every_epochs": 0.05},
            "optim.decay_every_epochs must be at least one step, not 0.05.",
        ),
        (
            {"schedule": "staircase", "decay_every_epochs": 0.1},
            "longer: there may be 5 drops in the run, not 100, not 0.1",
        ),
        ({"schedule": "step"}, r"The step schedule needs optim.decay_epochs"),
        (
            {"schedule": "step", "decay_epochs": (6.0, 3.0)},
            r"optim.decay_epochs must be ascending.*not \(6.0, 3.0\)",
        ),
        (
            {"schedule": "step", "decay_epochs": (3.0, 10.0)},
            r"before the end of the run \(steps 0 to 100; they are steps \[30, 100\]\)",
        ),
        (
            {"schedule": "step", "decay_epochs": (1.0,), "warmup_epochs": 2.0},
            "optim.decay_epochs must be .* after the warm-up",
        ),
    ],
)
def test_a_choice_that_is_not_allowed_is_refused(choices, text, monkeypatch):
    monkeypatch.setattr(schedules, "_MAX_DROPS", 5)
    with pytest.raises(UserError, match=text):
        rates(**choices)


@pytest.mark.parametrize(("batch_size", "expected"), [(256, 0.1), (8192, 3.2)])
def test_the_rate_scales_with_the_batch_where_a_config_says_so(batch_size, expected):
    # Goyal et al. 2017, sec. 2.1 and 5.1: 0.1 for 256 images, 3.2 for 8,192.
    config = OptimConfig(peak_lr=0.1, lr_for_batch_size=256)
    assert scaled(config, batch_size).peak_lr == pytest.approx(expected, rel=1e-12)
    assert scaled(OptimConfig(peak_lr=0.1), batch_size).peak_lr == 0.1
    assert scaled(scaled(config, batch_size), batch_size) == scaled(config, batch_size)


def test_a_run_trains_at_the_scaled_rate_and_says_so():
    choices = OptimConfig(
        peak_lr=0.1, lr_for_batch_size=32, schedule="constant", warmup_epochs=1.0
    )
    run = prepare.prepare(Config(model="softmax_regression", optim=choices))
    assert run.config.data.batch_size == 64
    assert float(run.schedule(run.num_steps)) == pytest.approx(0.2)
    assert [row.peak_lr for row in run.group_rows] == [0.2]


RATES = """
def sawtooth(config, steps, drops):
    return lambda count: config.peak_lr * (1 + count % drops[0] / steps)

def nothing(config, steps, drops):
    pass

FACTOR = 0.5
"""


@pytest.fixture
def _rates(tmp_path, monkeypatch):
    (tmp_path / "schedules_rates.py").write_text(RATES)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("_rates")
def test_a_schedule_of_ones_own_is_called_with_steps_and_drops_after_the_warm_up():
    found = rates(
        schedule="schedules_rates:sawtooth", warmup_epochs=2.0, decay_epochs=(6.0,)
    )
    # By hand: 20 of 100 steps warm up to 0.4, and the drop is 40 steps after them.
    expected = np.where(
        STEPS < 20, 0.4 * STEPS / 20, 0.4 * (1 + (STEPS - 20) % 40 / 80)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.usefixtures("_rates")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sawtoth", "has no 'sawtoth'; nearest: sawtooth"),
        ("FACTOR", "must be the name of a function, not 'schedules_rates:FACTOR'"),
        ("nothing", "must be the name of a function that returns a function of the"),
    ],
)
def test_what_is_no_schedule_is_refused(name, text):
    with pytest.raises(UserError, match=text):
        rates(schedule=f"schedules_rates:{name}")
