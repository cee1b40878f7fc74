"""What an exported weight file says about its network besides its tensors.

It stands in the metadata of the safetensors file, under the name KEY, as JSON. Other
programs ignore it; they find in it how images must be prepared.
"""

from collections.abc import Mapping
import dataclasses
import json
from pathlib import Path
from typing import Any

from jaxcnn.errors import UserError
from jaxcnn.pretrained import preprocessing
from jaxcnn.pretrained.checks import readable
from jaxcnn.pretrained.preprocessing import Preprocessing

KEY = "jaxcnn"
# The largest sum of the integers in a network's fields, which are depths and widths:
# a network is traced before its shapes can be compared.
_MAX_FIELDS = 20_000
_MAX_NUMBER = 1e18
_MAX_TEXT = 10_000  # characters of a field's value or of a name


@dataclasses.dataclass(frozen=True)
class Description:
    """What a weight file says about its network.

    Attributes:
        model: jaxcnn model name.
        fields: Values that override the network's fields.
        names: Names of the classes, or of whatever else the outputs are. None: they
            are not known.
        preprocessing: Preprocessing of the images.
        task: Task of the network: "name", a key of tasks.TASKS, and the values of the
            task's fields. {}: a classification.
    """

    model: str
    fields: Mapping[str, Any]
    names: tuple[str, ...] | None
    preprocessing: Preprocessing
    task: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> str:
        values = dataclasses.asdict(self)
        return json.dumps(values | {"preprocessing": self.preprocessing.to_json()})


def parse(path: Path, text: str) -> Description:
    """The description that to_json wrote into a file.

    Raises:
        UserError: It is damaged, or has a value that is not allowed.
    """
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("it is no object")
        values["preprocessing"] = preprocessing.from_json(values["preprocessing"])
        names = values["names"]
        if names is not None and not _is_names(names):
            raise ValueError("its names are no texts")
        values["names"] = None if names is None else tuple(names)
        if not isinstance(values["model"], str):
            raise ValueError("its model is no text")
        values["fields"] = _plain(values["fields"])
        values["task"] = _plain(values.get("task", {}))
        check_fields(values["fields"])
        return Description(**values)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged: what its metadata say about the network cannot be "
            f"read ({readable(error, 300)})."
        ) from error


def check_fields(fields: Mapping[str, Any]) -> None:
    """Raises UserError for fields of which a network would become absurdly large."""
    leaves = _leaves(list(fields.values()))
    integers = [value for value in leaves if type(value) is int]
    if sum(map(abs, integers)) > _MAX_FIELDS:
        raise UserError(
            f"the fields {readable(fields, 200)} are those of an absurdly large network"
        )


def _is_names(names: Any) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def _plain(values: Any) -> dict[str, Any]:
    """Values of fields: finite numbers, short texts, and tuples of them."""
    if not isinstance(values, dict):
        raise ValueError("a part of it is no object")
    for value in _leaves(list(values.values())):
        is_number = isinstance(value, int | float) and abs(value) < _MAX_NUMBER
        is_text = isinstance(value, str) and len(value) <= _MAX_TEXT
        if not (value is None or is_number or is_text):
            raise ValueError(f"{readable(value)} is no finite number and no short text")
    return {name: _tupled(value) for name, value in values.items()}


def _leaves(values: Any) -> list[Any]:
    """All values in nested lists and tuples."""
    if not isinstance(values, list | tuple):
        return [values]
    return [leaf for value in values for leaf in _leaves(value)]


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value
