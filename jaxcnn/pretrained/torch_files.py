"""Reads tensors from what torch.save writes, without PyTorch.

Both formats are a pickle, which is a program that may call anything. Here it is looked
through first: only the operations that torch.save writes for a dictionary of tensors
are admitted, and of names only OrderedDict, the two functions that rebuild a tensor
and the types of storages. The functions of that name are ours, and only note what they
are asked for; memory is taken when all of it has been checked.
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

_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)  # of the older format
LEGACY_START = _MAGIC
_MAX_PICKLE = 64_000_000  # bytes; the pickle of a state dict has some 100,000

_DTYPES = {  # BFloat16 are the upper halves of float32
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
    """Numbers in a row, somewhere in the file."""

    key: str
    kind: str
    size: int  # in numbers, not in bytes


class _Tensor(NamedTuple):
    """A view of a storage; offset and strides in numbers."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_zip(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a file that torch.save writes today.

    Raises:
        UserError: It is truncated or damaged, or holds something else than tensors.
    """
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise UserError(
            f"{path} is truncated or damaged: the table at its end is missing."
        ) from error
    with archive:
        found = [e for e in archive.infolist() if e.filename.endswith("/data.pkl")]
        if len(found) != 1:
            raise UserError(f"{path} is a zip file, but none of PyTorch's weights.")
        folder = found[0].filename.removesuffix("data.pkl")
        members = _Members(path, archive)
        if members.get(f"{folder}byteorder", b"little") != b"little":
            raise UserError(f"{path} has big-endian numbers, which are not read.")
        program = members.read(found[0].filename, _MAX_PICKLE)
        tensors = _state_dict(path, _load(path, program)[0])

        def read(storage: _Storage) -> bytes:
            length = storage.size * np.dtype(_DTYPES[storage.kind]).itemsize
            return members.read(f"{folder}data/{storage.key}", length, exactly=True)

        return _arrays(path, tensors, read)


class _Members:
    """The files in a zip file, as torch.save writes them: not compressed."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path = path
        self._archive = archive
        self._entries = {entry.filename: entry for entry in archive.infolist()}
        self._left = path.stat().st_size  # bytes that may still be read

    def get(self, name: str, default: bytes) -> bytes:
        return self.read(name, 64) if name in self._entries else default

    def read(self, name: str, length: int, exactly: bool = False) -> bytes:
        """A file of at most length bytes, or of exactly so many."""
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
    """The tensors of a file that torch.save wrote before PyTorch 1.6.

    Raises:
        UserError: It is truncated or damaged, or holds something else than tensors.
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
            raise UserError(f"{path} has big-endian numbers, which are not read.")
        tensors = _state_dict(path, content)
        wanted = {tensor.storage.key for tensor in tensors.values()}
        found = {}
        for key in keys:  # in this order: the size, and the numbers
            storage = storages.get(key) if isinstance(key, str) else None
            if storage is None:
                raise UserError(f"{path} is damaged: no tensor is in storage {key!r}.")
            length = storage.size * np.dtype(_DTYPES[storage.kind]).itemsize
            count = file.read(8)
            if len(count) < 8 or length > size - file.tell():
                raise UserError(
                    f"{path} is truncated: it ends at byte {size}, before the numbers "
                    f"of storage {key!r} do."
                )
            if struct.unpack("<q", count)[0] != storage.size:
                raise UserError(f"{path} is damaged: storage {key!r} has another size.")
            if key in wanted:
                found[key] = file.read(length)
            else:  # of an optimizer, for example
                file.seek(length, io.SEEK_CUR)
    if missing := wanted - set(found):
        raise UserError(f"{path} is damaged: storages {sorted(missing)} are missing.")
    return _arrays(path, tensors, lambda storage: found[storage.key])


def _next_program(path: Path, file: io.BytesIO) -> bytes:
    """The bytes of the next of several pickles."""
    start = file.tell()
    try:
        for _ in pickletools.genops(file):
            pass
    except ValueError as error:
        raise UserError(f"{path} is truncated or damaged: {error}.") from error
    return bytes(file.getbuffer()[start : file.tell()])


class _Unpickler(pickle.Unpickler):
    """Makes dictionaries, lists and notes of tensors, and nothing else.

    Attributes:
        storages: Those that were named, by their keys.
    """

    def __init__(self, program: bytes) -> None:
        super().__init__(io.BytesIO(program), encoding="utf-8")  # texts of Python 2
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise _refusal(module, name)
        # What is returned cannot be changed by the pickle: a type of Python's own,
        # a method, or a text.
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
            raise ValueError(f"storage {key!r} has {size!r} numbers")
        storage = _Storage(key, kind, size)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"storage {key!r} is two things")
        return storage

    def _tensor(self, storage, offset, shape, strides, *_) -> _Tensor:
        if not isinstance(storage, _Storage):
            raise ValueError("a tensor has no storage")
        whole = (offset, *shape, *strides)
        if not all(map(_is_count, whole)) or len(shape) != len(strides):
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
        f"its pickle names {module}.{name}, which is no tensor and could do anything; "
        "only a state dict is read, as torch.save(model.state_dict(), FILE) writes it"
    )


def _load(path: Path, program: bytes) -> tuple[Any, dict[str, _Storage]]:
    """What a pickle makes, once each of its operations has been looked at, and the
    storages that it names."""
    try:
        _inspect(program)
        unpickler = _Unpickler(program)
        return unpickler.load(), unpickler.storages
    except UserError as error:
        raise UserError(f"{path} is refused: {error}.") from None
    except Exception as error:  # a damaged pickle can raise any
        raise UserError(f"{path} is truncated or damaged: {error}.") from error


def _inspect(program: bytes) -> None:
    """Raises UserError for a pickle that does anything but make tensors."""
    for count, (operation, argument, _) in enumerate(pickletools.genops(program)):
        if operation.name == "GLOBAL":
            module, _, name = argument.partition(" ")
            if (module, name) not in _NAMES:
                raise _refusal(module, name)
        if operation.name not in _OPERATIONS:
            raise UserError(
                f"its pickle has the operation {operation.name}, no state dict has it"
            )
        if operation.name == "LONG_BINPUT" and argument > count:
            raise UserError(f"its pickle wants a memory of {argument} places")


def _state_dict(path: Path, content: Any) -> dict[str, _Tensor]:
    """The tensors of a state dict, or of one inside a checkpoint."""
    while isinstance(content, dict):
        inner = [k for k in ("state_dict", "model") if isinstance(content.get(k), dict)]
        if not inner:
            break
        content = content[inner[0]]
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, no state dict.")
    others = [
        name
        for name, tensor in content.items()
        if not isinstance(name, str) or not isinstance(tensor, _Tensor)
    ]
    if others:
        raise UserError(
            f"{path} holds no state dict: {others[0]!r} is no tensor. Of a checkpoint "
            "the entry 'state_dict' or 'model' is read."
        )
    if content and all(name.startswith("module.") for name in content):
        content = {  # written from inside DataParallel
            name.removeprefix("module."): tensor for name, tensor in content.items()
        }
    return dict(content)


def _arrays(
    path: Path, tensors: Mapping[str, _Tensor], read: Callable[[_Storage], bytes]
) -> dict[str, np.ndarray]:
    """The tensors, each with its numbers."""
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
