r"""Trains a network a fold and measures each on images that it has not seen.

    jaxcnn cross_validate --config=experiments/lenet5_digits.py --folds=5 \
        --output=folds

Stratified folds of all images but those of the test split. The mean and standard
deviation of the folds are printed; what was said of each image while it was held out,
its confusion matrix and the metrics of each fold are written. Finished folds are kept:
the same command goes on with the others.
"""

from collections.abc import Sequence

from absl import flags

from jaxcnn.cli import _flags

more_help = _flags.describe_fields


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    _flags.define_config(values, argv)
    _flags.define_output(values, "the folds and what they say")
    flags.DEFINE_integer("folds", 5, "parts, each held out once", flag_values=values)
    _flags.define_format(values, "table", "json")


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    _flags.no_arguments(arguments)
    config = _flags.config(values)
    output = _flags.output(values)
    from jaxcnn.report import cross_validation, progress
    from jaxcnn.studies import cross_validate

    def say(number: int, fold: cross_validate.Fold) -> None:
        if values.format == "table":
            print(cross_validation.fold_line(number, values.folds, fold), flush=True)

    with progress.bar("training") as update:
        result = cross_validate.cross_validate(
            config, values.folds, output, on_fold=say, progress=update
        )
    if result.stopped_by is not None:
        print(
            f"Stopped by signal {result.stopped_by} after {len(result.folds)} of "
            f"{values.folds} folds, which are kept; the same command goes on."
        )
        return 128 + result.stopped_by
    files = cross_validation.write(output, result)
    if values.format == "table":
        print()
    print(cross_validation.FORMATS[values.format](result))
    if values.format == "table":
        print("\nWritten: " + ", ".join(map(str, files)))
    return 0
