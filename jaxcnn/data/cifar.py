"""CIFAR-10 and CIFAR-100 from the archives published by their author.

https://www.cs.toronto.edu/~kriz/cifar.html, "Dataset layout" of the Python version and
of the binary version. The archive (which is read without extracting it) or the
extracted folder must be in data.dir/NAME or in data.dir. The pickles of the Python
version are read without executing any of their code: arrays become stand-ins that only
record their arguments, and any other class is refused.
"""

from collections.abc import Iterator
import dataclasses
import io
import pathlib
import pickle
import tarfile
from typing import Any, BinaryIO
import zlib

import numpy as np

from jaxcnn.config import DataConfig
from jaxcnn.data import arrays
from jaxcnn.data.examples import Dataset
from jaxcnn.errors import UserError

IMAGE_BYTES = 3 * 32 * 32
MOST_BYTES = 2**28  # the largest published file, CIFAR-100's train, has 2**27.2 bytes


@dataclasses.dataclass(frozen=True)
class Pickles:
    """The Python version: dictionaries that Python 2 pickled.

    Attributes:
        archive: File name of the archive.
        folder: Folder that the archive extracts to.
        train: Files of the training part.
        test: Files of the test part.
        names: File of the class names.
        labels_key: Key of the labels in the dictionaries of train and test.
        names_key: Key of the class names in the dictionary of names.
    """

    archive: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str
    labels_key: bytes
    names_key: bytes

    def images_and_labels(self, data: bytes) -> arrays.Arrays:
        """Reads images [N, 3072] and labels [N]; raises ValueError if damaged."""
        batch = unpickle(data)
        images, labels = batch.get(b"data"), batch.get(self.labels_key)
        if not isinstance(labels, list) or not all(type(n) is int for n in labels):
            raise ValueError(f"it has no list {self.labels_key.decode()!r} of numbers")
        if not isinstance(images, PickledArray):
            raise ValueError("it has no array 'data'")
        return images.uint8((len(labels), IMAGE_BYTES)), np.array(labels, np.int64)

    def class_names(self, data: bytes) -> list[str]:
        names = unpickle(data).get(self.names_key)
        if not isinstance(names, list) or not all(type(n) is bytes for n in names):
            raise ValueError(f"it has no list {self.names_key.decode()!r} of names")
        return [name.decode("ascii") for name in names]


@dataclasses.dataclass(frozen=True)
class Records:
    """The binary version: records of labels, one byte each, and an image.

    Attributes:
        archive: File name of the archive.
        folder: Folder that the archive extracts to.
        train: Files of the training part.
        test: Files of the test part.
        names: File of the class names.
        label_bytes: Number of labels in a record; the last one is used.
    """

    archive: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str
    label_bytes: int

    def images_and_labels(self, data: bytes) -> arrays.Arrays:
        """Reads images [N, 3072] and labels [N]; raises ValueError if damaged."""
        width = self.label_bytes + IMAGE_BYTES
        if len(data) % width:
            raise ValueError(f"it has {len(data)} bytes, no multiple of {width}")
        records = np.frombuffer(data, np.uint8).reshape(-1, width)
        return records[:, self.label_bytes :], records[:, self.label_bytes - 1]

    def class_names(self, data: bytes) -> list[str]:
        return data.decode("ascii").split()


VERSIONS = {
    "cifar10": (
        Pickles(
            archive="cifar-10-python.tar.gz",
            folder="cifar-10-batches-py",
            train=tuple(f"data_batch_{i}" for i in range(1, 6)),
            test=("test_batch",),
            names="batches.meta",
            labels_key=b"labels",
            names_key=b"label_names",
        ),
        Records(
            archive="cifar-10-binary.tar.gz",
            folder="cifar-10-batches-bin",
            train=tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
            test=("test_batch.bin",),
            names="batches.meta.txt",
            label_bytes=1,
        ),
    ),
    "cifar100": (
        Pickles(
            archive="cifar-100-python.tar.gz",
            folder="cifar-100-python",
            train=("train",),
            test=("test",),
            names="meta",
            labels_key=b"fine_labels",
            names_key=b"fine_label_names",
        ),
        Records(
            archive="cifar-100-binary.tar.gz",
            folder="cifar-100-binary",
            train=("train.bin",),
            test=("test.bin",),
            names="fine_label_names.txt",
            label_bytes=2,  # coarse, fine
        ),
    ),
}
NUM_CLASSES = {"cifar10": 10, "cifar100": 100}


def load(name: str, config: DataConfig) -> Dataset | None:
    """Loads the dataset, 32x32 RGB; returns None without an archive or a folder.

    Raises:
        UserError: Files are missing or damaged.
    """
    for folder in (pathlib.Path(config.dir, name), pathlib.Path(config.dir)):
        for version in VERSIONS[name]:
            for source in (folder / version.archive, folder / version.folder):
                if source.exists():
                    return _read(name, version, source, config)
    return None


def _read(
    name: str, version: Pickles | Records, source: pathlib.Path, config: DataConfig
) -> Dataset:
    """Reads the dataset from an archive or a folder."""
    files = _files(source, {version.names, *version.train, *version.test})
    parts = {}
    file = version.names
    try:
        class_names = version.class_names(files[file])
        if len(class_names) != NUM_CLASSES[name]:
            raise ValueError(
                f"it has {len(class_names)} class names, not {NUM_CLASSES[name]}"
            )
        for part, names in (("train", version.train), ("test", version.test)):
            batches = []
            for file in names:
                batches.append(version.images_and_labels(files.pop(file)))
            images, labels = map(np.concatenate, zip(*batches, strict=True))
            planes = images.reshape(-1, 3, 32, 32)  # one plane per colour
            parts[part] = planes.transpose(0, 2, 3, 1), labels  # [N, 32, 32, 3], [N]
    except ValueError as error:
        raise UserError(f"{source / file}: {error}.") from None
    return arrays.of_classes(name, class_names, parts, config)


def _files(source: pathlib.Path, wanted: set[str]) -> dict[str, bytes]:
    """Reads the wanted files of a tar.gz archive or a folder: name -> content."""
    contents = {}
    try:
        for name, size, file in _members(source):
            if name in wanted:
                if size > MOST_BYTES:
                    raise UserError(f"{source / name}: {size} bytes are too many.")
                contents[name] = file.read()
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise UserError(f"{source}: it cannot be read ({error}).") from None
    if missing := sorted(wanted - contents.keys()):
        raise UserError(f"{source}: it lacks {', '.join(missing)}.")
    return contents


def _members(source: pathlib.Path) -> Iterator[tuple[str, int, BinaryIO]]:
    """Yields (name, bytes, open file) for each file in a tar.gz archive or a folder."""
    if source.is_dir():
        for path in sorted(source.iterdir()):
            if path.is_file():
                with path.open("rb") as file:
                    yield path.name, path.stat().st_size, file
    else:
        with tarfile.open(source, "r:gz") as tar:
            for member in tar:
                if member.isfile():
                    name = pathlib.PurePosixPath(member.name).name
                    yield name, member.size, tar.extractfile(member)


class PickledDtype:
    """Stands in for numpy.dtype while a pickle is read."""

    def __init__(self, *arguments: Any):
        self.arguments = arguments

    def __setstate__(self, state: Any):
        """Ignores byte order and alignment, which do not matter for single bytes."""


class PickledArray:
    """Stands in for numpy.ndarray while a pickle is read.

    NumPy's own class accepts any shape, dtype and flags from the file; this one only
    records them, to be compared with the expected values.
    """

    def __init__(self, *arguments: Any):
        self.state = None

    def __setstate__(self, state: Any):
        self.state = state

    def uint8(self, shape: tuple[int, ...]) -> np.ndarray:
        """Returns the array; raises ValueError if it is not uint8 of this shape."""
        match self.state:
            # numpy.ndarray.__setstate__: version, shape, dtype, is Fortran order, data
            case (_, tuple(dims), PickledDtype() as dtype, False | 0, bytes(data)) if (
                dims == shape and dtype.arguments[:1] in ((b"u1",), ("u1",))
            ):
                return np.frombuffer(data, np.uint8).reshape(shape)
        raise ValueError(f"its array 'data' is not uint8 {list(shape)}")


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler for numbers, bytes, lists, dictionaries and stand-ins of arrays."""

    STAND_INS = {
        ("numpy.core.multiarray", "_reconstruct"): PickledArray,
        ("numpy._core.multiarray", "_reconstruct"): PickledArray,  # since NumPy 2
        ("numpy", "ndarray"): PickledArray,
        ("numpy", "dtype"): PickledDtype,
    }

    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in self.STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return self.STAND_INS[module, name]


def unpickle(data: bytes) -> dict[Any, Any]:
    """Reads a dictionary pickled by Python 2; raises ValueError if it is not one."""
    try:
        value = ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
    except Exception as error:  # broken pickles raise nearly any type
        raise ValueError(f"not a pickle of arrays and lists: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}, not a dictionary")
    return value
