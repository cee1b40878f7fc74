r"""Suggests a learning rate, by a short run whose rate rises until the loss diverges.

    jaxcnn find_lr --config=experiments/lenet5_digits.py --output=found

The learning-rate range test of Smith, https://arxiv.org/abs/1506.01186. It suggests two
rates, between which to try: the rate at which the smoothed loss falls most steeply and,
more carefully, a tenth of the rate at which it is lowest. find_lr.png shows the curve;
the CSV and JSON files list every step. No checkpoint is written.
"""

from collections.abc import Sequence

from absl import flags

from jaxcnn.cli import _flags

more_help = _flags.describe_fields


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    _flags.define_config(values, argv)
    _flags.define_output(values, "plot, CSV and JSON")
    flags.DEFINE_float(
        "low", 1e-7, "learning rate of the first step", flag_values=values
    )
    flags.DEFINE_float(
        "high", 10.0, "learning rate after the last step", flag_values=values
    )
    flags.DEFINE_integer(
        "steps", 200, "number of steps of the test", flag_values=values
    )
    _flags.define_format(values, "table", "json")


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    _flags.no_arguments(arguments)
    config = _flags.config(values)
    output = _flags.output(values)
    from jaxcnn.report import range_test
    from jaxcnn.studies import find_lr

    test = find_lr.find_lr(
        config, low=values.low, high=values.high, num_steps=values.steps
    )
    files = range_test.write(output, test)
    print(range_test.FORMATS[values.format](test))
    if values.format == "table":
        print("\nWritten: " + ", ".join(map(str, files)))
    return 0
