"""Learning-rate schedules: a linear warm-up, then one of SCHEDULES.

Sources:
  * warm-up: Goyal et al., "Accurate, Large Minibatch SGD", 2017, sec. 2.2,
    https://arxiv.org/abs/1706.02677. Ours starts at 0, so the first update is 0.
  * scaling with the batch size: the same paper, sec. 2.1, "linear scaling rule"
  * cosine: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm
    Restarts", ICLR 2017, eq. 5 without restarts, https://arxiv.org/abs/1608.03983
  * one_cycle: Smith and Topin, "Super-Convergence", 2017, the three linear phases,
    https://arxiv.org/abs/1708.07120, with optax's lengths and ratios (those of
    fastai and PyTorch): from peak/25 to the peak in 30% of the steps, back to peak/25
    at 85%, down to peak/250,000 at the end.

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
    """The peak rate at every step."""
    return optax.constant_schedule(config.peak_lr)


def step(config: OptimConfig, steps: int, drops: list[int]) -> optax.Schedule:
    """The peak rate, multiplied by decay_factor at each drop."""
    factors = dict.fromkeys(drops, config.decay_factor)
    return optax.piecewise_constant_schedule(config.peak_lr, factors)


def staircase(config: OptimConfig, steps: int, drops: list[int]) -> optax.Schedule:
    """The peak rate, multiplied by decay_factor every decay_every_epochs epochs."""

    def rate(count):
        num_drops = jnp.searchsorted(jnp.array(drops), count, side="right")
        return config.peak_lr * config.decay_factor ** num_drops.astype(float)

    return rate


def cosine(config: OptimConfig, steps: int, drops: list[int]) -> optax.Schedule:
    """Half a cosine period, from the peak to end_lr_factor times the peak."""
    return optax.cosine_decay_schedule(config.peak_lr, steps, config.end_lr_factor)


def polynomial(config: OptimConfig, steps: int, drops: list[int]) -> optax.Schedule:
    """A power of the remaining fraction of the run, from the peak to the end rate."""
    end_lr = config.end_lr_factor * config.peak_lr
    return optax.polynomial_schedule(config.peak_lr, end_lr, config.power, steps)


def linear(config: OptimConfig, steps: int, drops: list[int]) -> optax.Schedule:
    """A straight line from the peak to end_lr_factor times the peak."""
    end_lr = config.end_lr_factor * config.peak_lr
    return optax.linear_schedule(config.peak_lr, end_lr, steps)


def exponential(config: OptimConfig, steps: int, drops: list[int]) -> optax.Schedule:
    """Exponential decay from the peak to decay_factor times the peak."""
    return optax.exponential_decay(config.peak_lr, steps, config.decay_factor)


def one_cycle(config: OptimConfig, steps: int, drops: list[int]) -> optax.Schedule:
    """Linear phases: up to the peak, back down, and then almost to zero."""
    return optax.linear_onecycle_schedule(steps, config.peak_lr)


# Each function gets the number of steps after the warm-up and the steps of the drops.
# The drops, and the argument of the returned schedule, count from the warm-up's end.
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

# Fields of OptimConfig that only some of SCHEDULES use, and which.
USED = {
    "end_lr_factor": ("cosine", "linear", "polynomial"),
    "decay_factor": ("step", "staircase", "exponential"),
    "decay_epochs": ("step",),
    "decay_every_epochs": ("staircase",),
    "power": ("polynomial",),
}
_MAX_DROPS = 10_000


def scaled(config: OptimConfig, batch_size: int) -> OptimConfig:
    """Returns the config with peak_lr scaled from lr_for_batch_size to a batch size.

    Raises:
        UserError: lr_for_batch_size is not a batch size.
    """
    base = config.lr_for_batch_size
    if base is None:
        return config
    peak_lr = config.peak_lr * batch_size / base
    return dataclasses.replace(config, peak_lr=peak_lr, lr_for_batch_size=None)


def make_schedule(
    config: OptimConfig, num_steps: int, steps_per_epoch: float
) -> optax.Schedule:
    """Makes the learning-rate schedule of a run, for steps 0 to num_steps - 1.

    The warm-up is a straight line from 0 to the first value of the schedule, which
    covers the remaining steps. The drops of the step schedule are given in epochs from
    the start of the run, including the warm-up.

    Args:
        config: Optimizer settings returned by scaled. Those that the schedule does not
            use are ignored.
        num_steps: Number of updates in the whole run.
        steps_per_epoch: Number of updates in one pass over the training images.

    Raises:
        UserError: A setting is not allowed.
    """
    make = names.resolve(config.schedule, SCHEDULES, "schedule")
    require(callable(make), "optim.schedule", config.schedule, "the name of a function")
    warmup_steps = round(config.warmup_epochs * steps_per_epoch)
    if warmup_steps >= num_steps:
        raise UserError(
            f"optim.warmup_epochs is {config.warmup_epochs!r} ({warmup_steps} steps); "
            f"it must be shorter than the run ({num_steps} steps)."
        )
    epochs = config.decay_epochs
    if config.schedule == "staircase":
        every = config.decay_every_epochs
        holds = every is not None and 1 / steps_per_epoch <= every
        require(holds, "optim.decay_every_epochs", every, "at least one step")
        count = math.ceil(num_steps / steps_per_epoch / every)
        rule = f"longer: there may be {_MAX_DROPS:,} drops in the run, not {count:,}"
        require(count <= _MAX_DROPS, "optim.decay_every_epochs", every, rule)
        epochs = [every * i for i in range(1, count + 1)]
    drops = [round(epoch * steps_per_epoch) for epoch in epochs]
    if config.schedule == "step":
        _check_drops(config, drops, warmup_steps, num_steps)
    drops = [drop - warmup_steps for drop in drops]
    schedule = make(config, num_steps - warmup_steps, drops)
    rule = "the name of a function that returns a function of the number of updates"
    require(callable(schedule), "optim.schedule", config.schedule, rule)
    if not warmup_steps:  # optax.linear_schedule with 0 steps would stay at 0 forever
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
