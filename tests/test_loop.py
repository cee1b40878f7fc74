"""The loop and what hangs on it, without a device."""

import itertools
import os
import signal
import time

import jax
import jax.numpy as jnp
import pytest

from jaxcnn.training import loop
from jaxcnn.training.due import DueSteps
from jaxcnn.training.meter import Meter
from jaxcnn.training.prefetch import prefetch
from jaxcnn.training.signals import StopRequest
from jaxcnn.training.state import TrainState


def make_state(step):
    return TrainState(
        step=jnp.int32(step), params=[], batch_stats={}, opt_state=(), average={}
    )


def run(start, num_steps, stop_at=None):
    """(batches that the steps got, numbers that after_step got, batches drawn)."""
    got, numbers, drawn = [], [], []

    def batches():
        for position in itertools.count(start):
            drawn.append(position)
            yield position

    def step(state, batch, key):
        got.append((int(state.step), batch))
        return state.replace(step=state.step + 1), {"loss": jnp.zeros(())}

    def after_step(number, state, metrics):
        assert number == int(state.step)
        numbers.append(number)
        return number == stop_at

    final = loop.train(
        make_state(start),
        batches(),
        None,
        step=step,
        ahead=2,
        num_steps=num_steps,
        after_step=after_step,
    )
    assert int(final.step) == (numbers[-1] if numbers else start)
    return got, numbers, drawn


def test_the_step_is_the_position_in_the_data():
    got, numbers, _ = run(3, 7)
    assert got == [(3, 3), (4, 4), (5, 5), (6, 6)]
    assert numbers == [4, 5, 6, 7]


def test_a_batch_is_drawn_only_for_a_step_that_is_taken():
    assert run(3, 7)[2] == [3, 4, 5, 6]
    assert run(3, 7, stop_at=5)[2] == [3, 4]
    assert run(7, 7) == ([], [], [])


@pytest.mark.parametrize(
    ("every", "per_epoch", "num_steps", "expected"),
    [
        (1.0, 10.0, 30, {10, 20, 30}),
        (1.0, 12.625, 30, {13, 26, 30}),  # the first step at or after the boundary
        (0.1, 10.0, 4, {1, 2, 3, 4}),  # 3 * 0.1 * 10 is a little over 3
        (5.0, 10.0, 30, {30}),
        (0.001, 10.0, 3, {1, 2, 3}),
    ],
)
def test_evaluations_fall_on_epochs_and_on_the_end(
    every, per_epoch, num_steps, expected
):
    due = DueSteps(every * per_epoch, num_steps)
    assert {step for step in range(num_steps + 2) if step in due} == expected
    assert list(due) == sorted(expected)


@pytest.mark.parametrize(
    ("every", "start", "num_steps", "expected"),
    [
        (12.6, 0.0, 38, [13, 26, 38]),
        (12.4, 0.0, 37, [13, 25, 37]),
        (1.5, 0.0, 8, [2, 3, 5, 6, 8]),
        (2.0, 4.0, 9, [4, 6, 8, 9]),
        (0.3, 0.0, 3, [1, 2, 3]),
        (4.0, 2.5, 12, [3, 7, 11, 12]),
    ],
)
def test_due_steps_by_hand(every, start, num_steps, expected):
    due = DueSteps(every, num_steps, start)
    assert list(due) == expected
    assert [step for step in range(num_steps + 2) if step in due] == expected


def test_due_steps_of_an_endless_run_take_no_memory():
    due = DueSteps(1e-4, 2**31 - 1)
    assert 10**9 in due
    assert 2**31 - 1 in due
    assert 2**31 not in due
    assert 10**9 + 1 not in DueSteps(10.0, 2**31 - 1)


def test_the_first_signal_is_noted_and_the_second_acts():
    # A shell starts what it puts into the background with SIGINT ignored.
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    with StopRequest() as stop:
        assert stop.received is None
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, old)


def test_waiting_for_data_is_its_share_of_the_training_time(monkeypatch):
    now = itertools.count()  # each look at the clock is a second later
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(now)))
    meter = Meter(start_step=10, num_steps=20, batch_size=8)  # 0 s
    batches = meter.wait_for(iter("ab"))
    assert next(batches) == "a"  # 1 to 2 s: a second of waiting
    with meter.paused():  # 3 to 4 s
        pass
    values = meter.read(11)  # 5 s
    assert values["images_per_second"] == 8 / 4
    assert values["data_wait"] == 1 / 4
    assert values["seconds_left"] == 5 * 9
    assert meter.data_wait == 1 / 4


def test_prefetched_items_come_in_order_and_errors_in_their_place():
    def items():
        yield from range(5)
        raise RuntimeError("after five")

    coming = prefetch(items(), str, size=3)
    assert list(itertools.islice(coming, 5)) == list("01234")
    with pytest.raises(RuntimeError, match="after five"):
        next(coming)
    letters = (letter for letter in "abc")
    assert list(prefetch(letters, str.upper, size=5)) == ["A", "B", "C"]


def test_what_is_made_beforehand_is_no_more_than_asked_for():
    made = []

    def items():
        try:
            for i in itertools.count():
                made.append(i)
                yield i
        finally:
            made.append("closed")

    coming = prefetch(items(), str, size=2)
    assert next(coming) == "0"
    coming.close()
    assert len(made) <= 5
    assert made[-1] == "closed"


@pytest.mark.parametrize(("large", "waits"), [(0, True), (1 << 30, False)])
def test_a_step_of_much_memory_is_waited_for(monkeypatch, large, waits):
    monkeypatch.setattr(loop, "_LARGE_STEP", large)

    @jax.jit
    def step(state, batch, key):
        slow = jax.lax.fori_loop(0, 2000, lambda _, x: x @ x / 100, jnp.ones((99, 99)))
        return state.replace(step=state.step + 1), {"loss": slow.sum() + batch}

    state, ready = make_state(0), []
    compiled = step.lower(state, 0.0, None).compile()
    assert 0 < compiled.memory_analysis().temp_size_in_bytes < 1 << 30
    loop.train(
        state,
        itertools.repeat(0.0),
        None,
        step=compiled,
        ahead=loop.steps_ahead(compiled),
        num_steps=2,
        after_step=lambda number, state, metrics: ready.append(
            metrics["loss"].is_ready()
        ),
    )
    assert ready == [waits, waits]
