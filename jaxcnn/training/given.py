"""What the config of a run says of objects that were given to it in Python.

A module whose class can be imported and whose fields are plain values is as good as its
name, so that every verb can open the run. Other objects stand as GIVEN.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

from flax import linen as nn

from jaxcnn import config_fields, models, names
from jaxcnn.config import Config
from jaxcnn.errors import require
from jaxcnn.names import GIVEN
from jaxcnn.tasks import Task

_PLAIN = (int, float, str, bool, type(None))
_CREATE = Task.create.__func__  # by which a task is made of its fields


def named(config: Config, *, model: Any, dataset: Any, task: Any) -> Config:
    """The config with the names of what was given; None was not."""
    values: dict[str, Any] = {}
    for what, value, field in (
        ("model", model, "model"),
        ("dataset", dataset, "data.name"),
        ("task", task, "task.name"),
    ):
        rule = f"an object; a name goes into config.{field}"
        require(not isinstance(value, str), what, value, rule)
    if model is not None:
        values["model"], values["model_fields"] = _model(config, model)
    if dataset is not None:
        values["data.name"] = GIVEN
    if isinstance(task, type):
        values["task.name"] = _name(task)
    elif task is not None:
        rule = "() for a task that is an object"
        require(not config.task.fields, "task.fields", config.task.fields, rule)
        values["task.name"], values["task.fields"] = _task(task)
    return config_fields.replace(config, values)


def _model(config: Config, model: Any) -> tuple[str, tuple[tuple[str, Any], ...]]:
    """(config.model, config.model_fields) for a module, or what gives one."""
    if not isinstance(model, nn.Module):
        return _name(model), config.model_fields
    models.refuse_fields(type(model).__name__, dict(config.model_fields))
    return _of_object(model, ignored=("parent", "name"))


def _task(task: Any) -> tuple[str, tuple[tuple[str, Any], ...]]:
    """(config.task.name, config.task.fields) for an object that is a task."""
    create = getattr(type(task), "create", None)
    is_made_of_fields = getattr(create, "__func__", None) is _CREATE
    if dataclasses.is_dataclass(task) and is_made_of_fields:
        return _of_object(task)
    return GIVEN, ()


def _of_object(
    thing: Any, ignored: Sequence[str] = ()
) -> tuple[str, tuple[tuple[str, Any], ...]]:
    """(name, (field, value) pairs) of a dataclass's object; GIVEN where they do not say
    all of it."""
    fields = {
        field.name: getattr(thing, field.name)
        for field in dataclasses.fields(thing)
        if field.name not in ignored
    }
    name = _name(type(thing))
    if name == GIVEN or not all(map(_is_plain, fields.values())):
        return GIVEN, ()
    return name, tuple(fields.items())


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, _PLAIN)


def _name(thing: Any) -> str:
    """ "module:attribute" of a class or function that can be imported, or GIVEN."""
    module, attribute = (
        getattr(thing, name, "") for name in ("__module__", "__qualname__")
    )
    name = f"{module}:{attribute}"
    return name if module != "__main__" and names.is_import(name) else GIVEN
