"""The fields of a config by their dotted names: values, types, JSON, differences."""

from collections.abc import Iterator, Mapping
import copy
import dataclasses
import difflib
import json
import types
import typing
from typing import Any

from jaxcnn.config import DATA_PREFIXES, Config
from jaxcnn.errors import UserError


def fields(config: Any, prefix: str = "") -> dict[str, tuple[dataclasses.Field, Any]]:
    """Every field that is not a section: dotted name -> (field, value)."""
    values = {}
    for field in dataclasses.fields(config):
        name, value = prefix + field.name, getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            values |= fields(value, f"{name}.")
        else:
            values[name] = (field, value)
    return values


def check_types(config: Config) -> None:
    """Raises UserError for the first field whose value is not of its declared type.

    An int is taken for a float and a list for a tuple, as Python files and JSON have
    them, and turned into the declared type in place.
    """
    for name, default in vars(Config()).items():
        kind = type(default)
        section = getattr(config, name, None)
        if dataclasses.is_dataclass(default) and not isinstance(section, kind):
            raise UserError(
                f"Config field {name} is {section!r}; it must be a {kind.__name__}."
            )
    for name in _undeclared(config):
        raise unknown_field(name)
    for name, (field, value) in fields(config).items():
        declared = declared_type(name)
        try:
            setattr(_holder(config, name), field.name, _cast(value, declared))
        except TypeError:
            expected = declared.__name__ if type(declared) is type else declared
            raise UserError(
                f"Config field {name} is {value!r}; it must be of type {expected}."
            ) from None


def _undeclared(config: Any, prefix: str = "") -> Iterator[str]:
    """Attributes that are no fields, such as a field's name misspelt."""
    declared = {field.name for field in dataclasses.fields(config)}
    for name, value in vars(config).items():
        if name not in declared:
            yield prefix + name
        elif dataclasses.is_dataclass(value):
            yield from _undeclared(value, f"{prefix}{name}.")


def declared_type(name: str) -> Any:
    """The type of a field, by its dotted name.

    Raises:
        UserError: There is no such field; the nearest are named.
    """
    default = Config()
    if name not in fields(default):
        raise unknown_field(name)
    return typing.get_type_hints(type(_holder(default, name)))[name.split(".")[-1]]


def replace(config: Config, values: Mapping[str, Any]) -> Config:
    """A copy with other values of some fields, by dotted names, their types checked.

    Raises:
        UserError: There is no such field, or it is of another type.
    """
    changed = copy.deepcopy(config)
    for name, value in values.items():
        declared_type(name)
        setattr(_holder(changed, name), name.split(".")[-1], value)
    check_types(changed)
    return changed


def _holder(config: Any, name: str) -> Any:
    """The config or section that has the field of a dotted name."""
    for part in name.split(".")[:-1]:
        config = getattr(config, part)
    return config


def _cast(value: Any, declared: Any) -> Any:
    """value as the declared type; TypeError where it is of another one."""
    origin, arguments = typing.get_origin(declared), typing.get_args(declared)
    if declared in (Any, object):
        if type(value) in (list, tuple):  # a named tuple stays one
            return tuple(_cast(item, declared) for item in value)
        return value
    if origin is types.UnionType:  # T | None is the only union used here
        return None if value is None else _cast(value, arguments[0])
    if origin is tuple:
        if not isinstance(value, tuple | list):
            raise TypeError
        if arguments[-1] is Ellipsis:
            return tuple(_cast(item, arguments[0]) for item in value)
        if len(value) != len(arguments):
            raise TypeError
        return tuple(map(_cast, value, arguments))
    if declared is float and type(value) is int:
        return float(value)
    if type(value) is not declared:  # bool is no int here
        raise TypeError
    return value


def unknown_field(name: str) -> UserError:
    """The error for a dotted name that is no field, with the nearest that are."""
    known = list(fields(Config()))
    last = {field: field.rpartition(".")[2] for field in known}
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    close = difflib.get_close_matches(name.rpartition(".")[2], last.values(), n=3)
    nearest += [field for field in known if last[field] in close]
    nearest = list(dict.fromkeys(nearest)) or known
    return UserError(f"Unknown config field {name!r}; nearest: {', '.join(nearest)}.")


def to_json(config: Config) -> str:
    """The config as JSON text, for config.json in a run's folder."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str) -> Config:
    """The config that to_json wrote.

    Raises:
        UserError: A field that this version does not have, or of another type.
    """

    def fill(config: Any, values: dict[str, Any], prefix: str = "") -> Any:
        for name, value in values.items():
            if not hasattr(config, name):
                raise unknown_field(prefix + name)
            inner = getattr(config, name)
            if dataclasses.is_dataclass(inner):
                value = fill(inner, value, f"{prefix}{name}.")
            setattr(config, name, value)
        return config

    config = fill(Config(), json.loads(text))
    check_types(config)
    return config


def differences(old: Config, new: Config) -> list[str]:
    """What changes the numbers of a run: 'field: old -> new', one for each field."""
    new_fields = fields(new)
    return [
        f"{name}: {value!r} -> {new_fields[name][1]!r}"
        for name, (field, value) in fields(old).items()
        if field.metadata["changes_numbers"]
        and _compared(name, value) != _compared(name, new_fields[name][1])
    ]


def _compared(name: str, value: Any) -> Any:
    """The value of a field; folder:PATH without PATH, since images may move: their
    fingerprint is compared."""
    if name == "data.name" and ":" in value:
        prefix = value.partition(":")[0]
        return prefix if DATA_PREFIXES.get(prefix) == "PATH" else value
    return value
