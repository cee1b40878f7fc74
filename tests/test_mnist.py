"""MNIST's files, written by hand in the published layout."""

import gzip
import struct

import numpy as np
import pytest

from jaxcnn.config import DataConfig
from jaxcnn.data import datasets

# http://yann.lecun.com/exdb/mnist, "File formats for the MNIST database": magic number
# 0x00000803 (2051) and N, rows, columns for images, 0x00000801 (2049) and N for labels,
# each a big-endian 32-bit integer.
IMAGES_MAGIC, LABELS_MAGIC = 2051, 2049


def write(folder, num=40, compress=True):
    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(0).integers(0, 256, (num, 28, 28), np.uint8)
    labels = bytes(i % 10 for i in range(num))
    for part in ("train", "t10k"):
        files = {
            f"{part}-images-idx3-ubyte": struct.pack(">4i", IMAGES_MAGIC, num, 28, 28)
            + images.tobytes(),
            f"{part}-labels-idx1-ubyte": struct.pack(">2i", LABELS_MAGIC, num) + labels,
        }
        for name, data in files.items():
            if compress:
                (folder / f"{name}.gz").write_bytes(gzip.compress(data))
            else:
                (folder / name).write_bytes(data)
    return images, np.frombuffer(labels, np.uint8)


def load(tmp_path, name="mnist"):
    return datasets.load(DataConfig(name=name, dir=str(tmp_path)))


@pytest.mark.parametrize("compress", [True, False])
def test_the_test_split_is_what_was_written(tmp_path, compress):
    images, labels = write(tmp_path / "mnist", compress=compress)
    dataset = load(tmp_path)
    test = dataset.splits["test"]
    np.testing.assert_array_equal(test.images, images[..., None])
    np.testing.assert_array_equal(test.column("label"), labels)
    assert (len(dataset.splits["train"]), len(dataset.splits["validation"])) == (30, 10)
    assert dataset.info.targets["label"].names == tuple("0123456789")


def test_fashion_mnist_is_not_taken_from_the_files_of_mnist(tmp_path):
    write(tmp_path / "mnist")
    with pytest.raises(ValueError, match="'fashion_mnist' is not in data.dir"):
        load(tmp_path, "fashion_mnist")
    write(tmp_path / "fashion_mnist")
    # Label 9 of https://github.com/zalandoresearch/fashion-mnist#labels
    assert (
        load(tmp_path, "fashion_mnist").info.targets["label"].names[9] == "Ankle boot"
    )


def test_a_missing_file_is_named(tmp_path):
    write(tmp_path / "mnist")
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ValueError, match="lacks t10k-labels-idx1-ubyte"):
        load(tmp_path)


HEADER = struct.pack(">4i", IMAGES_MAGIC, 40, 28, 28)
BROKEN = {
    "ends within its header": HEADER[:11],
    "says 31360 bytes of data; there are 31359": HEADER + bytes(40 * 784 - 1),
    "says 31360 bytes of data; there are more": HEADER + bytes(40 * 784 + 1),
    "starts with 00 00 0d 03": struct.pack(">4i", 0xD03, 40, 28, 28) + bytes(31360),
    r"header says \[40, 28, 29\]": struct.pack(">4i", IMAGES_MAGIC, 40, 28, 29),
    # 3.4 TB, which must be refused before memory is taken.
    r"header says \[4294967295, 28, 28\]": struct.pack(
        ">iI2i", 2051, 2**32 - 1, 28, 28
    ),
    "has 41 images": struct.pack(">4i", IMAGES_MAGIC, 41, 28, 28) + bytes(41 * 784),
}


@pytest.mark.parametrize("why", BROKEN)
def test_a_broken_file_is_refused(tmp_path, why):
    write(tmp_path / "mnist", compress=False)
    (tmp_path / "mnist" / "train-images-idx3-ubyte").write_bytes(BROKEN[why])
    with pytest.raises(ValueError, match=rf"train-images-idx3-ubyte.*{why}"):
        load(tmp_path)


@pytest.mark.parametrize("keep", [0.5, 0])
def test_a_truncated_or_wrong_gzip_file_is_refused(tmp_path, keep):
    write(tmp_path / "mnist")
    path = tmp_path / "mnist" / "train-images-idx3-ubyte.gz"
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))] or b"no gzip")
    with pytest.raises(ValueError, match=r"ubyte.gz: it cannot be read"):
        load(tmp_path)


def test_a_label_of_10_is_refused(tmp_path):
    write(tmp_path / "mnist", compress=False)
    labels = struct.pack(">2i", LABELS_MAGIC, 40) + bytes([10] * 40)
    (tmp_path / "mnist" / "train-labels-idx1-ubyte").write_bytes(labels)
    with pytest.raises(ValueError, match="Example 0 of the train split: label 10 is"):
        load(tmp_path)


def test_without_files_the_error_says_which_to_put_where(tmp_path):
    with pytest.raises(ValueError, match="is not in data.dir") as error:
        load(tmp_path)
    assert f"t10k-labels-idx1-ubyte.gz into {tmp_path}/mnist" in str(error.value)
    assert "tfds build mnist --file_format=array_record" in str(error.value)
