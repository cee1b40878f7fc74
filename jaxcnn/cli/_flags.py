"""Flags that several verbs have."""

from collections.abc import Sequence
from pathlib import Path
import re

from absl import flags
from ml_collections import config_flags

from jaxcnn import config_fields
from jaxcnn.config import Config
from jaxcnn.errors import UserError


def define_config(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """--config=FILE and --config.FIELD=VALUE, which argv is looked through for.

    Raises:
        UserError: A FIELD that is none, with the nearest that are.
    """
    known = config_fields.fields(Config())
    for argument in argv:
        match = re.match(r"--?(?:no)?config\.([^=]+)", argument)
        if match and match[1] not in known:
            raise config_fields.unknown_field(match[1])
    config_flags.DEFINE_config_file(
        "config",
        None,
        "experiment file, whose get_config() gives the choices of the run; "
        "--config.FIELD=VALUE changes one of them",
        flag_values=values,
        sys_argv=list(argv),
    )


def describe_fields() -> str:
    """Every FIELD of --config.FIELD=VALUE, for --help."""
    lines = ["Fields, each as --config.FIELD=VALUE, and their defaults:"]
    for name, (field, value) in config_fields.fields(Config()).items():
        lines.append(f"  {name} = {value!r}: {field.metadata['meaning']}")
    return "\n".join(lines)


def config(values: flags.FlagValues) -> Config:
    """The config that --config gives.

    Raises:
        UserError: There is no such file, or it gives something else.
    """
    found = values.config
    if found is None:
        raise UserError("--config=FILE is missing: the experiment to run.")
    if isinstance(found, Config):
        return found
    try:
        kind = type(found.model)
    except OSError as error:  # ml_collections' stand-in for a file it cannot load
        why = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"--config cannot be read: {why}") from error
    except AttributeError:
        kind = type(found)
    raise UserError(
        f"--config gives a {kind.__name__}; its get_config() must return a "
        "jaxcnn.config.Config."
    )


def define_run(values: flags.FlagValues) -> None:
    """--workdir, --checkpoint and --raw of a run that exists."""
    flags.DEFINE_string("workdir", None, "folder of the run", flag_values=values)
    flags.DEFINE_string(
        "checkpoint",
        "best",
        "best, latest, a step, or mean:K, the mean of the newest K",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "raw",
        False,
        "of a run that keeps an average of its parameters: themselves instead of it",
        flag_values=values,
    )


def workdir(values: flags.FlagValues) -> str:
    """--workdir; UserError without it."""
    if not values.workdir:
        raise UserError("--workdir=DIR is missing: the folder of the run.")
    return values.workdir


def define_output(values: flags.FlagValues, what: str) -> None:
    """--output=DIR, where a verb writes `what`."""
    flags.DEFINE_string(
        "output", None, f"folder of {what}, made if need be", flag_values=values
    )


def output(values: flags.FlagValues) -> Path:
    """--output, made if need be; UserError without it, or if it cannot be made."""
    if not values.output:
        raise UserError("--output=DIR is missing: the folder of the results.")
    folder = Path(values.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--output={folder} cannot be made a folder: {error.strerror}."
        ) from error
    return folder


def define_format(values: flags.FlagValues, *formats: str) -> None:
    """--format, of which the first is the default."""
    flags.DEFINE_enum(
        "format", formats[0], formats, "of what is printed", flag_values=values
    )


def no_arguments(arguments: Sequence[str]) -> None:
    """Raises UserError for a word that belongs to no flag."""
    if arguments:
        raise UserError(f"Only flags are taken here, not {arguments[0]!r}.")
