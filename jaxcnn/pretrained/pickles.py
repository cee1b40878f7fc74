"""Reads the pickles that torch.save writes, without running them.

A pickle is a program for a stack machine that can call any function. This machine is
our own: it knows the operations that torch.save writes, imports nothing, and calls
nothing but the functions that it is given. Everything that a program can make is
bounded, and nothing here walks through nested values or hashes them, so that a value
may hold itself or be as deep as it likes.
"""

from collections.abc import Callable, Mapping
import dataclasses
import pickletools
from typing import Any, BinaryIO

from jaxcnn.errors import UserError
from jaxcnn.pretrained.checks import readable

# A state dict has about 40 for each tensor, a checkpoint with an optimizer 200,000.
MAX_OPERATIONS = 1_000_000

_PUSH = frozenset(  # operations that push their argument
    {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
    | {"BINUNICODE", "BINSTRING", "SHORT_BINSTRING"}
)
_MAKE: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclasses.dataclass(frozen=True, eq=False)
class Named:
    """A function or class that a pickle names, or what calling it would give.

    Attributes:
        name: Its module and name, such as "argparse.Namespace".
    """

    name: str


def load(
    file: BinaryIO,
    functions: Mapping[str, Callable[..., Any] | None],
    persistent: Callable[[Any], Any],
    limit: int = MAX_OPERATIONS,
) -> Any:
    """Returns what the pickle at a file's position says; the file is then at its end.

    Args:
        file: A file in memory.
        functions: Names that the pickle may contain, such as "torch.Size", and the
            function that is called for it. None: calling it gives a Named, and what
            the pickle puts into that is forgotten.
        persistent: Function that gives the value of a persistent id.
        limit: Largest number of operations.

    Raises:
        UserError: The pickle has a name or an operation that a checkpoint never has.
        Exception: Of almost any type, for a damaged pickle.
    """
    stack: list[Any] = []
    below: list[list[Any]] = []  # stacks that MARK has set aside
    memo: dict[int, Any] = {}
    for count, (operation, argument, _) in enumerate(pickletools.genops(file)):
        if count == limit:
            raise UserError(f"its pickle has more than {limit} operations")
        name = operation.name
        if name in _PUSH:
            stack.append(argument)
        elif name in _MAKE:
            stack.append(_MAKE[name]())
        elif name in ("BINPUT", "LONG_BINPUT"):
            if argument > count:
                raise UserError(f"its pickle requests a memo of {argument} entries")
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "MARK":
            below.append(stack)
            stack = []
        elif name == "TUPLE":
            items, stack = tuple(stack), below.pop()
            stack.append(items)
        elif name in _TUPLES:
            number = _TUPLES[name]
            if len(stack) < number:
                raise ValueError("its stack is empty")
            stack[-number:] = [tuple(stack[-number:])]
        elif name in ("APPENDS", "SETITEMS"):
            items, stack = stack, below.pop()
            _FILL[name](stack[-1], items)
        elif name == "APPEND":
            item = stack.pop()
            _extend(stack[-1], [item])
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _update(stack[-1], [key, value])
        elif name == "GLOBAL":
            dotted = argument.replace(" ", ".", 1)
            if dotted not in functions:
                raise UserError(
                    f"its pickle names {readable(dotted)}, which is not a tensor and "
                    "could run any code; only a state dict is read, as written by "
                    "torch.save(model.state_dict(), FILE)"
                )
            stack.append(Named(dotted))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, called = stack.pop(), stack.pop()
            if not isinstance(called, Named) or not isinstance(arguments, tuple):
                raise ValueError("it calls what is no function")
            function = functions[called.name]
            stack.append(called if function is None else function(*arguments))
        elif name == "BUILD":  # sets attributes, which none of our values have
            stack.pop()
        elif name == "BINPERSID":
            stack.append(persistent(stack.pop()))
        elif name == "STOP":
            return stack.pop()
        elif name != "PROTO":
            raise UserError(
                f"its pickle has the operation {name}, which a state dict never has"
            )
    raise ValueError("it has no end")


def make_dict(pairs: Any = ()) -> dict[Any, Any]:
    """The dictionary of an OrderedDict's argument, a list of [key, value]."""
    made: dict[Any, Any] = {}
    for key, value in pairs:
        _update(made, [key, value])
    return made


def _extend(values: Any, items: list[Any]) -> None:
    if isinstance(values, list):
        values.extend(items)
    elif not isinstance(values, Named):
        raise ValueError("it appends to what is no list")


def _update(values: Any, items: list[Any]) -> None:
    """Sets keys and values, which alternate in items."""
    if isinstance(values, Named):
        return
    if not isinstance(values, dict) or len(items) % 2:
        raise ValueError("it sets an item of what is no dictionary")
    for key in items[::2]:
        # The hash of nested tuples overflows the stack, and large integers can be
        # chosen to have equal ones.
        if not (isinstance(key, str) or (isinstance(key, int) and 0 <= key < 2**31)):
            raise ValueError(f"the key of a dictionary is a {type(key).__name__}")
    values.update(zip(items[::2], items[1::2], strict=True))


_FILL = {"APPENDS": _extend, "SETITEMS": _update}
