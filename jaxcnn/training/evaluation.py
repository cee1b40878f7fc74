"""Exact metrics over a split, and the running statistics of averaged parameters."""

from collections.abc import Callable, Iterable
import contextlib
import dataclasses
import functools
import math
import numbers
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
import numpy as np

from jaxcnn import config_fields, errors
from jaxcnn import targets as targets_lib
from jaxcnn.data.examples import Subset
from jaxcnn.tasks import Task
from jaxcnn.training import feed, parallel
from jaxcnn.training import step as step_lib
from jaxcnn.training.averaging import pooled_statistics
from jaxcnn.training.prepare import steps_per_pass
from jaxcnn.training.run import Run
from jaxcnn.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class Totals:
    """What a network says of the examples of a split, each counted once.

    Attributes:
        sums: Sums of the task over the examples, float64.
        records: Values that the task keeps of each example, [N, ...].
        num_examples: Examples that could be read.
    """

    sums: dict[str, np.ndarray]
    records: dict[str, np.ndarray]
    num_examples: int


def total(
    step: Callable[..., dict[str, Any]],
    variables: dict[str, Any],
    batches: Iterable[dict[str, np.ndarray]],
    mesh: Mesh,
) -> Totals:
    """Adds up what a step says of batches that hold each example once.

    Args:
        step: Compiled step(variables, batch), see step.eval_step; its results are on
            every device.
        variables: Parameters and running statistics, on the mesh.
        batches: This host's share of padded and weighted batches.
        mesh: The devices.
    """
    sums: dict[str, np.ndarray] = {}
    records: dict[str, list[np.ndarray]] = {}
    num_examples, pending = 0, None

    def take(result: dict[str, Any]) -> int:
        # They add up in float64, in which counts and many small losses stay exact.
        for name, x in result["sums"].items():
            x = np.asarray(x, np.float64)
            sums[name] = sums[name] + x if name in sums else x
        real = np.asarray(result["weight"]) > 0
        for name, x in result["records"].items():
            records.setdefault(name, []).append(np.asarray(x)[real])
        return int(real.sum())

    for batch in batches:
        result = step(variables, parallel.put_batch(batch, mesh))
        # The results before these are read while the device works on these.
        if pending is not None:
            num_examples += take(pending)
        pending = result
    if pending is not None:
        num_examples += take(pending)
    joined = {name: np.concatenate(parts) for name, parts in records.items()}
    return Totals(sums, joined, num_examples)


@dataclasses.dataclass(frozen=True)
class Measured:
    """Metrics of a split.

    Attributes:
        metrics: Metrics of the task; single numbers are floats.
        records: Values that the task keeps of each example, [N, ...].
        num_examples: Examples that could be read.
        num_not_finite: Those for which the network's output is not finite. If there
            are any, no metric that is a number has a value: each is NaN.
    """

    metrics: dict[str, Any]
    records: dict[str, np.ndarray]
    num_examples: int
    num_not_finite: int = 0

    @property
    def scalars(self) -> dict[str, float]:
        """The metrics that are one number."""
        return {k: x for k, x in self.metrics.items() if isinstance(x, float)}


def measured(totals: Totals, task: Task) -> Measured:
    """The metrics of a task; a single number of any type is a float."""
    sums = dict(totals.sums)
    lost = int(sums.pop(step_lib.NOT_FINITE, 0))
    metrics = dict(task.metrics(sums, totals.records))
    for name, value in metrics.items():
        if isinstance(value, numbers.Real | np.ndarray) and np.ndim(value) == 0:
            # The largest of NaNs would be a class, and right for some examples.
            metrics[name] = math.nan if lost else float(value)
    return Measured(metrics, totals.records, totals.num_examples, lost)


def evaluator(run: Run, folder: Path | None) -> Callable[[str, Any], Measured]:
    """evaluate(split, variables) -> its metrics; decodes and compiles once a split.

    Args:
        run: The run.
        folder: The run's folder, where unreadable images are listed. None: they are
            not listed.

    Raises (evaluate):
        UserError: The task's metrics lack the one by which checkpoints are compared.
    """
    watched = run.task.metric(run.config.best_metric).name
    step = functools.partial(
        step_lib.eval_step,
        model=run.model,
        task=run.task,
        normalise=run.normalise,
        precision=run.precision,
    )
    step = parallel.jit_eval(step, run.mesh, run.compiler_options)
    decode = feed.decoder(run, folder)

    def evaluate(split: str, variables: Any) -> Measured:
        batches = feed.eval_batches(run, split, folder, decode(split))
        result = measured(total(step, variables, batches, run.mesh), run.task)
        if watched not in result.scalars:
            raise errors.UserError(
                f"{type(run.task).__name__}.metrics must give a number {watched!r}, as "
                f"METRICS says; it gives {', '.join(result.scalars) or 'none'}."
            )
        return result

    return evaluate


@dataclasses.dataclass(frozen=True)
class Sample:
    """An example and what a network says of it.

    Attributes:
        example: "image", uint8 [H, W, C], as the network sees it but for its mean and
            standard deviation, and what else the task has in a batch.
        predicted: Result of the task's predict for it.
    """

    example: dict[str, np.ndarray]
    predicted: dict[str, np.ndarray]


def samples(run: Run, split: str, variables: Any, number: int) -> list[Sample]:
    """The first examples of a split, `number` or all that there are, each with what a
    network says of it."""

    def step(variables: Any, batch: Any) -> Any:
        batch = step_lib.evaluated(batch, run.task)
        output = step_lib.forward(
            variables,
            batch["image"],
            model=run.model,
            normalise=run.normalise,
            precision=run.precision,
        )
        return batch, run.task.predict(output)

    found: list[Sample] = []
    compiled = parallel.jit_eval(step, run.mesh, run.compiler_options)
    whole = run.dataset.splits[split]
    examples = Subset(whole, np.arange(min(number, len(whole))))
    with contextlib.closing(feed.eval_batches(run, split, None, examples)) as batches:
        for batch in batches:
            result = compiled(variables, parallel.put_batch(batch, run.mesh))
            seen, predicted = jax.tree.map(np.asarray, result)
            for i in np.flatnonzero(seen["weight"] > 0):
                example = {name: x[i] for name, x in seen.items()}
                for name, target in run.task.targets.items():
                    if target.ragged:
                        is_real = example[targets_lib.mask_name(name, target)] > 0
                        example[name] = example[name][is_real]
                levels = np.clip(np.round(example["image"]), 0, 255)
                example["image"] = levels.astype(np.uint8)
                found.append(Sample(example, {k: x[i] for k, x in predicted.items()}))
    return found


def average_finisher(
    run: Run, folder: Path | None
) -> Callable[[TrainState], TrainState]:
    """finish(state) -> the state with the running statistics that belong to its
    averaged parameters; compiles once.

    An exponential average has its own. Those of stochastic weight averaging are taken
    over one pass of the training images, as they come in the first epoch (Izmailov et
    al. 2018, sec. 3.2), so they depend on the parameters alone.
    """
    if run.config.average.name != "swa":
        return lambda state: state
    statistics = functools.partial(
        step_lib.batch_statistics,
        model=run.model,
        augment=run.augment,
        trained=run.trained(run.num_steps - 1),
        precision=run.precision,
    )
    step = parallel.jit_eval(
        lambda given, batch: statistics(*given, batch), run.mesh, run.compiler_options
    )

    def finish(state: TrainState) -> TrainState:
        if not state.batch_stats:
            return state
        # One pass, of images as evaluation has them.
        config = config_fields.replace(run.config, {"data.image_size_stages": ()})
        num_steps = math.ceil(steps_per_pass(config, run.info))
        one_pass = dataclasses.replace(run, config=config, num_steps=num_steps)
        given = run.run_key, state.average
        with contextlib.closing(feed.train_batches(one_pass, folder, 0)) as batches:
            stats = pooled_statistics(
                (step((np.int32(i), *given), batch) for i, batch in enumerate(batches)),
                state.average["batch_stats"],
            )
        return state.replace(average={**state.average, "batch_stats": stats})

    return finish
