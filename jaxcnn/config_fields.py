"""The fields of a config by dotted names: values, what is allowed, differences."""

from collections.abc import Iterator, Mapping
import copy
import dataclasses
import difflib
import functools
import math
import typing
from typing import Any

from jaxcnn import json_files
from jaxcnn.config import DATA_PREFIXES, Config
from jaxcnn.errors import UserError, require, shown


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


def check(config: Config) -> None:
    """Raises UserError for the first field whose value is not allowed on its own.

    An int is taken for a float and a list for a tuple, as Python files and JSON have
    them, and turned into the declared type in place.
    """
    if not isinstance(config, Config):
        raise UserError(f"A config must be a Config, not {shown(config)}.")
    for name, default in vars(Config()).items():
        kind = type(default)
        section = getattr(config, name, None)
        if dataclasses.is_dataclass(default) and not isinstance(section, kind):
            raise UserError(
                f"Config field {name} is {shown(section)}; it must be a "
                f"{kind.__name__}."
            )
    for name in _undeclared(config):
        raise unknown_field(name)
    for name, (field, value) in fields(config).items():
        holder = _holder(config, name)
        declared = _hints(type(holder))[field.name]
        try:
            value = json_files.cast(value, declared)
        except TypeError:
            raise UserError(
                f"Config field {name} is {shown(value)}; it must be of type "
                f"{json_files.type_text(declared)}."
            ) from None
        _check_value(name, value, field.metadata["allowed"])
        if name in ("model_fields", "task.fields"):
            holds = len(dict(value)) == len(value)
            require(holds, name, value, "(field, value) pairs, each field once")
        setattr(holder, field.name, value)


_hints = functools.cache(typing.get_type_hints)


def _check_value(name: str, value: Any, allowed: str) -> None:
    """Raises UserError where a number is out of its interval, or for what JSON and
    file systems cannot hold."""
    for item in _items(value):
        if isinstance(item, str):
            require("\0" not in item, name, value, "text without a zero byte")
        elif isinstance(item, int | float):
            finite = isinstance(item, int) or math.isfinite(item)
            require(finite, name, value, "finite")
            holds = not allowed or isinstance(item, bool) or _within(item, allowed)
            require(holds, name, value, f"in {allowed}")
        else:
            rule = "numbers, text, True, False, None, or tuples of them"
            require(item is None, name, value, rule)


def _items(value: Any) -> Iterator[Any]:
    """What stands in a tuple, and in the tuples in it; of no tuple, the value."""
    if not isinstance(value, tuple):
        yield value
        return
    for item in value:
        yield from _items(item)


def _within(number: float, interval: str) -> bool:
    """Whether a number is in an interval such as "[0, 1)"."""
    low, high = map(float, interval[1:-1].split(", "))
    above = number >= low if interval[0] == "[" else number > low
    return above and (number <= high if interval[-1] == "]" else number < high)


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
    return _hints(type(_holder(default, name)))[name.split(".")[-1]]


def replace(config: Config, values: Mapping[str, Any]) -> Config:
    """A copy with other values of some fields, by dotted names, checked.

    Raises:
        UserError: There is no such field, or it does not allow the value.
    """
    changed = copy.deepcopy(config)
    for name, value in values.items():
        declared_type(name)
        setattr(_holder(changed, name), name.split(".")[-1], value)
    check(changed)
    return changed


def _holder(config: Any, name: str) -> Any:
    """The config or section that has the field of a dotted name."""
    for part in name.split(".")[:-1]:
        config = getattr(config, part)
    return config


def unknown_field(name: str) -> UserError:
    """The error for a dotted name that is no field, with the nearest that are."""
    known = list(fields(Config()))
    last = {field: field.rpartition(".")[2] for field in known}
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    close = difflib.get_close_matches(name.rpartition(".")[2], last.values(), n=3)
    nearest += [field for field in known if last[field] in close]
    nearest = list(dict.fromkeys(nearest)) or known
    return UserError(f"Unknown config field {name!r}; nearest: {', '.join(nearest)}.")


def from_values(values: Any) -> Config:
    """The config of which dataclasses.asdict gave these values.

    Raises:
        UserError: A field that this version does not have, or a value that is not
            allowed.
    """

    def fill(config: Any, values: Any, prefix: str = "") -> Any:
        if not isinstance(values, dict):
            raise UserError(f"Config section {prefix} is {shown(values)}.")
        known = vars(config)
        for name, value in values.items():
            if name not in known:
                raise unknown_field(prefix + name)
            if dataclasses.is_dataclass(known[name]):
                value = fill(known[name], value, f"{prefix}{name}.")
            setattr(config, name, value)
        return config

    config = fill(Config(), values)
    check(config)
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
