"""A look at a run before it is started: checks, compilation, two steps."""

from collections.abc import Iterator
import contextlib
import itertools
import time

import jax

from jaxcnn.config import Config
from jaxcnn.training import begin, prepare

_NUM_STEPS = 2
_MAX_BATCHES, _MAX_SECONDS = 50, 5.0  # of the measurement of the input


def dry_run(config: Config) -> dict[str, str]:
    """Does what a run does first, and writes nothing.

    Returns:
        What was seen, name -> value with its unit.

    Raises:
        UserError: A mistake in config or data, see fit.fit.
    """
    started = begin.begin(prepare.prepare(config))
    run, state = started.run, started.state
    with contextlib.closing(started.batches) as batches:
        first = batches.draw(_NUM_STEPS)
        images, seconds = _input_rate(batches, config.data.batch_size)
    num_params = sum(x.size for x in jax.tree.leaves(state.params))
    state, step, compiled = begin.start_phase(run, state, 0)
    memory = step.memory_analysis()
    for batch in first:
        start = time.perf_counter()
        state, metrics = step(state, batch, run.run_key)
        jax.block_until_ready((state, metrics))
        step_seconds = time.perf_counter() - start
    splits = ", ".join(f"{n} {split}" for split, n in run.info.num_examples.items())
    outputs = ", ".join(f"{name}={x}" for name, x in run.task.outputs.items())
    return {
        "images": splits,
        "task": f"{config.task.name}, {outputs}",
        "model": f"{config.model}, {num_params:,} parameters",
        "devices": f"{run.mesh.size} x {run.mesh.devices.flat[0].device_kind}",
        "steps": f"{run.num_steps:,}, {run.steps_per_epoch:.1f} an epoch",
        **({"remarks": remark} if (remark := " ".join(started.remarks)) else {}),
        "compilation": f"{compiled.seconds:.1f} s, persistent cache: {compiled.cache}",
        "a step": f"{step_seconds * 1000:.1f} ms, "
        f"{config.data.batch_size / step_seconds:,.0f} images/s",
        "memory": f"{_mib(memory.argument_size_in_bytes)} of state and batch, "
        f"{_mib(memory.temp_size_in_bytes)} more within a step",
        "input": f"{images / seconds:,.0f} images/s" if images else "too few to time",
        "loss": f"{float(metrics['loss']):.4f} at step {_NUM_STEPS}",
    }


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.1f} MiB"


def _input_rate(batches: Iterator[object], batch_size: int) -> tuple[int, float]:
    """(images, seconds) of reading some batches on their own."""
    images, start = 0, time.perf_counter()
    for _ in itertools.islice(batches, _MAX_BATCHES):
        images += batch_size
        if time.perf_counter() - start > _MAX_SECONDS:
            break
    return images, time.perf_counter() - start
