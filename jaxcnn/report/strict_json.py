"""JSON as RFC 8259 has it: without NaN and Infinity, which are null here."""

from collections.abc import Mapping
import json
import math
from typing import Any


def dumps(value: Any, **options: Any) -> str:
    """json.dumps(value, **options) with null for numbers that are not finite."""
    return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(x) for name, x in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(x) for x in value]
    return value
