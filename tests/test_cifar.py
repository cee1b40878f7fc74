"""CIFAR's archives, written by hand in the published layouts."""

import io
import struct
import tarfile

import numpy as np
import pytest

from jaxcnn.config import DataConfig
from jaxcnn.data import cifar, datasets

# Layouts from https://www.cs.toronto.edu/~kriz/cifar.html: 1024 red, 1024 green, 1024
# blue values of an image, row by row; in the binary version after one label byte, in
# CIFAR-100 after a coarse and a fine one.
NAMES = {
    10: [f"class{i}" for i in range(10)],
    100: [f"class{i}" for i in range(100)],
}


# Pickles as Python 2 wrote them, protocol 2: its str is SHORT_BINSTRING or BINSTRING,
# which today's pickle does not write. Opcodes as in pickletools.


def py2_str(data):
    return b"U" + bytes([len(data)]) + data if len(data) < 256 else py2_long_str(data)


def py2_long_str(data):
    return b"T" + struct.pack("<i", len(data)) + data


def py2_int(number):
    return b"J" + struct.pack("<i", number)


def py2_list(items):
    return b"](" + b"".join(items) + b"e"


def py2_array(array, code=b"u1"):
    # What numpy.ndarray.__reduce__ gave in Python 2.
    shape = b"".join(map(py2_int, array.shape))
    dtype = (
        b"cnumpy\ndtype\n" + b"(" + py2_str(code) + py2_int(0) + py2_int(1) + b"tR"
        b"("
        + py2_int(3)
        + py2_str(b"|")
        + b"NNN"
        + py2_int(-1)
        + py2_int(-1)
        + py2_int(0)
        + b"tb"
    )
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n("
        + py2_int(0) + b"t" + py2_str(b"b") + b"tR("
        + py2_int(1) + b"(" + shape + b"t" + dtype + b"\x89"
        + py2_long_str(array.tobytes()) + b"tb"
    )  # fmt: skip


def py2_dict(items):
    pairs = b"".join(py2_str(key) + value for key, value in items.items())
    return b"\x80\x02}(" + pairs + b"u."


def pictures(num, seed):
    return np.random.default_rng(seed).integers(0, 256, (num, 32, 32, 3), np.uint8)


def planes(images):
    return np.stack([np.r_[*(i[..., c].ravel() for c in range(3))] for i in images])


def files(classes, version, num=20):
    """Published file name -> (images, labels), and the bytes of every file."""
    train = ["train"] if classes == 100 else [f"data_batch_{i}" for i in range(1, 6)]
    contents, written = {}, {}
    for seed, name in enumerate([*train, "test" if classes == 100 else "test_batch"]):
        images = pictures(num, seed)
        labels = [i % 10 for i in range(num)]
        contents[name] = images, labels
        if version == "python":
            key = b"fine_labels" if classes == 100 else b"labels"
            written[name] = py2_dict(
                {
                    b"data": py2_array(planes(images)),
                    key: py2_list(map(py2_int, labels)),
                    b"coarse_labels": py2_list([py2_int(0)] * num),
                }
            )
        else:
            coarse = [b"\x07"] if classes == 100 else []
            written[f"{name}.bin"] = b"".join(
                b"".join([*coarse, bytes([label]), row.tobytes()])
                for label, row in zip(labels, planes(images), strict=True)
            )
    names = [name.encode() for name in NAMES[classes]]
    if version == "python":
        key = b"fine_label_names" if classes == 100 else b"label_names"
        meta = "meta" if classes == 100 else "batches.meta"
        written[meta] = py2_dict({key: py2_list(map(py2_str, names))})
    else:
        meta = "fine_label_names" if classes == 100 else "batches.meta"
        written[f"{meta}.txt"] = b"\n".join(names) + b"\n\n"
    return contents, written


FOLDERS = {
    (10, "python"): "cifar-10-batches-py",
    (10, "binary"): "cifar-10-batches-bin",
    (100, "python"): "cifar-100-python",
    (100, "binary"): "cifar-100-binary",
}


def put(folder, classes, version, written, archive):
    folder.mkdir(parents=True, exist_ok=True)
    name = FOLDERS[classes, version]
    if not archive:
        (folder / name).mkdir()
        for file, data in written.items():
            (folder / name / file).write_bytes(data)
        return
    with tarfile.open(folder / f"cifar-{classes}-{version}.tar.gz", "w:gz") as tar:
        for file, data in written.items():
            member = tarfile.TarInfo(f"{name}/{file}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def load(tmp_path, classes=10):
    return datasets.load(DataConfig(name=f"cifar{classes}", dir=str(tmp_path)))


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize(("classes", "version"), FOLDERS)
def test_every_published_version_gives_what_was_written(
    tmp_path, classes, version, archive
):
    contents, written = files(classes, version)
    folder = tmp_path if archive else tmp_path / f"cifar{classes}"
    put(folder, classes, version, written, archive)
    dataset = load(tmp_path, classes)
    *train, (images, labels) = contents.values()
    np.testing.assert_array_equal(dataset.splits["test"].images, images)
    np.testing.assert_array_equal(dataset.splits["test"].column("label"), labels)
    assert list(dataset.info.targets["label"].names) == NAMES[classes]
    found = [
        image.tobytes()
        for part in ("train", "validation")
        for image in dataset.splits[part].images
    ]
    assert sorted(found) == sorted(i.tobytes() for part in train for i in part[0])


def test_a_pickle_that_would_run_a_command_is_refused_before_it_runs(tmp_path):
    _, written = files(10, "python")
    ran = tmp_path / "ran"
    written["data_batch_3"] = b"cos\nsystem\n(S'touch " + str(ran).encode() + b"'\ntR."
    put(tmp_path, 10, "python", written, archive=True)
    with pytest.raises(ValueError, match=r"data_batch_3: .* it asks for os.system\."):
        load(tmp_path)
    assert not ran.exists()


@pytest.mark.parametrize(
    "name", ["builtins.eval", "numpy.load", "numpy.core.multiarray.fromfile"]
)
def test_every_other_class_is_refused(name):
    module, _, function = name.rpartition(".")
    data = f"c{module}\n{function}\n.".encode()
    with pytest.raises(ValueError, match=f"it asks for {name}"):
        cifar.unpickle(data)


def batch(**items):
    good = {
        "data": py2_array(planes(pictures(2, 0))),
        "labels": py2_list([py2_int(0), py2_int(1)]),
    }
    return py2_dict({key.encode(): value for key, value in (good | items).items()})


BROKEN = {
    "'data' is not uint8": batch(data=py2_array(np.zeros((2, 3072)), code=b"f8")),
    r"is not uint8 \[2, 3072\]": batch(data=py2_array(np.zeros((2, 3071), np.uint8))),
    r"is not uint8 \[3, 3072\]": batch(labels=py2_list([py2_int(0)] * 3)),
    "no list 'labels' of numbers": batch(labels=py2_list([py2_str(b"0")] * 2)),
    "no array 'data'": batch(data=py2_str(b"\0" * 6144)),
    "holds a list, not a dictionary": b"\x80\x02].",
    "not a pickle of arrays and lists": batch()[:-100],
}


@pytest.mark.parametrize("why", BROKEN)
def test_a_broken_pickle_is_refused(tmp_path, why):
    _, written = files(10, "python")
    put(tmp_path, 10, "python", written | {"test_batch": BROKEN[why]}, archive=False)
    with pytest.raises(ValueError, match=f"cifar-10-batches-py/test_batch: .*{why}"):
        load(tmp_path)


def test_a_shape_that_the_data_does_not_fill_is_refused():
    # The header of an array of 2**31 - 1 rows with the data of two.
    array = py2_array(planes(pictures(2, 0)))
    array = array.replace(
        py2_int(2) + py2_int(3072), py2_int(2**31 - 1) + py2_int(3072)
    )
    with pytest.raises(ValueError, match="is not uint8"):
        cifar.VERSIONS["cifar10"][0].images_and_labels(batch(data=array))


def test_broken_binary_files_and_archives_are_refused(tmp_path):
    _, written = files(10, "binary")
    cut = written | {"test_batch.bin": written["test_batch.bin"][:-1]}
    put(tmp_path / "a", 10, "binary", cut, archive=True)
    with pytest.raises(ValueError, match="test_batch.bin: it has 61459 bytes, no mult"):
        load(tmp_path / "a")
    del cut["test_batch.bin"]
    put(tmp_path / "b", 10, "binary", cut, archive=False)
    with pytest.raises(ValueError, match="batches-bin: it lacks test_batch.bin"):
        load(tmp_path / "b")
    put(tmp_path / "c", 10, "binary", written, archive=True)
    path = tmp_path / "c" / "cifar-10-binary.tar.gz"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="cifar-10-binary.tar.gz: it cannot be read"):
        load(tmp_path / "c")
    names = written | {"batches.meta.txt": b"cat\ndog\n"}
    put(tmp_path / "d", 10, "binary", names, archive=False)
    with pytest.raises(ValueError, match="meta.txt: it has 2 class names, not 10"):
        load(tmp_path / "d")


def test_without_files_the_error_says_which_to_put_where(tmp_path):
    with pytest.raises(ValueError, match="'cifar100' is not in data.dir") as error:
        load(tmp_path, 100)
    assert "cifar-100-python.tar.gz or cifar-100-binary.tar.gz into" in str(error.value)
