"""Reads safetensors files: a length, a header in JSON, and the bytes of the tensors.

The format is https://huggingface.co/docs/safetensors: the tensors follow one another
without gaps, and the header names each one once.
"""

from collections.abc import Mapping
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.errors import UserError
from jaxcnn.pretrained import checks
from jaxcnn.pretrained.checks import readable

MAX_HEADER = 10_000_000  # bytes; a network of 1,000 tensors has 100,000
_METADATA = "__metadata__"
_DTYPES = {  # a bfloat16 is the upper half of a float32
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "?"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"},
    **{"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1"},
}


def starts_like(start: bytes) -> bool:
    """Whether a file starts with an 8-byte length and a JSON object."""
    return len(start) > 8 and start[8:9] == b"{"


def read(path: Path) -> dict[str, np.ndarray]:
    """Returns the tensors of a file, which are read from it when they are used.

    Raises:
        UserError: The file is truncated or damaged, or has numbers of another dtype.
    """
    return parse(path, _mapped(path))


def read_metadata(path: Path) -> dict[str, str]:
    """Returns the texts that a file keeps beside its tensors.

    Raises:
        UserError: The file is truncated or damaged.
    """
    return _header(path, _mapped(path))[0]


def _mapped(path: Path) -> np.ndarray:
    return np.asarray(np.memmap(path, np.uint8, mode="r"))


def parse(path: Path, content: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the tensors in the content of a file, as views of it.

    Args:
        path: The file, for messages.
        content: Its bytes, uint8 [N].

    Raises:
        UserError: See read.
    """
    _, entries, start = _header(path, content)
    size, begin, tensors = len(content), 0, {}
    for name, (dtype, shape, offsets) in sorted(
        entries.items(), key=lambda entry: entry[1][2]
    ):
        length = math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
        end = begin + length
        if start + offsets[1] > size:
            raise UserError(
                f"{path} is truncated: its tensors end at byte {start + offsets[1]}, "
                f"the file at {size}."
            )
        if offsets != [begin, end]:
            raise UserError(
                f"{path} is damaged: tensor {readable(name)} is at bytes {offsets}, "
                f"where {[begin, end]} should be."
            )
        row = content[start + begin : start + end].view(_DTYPES[dtype])
        if dtype == "BF16":
            row = (row.astype(np.uint32) << 16).view(np.float32)
        tensors[name] = row.reshape(shape)
        begin = end
    if start + begin != size:
        raise UserError(
            f"{path} is damaged: its tensors end at byte {start + begin}, the file at "
            f"{size}."
        )
    return {name: tensors[name] for name in entries}


_Entry = tuple[str, list[int], list[int]]  # dtype, shape, offsets


def _header(
    path: Path, content: np.ndarray
) -> tuple[dict[str, str], dict[str, _Entry], int]:
    """(metadata, tensor -> its entry, where the first tensor starts)."""
    length = int.from_bytes(content[:8].tobytes(), "little")
    if length > min(len(content) - 8, MAX_HEADER):
        raise UserError(
            f"{path} is truncated or damaged: its header would have {length} bytes, "
            f"the file has {len(content)}; at most {MAX_HEADER} are read."
        )
    try:
        text = content[8 : 8 + length].tobytes().decode()
        header = json.loads(text, object_pairs_hook=_without_repeats)
        metadata = header.pop(_METADATA, {})
        if not _is_texts(metadata):
            raise ValueError("its metadata are not texts")
        entries = {name: _entry(name, entry) for name, entry in header.items()}
    except UserError as error:
        raise UserError(f"{path} {error}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged: its header cannot be read ({readable(error)})."
        ) from error
    return metadata, entries, 8 + length


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, in which no name occurs twice."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a name occurs twice")
    return made


def _is_texts(metadata: Any) -> bool:
    return isinstance(metadata, dict) and all(
        isinstance(value, str) for value in metadata.values()
    )


def _entry(name: str, entry: Mapping[str, Any]) -> _Entry:
    """Checks the description of one tensor."""
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise UserError(
            f"is refused: tensor {readable(name)} is of dtype {readable(dtype)}; "
            f"these are read: {', '.join(_DTYPES)}."
        )
    if not isinstance(shape, list) or not checks.is_shape(shape):
        raise ValueError(f"tensor {name} has an impossible shape")
    if not isinstance(offsets, list) or [type(n) for n in offsets] != [int, int]:
        raise ValueError(f"tensor {name} has no offsets")
    if offsets[0] < 0 or offsets[1] < offsets[0]:
        raise ValueError(f"tensor {name} ends before it starts")
    return dtype, shape, offsets
