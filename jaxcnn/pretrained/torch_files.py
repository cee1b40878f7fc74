"""Reads tensors from files written by torch.save, without PyTorch.

Both of its formats contain a pickle, which is a program that can call any function; it
is read by pickles.py, which calls only what stands here. Our stand-ins for the
functions that rebuild a tensor record their arguments; memory is allocated after
everything has been checked.
"""

from collections.abc import Callable, Mapping
import io
import math
from pathlib import Path
import pickle
import struct
import sys
from typing import Any, NamedTuple
import zipfile

import numpy as np

from jaxcnn.errors import UserError
from jaxcnn.pretrained import checks, pickles, wrappings
from jaxcnn.pretrained.checks import readable
from jaxcnn.pretrained.pickles import Named

_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)  # starts the older format
LEGACY_START = _MAGIC
_MAX_PICKLE = 16_000_000  # bytes; the pickle of a state dict has about 100,000
_MAX_DIRECTORY = 4_000_000  # bytes of a zip file's directory; 100 for each tensor
_MAX_START = 1000  # operations of the pickles before the state dict, in older files

_DTYPES = {  # a bfloat16 is the upper half of a float32
    "torch.DoubleStorage": "<f8",
    "torch.FloatStorage": "<f4",
    "torch.HalfStorage": "<f2",
    "torch.BFloat16Storage": "<u2",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "?",
}
# What programs keep beside a state dict: their arguments, and states of schedules.
_FORGOTTEN = (
    *("argparse.Namespace", "collections.Counter", "collections.defaultdict"),
    *("torch.Size", "torch.device", "torch.float16", "torch.bfloat16", "torch.float32"),
    *("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype"),
    "_codecs.encode",  # bytes, as Python 3 pickles them for Python 2
)


class _Storage(NamedTuple):
    """A contiguous run of numbers somewhere in the file."""

    key: str
    kind: str
    size: int  # in elements, not in bytes

    @property
    def num_bytes(self) -> int:
        return self.size * np.dtype(_DTYPES[self.kind]).itemsize


class _Tensor(NamedTuple):
    """A view of a storage; offset and strides are in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _File(io.BufferedReader):
    """A file from which no more than `limit` bytes are read at once.

    A zip file says how large its directory is, and zipfile believes it.
    """

    limit = _MAX_DIRECTORY

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > self.limit:
            raise zipfile.BadZipFile(f"a part of it would have {size} bytes")
        return super().read(size)


def read_zip(path: Path) -> dict[str, np.ndarray]:
    """Returns the tensors of a file in the zip format of PyTorch 1.6 and later.

    Raises:
        UserError: The file is truncated or damaged, or contains something other than
            tensors.
    """
    with _File(io.FileIO(path)) as file:
        try:
            archive = zipfile.ZipFile(file)
        except Exception as error:  # a damaged directory can raise almost anything
            raise UserError(
                f"{path} is truncated or damaged: its zip directory cannot be read "
                f"({readable(error)})."
            ) from error
        file.limit = sys.maxsize  # members have limits of their own
        programs = [e for e in archive.infolist() if e.filename.endswith("/data.pkl")]
        if len(programs) != 1:
            raise UserError(f"{path} is a zip file, but not a PyTorch weight file.")
        folder = programs[0].filename.removesuffix("data.pkl")
        members = _Members(path, archive)
        if members.get(f"{folder}byteorder", b"little") != b"little":
            raise UserError(f"{path} is big-endian, which is not supported.")
        program = io.BytesIO(members.read(programs[0].filename, _MAX_PICKLE))
        tensors = _state_dict(path, _load(path, program)[0])

        def read(storage: _Storage) -> bytes:
            name = f"{folder}data/{storage.key}"
            return members.read(name, storage.num_bytes, exactly=True)

        return _arrays(path, tensors, read)


class _Members:
    """The members of a zip file, which torch.save writes uncompressed."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path = path
        self._archive = archive
        self._entries = {entry.filename: entry for entry in archive.infolist()}
        if len(self._entries) < len(archive.infolist()):
            raise UserError(f"{path} is damaged: two of its parts have one name.")
        self._left = path.stat().st_size  # bytes that may still be read

    def get(self, name: str, default: bytes) -> bytes:
        return self.read(name, 64) if name in self._entries else default

    def read(self, name: str, length: int, exactly: bool = False) -> bytes:
        """Reads a member of at most, or exactly, `length` bytes."""
        entry, name = self._entries.get(name), readable(name)
        if entry is None:
            raise UserError(f"{self._path} is damaged: {name} is missing.")
        size = entry.file_size
        if size > length or (exactly and size != length):
            raise UserError(
                f"{self._path} is damaged: {name} has {size} bytes, not {length}."
            )
        self._left -= size
        is_stored = entry.compress_type == zipfile.ZIP_STORED
        if not is_stored or entry.compress_size != size or self._left < 0:
            raise UserError(
                f"{self._path} is damaged: {name} does not fit in the file as "
                "torch.save writes it."
            )
        try:
            return self._archive.read(entry)
        except Exception as error:  # as for the directory
            raise UserError(f"{self._path} is damaged: {readable(error)}.") from error


def read_legacy(path: Path) -> dict[str, np.ndarray]:
    """Returns the tensors of a file in the format before PyTorch 1.6.

    Raises:
        UserError: The file is truncated or damaged, or contains something other than
            tensors.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = io.BytesIO(file.read(_MAX_PICKLE))
        limits = (*(_MAX_START,) * 3, *(pickles.MAX_OPERATIONS,) * 2)
        _, _, (system, _), (content, storages), (keys, _) = (
            _load(path, start, limit) for limit in limits
        )
        file.seek(start.tell())
        if not isinstance(system, dict) or not isinstance(keys, list):
            raise UserError(f"{path} is damaged: its storages are not listed.")
        if system.get("little_endian") is not True:
            raise UserError(f"{path} is big-endian, which is not supported.")
        tensors = _state_dict(path, content)
        wanted = {tensor.storage.key for tensor in tensors.values()}
        contents = {}
        for key in keys:  # each storage: its size, then its elements
            storage = storages.get(key) if isinstance(key, str) else None
            shown = readable(key) if isinstance(key, str) else type(key).__name__
            if storage is None:
                raise UserError(f"{path} is damaged: no tensor is in storage {shown}.")
            length = storage.num_bytes
            count = file.read(8)
            if len(count) < 8 or length > size - file.tell():
                raise UserError(
                    f"{path} is truncated: it ends at byte {size}, in the middle of "
                    f"storage {shown}."
                )
            if struct.unpack("<q", count)[0] != storage.size:
                raise UserError(
                    f"{path} is damaged: storage {shown} has the wrong size."
                )
            if key in wanted:
                contents[key] = file.read(length)
                wanted.remove(key)
            else:  # an optimizer's, for example
                file.seek(length, io.SEEK_CUR)
    if wanted:
        missing = readable(", ".join(sorted(wanted)))
        raise UserError(f"{path} is damaged: storages {missing} are missing.")
    return _arrays(path, tensors, lambda storage: contents[storage.key])


class _Records:
    """The stand-ins for the functions that rebuild tensors.

    Attributes:
        storages: Storages that the pickle refers to, by key.
    """

    def __init__(self) -> None:
        self.storages: dict[str, _Storage] = {}
        self.functions: dict[str, Callable[..., Any] | None] = {
            **dict.fromkeys([*_DTYPES, *_FORGOTTEN]),
            "collections.OrderedDict": pickles.make_dict,
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
            "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
        }

    def storage(self, pid: Any) -> _Storage:
        what, kind, key, _, size, *view = pid
        is_known = isinstance(kind, Named) and kind.name in _DTYPES
        if what != "storage" or not is_known or any(v is not None for v in view):
            raise ValueError("there is no storage where one should be")
        if not isinstance(key, str) or not _is_count(size):
            raise ValueError("a storage has no key or no size")
        storage = _Storage(key, kind.name, size)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"storage '{readable(key)}' is described in two ways")
        return storage

    def _tensor(
        self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any
    ) -> _Tensor:
        if not isinstance(storage, _Storage):
            raise ValueError("a tensor has no storage")
        if not (isinstance(shape, tuple) and checks.is_shape(shape)):
            raise ValueError(f"a tensor has shape {_shown(shape)}")
        holds = isinstance(strides, tuple) and all(map(_is_count, (offset, *strides)))
        if not holds or len(shape) != len(strides):
            raise ValueError(
                f"a tensor has shape {shape} and strides {_shown(strides)}"
            )
        size = math.prod(shape)
        # Along an axis of one element, any stride is as good as none.
        strides = tuple(
            stride if side > 1 and size else 0
            for side, stride in zip(shape, strides, strict=True)
        )
        last = offset + sum(
            (side - 1) * stride for side, stride in zip(shape, strides, strict=True)
        )
        if size > storage.size or (size and last >= storage.size):
            raise ValueError(
                f"a tensor of shape {shape} does not fit its storage of {storage.size}"
            )
        return _Tensor(storage, offset if size else 0, shape, strides)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _shown(values: Any) -> str:
    """A tuple of numbers for a message; it may hold anything."""
    if isinstance(values, tuple) and all(type(value) is int for value in values):
        return f"of {len(values)} axes" if len(values) > 8 else str(values)
    return f"that is a {type(values).__name__} of something else than integers"


def _load(
    path: Path, file: io.BytesIO, limit: int = pickles.MAX_OPERATIONS
) -> tuple[Any, dict[str, _Storage]]:
    """Reads the next pickle of a file; returns its content and its storages."""
    records = _Records()
    try:
        content = pickles.load(file, records.functions, records.storage, limit)
    except UserError as error:
        raise UserError(f"{path} is refused: {error}.") from None
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(
            f"{path} is truncated or damaged: {readable(error, 200)}."
        ) from error
    return content, records.storages


def _state_dict(path: Path, content: Any) -> dict[str, _Tensor]:
    """Returns the tensors of a state dict, or of the state dict in a checkpoint."""
    if not isinstance(content, dict):
        raise UserError(
            f"{path} contains a {type(content).__name__.strip('_').lower()}, not a "
            "state dict."
        )
    content = wrappings.unwrap(path, content)
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise UserError(
                f"{path} is not a state dict: '{readable(name)}' is not a tensor. In "
                f"a checkpoint, the first of these entries is read: "
                f"{', '.join(wrappings.ENTRIES)}."
            )
    return content


def _arrays(
    path: Path, tensors: Mapping[str, _Tensor], read: Callable[[_Storage], bytes]
) -> dict[str, np.ndarray]:
    """Turns tensor records into arrays, which share the memory of their storages."""
    needed = sum(
        math.prod(tensor.shape) * np.dtype(_DTYPES[tensor.storage.kind]).itemsize
        for tensor in tensors.values()
    )
    checks.check_bytes(path, needed, path.stat().st_size)
    storages: dict[str, np.ndarray] = {}
    arrays = {}
    for name, (storage, offset, shape, strides) in tensors.items():
        if storage.key not in storages:
            row = np.frombuffer(read(storage), _DTYPES[storage.kind])
            if storage.kind == "torch.BFloat16Storage":
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
