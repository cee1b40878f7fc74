"""One rule for every name that a config can hold.

A name is a key of one of our tables, such as "resnet18", or "module:attribute", such as
"my_package.nets:MyNet", which is imported where it is used. A user's own model, data
set, task, schedule, optimizer or transform therefore stands in a config as ours do, and
every verb can open a run that has it.
"""

from collections.abc import Mapping
import difflib
import importlib
import os
from typing import Any

from jaxcnn import errors
from jaxcnn.errors import UserError

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
        table: The names that jaxcnn has. They come first.
        what: The kind of thing that is named, for errors, such as "model".

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
    if ":" in name or not table:
        raise UserError(
            f"Unknown {what} {name!r}; your own is named 'module:attribute', such as "
            f"'my_package.my_file:my_{what.split()[-1]}'."
        )
    raise errors.unknown(what, name, table)


def load(name: str, what: str) -> Any:
    """The attribute that "module:attribute" names; its module is imported.

    Args:
        name: A name for which is_import is true.
        what: The kind of thing that is named, for errors, such as "model".

    Raises:
        UserError: The module cannot be imported, or has no such attribute.
    """
    module_name, _, path = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # importing runs any code
        why = _why_not(module_name, error)
        raise UserError(f"The {what} {name!r} cannot be imported: {why}") from error
    value = module
    for part in path.split("."):
        if not hasattr(value, part):
            file = getattr(module, "__file__", None)
            where = f" ({file})" if file else ""
            public = [other for other in dir(value) if not other.startswith("_")]
            nearest = ", ".join(difflib.get_close_matches(part, public))
            raise UserError(
                f"The {what} {name!r} cannot be imported: module {module_name!r}"
                f"{where} has no {path!r}{nearest and f'; nearest: {nearest}'}."
            )
        value = getattr(value, part)
    return value


def _why_not(module: str, error: BaseException) -> str:
    """One line that says why a module cannot be imported, and from where."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and f"{module}.".startswith(f"{missing}."):
        return f"{error.msg} (the current directory is {os.getcwd()})."
    return errors.in_one_line(error)
