"""Times training steps on generated images, and compares them with PyTorch.

What is timed is what `train` does: the run is made by prepare.prepare, its step is
compiled by the run itself, and loop.train calls it. Modes:

  * synthetic: one batch that is already on the devices, again and again.
  * deterministic: the same with deterministic=True; only on a GPU, where it has a cost.
  * real: batches from the run's own input pipeline, see generated.py. For networks with
    large images it reads JPEG files of ImageNet's usual size from memory, decodes and
    randomly crops them with one thread per CPU core; for networks of MNIST's and
    CIFAR's image sizes it gathers arrays. Only disk reads are left out.
  * torch_eager, torch_channels_last, torch_compile: the same network and batch in
    PyTorch, see torch_reference.py.

Each number is the median over rounds; a round is the time until several steps are
done. All modes except "real" alternate round by round, so that other load on the
machine affects all of them alike.

A step counts as 3 * 2 floating-point operations for each multiply-add of the network's
forward pass (forward, gradient of the activations, gradient of the parameters).
Multiply-adds are counted as papers do, see models.count_macs. The utilisation is the
resulting rate relative to that of a large matrix product in the same precision,
measured in the same run.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import datetime
from importlib import metadata
import itertools
import os
import time
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import config_fields, errors, models
from jaxcnn.config import Config, DataConfig, OptimConfig
from jaxcnn.data import transforms
from jaxcnn.errors import DivergedError, UserError, require
from jaxcnn.studies import generated
from jaxcnn.training import begin, feed, loop, network, prepare
from jaxcnn.training.meter import Meter
from jaxcnn.training.run import Run

# Our modes with one batch: name -> config fields that differ.
SYNTHETIC: dict[str, dict[str, Any]] = {
    "synthetic": {},
    "deterministic": {"deterministic": True},
}
REAL = "real"

_NUM_STEPS = 1_000_000  # length of the run, more steps than are ever taken
_NUM_EXAMPLES = 4096
_ROUND_SECONDS = 0.5  # approximate length of a round, which has at least one step
_WARM_UP = 3  # steps; the last one is timed to choose the steps per round
_MATRIX_SIZES = {"cpu": 2048, "gpu": 8192}  # take a fraction of a second, milliseconds
_BUFFERED = 16  # batches, more than the pipeline prefetches


@dataclasses.dataclass(frozen=True)
class Row:
    """The measurements of one network in one mode.

    Attributes:
        model: jaxcnn model name.
        mode: Name of the mode, see the module docstring.
        image_size: Size of the images, in pixels: a number for squares, or (height,
            width).
        seconds: Step time in each round. Empty if the mode failed.
        images_per_second: Throughput at the median step time. None if the mode failed.
        ratio_to_torch: PyTorch's median step time divided by ours; above 1, ours is
            faster. PyTorch's modes use their own time, our modes that of PyTorch's
            fastest mode. None without PyTorch.
        compile_seconds: Compile time. None: nothing is compiled for this mode.
        compile_cache: Result of the persistent cache: "off", "hit" or "miss". None:
            nothing is compiled for this mode.
        peak_bytes: Peak memory of one device. None: unknown.
        peak_bytes_by: Source of peak_bytes: "device", the allocator's count, or "xla",
            the compiler's estimate for the step. None: unknown.
        utilisation: Floating-point operations per second, relative to those of a large
            matrix product.
        data_wait: Fraction of the time spent waiting for batches. None: not measured.
        error: Reason why the mode failed. None: it succeeded.
    """

    model: str
    mode: str
    image_size: int | tuple[int, int]
    seconds: tuple[float, ...] = ()
    images_per_second: float | None = None
    ratio_to_torch: float | None = None
    compile_seconds: float | None = None
    compile_cache: str | None = None
    peak_bytes: int | None = None
    peak_bytes_by: str | None = None
    utilisation: float | None = None
    data_wait: float | None = None
    error: str | None = None

    @property
    def quartiles(self) -> tuple[float, float, float] | None:
        """Step time in seconds: first quartile, median, third quartile."""
        if not self.seconds:
            return None
        return tuple(map(float, np.quantile(self.seconds, (0.25, 0.5, 0.75))))


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """All measurements, and the setting in which they were made.

    Attributes:
        device: Kind of device, such as "NVIDIA H100 80GB HBM3".
        num_devices: Number of devices that share a batch.
        num_processors: Number of the host's CPU cores.
        load: Load average of the host over the minute before the benchmark.
        batch_size: Global batch size.
        precision: Compute dtype of the forward and backward pass.
        peak_flops: Operations per second of one device in a large matrix product.
        versions: Versions of the libraries: name -> version.
        date: Date of the benchmark, such as 2026-11-22.
        rows: One row per network and mode.
    """

    device: str
    num_devices: int
    num_processors: int
    load: float
    batch_size: int
    precision: str
    peak_flops: float
    versions: dict[str, str]
    date: str
    rows: list[Row]


class Timed(Protocol):
    """A training loop that can be timed."""

    compile_seconds: float | None
    peak_bytes: int | None

    def take(self, num_steps: int) -> float:
        """Takes steps and returns the seconds until the last one is done."""


def make_config(
    name: str,
    *,
    batch_size: int,
    image_size: int | tuple[int, int] | None,
    precision: str,
    num_devices: int | None,
) -> Config:
    """Returns the config of the timed run: SGD with momentum, no augmentation.

    Auxiliary heads are left out, since PyTorch's libraries treat them differently.
    """
    if name not in models.MODELS:
        raise errors.unknown("model", name, models.MODELS)
    variant = models.MODELS[name]
    has_aux = hasattr(models.create_model(name, variant.num_classes), "aux")
    small = generated.are_small(variant.image_size)
    return Config(
        model=name,
        model_fields=(("aux", None),) if has_aux else (),
        data=DataConfig(
            image_size=variant.image_size if image_size is None else image_size,
            channels=variant.channels,
            batch_size=batch_size,
            train_transform="resize" if small else "random_resized_crop",
            num_threads=os.cpu_count() or 1,
        ),
        # A rate at which no network diverges, since NaNs would change the speed.
        optim=OptimConfig(
            name="nesterov", peak_lr=1e-4, schedule="constant", weight_decay=5e-5
        ),
        num_epochs=_NUM_STEPS * batch_size / max(_NUM_EXAMPLES, batch_size),
        compute_dtype=precision,
        num_devices=num_devices,
    )


def make_run(config: Config) -> Run:
    """The parts of a run on generated images; all its mistakes are found here."""
    prepare.check_values(config)
    variant = models.MODELS[config.model]
    dataset = generated.dataset(
        max(_NUM_EXAMPLES, config.data.batch_size),
        variant.num_classes,
        config.data.image_size,
        variant.channels,
        small=generated.are_small(variant.image_size),
    )
    run = prepare.prepare(config, dataset=dataset)
    prepare.check_training(run)
    return run


def benchmark(
    names: Sequence[str],
    *,
    batch_size: int,
    image_size: int | tuple[int, int] | None = None,
    precision: str = "float32",
    num_devices: int | None = None,
    vs_torch: bool = False,
    rounds: int = 10,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Benchmark:
    """Times networks one after another.

    Args:
        names: jaxcnn model names, see `jaxcnn models`.
        batch_size: Images per step, over all devices.
        image_size: Size of the images, in pixels: a number for squares, or (height,
            width). None: each network's own.
        precision: Compute dtype of the forward and backward pass, see
            Config.compute_dtype.
        num_devices: Number of devices to use. None: all.
        vs_torch: Whether to time PyTorch as well, on one device, alternating with ours.
        rounds: Number of measurements of each mode.
        progress: Callback, called as progress(networks done, networks).

    Raises:
        UserError: An argument is invalid, or PyTorch is requested but not installed.
            Raised before anything is compiled.
    """
    require(len(names) > 0, "--models", ",".join(names), "names of `jaxcnn models`")
    require(batch_size >= 1, "--batch_size", batch_size, "at least 1")
    if image_size is not None:
        transforms.check_size("--image_size", image_size)
    require(rounds >= 1, "--rounds", rounds, "at least 1")
    load = os.getloadavg()[0]
    reference = _torch() if vs_torch else None
    configs = [
        make_config(
            name,
            batch_size=batch_size,
            image_size=image_size,
            precision=precision,
            num_devices=num_devices,
        )
        for name in names
    ]
    runs = [make_run(config) for config in configs]
    mesh = runs[0].mesh
    versions = {name: metadata.version(name) for name in ("jax", "jaxlib")}
    if reference is not None:
        require(
            mesh.size == 1, "--devices", mesh.size, "1 with --vs=torch, which has one"
        )
        reference.device_of(jax.default_backend())
        versions |= reference.versions()
    peak_flops = matrix_flops(runs[0].precision.compute_dtype)
    rows = []
    for done, run in enumerate(runs):
        progress(done, len(runs))
        rows += _measure(run, reference, rounds, peak_flops * mesh.size)
        if reference is not None:
            reference.free()
    return Benchmark(
        device=mesh.devices.flat[0].device_kind,
        num_devices=mesh.size,
        num_processors=os.cpu_count() or 1,
        load=load,
        batch_size=batch_size,
        precision=precision,
        peak_flops=peak_flops,
        versions=versions,
        date=datetime.date.today().isoformat(),
        rows=rows,
    )


def _torch() -> Any:
    """Imports torch_reference, the only module that imports PyTorch."""
    try:
        from jaxcnn.studies import torch_reference
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "torchvision"):
            raise
        raise UserError(
            f"--vs=torch needs {error.name}, which is not installed: "
            "`pip install torch torchvision`."
        ) from error
    return torch_reference


def step_flops(run: Run) -> int:
    """Floating-point operations of a step, as in the module docstring."""
    shape = network.image_shape(run.config, run.info)
    return 3 * 2 * models.count_macs(run.model, shape) * run.config.data.batch_size


def matrix_flops(dtype: jnp.dtype) -> float:
    """Measures the FLOP/s of a large square matrix product on one device."""
    size = _MATRIX_SIZES.get(jax.default_backend(), _MATRIX_SIZES["gpu"])
    keys = jax.random.split(jax.random.key(0))
    a, b = (jax.random.normal(key, (size, size), dtype) for key in keys)
    product = jax.jit(jnp.matmul).lower(a, b).compile()
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        jax.block_until_ready(product(a, b))
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)


class _Trainer:
    """A jaxcnn run with a compiled step.

    Attributes:
        compile_seconds: Compile time of the step.
        compile_cache: Result of the persistent cache: "off", "hit" or "miss".
        batch: The batch on the devices that `take` uses by default.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._key = run.run_key
        self._before = _allocated(run)
        started = begin.begin(run)
        with contextlib.closing(started.batches) as batches:
            self.batch = next(batches)
        self._state, self._step, compiled = begin.start_phase(run, started.state, 0)
        self.compile_seconds, self.compile_cache = compiled.seconds, compiled.cache

    def take(self, num_steps: int, batches: Iterator[Any] | None = None) -> float:
        """Takes steps like Timed.take; batches=None repeats one batch."""
        jax.block_until_ready(self._state)
        start = time.perf_counter()
        self._state = loop.train(
            self._state,
            itertools.repeat(self.batch) if batches is None else batches,
            self._key,
            step=self._step,
            num_steps=int(self._state.step) + num_steps,
            after_step=lambda number, state, metrics: False,
        )
        jax.block_until_ready(self._state)
        return time.perf_counter() - start

    def check_loss(self) -> None:
        """Raises DivergedError if the run has diverged."""
        if self._state.skips.failed(0):
            raise DivergedError(
                f"The loss of step {int(self._state.step) + 1} is not finite; a lower "
                "optim.peak_lr may help."
            )

    @property
    def peak(self) -> tuple[int, str]:
        """(peak bytes of the device with the highest peak, source of the number).

        An allocator's peak covers the whole process, so it belongs to this run only if
        it has grown.
        """
        now = _allocated(self.run)
        if now > self._before:
            return now, "device"
        need = self._step.memory_analysis()
        return (
            need.argument_size_in_bytes
            + need.output_size_in_bytes
            - need.alias_size_in_bytes
            + need.temp_size_in_bytes
        ), "xla"


def _allocated(run: Run) -> int:
    """Most bytes on any device since the process began; 0 where nobody counts."""
    stats = [device.memory_stats() or {} for device in run.mesh.local_devices]
    return max(found.get("peak_bytes_in_use", 0) for found in stats)


def _measure(run: Run, reference: Any, rounds: int, peak_flops: float) -> list[Row]:
    """The rows of one network."""
    ours = {
        mode: _Trainer(
            make_run(config_fields.replace(run.config, fields)) if fields else run
        )
        for mode, fields in SYNTHETIC.items()
        if not fields or jax.default_backend() == "gpu"  # elsewhere it is the same
    }
    steps = {mode: _warm_up(trainer) for mode, trainer in ours.items()}
    theirs, failed = {}, {}
    for mode in reference.MODES if reference is not None else ():
        try:
            theirs[mode] = _torch_trainer(reference, mode, run, ours["synthetic"])
            steps[mode] = _warm_up(theirs[mode])
        except Exception as error:  # anything in PyTorch; the table shows the reason
            theirs.pop(mode, None)
            failed[mode] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    seconds = _in_turns(ours | theirs, steps, rounds)
    seconds[REAL], data_wait = _real(ours["synthetic"], steps["synthetic"], rounds)

    medians = {mode: float(np.quantile(times, 0.5)) for mode, times in seconds.items()}
    best_of_torch = min((medians[mode] for mode in theirs), default=None)
    flops, batch_size = step_flops(run), run.config.data.batch_size

    def row(mode: str, ratio: float | None, **values: Any) -> Row:
        return Row(
            model=run.config.model,
            mode=mode,
            image_size=run.config.data.image_size,
            seconds=tuple(seconds[mode]),
            images_per_second=batch_size / medians[mode],
            ratio_to_torch=ratio,
            utilisation=flops / medians[mode] / peak_flops,
            **values,
        )

    rows = []
    for mode, trainer in ours.items():
        trainer.check_loss()
        peak_bytes, by = trainer.peak
        rows.append(
            row(
                mode,
                best_of_torch and best_of_torch / medians[mode],
                compile_seconds=trainer.compile_seconds,
                compile_cache=trainer.compile_cache,
                peak_bytes=peak_bytes,
                peak_bytes_by=by,
            )
        )
    rows.append(row(REAL, None, data_wait=data_wait))
    for mode, trainer in theirs.items():
        rows.append(
            row(
                mode,
                medians[mode] / medians["synthetic"],
                compile_seconds=trainer.compile_seconds,
                peak_bytes=trainer.peak_bytes,
                peak_bytes_by=None if trainer.peak_bytes is None else "device",
            )
        )
    size = run.config.data.image_size
    rows += [Row(run.config.model, mode, size, error=e) for mode, e in failed.items()]
    return rows


def _torch_trainer(reference: Any, mode: str, run: Run, ours: _Trainer) -> Any:
    """The network of a run in PyTorch, with its first step taken."""
    params = run.variable_shapes["params"]
    trainer = reference.Trainer(
        reference.build(
            run.config.model,
            run.task.outputs["num_classes"],
            run.config.data.image_size,
            sum(p.size for p in jax.tree.leaves(params)),
        ),
        jax.device_get(ours.batch),
        run.info.mean,
        run.info.std,
        run.config.optim,
        run.config.compute_dtype,
        reference.device_of(jax.default_backend()),
        mode,
    )
    trainer.prepare()
    return trainer


def _warm_up(trainer: Timed) -> int:
    """Warms up, and returns the number of steps per round."""
    seconds = [trainer.take(1) for _ in range(_WARM_UP)][-1]
    return max(1, round(_ROUND_SECONDS / seconds))


def _in_turns(
    trainers: dict[str, Any], steps: dict[str, int], rounds: int
) -> dict[str, list[float]]:
    """Times all trainers in alternation; returns mode -> step time in each round."""
    seconds: dict[str, list[float]] = {mode: [] for mode in trainers}
    for _ in range(rounds):
        for mode, trainer in trainers.items():
            seconds[mode].append(trainer.take(steps[mode]) / steps[mode])
    return seconds


def _real(trainer: _Trainer, steps: int, rounds: int) -> tuple[list[float], float]:
    """Times steps with the input pipeline.

    Batches that were prefetched before the timing are discarded first.

    Returns:
        (step time in each round, fraction of the time spent waiting for batches).
    """
    with contextlib.closing(feed.train_batches(trainer.run, None, 0)) as batches:
        for _ in range(_BUFFERED):
            next(batches)
        meter = Meter(0, rounds * steps, trainer.run.config.data.batch_size)
        timed = meter.wait_for(batches)
        seconds = [trainer.take(steps, timed) / steps for _ in range(rounds)]
        return seconds, meter.read(rounds * steps)["data_wait"]
