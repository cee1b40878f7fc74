r"""Shows that a run which is killed and resumed is the same run, bit for bit.

    jaxcnn verify_resume --config=experiments/lenet5_digits.py --steps=60 --cuts=5 \
        --output=verified

Takes the first steps of an experiment twice, once uncut and once killed with SIGKILL at
random moments and resumed each time, and compares what each step was made of, every
state and every logged number. The config is as it is, but that a checkpoint is saved
ten times where it says no save_every_steps. It exits with 1 where anything differs.
"""

from collections.abc import Sequence

from absl import flags

from jaxcnn.cli import _flags

more_help = _flags.describe_fields


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    _flags.define_config(values, argv)
    _flags.define_output(values, "both runs")
    flags.DEFINE_integer("steps", 60, "number of steps taken", flag_values=values)
    flags.DEFINE_integer(
        "cuts", 5, "number of times that the run is killed", flag_values=values
    )
    flags.DEFINE_integer(
        "seed", 0, "seed of the moments at which it is killed", flag_values=values
    )


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    _flags.no_arguments(arguments)
    config = _flags.config(values)
    output = _flags.output(values)
    from jaxcnn.report import text
    from jaxcnn.studies import verify_resume

    done = verify_resume.verify_resume(
        config,
        output,
        num_steps=values.steps,
        num_cuts=values.cuts,
        seed=values.seed,
        say=lambda line: print(line, flush=True),
    )
    print(
        text.pairs(
            {
                "steps": str(done.steps),
                "killed after steps": ", ".join(map(str, done.kills)) or "none",
                "steps taken again": str(done.repeated),
                "differences": "\n".join(done.differences) or "none",
            }
        )
    )
    return 1 if done.differences else 0
