"""The learning-rate range test.

Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, sec. 3.3,
https://arxiv.org/abs/1506.01186: one short run whose rate keeps rising. Details are
those of fastai (https://github.com/fastai/fastai: LRFinder and the suggestions "steep"
and "minimum" in callback/schedule.py, AvgSmoothLoss in learner.py). The rate rises
exponentially. The loss is smoothed by an exponential moving average, whose bias towards
0 is corrected. The test ends when the smoothed loss is four times its smallest value.
The suggestion is the rate at which it falls most steeply over the logarithm of the
rate, ignoring the first tenth of the test and its last five steps.

Two things differ: the test also ends if a loss is not finite, and it has 200 steps
instead of 100, since the average covers about 50. It suggests 0.006 to 0.011 for
`lenet5_digits` and 0.003 to 0.004 for `character_net_glyphs` (seeds 0 to 2), whose
rates of 0.004 and 0.002 were tuned by validation.
"""

import contextlib
import dataclasses
import math
from typing import Any

import numpy as np

from jaxcnn import config_fields, data
from jaxcnn.config import AverageConfig, Config
from jaxcnn.errors import UserError, require
from jaxcnn.training import begin, loop, prepare
from jaxcnn.training.state import TrainState

SMOOTHING = 0.98  # decay of the moving average
DIVERGED = 4.0  # ratio to the smallest smoothed loss at which the test ends
_LAST = 5  # last steps, which the suggestion ignores


@dataclasses.dataclass(frozen=True)
class RangeTest:
    """The result of the test, with one value for each step.

    Attributes:
        rates: Learning rate of each step, float64 [N].
        losses: Loss of each batch before the update, float64 [N].
        smoothed: Moving average of the losses, float64 [N].
        diverged: Whether the test ended because the loss diverged.
        suggestion: Learning rate at which the loss falls most steeply. None: it never
            fell.
        careful: A lower learning rate, a tenth of the one with the lowest loss.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    diverged: bool
    suggestion: float | None
    careful: float


def find_lr(
    config: Config, *, low: float = 1e-7, high: float = 10.0, num_steps: int = 200
) -> RangeTest:
    """Takes steps of a run at rising learning rates, from its initial state.

    Only the schedule, the warm-up and the length differ from the config: the optimizer,
    layer-wise rates and augmentation are those of the run. Layer groups that the run
    unfreezes later are trained from the first step, and no average is kept.

    Args:
        config: Config of the run.
        low: Learning rate of the first step.
        high: Learning rate that would follow the last step.
        num_steps: Number of steps of the test.

    Raises:
        UserError: The config or data has a mistake, the rates or the number of steps
            are invalid, or the loss diverges too early.
    """
    require(0 < low < high < math.inf, "low and high", (low, high), "0 < low < high")
    require(num_steps >= 20, "steps", num_steps, "at least 20")
    base, rule = config.optim.lr_for_batch_size, "None: the test does not scale rates"
    require(base is None, "optim.lr_for_batch_size", base, rule)
    config_fields.check(config)
    dataset = data.load(config.data)
    rising = dataclasses.replace(
        config.optim,
        schedule="exponential",
        peak_lr=low,
        decay_factor=high / low,
        warmup_epochs=0.0,
        unfreeze=tuple((pattern, 0.0) for pattern, _ in config.optim.unfreeze),
    )
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, image_size_stages=()),
        optim=rising,
        average=AverageConfig(),
        num_epochs=float(num_steps),
        steps_per_epoch=1,
    )
    run = prepare.prepare(config, dataset=dataset)
    train = {"train": run.dataset.splits["train"]}  # other features are not needed
    started = begin.begin(run, cached=train)
    run = started.run

    losses: list[float] = []

    def after_step(number: int, state: TrainState, metrics: Any) -> bool:
        losses.append(float(metrics["loss"]))
        return _diverges(losses)

    with contextlib.closing(started.batches) as batches:
        state, step, _ = begin.start_phase(run, started.state, 0)
        loop.train(
            state,
            batches,
            run.run_key,
            step=step,
            ahead=loop.steps_ahead(step),
            num_steps=run.num_steps,
            after_step=after_step,
        )
    rates = np.array([float(run.schedule(i)) for i in range(len(losses))])
    diverged = _diverges(losses)
    if len(losses) < num_steps // 10 + _LAST + 2:
        raise UserError(
            f"The loss diverged after {len(losses)} steps, at a rate of "
            f"{rates[-1]:.1e}; the first rate must be lower than {low:.3g}."
        )
    smoothed = smooth(np.array(losses))
    kept = slice(num_steps // 10, len(losses) - _LAST)
    return RangeTest(
        rates=rates,
        losses=np.array(losses),
        smoothed=smoothed,
        diverged=diverged,
        suggestion=steepest(rates[kept], smoothed[kept]),
        careful=float(rates[kept][smoothed[kept].argmin()]) / 10,
    )


def smooth(losses: np.ndarray) -> np.ndarray:
    """The exponential moving average without its bias: float64 [N] -> [N]."""
    average, weight, averages = 0.0, 0.0, []
    for loss in losses:
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        weight = SMOOTHING * weight + (1 - SMOOTHING)
        averages.append(average / weight)
    return np.array(averages)


def _diverges(losses: list[float]) -> bool:
    if not math.isfinite(losses[-1]):
        return True
    smoothed = smooth(np.array(losses))
    return bool(smoothed[-1] > DIVERGED * smoothed.min())


def steepest(rates: np.ndarray, losses: np.ndarray) -> float | None:
    """The rate at which the loss falls most steeply over the logarithm of the rate.

    None if it falls nowhere.
    """
    slopes = np.diff(losses) / np.diff(np.log(rates))
    best = int(slopes.argmin())
    return float(rates[best]) if slopes[best] < 0 else None
