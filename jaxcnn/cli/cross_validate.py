r"""Trains one network per fold and measures each on images that it has not seen.

    jaxcnn cross_validate --config=experiments/lenet5_digits.py --folds=5 \
        --output=folds

All images except those of the test split are divided into stratified folds. The mean
and standard deviation over the folds are printed. The prediction for each image by the
network that had not seen it, the figures of the task, such as the confusion matrix, and
the metrics of each fold are written. Finished folds are kept: run the same command to
resume.
"""

from collections.abc import Sequence
import sys

from absl import flags

from jaxcnn.cli import _flags

more_help = _flags.describe_fields


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    _flags.define_config(values, argv)
    _flags.define_output(values, "the folds and their results")
    flags.DEFINE_integer(
        "folds", 5, "number of folds, each held out once", flag_values=values
    )
    _flags.define_format(values, "table", "json")


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    _flags.no_arguments(arguments)
    config = _flags.config(values)
    output = _flags.output(values)
    from jaxcnn.report import cross_validation, progress
    from jaxcnn.studies import cross_validate

    def show(number: int, fold: cross_validate.Fold) -> None:
        if values.format == "table":
            print(cross_validation.fold_line(number, values.folds, fold), flush=True)

    with progress.bar("training") as update:
        result = cross_validate.cross_validate(
            config,
            values.folds,
            output,
            on_fold=show,
            progress=update,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
    if result.stopped_by is not None:
        print(
            f"Stopped by signal {result.stopped_by} after {len(result.folds)} of "
            f"{values.folds} folds, which are kept; run the same command to resume."
        )
        return 128 + result.stopped_by
    files = cross_validation.write(output, result)
    if values.format == "table":
        print()
    print(cross_validation.FORMATS[values.format](result))
    if values.format == "table":
        print("\nWritten: " + ", ".join(map(str, files)))
    return 0
