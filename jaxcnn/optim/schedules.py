"""The learning rate over the steps of a run: a linear warm-up, then a schedule.

Sources:
  * warm-up: Goyal et al., "Accurate, Large Minibatch SGD", 2017, sec. 2.2,
    https://arxiv.org/abs/1706.02677. Ours starts at 0, so the first update is 0.
  * scaling with the batch size: sec. 2.1 there, the "linear scaling rule"
  * cosine: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm
    Restarts", ICLR 2017, eq. 5 without restarts, https://arxiv.org/abs/1608.03983
  * one_cycle: Smith and Topin, "Super-Convergence", 2017, the three linear phases,
    https://arxiv.org/abs/1708.07120, with optax's lengths and ratios (those of
    fastai and PyTorch): from peak/25 to the peak in 30% of the steps, back at 85%,
    down to peak/250,000 at the end.

optim.schedule also names a function of your own, as "my_package.rates:mine". It is
called like those of SCHEDULES: mine(config, steps, drops) returns an optax.Schedule, a
function that JAX can trace, from the number of updates since the warm-up to the rate.
"""

import dataclasses
import math

import jax.numpy as jnp
import optax

from jaxcnn import names
from jaxcnn.config import OptimConfig
from jaxcnn.errors import UserError, require


def constant(config: OptimConfig, steps: int, drops: list[int]) -> optax.Schedule:
    """The peak, always."""
    return optax.constant_schedule(config.peak_lr)


def step(config: OptimConfig, steps: int, drops: list[int]) -> optax.Schedule:
    """Times decay_factor at each of the drops."""
    factors = dict.fromkeys(drops, config.decay_factor)
    return optax.piecewise_constant_schedule(config.peak_lr, factors)


def staircase(config: OptimConfig, steps: int, drops: list[int]) -> optax.Schedule:
    """As step, with as many drops as the run has room for."""

    def rate(count):
        passed = jnp.searchsorted(jnp.array(drops), count, side="right")
        return config.peak_lr * config.decay_factor ** passed.astype(float)

    return rate


def cosine(config: OptimConfig, steps: int, drops: list[int]) -> optax.Schedule:
    """Half a period of a cosine, from the peak to end_lr_factor times it."""
    return optax.cosine_decay_schedule(config.peak_lr, steps, config.end_lr_factor)


def polynomial(config: OptimConfig, steps: int, drops: list[int]) -> optax.Schedule:
    """The part of the run that is left, to a power, down to end_lr_factor."""
    end_lr = config.end_lr_factor * config.peak_lr
    return optax.polynomial_schedule(config.peak_lr, end_lr, config.power, steps)


def linear(config: OptimConfig, steps: int, drops: list[int]) -> optax.Schedule:
    """A straight line from the peak to end_lr_factor times it."""
    end_lr = config.end_lr_factor * config.peak_lr
    return optax.linear_schedule(config.peak_lr, end_lr, steps)


def exponential(config: OptimConfig, steps: int, drops: list[int]) -> optax.Schedule:
    """Times the same number each step, which makes decay_factor at the end."""
    return optax.exponential_decay(config.peak_lr, steps, config.decay_factor)


def one_cycle(config: OptimConfig, steps: int, drops: list[int]) -> optax.Schedule:
    """Up to the peak, down again, and then to almost nothing."""
    return optax.linear_onecycle_schedule(steps, config.peak_lr)


# Each is called with the choices, the number of steps after the warm-up, and the steps
# at which the rate is to drop, counted from the end of the warm-up: those of
# optim.decay_epochs, or for "staircase" one every decay_every_epochs. The schedule that
# it returns is called with the number of updates since the warm-up.
SCHEDULES = {
    "constant": constant,
    "step": step,
    "staircase": staircase,
    "cosine": cosine,
    "linear": linear,
    "polynomial": polynomial,
    "exponential": exponential,
    "one_cycle": one_cycle,
}


def scaled(config: OptimConfig, batch_size: int) -> OptimConfig:
    """The choices with the highest rate for a batch size, as lr_for_batch_size says.

    Raises:
        UserError: It is no batch size.
    """
    base = config.lr_for_batch_size
    if base is None:
        return config
    require(base >= 1, "optim.lr_for_batch_size", base, "at least 1, or None")
    peak_lr = config.peak_lr * batch_size / base
    return dataclasses.replace(config, peak_lr=peak_lr, lr_for_batch_size=None)


def make_schedule(
    config: OptimConfig, num_steps: int, steps_per_epoch: float
) -> optax.Schedule:
    """The learning rate of each step of a run, from 0 to num_steps - 1.

    The warm-up goes in a straight line from 0 to the first value of the schedule,
    which takes the steps that are left. Boundaries of the step schedule count epochs
    from the start of the run, the warm-up included.

    Args:
        config: The choices, from scaled. Those that the chosen schedule does not use
            are ignored.
        num_steps: Updates of the whole run.
        steps_per_epoch: Updates in one pass over the training images.

    Raises:
        UserError: A choice that is not allowed.
    """
    make = names.resolve(config.schedule, SCHEDULES, "schedule")
    require(callable(make), "optim.schedule", config.schedule, "the name of a function")
    for name, rule, holds in (
        ("peak_lr", "a positive number", 0 < config.peak_lr < math.inf),
        ("warmup_epochs", "0 or more", 0 <= config.warmup_epochs < math.inf),
        ("end_lr_factor", "0 or more", 0 <= config.end_lr_factor < math.inf),
        ("decay_factor", "a positive number", 0 < config.decay_factor < math.inf),
        ("power", "a positive number", 0 < config.power < math.inf),
    ):
        require(holds, f"optim.{name}", getattr(config, name), rule)

    warmup_steps = round(config.warmup_epochs * steps_per_epoch)
    if warmup_steps >= num_steps:
        raise UserError(
            f"optim.warmup_epochs must be shorter than the run, {num_steps} steps, "
            f"not {config.warmup_epochs!r}, {warmup_steps} steps."
        )
    epochs = config.decay_epochs
    if config.schedule == "staircase":
        every = config.decay_every_epochs
        holds = every is not None and 1 / steps_per_epoch <= every < math.inf
        require(holds, "optim.decay_every_epochs", every, "at least one step")
        count = math.ceil(num_steps / steps_per_epoch / every)
        epochs = [every * i for i in range(1, count + 1)]
    drops = [round(epoch * steps_per_epoch) for epoch in epochs]
    if config.schedule == "step":
        _check_drops(config, drops, warmup_steps, num_steps)
    drops = [drop - warmup_steps for drop in drops]
    schedule = make(config, num_steps - warmup_steps, drops)
    rule = "the name of a function that returns a function of the number of updates"
    require(callable(schedule), "optim.schedule", config.schedule, rule)
    if not warmup_steps:  # optax.linear_schedule of 0 steps stays at 0 for ever
        return schedule
    warmup = optax.linear_schedule(0.0, float(schedule(0)), warmup_steps)
    return optax.join_schedules([warmup, schedule], [warmup_steps])


def _check_drops(
    config: OptimConfig, drops: list[int], warmup_steps: int, num_steps: int
) -> None:
    """Raises UserError unless warmup_steps < drops < num_steps, in ascending order."""
    if not drops:
        raise UserError(
            "The step schedule needs optim.decay_epochs, such as (30.0, 60.0); "
            "it is empty."
        )
    bounds = [warmup_steps, *drops, num_steps]
    require(
        all(before < after for before, after in zip(bounds, bounds[1:], strict=False)),
        "optim.decay_epochs",
        config.decay_epochs,
        "ascending, at least one step apart, after the warm-up and before the end "
        f"of the run (steps {warmup_steps} to {num_steps}; they are steps {drops})",
    )
