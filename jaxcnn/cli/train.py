r"""Trains a network, or resumes a run that was stopped.

    jaxcnn train --config=experiments/lenet5_digits.py --workdir=runs/digits \
        --config.optim.peak_lr=0.05
    jaxcnn train --config.model=resnet18 --config.data.name=folder:photos \
        --workdir=runs/photos

The same command starts a run and resumes it. SIGTERM and Ctrl-C save the current step.

On several hosts, run the same command on each: with --distributed if JAX can detect the
others, otherwise with --coordinator_address, --num_processes and --process_id.
"""

from collections.abc import Sequence
from pathlib import Path
import re

from absl import flags

import jaxcnn
from jaxcnn import folders
from jaxcnn.cli import _flags
from jaxcnn.errors import UserError, require

more_help = _flags.describe_fields


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    _flags.define_config(values, argv)
    flags.DEFINE_string(
        "workdir", None, "folder of the run, created if needed", flag_values=values
    )
    flags.DEFINE_bool(
        "dry_run",
        False,
        "check the data, compile, take two steps, print time, memory and input rate; "
        "write nothing",
        flag_values=values,
    )
    flags.DEFINE_string(
        "profile_steps",
        None,
        "START:STOP; trace the steps START to STOP - 1, counted from 1, into "
        "WORKDIR/profile, for TensorBoard and Perfetto",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "distributed",
        False,
        "this process is one of several that Slurm, Open MPI, Kubernetes or Cloud TPU "
        "started",
        flag_values=values,
    )
    flags.DEFINE_string(
        "coordinator_address",
        None,
        "HOST:PORT of the first of several processes",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "num_processes", None, "number of processes", flag_values=values
    )
    flags.DEFINE_integer(
        "process_id", None, "number of this process, from 0", flag_values=values
    )
    flags.DEFINE_integer(
        "heartbeat_seconds",
        30,
        "seconds without a heartbeat after which a process counts as dead",
        flag_values=values,
    )


def _profile_steps(text: str | None) -> tuple[int, int] | None:
    """Parses START:STOP."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+):(\d+)", text)
    require(match is not None, "--profile_steps", text, "START:STOP, such as 10:15")
    return int(match[1]), int(match[2])


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    _flags.no_arguments(arguments)
    config = _flags.config(values)
    profile_steps = _profile_steps(values.profile_steps)
    where = (values.coordinator_address, values.num_processes, values.process_id)
    if values.distributed or where != (None, None, None):
        from jaxcnn.training import hosts

        hosts.connect(*where, heartbeat_seconds=values.heartbeat_seconds)
    if values.dry_run:
        if profile_steps is not None:
            raise UserError("--profile_steps needs a run; leave out --dry_run.")
        from jaxcnn.report import text
        from jaxcnn.training import dry_run

        if values.workdir:
            folders.check_writable(Path(values.workdir), "The folder of the run")
        print(text.pairs(dry_run.dry_run(config)))
        return 0
    workdir = _flags.workdir(values)
    result = jaxcnn.fit(config, workdir, profile_steps=profile_steps)
    from jaxcnn.report import text
    from jaxcnn.training import hosts

    if hosts.is_first():
        print(text.result(result, workdir))
    return 0 if result.stopped_by is None else 128 + result.stopped_by
