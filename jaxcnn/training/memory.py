"""How many examples pass through a network at once: what data.micro_batch_size="auto"
stands for; and what memory a process keeps, and when it looks for what it may free.

XLA says of a compiled step how much memory it takes, before it runs.
"""

from collections.abc import Iterator
import contextlib
import ctypes
import dataclasses
import gc
import os
import sys
from typing import Any

import jax
from jax.sharding import Mesh

from jaxcnn import config_fields, errors
from jaxcnn.config import AUTO
from jaxcnn.training.run import Run

USED = 0.9  # of a device's memory; the rest is for batches that wait, and for gaps


def resolve_auto(run: Run) -> tuple[Run, list[str]]:
    """The run with a number for "auto", and lines that say what was found.

    The number is the largest share of a batch, by halves, thirds and so on, with which
    every step of the run fits into memory. A run that says a number is left as it is.

    Raises:
        UserError: Not even the smallest share fits.
    """
    if run.config.data.micro_batch_size != AUTO:
        return run, []
    batch_size, limit = run.config.data.batch_size, USED * memory(run.mesh)
    sizes = range(batch_size, 0, -run.mesh.size)
    for size in (size for size in sizes if batch_size % size == 0):
        config = config_fields.replace(run.config, {"data.micro_batch_size": size})
        chosen = dataclasses.replace(run, config=config)
        need = max(_bytes(chosen, before) for before, _ in run.phases(0))
        if need <= limit:
            line = (
                f"data.micro_batch_size is {size}, {batch_size // size} to a batch: "
                f"{_gib(need)} on each device, of {_gib(limit)} that may be used."
            )
            return chosen, [line]
    raise errors.UserError(
        f"data.micro_batch_size='{AUTO}' finds no size that fits: with {size} examples "
        f"a step takes {_gib(need)} on each device, of {_gib(limit)} that may be used."
    )


def memory(mesh: Mesh) -> int:
    """Bytes that each device of a mesh has for this program.

    Devices that do not say it are the CPU, and share the memory of their machine.
    """
    stats = mesh.local_devices[0].memory_stats()
    if stats is not None and "bytes_limit" in stats:
        return stats["bytes_limit"]
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return machine // len(mesh.local_devices)


def _bytes(run: Run, step: int) -> int:
    """What the update after `step` updates takes on each device, its state included."""
    compiled = run.compile_train_step(run.state_shapes(step + 1), step)
    return step_bytes(compiled)


def step_bytes(compiled: jax.stages.Compiled) -> int:
    """Most bytes that a compiled step takes on each device."""
    sizes: Any = compiled.memory_analysis()
    given = sizes.argument_size_in_bytes + sizes.output_size_in_bytes
    return given - sizes.alias_size_in_bytes + sizes.temp_size_in_bytes


def _gib(count: float) -> str:
    return f"{count / 2**30:.2f} GiB"


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Keeps Python from looking for garbage that refers to itself.

    While a network is traced, millions of objects come into being, most of them to
    stay. Python looks through all of them again and again, which was a third of the
    time that tracing the step of DenseNet-121 took.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def give_back() -> None:
    """Gives what was freed back to the system, where glibc would keep it.

    After the compilation of a step of ResNet-50 that is 240 MiB.
    """
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:  # malloc.h; musl has no such function
            trim(0)
