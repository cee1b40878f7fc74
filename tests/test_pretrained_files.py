"""Weight files that PyTorch and Keras have written, and files that mean harm.

The good ones and what is in them are made by reference/make_weight_files.py.
"""

import json
import pathlib
import pickle
import pickletools
import shutil
import struct
import sys
import zipfile

import h5py
import numpy as np
import pytest
import safetensors.numpy

from jaxcnn.pretrained import files

FOLDER = pathlib.Path(__file__).parent / "reference" / "files"
with np.load(FOLDER / "expected.npz") as _file:
    EXPECTED = dict(_file)
NAMES = sorted({name.partition("/")[0] for name in EXPECTED})
PTH = [name for name in NAMES if name.endswith(".pth")]


def expected(file):
    return {n.partition("/")[2]: a for n, a in EXPECTED.items() if n.startswith(file)}


@pytest.mark.parametrize("file", NAMES)
@pytest.mark.parametrize("suffix", ["as it is", ".safetensors"])
def test_tensors_are_those_that_were_written(file, suffix, tmp_path):
    path = FOLDER / file
    if suffix != "as it is":  # the name says nothing
        path = shutil.copy(path, tmp_path / f"file{suffix}")
    tensors = files.read(path)
    assert set(tensors) == set(expected(file))
    for name, array in expected(file).items():
        np.testing.assert_array_equal(tensors[name], array, strict=False)
        assert tensors[name].shape == array.shape


def test_numbers_keep_their_type_but_for_half_precision():
    types = {n: t.dtype.name for n, t in files.read(FOLDER / "views_zip.pth").items()}
    assert types["scalar"] == "float64"
    assert types["ints"] == "int64"
    assert types["bytes"] == "uint8"
    assert types["flags"] == "bool"
    assert types["half"] == types["bfloat16"] == types["tail"] == "float32"


def test_safetensors_are_read_bfloat16_included(tmp_path):
    tensors = {"a.weight": np.arange(6.0).reshape(2, 3), "b": np.float16([1.5])}
    path = tmp_path / "weights"
    safetensors.numpy.save_file(tensors, path, metadata={"format": "pt"})
    found = files.read(path)
    assert {n: t.dtype.name for n, t in found.items()} == {
        "a.weight": "float64",
        "b": "float32",
    }
    np.testing.assert_array_equal(found["a.weight"], tensors["a.weight"])
    # By hand: 1.5 is 0x3fc00000 in float32, of which bfloat16 is the upper half.
    header = {"x": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}
    path.write_bytes(safetensors_file(header, b"\xc0\x3f"))
    assert files.read(path)["x"] == np.float32(1.5)


def safetensors_file(header, numbers):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


@pytest.mark.parametrize("file", NAMES)
def test_a_truncated_file_is_refused_wherever_it_ends(file, tmp_path):
    content = (FOLDER / file).read_bytes()
    path = tmp_path / "weights"
    count = 5 if file.endswith(".h5") else 12  # each .h5 is read by a new process
    for end in np.linspace(64, len(content) - 1, count).astype(int):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match="truncated"):
            files.read(path)


def test_a_truncated_safetensors_file_is_refused_wherever_it_ends(tmp_path):
    path = tmp_path / "weights"
    safetensors.numpy.save_file({"a": np.zeros(9), "b": np.ones(9)}, path)
    content = path.read_bytes()
    for end in range(9, len(content)):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match="truncated"):
            files.read(path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is not a known kind of weight file.*it is empty"),
        (b"hello, this is a text", "known kind of weight file: PyTorch's .pth"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "is not a known kind of weight file"),
        (struct.pack("<Q", 2**60) + b"{" + bytes(99), "header would have 115292150460"),
        (safetensors_file({"x": 3}, b""), "its header cannot be read"),
        (
            safetensors_file(
                {"x": {"dtype": "F32", "shape": [3], "data_offsets": [0, 4]}}, bytes(4)
            ),
            "is damaged",
        ),
        (safetensors_file({}, b""), "contains no tensors"),
    ],
)
def test_other_content_is_refused(content, text, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=text):
        files.read(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in tmp_path, tmp_path / "missing.pth":
        with pytest.raises(ValueError, match="There is no weight file"):
            files.read(path)


def zip_file(path, program, storages=(), **fields):
    """A file as torch.save makes it, around any pickle."""
    with zipfile.ZipFile(path, "w", **fields) as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/byteorder", "little")
        for key, numbers in dict(storages).items():
            archive.writestr(f"archive/data/{key}", numbers)
    return path


def legacy_file(path, program, keys=(), numbers=b""):
    """The same in the older format."""
    with path.open("wb") as file:
        pickle.dump(0x1950A86A20F9469CFC6C, file, protocol=2)
        pickle.dump(1001, file, protocol=2)
        pickle.dump({"little_endian": True}, file, protocol=2)
        file.write(program)
        pickle.dump(list(keys), file, protocol=2)
        file.write(numbers)
    return path


WRITERS = {"zip": zip_file, "legacy": legacy_file}


class Hostile:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


TRACE = []


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize(
    ("content", "name"),
    [
        (Hostile(TRACE.append, 1), "builtins.getattr"),
        ({"fc.weight": Hostile(eval, "1")}, "builtins.eval"),
        ({"state_dict": {}, "args": Hostile(print, "x")}, "builtins.print"),
        ({"a": np.zeros(3)}, "numpy"),
        ({"a": pathlib.PurePosixPath("x")}, "pathlib"),
    ],
)
def test_a_pickle_that_names_anything_else_is_refused_by_name(
    write, content, name, tmp_path
):
    # Protocol 2 has the names of Python 2 for some modules.
    program = pickle.dumps(content, protocol=2, fix_imports=False)
    before = set(sys.modules)
    with pytest.raises(ValueError, match=rf"is refused: its pickle names {name}"):
        files.read(write(tmp_path / "weights", program))
    assert TRACE == []
    assert set(sys.modules) == before


GLOBAL = b"\x80\x02c%s\n%s\n"


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize(
    ("program", "text"),
    [
        (GLOBAL % (b"os", b"system") + b"X\x02\0\0\0id\x85R.", "names os.system"),
        # The name is refused although it is never called, and before what is called.
        (
            GLOBAL % (b"collections", b"OrderedDict") + b")Rcos\nsystem\n\x86.",
            "names os.system",
        ),
        (GLOBAL % (b"torch", b"load") + b".", "names torch.load"),
        (GLOBAL % (b"torch._utils", b"__builtins__") + b".", "names torch._utils.__b"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "has the operation .*BINUNICODE"),
        (b"\x80\x02(cos\nsystem\no.", "refused"),
        (b"\x80\x02(ios\nsystem\n.", "has the operation INST"),
        (b"\x80\x02\x82\x01.", "has the operation EXT1"),
        (b"\x80\x02}r\xff\xff\xff\x7f.", "requests a memo of 2147483647"),
        (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".", "damaged|operation"),
        (b"\x80\x02X\xff\xff\xff\x7fabc.", "truncated or damaged"),
        (b"\x80\x02]q\0.", "contains a list, not a state dict"),
        (b"\x80\x02}X\x01\0\0\0aK\x01s.", "'a' is not a tensor"),
        (b"\x80\x02}.", "contains no tensors"),
        (b"\x80\x02R.", "truncated or damaged"),
        (b"", "truncated or damaged"),
    ],
)
def test_a_pickle_that_does_anything_else_is_refused(write, program, text, tmp_path):
    with pytest.raises(ValueError, match=text):
        files.read(write(tmp_path / "weights", program))


def tensor_program(kind="FloatStorage", size=4, offset=0, shape=(2, 2), strides=(2, 1)):
    """The pickle of {"x": a tensor}, as torch.save makes it."""

    def text(value):
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def number(value):
        return b"\x8a\x08" + struct.pack("<q", value)

    def numbers(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    program = b"\x80\x02}" + text("x") + b"ctorch._utils\n_rebuild_tensor_v2\n(("
    program += text("storage") + f"ctorch\n{kind}\n".encode() + text("0") + text("cpu")
    program += number(size) + b"tQ" + number(offset) + numbers(shape) + numbers(strides)
    return program + b"\x89}tRs."


def test_the_tensor_made_by_hand_is_read(tmp_path):
    row = np.arange(4, dtype=np.float32)
    expected = row.reshape(2, 2)
    assert {o.name for o, _, _ in pickletools.genops(tensor_program())} >= {"BINPERSID"}
    path = zip_file(tmp_path / "zip", tensor_program(), {"0": row.tobytes()})
    np.testing.assert_array_equal(files.read(path)["x"], expected)
    numbers = struct.pack("<q", 4) + row.tobytes()
    path = legacy_file(tmp_path / "legacy", tensor_program(), ["0"], numbers)
    np.testing.assert_array_equal(files.read(path)["x"], expected)


@pytest.mark.parametrize(
    ("shape", "strides"),
    [((1, 4), (2**61, 1)), ((4, 1, 1), (1, 2**61, 2**61)), ((0, 4), (2**61, 2**61))],
)
def test_any_stride_will_do_along_an_axis_of_one_element(shape, strides, tmp_path):
    row = np.arange(4, dtype=np.float32)
    program = tensor_program(shape=shape, strides=strides)
    path = zip_file(tmp_path / "zip", program, {"0": row.tobytes()})
    found = files.read(path)["x"]
    np.testing.assert_array_equal(found, row[: found.size].reshape(shape))


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"offset": 1}, "does not fit its storage of 4"),
        ({"offset": -1}, "truncated or damaged"),
        ({"shape": (2, 3)}, "does not fit its storage"),
        ({"strides": (3, 1)}, "does not fit its storage"),
        ({"strides": (-1, 1)}, "has shape"),
        ({"strides": (1,)}, "has shape"),
        ({"shape": (2**40,), "strides": (0,)}, "does not fit its storage"),
        ({"size": 2**50}, "damaged|truncated"),
        ({"size": -4}, "truncated or damaged"),
        ({"kind": "DoubleStorage"}, "damaged|truncated"),
        ({"kind": "UntypedStorage"}, "names torch.UntypedStorage"),
    ],
)
def test_tensors_outside_their_storage_are_refused(write, fields, text, tmp_path):
    program = tensor_program(**fields)
    if write is zip_file:
        path = write(tmp_path / "weights", program, {"0": bytes(16)})
    else:
        numbers = struct.pack("<q", fields.get("size", 4)) + bytes(16)
        path = write(tmp_path / "weights", program, ["0"], numbers)
    with pytest.raises(ValueError, match=text):
        files.read(path)


def test_archives_that_torch_does_not_write_are_refused(tmp_path):
    path = zip_file(
        tmp_path / "compressed",
        tensor_program(),
        {"0": bytes(16)},
        compression=zipfile.ZIP_DEFLATED,
    )
    with pytest.raises(ValueError, match="does not fit in the file as torch.save"):
        files.read(path)
    path = zip_file(tmp_path / "missing", tensor_program())
    with pytest.raises(ValueError, match="archive/data/0 is missing"):
        files.read(path)
    path = zip_file(tmp_path / "short", tensor_program(), {"0": bytes(15)})
    with pytest.raises(ValueError, match="archive/data/0 has 15 bytes, not 16"):
        files.read(path)
    with zipfile.ZipFile(tmp_path / "other", "w") as archive:
        archive.writestr("a.txt", "text")
    with pytest.raises(ValueError, match="is a zip file, but not a PyTorch"):
        files.read(tmp_path / "other")


@pytest.mark.parametrize("file", PTH)
def test_a_flipped_byte_never_does_more_than_change_numbers(file, tmp_path):
    content = (FOLDER / file).read_bytes()
    generator = np.random.default_rng(0)
    path = tmp_path / "weights"
    refused = 0
    for position in generator.integers(len(content), size=150):
        changed = bytearray(content)
        changed[position] ^= int(generator.integers(1, 256))
        path.write_bytes(changed)
        try:
            files.read(path)
        except ValueError:
            refused += 1
    assert refused > 20


def test_depthwise_kernels_of_keras_2_have_the_name_of_today(tmp_path):
    with h5py.File(tmp_path / "weights", "w") as file:
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"dw", b"dw_bn"]
        group.create_dataset("dw/dw/depthwise_kernel:0", data=np.ones((3, 3, 4, 1)))
        group["dw"].attrs["weight_names"] = [b"dw/depthwise_kernel:0"]
        group.create_dataset("dw_bn/dw_bn/gamma:0", data=np.ones(4))
        group["dw_bn"].attrs["weight_names"] = [b"dw_bn/gamma:0"]
    assert set(files.read(tmp_path / "weights")) == {"dw/kernel", "dw_bn/gamma"}


@pytest.mark.parametrize("harm", ["external link", "soft link", "external data", "big"])
def test_hdf5_files_that_point_elsewhere_are_refused(harm, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(400))
    path = tmp_path / "weights.h5"
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(3)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"fc"]
        group = file.create_group("fc")
        group.attrs["weight_names"] = [b"kernel:0"]
        if harm == "external link":
            group["kernel:0"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "x")
        elif harm == "soft link":
            group["kernel:0"] = h5py.SoftLink("/fc")
        elif harm == "external data":
            where = [(str(secret), 0, 400)]
            group.create_dataset("kernel:0", (100,), "f4", external=where)
        else:
            group.create_dataset("kernel:0", (10**12,), "f4", chunks=(1000,))
    with pytest.raises(ValueError, match="is refused|would have 4000000000000 bytes"):
        files.read(path)


def test_other_hdf5_files_are_refused(tmp_path):
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(ValueError, match="but not a Keras weight file"):
        files.read(tmp_path / "weights.h5")


def test_without_h5py_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match=r"pip install 'jaxcnn\[weights\]'"):
        files.read(FOLDER / "keras2.h5")
