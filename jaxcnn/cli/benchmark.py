r"""Times the training step of networks, against PyTorch if asked.

    jaxcnn benchmark --models=resnet50,vgg16 --batch_size=64 --image_size=224 \
        --precision=bfloat16 --vs=torch --output=bench

"synthetic" steps take one batch that lies on the device; "real" ones take batches of
the run's own input pipeline, from JPEG files in memory, or from arrays for networks of
small images. With --vs=torch the same network, batch and optimizer are timed in PyTorch
in turns with ours: eager, with channels last, and compiled with channels last. JSON is
a list, an object for each network and mode.
"""

from collections.abc import Sequence
import os

from absl import flags

from jaxcnn.cli import _flags


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    flags.DEFINE_list("models", [], "names of `jaxcnn models`", flag_values=values)
    flags.DEFINE_integer(
        "batch_size", 64, "images a step, over all devices", flag_values=values
    )
    _flags.define_image_size(values, "default: the paper's of each network")
    flags.DEFINE_string(
        "precision",
        "float32",
        "of forward and backward pass, as compute_dtype of a config",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "devices", None, "to use; default: all there are", flag_values=values
    )
    flags.DEFINE_enum(
        "vs", None, ["torch"], "what is timed in turns with ours", flag_values=values
    )
    flags.DEFINE_integer("rounds", 10, "of each measurement", flag_values=values)
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
    with progress.bar("networks") as update:
        result = benchmark.benchmark(
            values.models,
            batch_size=values.batch_size,
            image_size=_flags.image_size(values),
            precision=values.precision,
            num_devices=values.devices,
            vs_torch=values.vs == "torch",
            rounds=values.rounds,
            progress=update,
        )
    print(report.FORMATS[values.format](result))
    if output:
        files = report.write(output, result)
        if values.format == "table":
            print("\nWritten: " + ", ".join(map(str, files)))
    return 0
