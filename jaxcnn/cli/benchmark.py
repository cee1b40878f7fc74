r"""Times the training step or the inference of networks, and compares with PyTorch.

    jaxcnn benchmark --models=resnet50,vgg16 --batch_size=64 --image_size=224 \
        --precision=bfloat16 --vs=torch --output=bench

"synthetic" steps use one batch that is already on the device; "real" steps use batches
of the run's own input pipeline, which reads JPEG files from memory, or arrays for
networks with small images. With --vs=torch the same network, batch and optimizer are
also timed in PyTorch, alternating with ours: eager, with channels last, and compiled
with channels last. Ratios are those of each mode's fastest fifth of the rounds; where
these spread by more than 15%, the machine was too busy, and there is none. --modes
leaves out what takes long, such as torch_compile. JSON output is a list with one object
per network and mode.
"""

from collections.abc import Sequence
import os

from absl import flags

from jaxcnn.cli import _flags


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    flags.DEFINE_list(
        "models", [], "names listed by `jaxcnn models`", flag_values=values
    )
    flags.DEFINE_integer(
        "batch_size", 64, "images per step, over all devices", flag_values=values
    )
    _flags.define_image_size(values, "default: those of each network's paper")
    flags.DEFINE_string(
        "precision",
        "float32",
        "compute dtype of the forward and backward pass: float32, bfloat16 or float16",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "devices", None, "number of devices; default: all", flag_values=values
    )
    flags.DEFINE_enum(
        "vs", None, ["torch"], "library to compare with", flag_values=values
    )
    flags.DEFINE_list(
        "modes",
        None,
        "modes to time besides synthetic; default: all",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "inference",
        False,
        "time the forward pass of evaluation instead of training steps",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "rounds", 30, "number of rounds, of about 0.2 s each", flag_values=values
    )
    _flags.define_output(values, "benchmark.json, .md and .png")
    _flags.define_format(values, "table", "json", "markdown")


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    _flags.no_arguments(arguments)
    if values.vs == "torch":
        # Or JAX takes most of a GPU's memory before PyTorch sees it.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    from jaxcnn.report import benchmark as report
    from jaxcnn.report import progress
    from jaxcnn.studies import benchmark

    output = _flags.output(values) if values.output else None
    with progress.bar("rounds") as update:
        result = benchmark.benchmark(
            values.models,
            batch_size=values.batch_size,
            image_size=_flags.image_size(values),
            precision=values.precision,
            num_devices=values.devices,
            inference=values.inference,
            vs_torch=values.vs == "torch",
            rounds=values.rounds,
            modes=values.modes,
            progress=update,
        )
    print(report.FORMATS[values.format](result))
    if output:
        files = report.write(output, result)
        if values.format == "table":
            print("\nWritten: " + ", ".join(map(str, files)))
    return 0
