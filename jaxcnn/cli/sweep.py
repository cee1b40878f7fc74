r"""Trains one run for each of several settings, and compares them by validation.

    jaxcnn sweep --config=experiments/lenet5_digits.py --output=sweeps/digits \
        --vary=optim.peak_lr=0.001,0.004,0.016 --vary=seed=0,1
    jaxcnn sweep --config=FILE --output=DIR --random=20 \
        --vary="optim.peak_lr=log(1e-4,1e-1)" --vary="augment.flip=uniform(0,0.5)"

Each --vary names a field of the config and its values, or a range: log(low,high),
uniform(low,high) or int(low,high). Without other flags, every combination of values is
tried; --random=N tries N random ones, and with --optuna=N, Optuna chooses N trials,
using the earlier results. Each trial is a run in its own folder below --output;
sweep.csv and sweep.json list the validation metrics. Test the selected trial with
`jaxcnn evaluate`; --test is for sweeps in which nothing is selected, such as ten seeds
of one config. Ctrl-C and SIGTERM save the current trial; run the same command to resume
from there.
"""

from collections.abc import Sequence
import functools

from absl import flags

from jaxcnn.cli import _flags
from jaxcnn.errors import UserError

more_help = _flags.describe_fields


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    _flags.define_config(values, argv)
    _flags.define_output(values, "the trials and their table")
    flags.DEFINE_multi_string(
        "vary", [], "FIELD=VALUES, once for each field", flag_values=values
    )
    flags.DEFINE_integer("random", None, "number of random trials", flag_values=values)
    flags.DEFINE_integer(
        "optuna", None, "number of trials that Optuna chooses", flag_values=values
    )
    flags.DEFINE_integer(
        "search_seed", 0, "seed of --random and --optuna", flag_values=values
    )
    flags.DEFINE_bool(
        "test",
        False,
        "also evaluate each trial on the test split; the ranking ignores it",
        flag_values=values,
    )
    _flags.define_format(values, "table", "json", "csv")


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    _flags.no_arguments(arguments)
    config = _flags.config(values)
    if not values.vary:
        raise UserError("--vary=FIELD=VALUES is missing: the values to try.")
    if values.random is not None and values.optuna is not None:
        raise UserError("--random and --optuna cannot be combined; give one of them.")
    from jaxcnn.report import sweep as sweep_report
    from jaxcnn.report import writers
    from jaxcnn.studies import search, sweep

    space = search.parse(values.vary)
    if values.random is not None:
        plan = search.random(space, values.random, values.search_seed)
    elif values.optuna is not None:
        plan = search.Optuna(space, values.optuna, values.search_seed)
    else:
        plan = search.grid(space)

    output = _flags.output(values)

    def on_trial(number: int, so_far: sweep.Sweep, trial: sweep.Trial) -> None:
        sweep_report.write(output, so_far)
        if values.format == "table":
            print(sweep_report.trial_line(number, so_far, trial), flush=True)

    result = sweep.sweep(
        config,
        plan,
        output,
        make_writer=functools.partial(writers.for_trial, chosen=config.writers),
        measure_test=values.test,
        on_trial=on_trial,
    )
    if result.stopped_by is not None:
        print(
            f"Stopped by signal {result.stopped_by} after {len(result.trials)} of "
            f"{result.num_trials} trials; run the same command to resume."
        )
        return 128 + result.stopped_by
    if values.format == "table":
        print()
    print(sweep_report.FORMATS[values.format](result))
    if values.format == "table":
        print(f"\nWritten: {output / 'sweep.csv'}, {output / 'sweep.json'}")
    return 0
