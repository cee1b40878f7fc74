"""What the config of a run says of objects that were given to it in Python.

A module whose class can be imported and whose fields are plain values is as good as its
name, so that every verb can open the run. Other objects stand as GIVEN.
"""

import dataclasses
from typing import Any

from flax import linen as nn

from jaxcnn import config_fields, models, names
from jaxcnn.config import Config
from jaxcnn.names import GIVEN

_PLAIN = (int, float, str, bool, type(None))


def named(config: Config, *, model: Any, dataset: Any, task: Any) -> Config:
    """The config with the names of what was given; None was not."""
    values: dict[str, Any] = {}
    if model is not None:
        values["model"], values["model_fields"] = _model(config, model)
    if dataset is not None:
        values["data.name"] = GIVEN
    if task is not None:
        values["task.name"] = _name(task) if isinstance(task, type) else GIVEN
    return config_fields.replace(config, values)


def _model(config: Config, model: Any) -> tuple[str, tuple[tuple[str, Any], ...]]:
    """(config.model, config.model_fields) for a module, or what gives one."""
    if not isinstance(model, nn.Module):
        return _name(model), config.model_fields
    fields = {
        field.name: getattr(model, field.name)
        for field in dataclasses.fields(model)
        if field.name not in ("parent", "name")
    }
    models.refuse_fields(type(model).__name__, dict(config.model_fields))
    name = _name(type(model))
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
