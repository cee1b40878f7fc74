"""Reads the tensors of a PyTorch, safetensors or Keras weight file.

The format is detected from the content, not from the file name. No code in a file is
executed, and sizes and offsets are checked before memory is allocated for them.
"""

from collections.abc import Callable, Mapping
import json
from pathlib import Path
import struct

import numpy as np

from jaxcnn.errors import UserError
from jaxcnn.pretrained import keras_files, torch_files
from jaxcnn.pretrained.names import Tensors

_MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors format


def read(path: str | Path) -> Tensors:
    """Returns the tensors of a weight file: name -> array.

    Keras tensors are named LAYER/VARIABLE. Half precision is widened to float32.

    Raises:
        UserError: The file does not exist, is truncated or damaged, contains
            something other than tensors, or has an unknown format.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no weight file {str(path)!r}.")
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(64)
    for starts, reader in _KINDS.items():
        if start.startswith(starts):
            return _widen_half(path, reader(path))
    if _is_safetensors(start):
        return _widen_half(path, _read_safetensors(path, size))
    raise UserError(
        f"{path} is not a known kind of weight file: PyTorch's .pth, .safetensors or "
        f"Keras' .h5{' (it is empty)' if size == 0 else ''}."
    )


def _widen_half(path: Path, tensors: Mapping[str, np.ndarray]) -> Tensors:
    """Widens float16 tensors to float32; raises UserError if there are no tensors."""
    if not tensors:
        raise UserError(f"{path} contains no tensors.")
    return {
        name: tensor.astype(np.float32) if tensor.dtype == np.float16 else tensor
        for name, tensor in tensors.items()
    }


def _is_safetensors(start: bytes) -> bool:
    """Whether a file starts with an 8-byte length and a JSON object."""
    return len(start) > 8 and start[8:9] == b"{"


def _read_safetensors(path: Path, size: int) -> Tensors:
    import safetensors

    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(size - 8, _MAX_HEADER):
            raise UserError(
                f"{path} is truncated or damaged: its header would have {length} "
                f"bytes, the file has {size}."
            )
        header = file.read(length)
    try:
        entries = json.loads(header)
        entries.pop("__metadata__", None)
        ends = [entry["data_offsets"][1] for entry in entries.values()]
        end = 8 + length + max(ends, default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise UserError(f"{path} is damaged: its header cannot be read.") from error
    if end > size:
        raise UserError(
            f"{path} is truncated: its tensors end at byte {end}, the file at {size}."
        )
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return {name: _widen_bfloat16(file.get_tensor(name)) for name in entries}
    except safetensors.SafetensorError as error:
        raise UserError(f"{path} is damaged: {error}.") from error


def _widen_bfloat16(tensor: np.ndarray) -> np.ndarray:
    """Converts bfloat16, which NumPy itself does not have, to float32."""
    return tensor.astype(np.float32) if tensor.dtype.name == "bfloat16" else tensor


_KINDS: dict[bytes, Callable[[Path], Mapping[str, np.ndarray]]] = {  # by first bytes
    b"PK\x03\x04": torch_files.read_zip,
    torch_files.LEGACY_START: torch_files.read_legacy,
    b"\x89HDF\r\n\x1a\n": keras_files.read,
}
