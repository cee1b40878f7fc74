"""Reads the tensors of a weight file of PyTorch, safetensors or Keras.

What kind of file it is, its content says, not its name. Nothing in a file is run, and
its sizes and offsets are checked before memory is taken for them.
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
    """The tensors of a weight file: name -> array.

    Those of Keras are named LAYER/VARIABLE. Half precision is widened to float32.

    Raises:
        UserError: There is no such file, it is truncated or damaged, it holds
            something else than tensors, or it is of no known kind.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no weight file {str(path)!r}.")
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(64)
    for starts, reader in _KINDS.items():
        if start.startswith(starts):
            return _checked(path, reader(path))
    if _is_safetensors(start):
        return _checked(path, _read_safetensors(path, size))
    raise UserError(
        f"{path} is no weight file that is known: .pth of PyTorch, .safetensors, .h5 "
        f"of Keras{' (it is empty)' if size == 0 else ''}."
    )


def _checked(path: Path, tensors: Mapping[str, np.ndarray]) -> Tensors:
    if not tensors:
        raise UserError(f"{path} holds no tensors.")
    return {
        name: tensor.astype(np.float32) if tensor.dtype == np.float16 else tensor
        for name, tensor in tensors.items()
    }


def _is_safetensors(start: bytes) -> bool:
    """Whether it begins as the length of a JSON object and that object."""
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
            return {name: _widened(file.get_tensor(name)) for name in entries}
    except safetensors.SafetensorError as error:
        raise UserError(f"{path} is damaged: {error}.") from error


def _widened(tensor: np.ndarray) -> np.ndarray:
    """bfloat16, which is not one of NumPy's own types, as float32."""
    return tensor.astype(np.float32) if tensor.dtype.name == "bfloat16" else tensor


_KINDS: dict[bytes, Callable[[Path], Mapping[str, np.ndarray]]] = {  # first bytes
    b"PK\x03\x04": torch_files.read_zip,
    torch_files.LEGACY_START: torch_files.read_legacy,
    b"\x89HDF\r\n\x1a\n": keras_files.read,
}
