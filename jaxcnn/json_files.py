"""JSON files that describe a run or imported weights, checked when they are opened.

A file states the SHA-256 of its content, so that an altered one is noticed. Files of
older versions, which state none, are read as well.
"""

from collections.abc import Callable, Mapping
import dataclasses
import hashlib
import json
import math
from pathlib import Path
import types
import typing
from typing import Any

from jaxcnn import errors, whole_files
from jaxcnn.errors import UserError, shown

DIGEST = "content_sha256"
_MAX_BYTES = 2**24  # of which the parser makes 100 times as much


def write(path: Path, values: Mapping[str, Any]) -> None:
    """Writes values and their digest, completely or not at all.

    Raises:
        UserError: There is a value that JSON does not have, such as NaN.
    """
    try:
        values = json.loads(json.dumps(values, allow_nan=False))  # as they are read
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} cannot be written: {error}.") from error
    text = json.dumps({**values, DIGEST: _digest(values)}, indent=2) + "\n"
    if len(text) > _MAX_BYTES:
        raise UserError(f"{path} cannot be written: it has over {_MAX_BYTES:,} bytes.")
    whole_files.write_text(path, text)


def read(path: Path, make: Callable[[dict[str, Any]], Any]) -> Any:
    """What a file describes.

    Args:
        path: The file.
        make: Function from the values of the file to what they describe. It raises
            UserError for one that is not allowed.

    Raises:
        UserError: The file cannot be read, has a value that is not allowed, or was
            altered.
    """
    try:
        values = _parsed(path)
        stated = values.pop(DIGEST, None) if DIGEST in values else _digest(values)
        found = _digest(values)
        made = make(values)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:  # UserError is a ValueError
        why = str(error).removesuffix(".")
        raise UserError(
            f"{path} cannot be read; it is damaged, or of another version of jaxcnn: "
            f"{why}."
        ) from error
    if stated != found:
        raise UserError(
            f"{path} was altered since jaxcnn wrote it: its content has the SHA-256 "
            f"{found}, not {shown(stated)} as its field {DIGEST} says."
        )
    return made


def _digest(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _parsed(path: Path) -> dict[str, Any]:
    """The JSON object of a file; ValueError where it holds none."""
    with path.open("rb") as file:
        text = file.read(_MAX_BYTES + 1)
    if len(text) > _MAX_BYTES:
        raise ValueError(f"it has more than {_MAX_BYTES:,} bytes")
    values = json.loads(
        text.decode("utf-8"),
        object_pairs_hook=_object,
        parse_float=_number,
        parse_constant=_number,
    )
    if not isinstance(values, dict):
        raise ValueError(f"it must hold an object, not {shown(values)}")
    return values


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("an object has a field twice")
    return values


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def build(cls: type, values: Any, name: str = "") -> Any:
    """A dataclass of the values of its fields.

    Args:
        cls: The dataclass. Its fields may hold dataclasses and mappings.
        values: Name of a field -> its value as JSON has it. Fields that have a default
            may be missing.
        name: Name of the dataclass in errors. Empty: it is the whole file.

    Raises:
        UserError: A field is unknown or missing, or its value is of another type.
    """
    if not isinstance(values, dict):
        raise _wrong(values, "an object", name)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    prefix = f"{name}." if name else ""
    for given in values:
        if given not in fields:
            raise errors.unknown("field", f"{prefix}{given}", fields)
    no_default = dataclasses.MISSING
    for field in fields.values():
        missing = field.default is no_default and field.default_factory is no_default
        if missing and field.name not in values:
            raise UserError(f"Field {prefix}{field.name} is missing.")
    hints = typing.get_type_hints(cls)
    return cls(
        **{n: _built(value, hints[n], f"{prefix}{n}") for n, value in values.items()}
    )


def _built(value: Any, declared: Any, name: str) -> Any:
    """A value of JSON as the declared type."""
    if dataclasses.is_dataclass(declared):
        return build(declared, value, name)
    if typing.get_origin(declared) in (Mapping, dict):
        if not isinstance(value, dict):
            raise _wrong(value, "an object", name)
        inner = typing.get_args(declared)[1]
        if inner is Any:
            return value
        return {key: _built(x, inner, f"{name}.{key}") for key, x in value.items()}
    try:
        return cast(value, declared)
    except TypeError:
        raise _wrong(value, f"of type {type_text(declared)}", name) from None


def _wrong(value: Any, rule: str, name: str) -> UserError:
    return UserError(f"Field {name} is {shown(value)}; it must be {rule}.")


def type_text(declared: Any) -> str:
    """A type as source code writes it."""
    text = declared.__name__ if type(declared) is type else str(declared)
    return text.replace("typing.", "").replace("collections.abc.", "")


def cast(value: Any, declared: Any) -> Any:
    """A value as the declared type; TypeError where it is of another one.

    An int is taken for a float and a list for a tuple, as JSON and Python files have
    them.
    """
    origin, arguments = typing.get_origin(declared), typing.get_args(declared)
    if declared in (Any, object):
        if type(value) in (list, tuple):  # a named tuple stays one
            return tuple(cast(item, declared) for item in value)
        return value
    if origin is types.UnionType:  # T | None is the only union used here
        return None if value is None else cast(value, arguments[0])
    if origin is tuple:
        if not isinstance(value, tuple | list):
            raise TypeError
        if arguments[-1] is Ellipsis:
            return tuple(cast(item, arguments[0]) for item in value)
        if len(value) != len(arguments):
            raise TypeError
        return tuple(map(cast, value, arguments))
    if declared is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise TypeError from None
    if type(value) is not declared:  # bool is no int here
        raise TypeError
    return value
