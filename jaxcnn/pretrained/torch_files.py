"""Reads tensors from files written by torch.save, without PyTorch.

Both of its formats contain a pickle, which is a program that can call any function. We
inspect it first: it may use only the operations that torch.save writes for a dictionary
of tensors, and refer only to OrderedDict, the two functions that rebuild a tensor, and
the storage types. Our stand-ins for these functions only record their arguments; memory
is allocated after everything has been checked.
"""

import collections
from collections.abc import Callable, Mapping
import io
import math
from pathlib import Path
import pickle
import pickletools
import re
import struct
from typing import Any, NamedTuple
import zipfile

import numpy as np

from jaxcnn.errors import UserError

_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)  # starts the older format
LEGACY_START = _MAGIC
_MAX_PICKLE = 64_000_000  # bytes; the pickle of a state dict has about 100,000

_DTYPES = {  # a bfloat16 is the upper half of a float32
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_ORDERED_DICT = ("collections", "OrderedDict")
_TENSOR = ("torch._utils", "_rebuild_tensor_v2")
_PARAMETER = ("torch._utils", "_rebuild_parameter")
_NAMES = {_ORDERED_DICT, _TENSOR, _PARAMETER, *(("torch", name) for name in _DTYPES)}

_OPERATIONS = re.findall(
    r"\w+",
    """
    PROTO STOP MARK GLOBAL REDUCE BUILD BINPERSID NONE NEWTRUE NEWFALSE BININT BININT1
    BININT2 LONG1 BINFLOAT BINUNICODE BINSTRING SHORT_BINSTRING EMPTY_TUPLE TUPLE TUPLE1
    TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS BINGET
    LONG_BINGET BINPUT LONG_BINPUT
    """,
)


class _Storage(NamedTuple):
    """A contiguous run of numbers somewhere in the file."""

    key: str
    kind: str
    size: int  # in elements, not in bytes


class _Tensor(NamedTuple):
    """A view of a storage; offset and strides are in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_zip(path: Path) -> dict[str, np.ndarray]:
    """Returns the tensors of a file in the zip format of PyTorch 1.6 and later.

    Raises:
        UserError: The file is truncated or damaged, or contains something other than
            tensors.
    """
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise UserError(
            f"{path} is truncated or damaged: its zip directory is missing."
        ) from error
    with archive:
        pickles = [e for e in archive.infolist() if e.filename.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise UserError(f"{path} is a zip file, but not a PyTorch weight file.")
        folder = pickles[0].filename.removesuffix("data.pkl")
        members = _Members(path, archive)
        if members.get(f"{folder}byteorder", b"little") != b"little":
            raise UserError(f"{path} is big-endian, which is not supported.")
        program = members.read(pickles[0].filename, _MAX_PICKLE)
        tensors = _state_dict(path, _load(path, program)[0])

        def read(storage: _Storage) -> bytes:
            length = storage.size * np.dtype(_DTYPES[storage.kind]).itemsize
            return members.read(f"{folder}data/{storage.key}", length, exactly=True)

        return _arrays(path, tensors, read)


class _Members:
    """The members of a zip file, which torch.save writes uncompressed."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path = path
        self._archive = archive
        self._entries = {entry.filename: entry for entry in archive.infolist()}
        self._left = path.stat().st_size  # bytes that may still be read

    def get(self, name: str, default: bytes) -> bytes:
        return self.read(name, 64) if name in self._entries else default

    def read(self, name: str, length: int, exactly: bool = False) -> bytes:
        """Reads a member of at most, or exactly, `length` bytes."""
        entry = self._entries.get(name)
        if entry is None:
            raise UserError(f"{self._path} is damaged: {name} is missing.")
        size = entry.file_size
        if size > length or (exactly and size != length):
            raise UserError(
                f"{self._path} is damaged: {name} has {size} bytes, not {length}."
            )
        self._left -= size
        if entry.compress_type != zipfile.ZIP_STORED or self._left < 0:
            raise UserError(
                f"{self._path} is damaged: {name} does not fit in the file as "
                "torch.save writes it."
            )
        try:
            return self._archive.read(entry)
        except (zipfile.BadZipFile, EOFError, OSError, RuntimeError) as error:
            raise UserError(f"{self._path} is damaged: {error}.") from error


def read_legacy(path: Path) -> dict[str, np.ndarray]:
    """Returns the tensors of a file in the format before PyTorch 1.6.

    Raises:
        UserError: The file is truncated or damaged, or contains something other than
            tensors.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = io.BytesIO(file.read(_MAX_PICKLE))
        programs = [_next_program(path, start) for _ in range(5)]
        file.seek(start.tell())
        _, _, (system, _), (content, storages), (keys, _) = (
            _load(path, program) for program in programs
        )
        if not isinstance(system, dict) or not isinstance(keys, list):
            raise UserError(f"{path} is damaged: its storages are not listed.")
        if system.get("little_endian") is not True:
            raise UserError(f"{path} is big-endian, which is not supported.")
        tensors = _state_dict(path, content)
        wanted = {tensor.storage.key for tensor in tensors.values()}
        contents = {}
        for key in keys:  # each storage: its size, then its elements
            storage = storages.get(key) if isinstance(key, str) else None
            if storage is None:
                raise UserError(f"{path} is damaged: no tensor is in storage {key!r}.")
            length = storage.size * np.dtype(_DTYPES[storage.kind]).itemsize
            count = file.read(8)
            if len(count) < 8 or length > size - file.tell():
                raise UserError(
                    f"{path} is truncated: it ends at byte {size}, in the middle of "
                    f"storage {key!r}."
                )
            if struct.unpack("<q", count)[0] != storage.size:
                raise UserError(
                    f"{path} is damaged: storage {key!r} has the wrong size."
                )
            if key in wanted:
                contents[key] = file.read(length)
            else:  # an optimizer's, for example
                file.seek(length, io.SEEK_CUR)
    if missing := wanted - set(contents):
        raise UserError(f"{path} is damaged: storages {sorted(missing)} are missing.")
    return _arrays(path, tensors, lambda storage: contents[storage.key])


def _next_program(path: Path, file: io.BytesIO) -> bytes:
    """Returns the bytes of the next pickle in a file of several."""
    start = file.tell()
    try:
        for _ in pickletools.genops(file):
            pass
    except ValueError as error:
        raise UserError(f"{path} is truncated or damaged: {error}.") from error
    return bytes(file.getbuffer()[start : file.tell()])


class _Unpickler(pickle.Unpickler):
    """An unpickler that can create only dictionaries, lists and tensor records.

    Attributes:
        storages: Storages that the pickle refers to, by key.
    """

    def __init__(self, program: bytes) -> None:
        # The encoding is for strings that Python 2 pickled.
        super().__init__(io.BytesIO(program), encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise _refusal(module, name)
        # The pickle cannot modify what is returned: a built-in type, a method or a
        # string.
        if (module, name) == _ORDERED_DICT:
            return collections.OrderedDict
        if (module, name) == _TENSOR:
            return self._tensor
        if (module, name) == _PARAMETER:
            return self._parameter
        return name

    def persistent_load(self, pid: Any) -> _Storage:
        what, kind, key, _, size, *view = pid
        if what != "storage" or kind not in _DTYPES or any(v is not None for v in view):
            raise ValueError(f"it has a {what!r} where a storage should be")
        if not isinstance(key, str) or not _is_count(size):
            raise ValueError(f"storage {key!r} has {size!r} elements")
        storage = _Storage(key, kind, size)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"storage {key!r} is described in two ways")
        return storage

    def _tensor(self, storage, offset, shape, strides, *_) -> _Tensor:
        if not isinstance(storage, _Storage):
            raise ValueError("a tensor has no storage")
        counts = (offset, *shape, *strides)
        if not all(map(_is_count, counts)) or len(shape) != len(strides):
            raise ValueError(f"a tensor has shape {shape} and strides {strides}")
        size = math.prod(shape)
        last = offset + sum(
            (n - 1) * stride for n, stride in zip(shape, strides, strict=True)
        )
        if size > storage.size or (size and last >= storage.size):
            raise ValueError(
                f"a tensor of shape {shape} does not fit its storage of {storage.size}"
            )
        return _Tensor(storage, offset, tuple(shape), tuple(strides))

    def _parameter(self, tensor, *_) -> _Tensor:
        return tensor


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _refusal(module: str, name: str) -> UserError:
    return UserError(
        f"its pickle names {module}.{name}, which is not a tensor and could run any "
        "code; only a state dict is read, as written by "
        "torch.save(model.state_dict(), FILE)"
    )


def _load(path: Path, program: bytes) -> tuple[Any, dict[str, _Storage]]:
    """Inspects a pickle, then loads it; returns its content and its storages."""
    try:
        _inspect(program)
        unpickler = _Unpickler(program)
        return unpickler.load(), unpickler.storages
    except UserError as error:
        raise UserError(f"{path} is refused: {error}.") from None
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(f"{path} is truncated or damaged: {error}.") from error


def _inspect(program: bytes) -> None:
    """Raises UserError if a pickle does anything but create tensors."""
    for count, (operation, argument, _) in enumerate(pickletools.genops(program)):
        if operation.name == "GLOBAL":
            module, _, name = argument.partition(" ")
            if (module, name) not in _NAMES:
                raise _refusal(module, name)
        if operation.name not in _OPERATIONS:
            raise UserError(
                f"its pickle has the operation {operation.name}, which a state dict "
                "never has"
            )
        if operation.name == "LONG_BINPUT" and argument > count:
            raise UserError(f"its pickle requests a memo of {argument} entries")


def _state_dict(path: Path, content: Any) -> dict[str, _Tensor]:
    """Returns the tensors of a state dict, or of the state dict in a checkpoint."""
    while isinstance(content, dict):
        inner = [k for k in ("state_dict", "model") if isinstance(content.get(k), dict)]
        if not inner:
            break
        content = content[inner[0]]
    if not isinstance(content, dict):
        raise UserError(
            f"{path} contains a {type(content).__name__}, not a state dict."
        )
    others = [
        name
        for name, tensor in content.items()
        if not isinstance(name, str) or not isinstance(tensor, _Tensor)
    ]
    if others:
        raise UserError(
            f"{path} is not a state dict: {others[0]!r} is not a tensor. In a "
            "checkpoint, the entry 'state_dict' or 'model' is read."
        )
    if content and all(name.startswith("module.") for name in content):
        content = {  # saved from a model wrapped in DataParallel
            name.removeprefix("module."): tensor for name, tensor in content.items()
        }
    return dict(content)


def _arrays(
    path: Path, tensors: Mapping[str, _Tensor], read: Callable[[_Storage], bytes]
) -> dict[str, np.ndarray]:
    """Turns tensor records into arrays, which share the memory of their storages."""
    storages: dict[str, np.ndarray] = {}
    arrays = {}
    for name, (storage, offset, shape, strides) in tensors.items():
        if storage.key not in storages:
            row = np.frombuffer(read(storage), _DTYPES[storage.kind])
            if storage.kind == "BFloat16Storage":
                row = (row.astype(np.uint32) << 16).view(np.float32)
            storages[storage.key] = row
        row = storages[storage.key]
        arrays[name] = np.lib.stride_tricks.as_strided(
            row[offset:],
            shape,
            [stride * row.itemsize for stride in strides],
            writeable=False,
        )
    return arrays
