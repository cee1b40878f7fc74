"""One rule for every name that a config can hold.

A name is a key of one of our tables, such as "resnet18", or "module:attribute", such as
"my_package.nets:MyNet", which is imported where it is used. So a user's own model, data
set, task, schedule, optimizer or transform stands in a config as ours do, and every
verb can open a run that has it.
"""

from collections.abc import Mapping
import functools
import importlib
from typing import Any

from jaxcnn.errors import UserError, unknown

GIVEN = "(given in Python)"  # what was no name, but an object


def is_import(name: str) -> bool:
    """Whether a name is of the form "module:attribute"."""
    module, colon, attribute = name.partition(":")
    parts = [*module.split("."), *attribute.split(".")]
    return bool(colon) and all(part.isidentifier() for part in parts)


def resolve(name: str, table: Mapping[str, Any], what: str) -> Any:
    """The entry of a table, or the attribute of a module, that a name stands for.

    Args:
        name: A key of table, or "module:attribute".
        table: Names of ours.
        what: What the name stands for, for errors, such as "model".

    Raises:
        UserError: There is no such key, or the attribute cannot be imported.
    """
    if name == GIVEN:
        raise UserError(
            f"The {what} of this run was given as an object in Python, so it must be "
            f"given again there, or be named as 'module:attribute' in the config."
        )
    if name in table:
        return table[name]
    if is_import(name):
        return load(name, what)
    raise unknown(what, name, table)


def load(name: str, what: str) -> Any:
    """The attribute that "module:attribute" names; its module is imported.

    Raises:
        UserError: The module cannot be imported, or has no such attribute.
    """
    module, _, attribute = name.partition(":")
    try:
        found = importlib.import_module(module)
    except Exception as error:  # importing runs any code
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(
            f"The {what} {name!r} cannot be imported from module {module!r}: {why}."
        ) from error
    try:
        return functools.reduce(getattr, attribute.split("."), found)
    except AttributeError as error:
        file = getattr(found, "__file__", None)
        where = f" ({file})" if file else ""
        raise UserError(
            f"The {what} {name!r} cannot be imported: module {module!r}{where} has no "
            f"attribute {attribute!r}."
        ) from error
