"""Flags that several verbs have."""

from collections.abc import Sequence
import os
from pathlib import Path
import re
import runpy

from absl import flags
from ml_collections import config_flags

from jaxcnn import config_fields
from jaxcnn.config import Config
from jaxcnn.errors import UserError, in_one_line


def define_config(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """--config=FILE and --config.FIELD=VALUE; without a file a config of defaults.

    Args:
        values: The flags, to which these are added.
        argv: The command line, in which the fields that it sets are looked up.

    Raises:
        UserError: There is no such FIELD; the nearest are named.
    """
    known = config_fields.fields(Config())
    for argument in argv:
        match = re.match(r"--?(?:no)?config\.([^=]+)", argument)
        if match and match[1] not in known:
            raise config_fields.unknown_field(match[1])
    text = (
        "experiment file, whose get_config() gives the config of the run; "
        "--config.FIELD=VALUE changes a field of it or, without a file, of the "
        "defaults"
    )
    config_flags.DEFINE_config_dataclass(
        "config", Config(), text, values, sys_argv=list(argv), parse_fn=_read
    )
    values["config"].default_as_str = "jaxcnn.config.Config()"


def _read(path: str) -> Config:
    """The config of an experiment file; "FILE:TEXT" calls its get_config(TEXT).

    Raises:
        UserError: There is no such file, it fails, or it gives something else.
    """
    file, colon, text = path.partition(":")
    if not Path(file).is_file():
        raise UserError(f"No such file (the current directory is {os.getcwd()}).")
    try:
        get_config = runpy.run_path(file).get("get_config")
        if get_config is None:
            raise UserError("It has no function get_config().")
        found = get_config(*[text] if colon else [])
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # the file can do anything
        raise UserError(in_one_line(error)) from error
    if not isinstance(found, Config):
        raise UserError(
            "Its get_config() must return a jaxcnn.config.Config, not a "
            f"{type(found).__name__}."
        )
    return found


def describe_fields() -> str:
    """Every FIELD of --config.FIELD=VALUE, for --help."""
    lines = ["Fields, each as --config.FIELD=VALUE, and their defaults:"]
    for name, (field, value) in config_fields.fields(Config()).items():
        lines.append(f"  {name} = {value!r}: {field.metadata['meaning']}")
    return "\n".join(lines)


def config(values: flags.FlagValues) -> Config:
    """The config that --config and --config.FIELD give.

    Raises:
        UserError: Neither is given.
    """
    flag = values["config"]
    if flag.using_default_value and not flag.override_values:
        raise UserError(
            "--config=FILE is missing: the experiment to run. Without a file, set at "
            "least one field, such as --config.model=resnet18."
        )
    return flag.value


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


def define_image_size(values: flags.FlagValues, default: str) -> None:
    """--image_size of the images that a network sees."""
    flags.DEFINE_string(
        "image_size", None, f"pixels: N, or HEIGHTxWIDTH; {default}", flag_values=values
    )


def image_size(values: flags.FlagValues) -> int | tuple[int, int] | None:
    """--image_size as a number, or (height, width); None where it is not given."""
    text = values.image_size
    if text is None:
        return None
    match = re.fullmatch(r"(-?\d+)(?:x(\d+))?", text)
    if match is None:
        raise UserError(f"--image_size must be N or HEIGHTxWIDTH, not {text!r}.")
    sides = [int(side) for side in match.groups() if side is not None]
    if min(sides) < 1:
        raise UserError(f"--image_size must be at least 1, not {text}.")
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def define_format(values: flags.FlagValues, *formats: str) -> None:
    """--format, of which the first is the default."""
    flags.DEFINE_enum(
        "format", formats[0], formats, "of what is printed", flag_values=values
    )


def no_arguments(arguments: Sequence[str]) -> None:
    """Raises UserError for a word that belongs to no flag."""
    if arguments:
        raise UserError(f"Only flags are taken here, not {arguments[0]!r}.")
