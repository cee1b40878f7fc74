"""Times training steps on generated images, or inference, and compares with PyTorch.

What is timed is what `train` does: the run is made by prepare.prepare, its step is
compiled by the run itself, and loop.train calls it. Modes:

  * synthetic: one batch that is already on the devices, again and again.
  * lax, portable: the same with these operations; only on a CPU, where synthetic has
    the fastest there are, see ops/backends.py.
  * deterministic: the same with deterministic=True; only on a GPU, where it has a cost.
  * real: batches from the run's own input pipeline, see generated.py. For networks with
    large images it reads JPEG files of ImageNet's usual size from memory, decodes and
    randomly crops them with one thread per CPU core; for networks of MNIST's and
    CIFAR's image sizes it gathers arrays. Only disk reads are left out.
  * torch_eager, torch_channels_last, torch_compile: the same network and batch in
    PyTorch, see torch_reference.py.

A round is the time until several steps are done. All modes except "real" alternate
round by round, so that other load on the machine affects all of them alike. Ratios are
those of timing.Times.fastest.

A step counts as 3 * 2 floating-point operations for each multiply-add of the network's
forward pass (forward, gradient of the activations, gradient of the parameters), and as
2 in inference, which is the forward pass alone, as in evaluation.
Multiply-adds are counted as papers do, see models.count_macs. The utilisation is the
resulting rate relative to that of a large matrix product in the same precision,
measured in the same run.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
import contextlib
import dataclasses
import datetime
from importlib import metadata
import itertools
import os
import time
from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn import config_fields, errors, models
from jaxcnn.config import Config, DataConfig, OptimConfig
from jaxcnn.data import transforms
from jaxcnn.errors import UserError, require
from jaxcnn.studies import generated, timing
from jaxcnn.studies.timed_steps import Forward, Trainer
from jaxcnn.studies.timing import Times
from jaxcnn.training import feed, network, prepare
from jaxcnn.training.meter import Meter
from jaxcnn.training.run import Run

# Our modes with one batch: name -> (config fields that differ, platform on which they
# make a difference).
SYNTHETIC: dict[str, tuple[dict[str, Any], str | None]] = {
    "synthetic": ({}, None),
    "lax": ({"ops": "lax"}, "cpu"),
    "portable": ({"ops": "portable"}, "cpu"),
    "deterministic": ({"deterministic": True}, "gpu"),
}
REAL = "real"

_NUM_STEPS = 1_000_000  # length of the run, more steps than are ever taken
_NUM_EXAMPLES = 4096
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
        times: Step times. None: the mode failed.
        images_per_second: Throughput at the median step time. None: the mode failed.
        ratio_to_torch: PyTorch's step time divided by ours, each that of its fastest
            fifth of the rounds; above 1, ours is faster. PyTorch's modes use their own
            time, our modes that of PyTorch's fastest mode. None without PyTorch, or
            where it was not measured.
        not_measured: Why there is no ratio although there should be.
        compile_seconds: Compile time. None: nothing is compiled for this mode.
        compile_cache: Result of the persistent cache: "off", "hit" or "miss". None:
            nothing is compiled for this mode.
        peak_bytes: Peak memory of one device. None: unknown.
        peak_bytes_by: Source of peak_bytes: "device", the allocator's count; "xla", the
            compiler's estimate for the step; or "process", on a CPU all that was
            resident in a process that does nothing else. None: unknown.
        utilisation: Floating-point operations per second, relative to those of a large
            matrix product.
        data_wait: Fraction of the time spent waiting for batches. None: not measured.
        error: Reason why the mode failed. None: it succeeded.
    """

    model: str
    mode: str
    image_size: int | tuple[int, int]
    times: Times | None = None
    images_per_second: float | None = None
    ratio_to_torch: float | None = None
    not_measured: str | None = None
    compile_seconds: float | None = None
    compile_cache: str | None = None
    peak_bytes: int | None = None
    peak_bytes_by: str | None = None
    utilisation: float | None = None
    data_wait: float | None = None
    error: str | None = None


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
        inference: Whether a step is a forward pass only.
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
    inference: bool
    peak_flops: float
    versions: dict[str, str]
    date: str
    rows: list[Row]


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
    inference: bool = False,
    vs_torch: bool = False,
    rounds: int = 30,
    modes: Sequence[str] | None = None,
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
        inference: Whether to time the forward pass of evaluation instead of training.
        vs_torch: Whether to time PyTorch as well, on one device, alternating with ours.
        rounds: Number of measurements of each mode.
        modes: Names of modes, see the module docstring; "synthetic" is always timed.
            None: all.
        progress: Callback, called as progress(rounds done, rounds of all networks).

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
    known = (*SYNTHETIC, REAL, *(reference.MODES if reference is not None else ()))
    for mode in modes or ():
        if mode not in known:
            raise errors.unknown("mode", mode, known)
    chosen = set(known if modes is None else ("synthetic", *modes))
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
    done = itertools.count(1)
    progress(0, len(runs) * rounds)
    for run in runs:
        rows += _measure(
            run,
            reference,
            rounds,
            peak_flops * mesh.size,
            chosen,
            inference=inference,
            after_round=lambda: progress(next(done), len(runs) * rounds),
        )
        if reference is not None:
            reference.free()
    return Benchmark(
        device=mesh.devices.flat[0].device_kind,
        num_devices=mesh.size,
        num_processors=os.cpu_count() or 1,
        load=load,
        batch_size=batch_size,
        precision=precision,
        inference=inference,
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


def step_flops(run: Run, *, inference: bool = False) -> int:
    """Floating-point operations of a step, as in the module docstring."""
    shape = network.image_shape(run.config, run.info)
    macs = models.count_macs(run.model, shape) * run.config.data.batch_size
    return (1 if inference else 3) * 2 * macs


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


def _run_alone(config: Config, inference: bool) -> None:
    """Takes steps in a process of its own."""
    (Forward if inference else Trainer)(make_run(config)).take(timing.FEW_STEPS)


def _measure(
    run: Run,
    reference: Any,
    rounds: int,
    peak_flops: float,
    modes: Collection[str],
    *,
    inference: bool,
    after_round: Callable[[], None],
) -> list[Row]:
    """The rows of one network."""
    make = Forward if inference else Trainer
    runs = {
        mode: make_run(config_fields.replace(run.config, fields)) if fields else run
        for mode, (fields, platform) in SYNTHETIC.items()
        if mode in modes and platform in (None, run.platform)
    }
    ours = {mode: make(part) for mode, part in runs.items()}
    theirs, failed = {}, {}
    arguments = None if reference is None else _torch_arguments(run, ours["synthetic"])
    for mode in reference.MODES if reference is not None else ():
        if mode not in modes:
            continue
        try:
            theirs[mode] = _torch_trainer(reference, arguments, mode, inference)
            theirs[mode].take(1)
        except Exception as error:  # anything in PyTorch; the table shows the reason
            theirs.pop(mode, None)
            failed[mode] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    timed = ours | theirs
    steps = {mode: timing.warm_up(program) for mode, program in timed.items()}
    times = timing.in_turns(timed, steps, rounds, after_round)
    fastest = min(theirs, key=lambda mode: times[mode].fastest, default=None)
    flops, batch_size = step_flops(run, inference=inference), run.config.data.batch_size

    def row(mode: str, compared: tuple[str, str] | None = None, **values: Any) -> Row:
        median = times[mode].quartiles[1]
        return Row(
            model=run.config.model,
            mode=mode,
            image_size=run.config.data.image_size,
            times=times[mode],
            images_per_second=batch_size / median,
            utilisation=flops / median / peak_flops,
            **({} if compared is None else _ratio(times, *compared)),
            **values,
        )

    rows = []
    for mode, trainer in ours.items():
        trainer.check_loss()
        if run.platform == "cpu":
            config = runs[mode].config
            peak = timing.resident_bytes(_run_alone, config, inference), "process"
        else:
            peak = trainer.peak
        rows.append(
            row(
                mode,
                fastest and (fastest, mode),
                compile_seconds=trainer.compile_seconds,
                compile_cache=trainer.compile_cache,
                peak_bytes=peak[0],
                peak_bytes_by=peak[1],
            )
        )
    if REAL in modes and not inference:
        times[REAL], data_wait = _real(ours["synthetic"], steps["synthetic"], rounds)
        rows.append(row(REAL, data_wait=data_wait))
    for mode, trainer in theirs.items():
        peak_bytes, by = trainer.peak_bytes, "device"
        if run.platform == "cpu":
            network, step = arguments
            alone = reference.run_alone, network, (*step, mode, inference)
            peak_bytes, by = timing.resident_bytes(*alone), "process"
        rows.append(
            row(
                mode,
                (mode, "synthetic"),
                compile_seconds=trainer.compile_seconds,
                peak_bytes=peak_bytes,
                peak_bytes_by=None if peak_bytes is None else by,
            )
        )
    size = run.config.data.image_size
    rows += [Row(run.config.model, mode, size, error=e) for mode, e in failed.items()]
    return rows


def _ratio(times: Mapping[str, Times], theirs: str, ours: str) -> dict[str, Any]:
    """PyTorch's time over ours, or why that is not known."""
    unsteady = [m for m in (theirs, ours) if times[m].spread > timing.STEADY]
    if unsteady:
        spreads = [f"{mode} by {times[mode].spread:.0%}" for mode in unsteady]
        return {"not_measured": f"the fastest rounds spread: {', '.join(spreads)}"}
    return {"ratio_to_torch": times[theirs].fastest / times[ours].fastest}


def _torch_arguments(
    run: Run, ours: Trainer | Forward
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Arguments of torch_reference.build, and of Trainer from the batch to the
    precision."""
    params = run.variable_shapes["params"]
    network = (
        run.config.model,
        run.task.outputs["num_classes"],
        run.config.data.image_size,
        sum(p.size for p in jax.tree.leaves(params)),
    )
    return network, (
        jax.device_get(ours.batch),
        run.info.mean,
        run.info.std,
        run.config.optim,
        run.config.compute_dtype,
        run.platform,
    )


def _torch_trainer(
    reference: Any,
    arguments: tuple[tuple[Any, ...], tuple[Any, ...]],
    mode: str,
    inference: bool,
) -> Any:
    """The network of a run in PyTorch, with its first step taken."""
    network, step = arguments
    trainer = reference.Trainer(reference.build(*network), *step, mode, inference)
    trainer.prepare()
    return trainer


def _real(trainer: Trainer, steps: int, rounds: int) -> tuple[Times, float]:
    """Times steps with the input pipeline.

    Batches that were prefetched before the timing are discarded first.

    Returns:
        (step times, fraction of the time spent waiting for batches).
    """
    with contextlib.closing(feed.train_batches(trainer.run, None, 0)) as batches:
        for _ in range(_BUFFERED):
            next(batches)
        meter = Meter(0, rounds * steps, trainer.run.config.data.batch_size)
        timed = meter.wait_for(batches)
        seconds = [trainer.take(steps, timed) / steps for _ in range(rounds)]
        return Times(tuple(seconds)), meter.read(rounds * steps)["data_wait"]
