"""Flags that several verbs share."""

import ast
from collections.abc import Sequence
import os
from pathlib import Path
import re
import runpy
from typing import Any

from absl import flags
from ml_collections import config_flags

from jaxcnn import config_fields, folders
from jaxcnn.config import Config
from jaxcnn.errors import UserError, in_one_line, require

_MAX_SIDE = 2**14  # pixels


def define_config(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Defines --config=FILE and --config.FIELD=VALUE; without FILE, all defaults.

    Args:
        values: The flags, to which these are added.
        argv: The command line, whose fields are checked.

    Raises:
        UserError: A FIELD is unknown; the message suggests similar ones.
    """
    known = config_fields.fields(Config())
    for argument in argv:
        match = re.match(r"--?(?:no)?config\.([^=]+)", argument)
        if match and match[1] not in known:
            raise config_fields.unknown_field(match[1])
    text = (
        "experiment file, whose get_config() returns the config of the run; "
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
        UserError: There is no such file, it fails, or it returns something else.
    """
    file, colon, text = path.partition(":")
    if not os.path.isfile(file):
        what = "It is no file" if os.path.exists(file) else "No such file"
        raise UserError(f"{what} (the current directory is {os.getcwd()}).")
    try:
        get_config = runpy.run_path(file).get("get_config")
        if not callable(get_config):
            raise UserError("It has no function get_config().")
        config = get_config(*[text] if colon else [])
        if not isinstance(config, Config):
            raise UserError(
                "Its get_config() must return a jaxcnn.config.Config, not a "
                f"{type(config).__name__}."
            )
        config_fields.check(config)
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:  # the file can do anything
        raise UserError(in_one_line(error, file)) from error
    return config


def describe_fields() -> str:
    """Every FIELD of --config.FIELD=VALUE, for --help."""
    lines = ["Fields, each as --config.FIELD=VALUE, and their defaults:"]
    for name, (field, value) in config_fields.fields(Config()).items():
        meaning, allowed = field.metadata["meaning"], field.metadata["allowed"]
        rule = f" (in {allowed})" if allowed else ""
        lines.append(f"  {name} = {value!r}: {meaning}{rule}")
    return "\n".join(lines)


def config(values: flags.FlagValues) -> Config:
    """The config set by --config and --config.FIELD.

    Raises:
        UserError: Neither is given.
    """
    flag = values["config"]
    if flag.using_default_value and not flag.override_values:
        raise UserError(
            "--config=FILE is missing: the experiment to run. Without a file, set at "
            "least one field, such as --config.model=resnet18."
        )
    config_fields.check(flag.value)
    return flag.value


def define_run(values: flags.FlagValues) -> None:
    """Defines --workdir, --checkpoint and --raw for an existing run."""
    flags.DEFINE_string("workdir", None, "folder of the run", flag_values=values)
    flags.DEFINE_string(
        "checkpoint",
        "best",
        "best, latest, a step, or mean:K, the mean of the newest K checkpoints",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "raw",
        False,
        "use the raw parameters instead of their average",
        flag_values=values,
    )


def workdir(values: flags.FlagValues) -> str:
    """The value of --workdir; raises UserError if it is missing."""
    if not values.workdir:
        raise UserError("--workdir=DIR is missing: the folder of the run.")
    return values.workdir


def define_output(values: flags.FlagValues, what: str) -> None:
    """Defines --output=DIR, the folder into which a verb writes `what`."""
    flags.DEFINE_string(
        "output", None, f"folder for {what}, created if needed", flag_values=values
    )


def output(values: flags.FlagValues) -> Path:
    """The folder --output, created if needed.

    Raises:
        UserError: The flag is missing, or the folder cannot be created.
    """
    if not values.output:
        raise UserError("--output=DIR is missing: the folder of the results.")
    folder = Path(values.output)
    folders.check_writable(folder, "--output")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--output={folder} cannot be created: {error.strerror}."
        ) from error
    return folder


def define_image_size(values: flags.FlagValues, default: str) -> None:
    """--image_size of the images that a network sees."""
    flags.DEFINE_string(
        "image_size",
        None,
        f"size of the images in pixels: N, or HEIGHTxWIDTH; {default}",
        flag_values=values,
    )


def image_size(values: flags.FlagValues) -> int | tuple[int, int] | None:
    """--image_size as a number, or (height, width); None where it is not given."""
    text = values.image_size
    if text is None:
        return None
    match = re.fullmatch(r"(-?\d{1,9})(?:x(\d{1,9}))?", text)
    if match is None:
        raise UserError(f"--image_size must be N or HEIGHTxWIDTH, not {text!r}.")
    sides = [int(side) for side in match.groups() if side is not None]
    if min(sides) < 1:
        raise UserError(f"--image_size must be at least 1, not {text}.")
    if max(sides) > _MAX_SIDE:
        raise UserError(f"--image_size must be at most {_MAX_SIDE}, not {text}.")
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def define_fields(values: flags.FlagValues) -> None:
    """Defines --field=NAME=VALUE for the fields of a network."""
    flags.DEFINE_multi_string(
        "field",
        [],
        "NAME=VALUE, a field of the model, such as output_stride=16 or "
        "backbone=resnet50; may be given several times",
        flag_values=values,
    )


def fields(values: flags.FlagValues) -> dict[str, Any]:
    """The fields of --field: each value is a Python literal, or else a text.

    Raises:
        UserError: One is not of the form NAME=VALUE.
    """
    found = {}
    for text in values.field:
        name, equals, value = text.partition("=")
        require(name.isidentifier() and bool(equals), "--field", text, "NAME=VALUE")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value
    return found


def define_format(values: flags.FlagValues, *formats: str) -> None:
    """Defines --format; the first of the formats is the default."""
    flags.DEFINE_enum(
        "format", formats[0], formats, "output format", flag_values=values
    )


def no_arguments(arguments: Sequence[str]) -> None:
    """Raises UserError for an argument that is not a flag."""
    if arguments:
        raise UserError(f"This command takes only flags, not {arguments[0]!r}.")
