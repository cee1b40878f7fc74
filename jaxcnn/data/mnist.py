"""MNIST and Fashion-MNIST from the four files published by their authors.

The files must be in data.dir/NAME: both datasets use the same file names, so only the
folder tells them apart.
"""

from collections.abc import Sequence
import gzip
import pathlib
import struct
import zlib

import numpy as np

from jaxcnn.config import DataConfig
from jaxcnn.data import arrays
from jaxcnn.data.examples import Dataset
from jaxcnn.errors import UserError

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
MOST_ITEMS = 60_000  # in a published file; a header with more is damaged

DIGITS = tuple("0123456789")
# https://github.com/zalandoresearch/fashion-mnist#labels
CLOTHES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


def load(name: str, class_names: Sequence[str], config: DataConfig) -> Dataset | None:
    """Loads the dataset, 28x28 grey; returns None if none of its files exists.

    Raises:
        UserError: Some of the files are missing, or one is damaged.
    """
    folder = pathlib.Path(config.dir, name)
    wanted = [file for pair in FILES.values() for file in pair]
    paths = {}
    for file in wanted:
        for path in (folder / f"{file}.gz", folder / file):
            if path.is_file():
                paths[file] = path
    if not paths:
        return None
    if missing := [file for file in wanted if file not in paths]:
        raise UserError(
            f"Dataset {name!r}: {folder} lacks {', '.join(missing)} (.gz or plain)."
        )
    parts = {}
    for part, (image_file, label_file) in FILES.items():
        images = read_idx(paths[image_file], (28, 28))
        labels = read_idx(paths[label_file], ())
        if len(images) != len(labels):
            raise UserError(
                f"{paths[label_file]} has {len(labels)} labels; {paths[image_file]} "
                f"has {len(images)} images."
            )
        parts[part] = images[..., None], labels  # [N, 28, 28, 1], [N]
    return arrays.of_classes(name, class_names, parts, config)


def read_idx(path: pathlib.Path, item_shape: tuple[int, ...]) -> np.ndarray:
    """Reads an idx file, gzip or plain: uint8 [N, *item_shape].

    http://yann.lecun.com/exdb/mnist, "File formats": two zero bytes, the type (8 is
    uint8), the number of dimensions, and each dimension as a big-endian uint32.

    Raises:
        UserError: It is not an idx file, or its length differs from its header.
    """
    header = struct.Struct(f">4B{1 + len(item_shape)}I")
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            start = file.read(header.size)
            if len(start) < header.size:
                raise UserError(f"{path}: it ends within its header.")
            numbers = header.unpack(start)
            if numbers[:4] != (0, 0, 8, 1 + len(item_shape)):
                raise UserError(
                    f"{path}: it starts with {start[:4].hex(' ')}; an idx file of "
                    f"uint8 in {1 + len(item_shape)} dimensions is expected."
                )
            count, *shape = numbers[4:]
            if tuple(shape) != item_shape or count > MOST_ITEMS:
                raise UserError(
                    f"{path}: its header says {[count, *shape]}; at most "
                    f"{[MOST_ITEMS, *item_shape]} is expected."
                )
            size = count * int(np.prod(item_shape))
            data = file.read(size + 1)  # one more byte, to detect trailing data
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: it cannot be read ({error}).") from None
    if len(data) != size:
        length = "more" if len(data) > size else len(data)
        raise UserError(
            f"{path}: its header says {size} bytes of data; there are {length}."
        )
    return np.frombuffer(data, np.uint8).reshape(count, *item_shape)
