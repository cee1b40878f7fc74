"""Reads the tensors of a PyTorch, safetensors or Keras weight file.

The format is detected from the content, not from the file name. No code in a file is
executed, and sizes and offsets are checked before memory is allocated for them.
"""

from collections.abc import Callable, Mapping
import os
from pathlib import Path

import numpy as np

from jaxcnn.errors import UserError
from jaxcnn.pretrained import (
    checks,
    keras_files,
    safetensors_files,
    torch_files,
    wrappings,
)
from jaxcnn.pretrained.names import Tensors


def read(path: str | Path) -> Tensors:
    """Returns the tensors of a weight file: name -> array.

    Of a checkpoint, these are the tensors of the network, see wrappings.py. Keras
    tensors are named LAYER/VARIABLE. Half precision is widened to float32. The arrays
    can be views of the file, which are read when they are used.

    Raises:
        UserError: The file does not exist, is truncated or damaged, contains
            something other than tensors, or has an unknown format.
    """
    path = Path(path)
    start = _start(path)
    for starts, reader in _KINDS.items():
        if start.startswith(starts):
            return _checked(path, reader(path))
    if safetensors_files.starts_like(start):
        return _checked(path, wrappings.unwrap(path, safetensors_files.read(path)))
    raise UserError(
        f"{path} is not a known kind of weight file: PyTorch's .pth, .safetensors or "
        f"Keras' .h5{'' if start else ' (it is empty)'}."
    )


def read_metadata(path: str | Path) -> dict[str, str]:
    """Returns the texts that a safetensors file keeps beside its tensors.

    Files of other kinds have none.

    Raises:
        UserError: The file does not exist, or is truncated or damaged.
    """
    path = Path(path)
    start = _start(path)
    known = any(map(start.startswith, _KINDS))
    if known or not safetensors_files.starts_like(start):
        return {}
    return safetensors_files.read_metadata(path)


def _start(path: Path) -> bytes:
    if not os.path.isfile(path):  # unlike Path.is_file, False for impossible names
        raise UserError(f"There is no weight file {str(path)!r}.")
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error


def _checked(path: Path, tensors: Mapping[str, np.ndarray]) -> Tensors:
    """The tensors with float16 widened to float32; UserError if there are none."""
    if not tensors:
        raise UserError(f"{path} contains no tensors.")
    checks.check_names(path, tensors)
    return {
        name: tensor.astype(np.float32) if tensor.dtype == np.float16 else tensor
        for name, tensor in tensors.items()
    }


_KINDS: dict[bytes, Callable[[Path], Mapping[str, np.ndarray]]] = {  # by first bytes
    b"PK\x03\x04": torch_files.read_zip,
    torch_files.LEGACY_START: torch_files.read_legacy,
    b"\x89HDF\r\n\x1a\n": keras_files.read,
}
