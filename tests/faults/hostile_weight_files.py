"""Weight files that mean harm: name -> (content, what the refusal must say).

A large content is given as a function that makes it.
"""

import functools
import io
import json
import pickle
import struct
import zipfile

import numpy as np

PROTO = b"\x80\x02"
NESTED = 150_000  # deep enough to overflow the C stack


def text(value):
    value = value.encode()
    return b"X" + struct.pack("<I", len(value)) + value


def number(value):
    """An integer of any size, as LONG1."""
    length = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([length]) + value.to_bytes(length, "little", signed=True)


def numbers(values):
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(
    kind="FloatStorage",
    size=4,
    offset=0,
    shape=(2, 2),
    strides=(2, 1),
    key=None,
    shape_program=None,
):
    """The program that makes a tensor, as torch.save writes it."""
    program = b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage")
    program += f"ctorch\n{kind}\n".encode() + (text("0") if key is None else key)
    program += text("cpu") + number(size) + b"tQ" + number(offset)
    program += (shape_program or numbers(shape)) + numbers(strides)
    return program + b"\x89}tR"


def state(*entries):
    """The program of a dictionary of (name, program of the value)."""
    return PROTO + b"}" + b"".join(text(n) + p + b"s" for n, p in entries) + b"."


def doubled(levels):
    """A tuple of two references to a tuple of two references, and so on."""
    return b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(levels))


def in_zip(program, storages=(("0", bytes(16)),), **fields):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **fields) as archive:
        archive.writestr("archive/data.pkl", program)
        for key, content in storages:
            archive.writestr(f"archive/data/{key}", content)
    return file.getvalue()


STORAGE = struct.pack("<q", 4) + bytes(16)  # four zeros in the older format


def in_legacy(program, keys=("0",), storages=STORAGE):
    start = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    start = b"".join(pickle.dumps(value, protocol=2) for value in start)
    return start + program + pickle.dumps(list(keys), protocol=2) + storages


# What a pickle does -> (its program, what the refusal must say).
PICKLES = {
    "holds itself": (
        PROTO + b"}q\0" + text("model") + b"h\0s.",
        "'model' is not a",
    ),
    "holds itself under every name": (
        PROTO + b"}q\0" + text("a") + b"h\0s" + text("state_dict") + b"h\0s.",
        "'a' is not a tensor|'state_dict' is not a tensor",
    ),
    "two hold each other": (
        PROTO + b"}q\0}q\1" + text("model") + b"h\0s0h\0" + text("model") + b"h\1s.",
        "operation POP",
    ),
    "key of nested tuples": (
        PROTO + b"})" + b"\x85" * NESTED + b"K\1s.",
        "key of a dictionary is a tuple",
    ),
    "nested tuples": (PROTO + b")" + b"\x85" * NESTED + b".", "contains a tuple"),
    "nested lists": (
        PROTO + b"]" * NESTED + b"a" * (NESTED - 1) + b".",
        "a list",
    ),
    "nested dictionaries": (
        PROTO + (b"}" + text("model")) * 9999 + b"}" + b"s" * 9999 + b".",
        "'model' is not a tensor",
    ),
    "nested as a value": (
        state(("a", b")" + b"\x85" * NESTED)),
        "'a' is not a tensor",
    ),
    "a pyramid of references": (PROTO + doubled(200) + b".", "contains a tuple"),
    "a pyramid as a shape": (
        state(("x", tensor(shape_program=doubled(200)))),
        "has shape that is a tuple",
    ),
    "a pyramid as a key of a storage": (
        state(("x", tensor(key=doubled(200)))),
        "storage has no key",
    ),
    "keys of equal hashes": (
        PROTO + b"}" + b"".join(number(i * (2**61 - 1)) + b"Ns" for i in range(9999)),
        "key of a dictionary is a int",
    ),
    "20 million dictionaries": (
        lambda: PROTO + b"](" + b"}" * 20_000_000 + b"e.",
        "bytes, not 16000000|more than 1000000 operations",
    ),
    "a million marks": (PROTO + b"(" * 1_100_000, "more than 1000000 operations"),
    "a huge memo": (PROTO + b"}r\xff\xff\xff\x7f.", "requests a memo of 2147483647"),
    "stride over 2^63": (
        state(("x", tensor(strides=(2**70, 1)))),
        "strides .1180591620717411303424, 1.",
    ),
    "overflowing strides": (
        state(("x", tensor(strides=(2**62 - 1, 1)))),
        "does not fit its storage",
    ),
    "overflowing sizes": (
        state(("x", tensor(shape=(2**32, 2**32), strides=(0, 0)))),
        "has shape",
    ),
    "empty, of overflowing sizes": (
        state(("x", tensor(shape=(0, 2**40, 2**40), strides=(0, 0, 0)))),
        "has shape",
    ),
    "100 dimensions": (
        state(("x", tensor(shape=(1,) * 100, strides=(1,) * 100))),
        "has shape of 100 axes",
    ),
    "100,000 dimensions": (
        state(("x", tensor(shape=(2**61,) * 100_000, strides=(1,) * 100_000))),
        "has shape of 100000 axes",
    ),
    "a negative size": (state(("x", tensor(shape=(-1, 2)))), "has shape .-1, 2."),
    "a storage of 2^61 numbers": (
        state(("x", tensor(size=2**61))),
        "damaged|is truncated",
    ),
    "a storage of a list": (
        PROTO + b"ctorch._utils\n_rebuild_tensor_v2\n(]K\0))\x89}tR.",
        "a tensor has no storage",
    ),
    "a persistent id of nothing": (PROTO + b"NQ.", "damaged"),
    "a tensor of no arguments": (
        PROTO + b"ctorch._utils\n_rebuild_tensor_v2\n)R.",
        "damaged",
    ),
    "attributes of a function": (
        PROTO + b"ctorch._utils\n_rebuild_tensor_v2\n}" + text("x") + b"K\1sb.",
        "contains a named, not a state dict",
    ),
    "an item of a function": (
        PROTO + b"ctorch._utils\n_rebuild_tensor_v2\n" + text("x") + b"K\1s.",
        "contains a named, not a state dict",
    ),
    "an ordered dictionary of itself": (
        PROTO + b"ccollections\nOrderedDict\nq\0h\0\x85R.",
        "damaged",
    ),
    "the result of another function": (
        PROTO + b"cargparse\nNamespace\n)\x81)R)R" + text("x") + b"\x85R.",
        "contains a named",
    ),
    "a name of terminal codes": (
        state(("\x1b[31mred\x1b[2J\n\u202e", tensor())),
        r"named '\\x1b\[31mred\\x1b\[2J\\n\\u202e'",
    ),
    "a name of a million characters": (
        state(("x" * 1_000_000, tensor())),
        "tensor named 'x{80}\\.\\.\\.'",
    ),
    "a value under terminal codes": (
        state(("\x1b[2J", b"K\1")),
        r"'\\x1b\[2J' is not a tensor",
    ),
    "a function of terminal codes": (
        PROTO + b"cos\x1b[2J\nsystem\n.",
        r"names os\\x1b\[2J.system",
    ),
    "a storage of terminal codes": (
        state(("x", tensor(key=text("\x1b[2J")))),
        r"\\x1b\[2J is missing|no tensor is in storage 0",
    ),
    "a million digits": (PROTO + b"L" + b"9" * 1_000_000 + b"L\n.", "damaged"),
    "a text of 2 GB": (PROTO + b"X\xff\xff\xff\x7fabc.", "damaged"),
    "an empty stack": (PROTO + b"\x85\x86\x87tuasRQ.", "damaged"),
    "a mark that is not there": (PROTO + b"t.", "damaged"),
    "no end": (PROTO + b"}", "damaged"),
    "protocol 4": (pickle.dumps({"a": 1}, protocol=4), "has the operation"),
}

# One storage of a million half floats under many names: 12 GB as float32.
_views = tensor("HalfStorage", 2**20, 0, (2**20,), (1,))
_one_program = PROTO + b"}" + text("0") + _views + b"q\0s"
VIEWS = _one_program + b"".join(text(str(i)) + b"h\0s" for i in range(1, 3000)) + b"."


def with_bytes(content, at, changed):
    return content[:at] + changed + content[at + len(changed) :]


def zip_of_version_99():
    content = in_zip(state(("x", tensor())))
    return with_bytes(content, content.rindex(b"PK\1\2") + 6, b"\x63")


def zip_of_all_versions_99():
    content = bytearray(in_zip(state(("x", tensor()))))
    for at in range(len(content)):
        if content[at : at + 4] == b"PK\1\2":
            content[at + 6] = 99
        elif content[at : at + 4] == b"PK\3\4":
            content[at + 4] = 99
    return bytes(content)


def encrypted_zip():
    content = in_zip(state(("x", tensor())))
    return with_bytes(content, content.index(b"PK\1\2") + 8, b"\x01")


def zip_with_directory(length):
    """A zip file whose end says that its directory has so many bytes."""
    content = in_zip(state(("x", tensor())))
    return with_bytes(content, len(content) - 10, struct.pack("<I", length))


def zip_of_many_parts():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", state(("x", tensor())))
        for i in range(80_000):
            archive.writestr(f"archive/data/{i}", b"")
    return file.getvalue()


def zip_with_size(size):
    """A zip file that says its pickle, as stored, has so many bytes."""
    content = in_zip(state(("x", tensor())))
    at = content.index(b"PK\1\2") + 20
    return with_bytes(content, at, struct.pack("<I", size))


def zip_of_one_name():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", state(("x", tensor())))
        archive.writestr("archive/data/0", bytes(16))
        archive.writestr("archive/data/1", bytes(16))
    return file.getvalue().replace(b"archive/data/1", b"archive/data/0")


def zip_outside():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../../canary/data.pkl", state(("x", b"K\1")))
    return file.getvalue()


BOMB_BYTES = 50_000_000


def zip_bomb(program=None):
    """A zip file of much more than its own size, in its pickle or its numbers."""
    bomb = bytes(BOMB_BYTES)
    parts = (bomb, []) if program is None else (program, [("0", bomb)])
    return in_zip(*parts, compression=zipfile.ZIP_DEFLATED)


_count = BOMB_BYTES // 4
ZIPS = {
    "views of one storage": (
        in_zip(VIEWS, [("0", bytes(2**21))]),
        "its tensors would have 6291456000 bytes",
    ),
    "zip version 99": (zip_of_version_99(), "directory cannot be read .*version 9.9"),
    "zip versions 99": (zip_of_all_versions_99(), "directory cannot be read"),
    "an encrypted zip": (encrypted_zip(), "is damaged"),
    "a zip bomb as the pickle": (
        zip_bomb,
        f"has {BOMB_BYTES} bytes, not 16000000",
    ),
    "a zip bomb as numbers": (
        lambda: zip_bomb(
            state(("x", tensor(size=_count, shape=(_count,), strides=(1,))))
        ),
        "does not fit in the file as torch.save writes it",
    ),
    "a directory of 4 GB": (zip_with_directory(2**32 - 2), "directory cannot be read"),
    "a directory of nothing": (zip_with_directory(0), "not a PyTorch weight file"),
    "80,000 parts": (zip_of_many_parts, "directory cannot be read"),
    "a pickle of 2 GB": (zip_with_size(2**31), "is damaged"),
    "two parts of one name": (zip_of_one_name(), "two of its parts have one name"),
    "parts outside": (zip_outside(), "'x' is not a tensor"),
}
LEGACIES = {
    "a million storages": (
        in_legacy(state(("x", tensor())), map(str, range(1, 10**5))),
        "no tensor is in storage 1",
    ),
    "storages of lists": (in_legacy(state(("x", tensor())), [[]]), "in storage list"),
    "the same storage often": (
        in_legacy(state(("x", tensor())), ["0"] * 9, STORAGE * 8),
        "is truncated",
    ),
    "a storage that is not there": (
        in_legacy(state(("x", tensor())), []),
        "storages 0 are missing",
    ),
    "a storage of another size": (
        in_legacy(state(("x", tensor())), ["0"], struct.pack("<q", 2**60) + bytes(16)),
        "has the wrong size",
    ),
    "views of one storage": (
        in_legacy(VIEWS, ["0"], struct.pack("<q", 2**20) + bytes(2**21)),
        "its tensors would have 6291456000 bytes",
    ),
}


def header(entries, data=b"", length=None):
    content = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    length = len(content) if length is None else length
    return struct.pack("<Q", length) + content + data


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


_ONE = json.dumps(entry())
HEADER = "header cannot be read"
SAFETENSORS = {
    "lists 100,000 deep": (
        header(b'{"x":' + b"[" * 10**5 + b"]" * 10**5 + b"}"),
        HEADER,
    ),
    "objects 100,000 deep": (
        header(b'{"x":' * 10**5 + b"1" + b"}" * 10**5),
        HEADER,
    ),
    "metadata 100,000 deep": (
        header(b'{"__metadata__":' + b"[" * 10**5 + b"]" * 10**5 + b"}"),
        HEADER,
    ),
    **{
        f"dtype {dtype}": (
            header({"x": entry(dtype)}, bytes(4)),
            f"tensor x is of dtype {dtype}; these are read: F64, F32",
        )
        for dtype in ("F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F6_E2M3", "C64", "X")
    },
    "a dtype of lists": (header({"x": entry([[]])}, bytes(4)), "is of dtype"),
    "overlapping tensors": (
        header({"x": entry(), "y": entry()}, bytes(8)),
        r"tensor y is at bytes \[0, 4\], where \[4, 8\] should be",
    ),
    "partly overlapping tensors": (
        header({"x": entry(), "y": entry(offsets=(2, 6))}, bytes(8)),
        r"tensor y is at bytes \[2, 6\], where",
    ),
    "a gap": (header({"x": entry(offsets=(4, 8))}, bytes(8)), "tensor x is at bytes"),
    "more bytes than tensors": (
        header({"x": entry()}, bytes(8)),
        "tensors end at byte",
    ),
    "offsets out of range": (header({"x": entry(offsets=(0, 400))}), "is truncated"),
    "offsets over 2^64": (
        header({"x": entry(offsets=(2**70, 2**70 + 4))}),
        "truncated",
    ),
    "negative offsets": (header({"x": entry(offsets=(-4, 0))}, bytes(4)), HEADER),
    "offsets in reverse": (header({"x": entry(offsets=(4, 0))}, bytes(4)), HEADER),
    "offsets that are floats": (header({"x": entry(offsets=(0.0, 4.0))}), HEADER),
    "three offsets": (header({"x": entry(offsets=(0, 4, 8))}, bytes(8)), HEADER),
    "a negative size": (header({"x": entry(shape=(-1, -1))}, bytes(4)), HEADER),
    "a size of true": (header({"x": entry(shape=(True,))}, bytes(4)), HEADER),
    "a size of 2^60": (header({"x": entry(shape=(2**60,))}, bytes(4)), HEADER),
    "overflowing sizes": (header({"x": entry(shape=(2**32, 2**32))}, bytes(4)), HEADER),
    "an empty shape that overflows": (
        header({"x": entry(shape=(0, 2**40, 2**40), offsets=(0, 0))}),
        HEADER,
    ),
    "100 dimensions": (header({"x": entry(shape=(1,) * 100)}, bytes(4)), HEADER),
    "300,000 dimensions": (
        header({"x": entry(shape=(1,) * 300_000)}, bytes(4)),
        HEADER,
    ),
    "a shape of 5,000 digits": (
        header(
            b'{"x":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[]}}'
        ),
        HEADER,
    ),
    "NaN as a size": (header({"x": entry(shape=(float("nan"),))}, bytes(4)), HEADER),
    "one tensor twice": (
        header(f'{{"x":{_ONE},"x":{_ONE}}}'.encode(), bytes(4)),
        "a name occurs twice",
    ),
    "metadata twice": (
        header(b'{"__metadata__":{"a":"1","a":"2"}}'),
        "a name occurs twice",
    ),
    "metadata that are numbers": (header({"__metadata__": {"a": 1}}), "not texts"),
    "metadata that are a list": (header({"__metadata__": ["a"]}), "not texts"),
    "an entry that is a list": (header({"x": []}), HEADER),
    "no shape": (header({"x": {"dtype": "F32", "data_offsets": [0, 4]}}), HEADER),
    "no tensors": (header({"__metadata__": {"a": "b"}}), "contains no tensors"),
    "a header of 2^63 bytes": (header({}, length=2**63), "would have 92233720368547"),
    "a header of 20 MB": (
        lambda: header({}, bytes(20_000_100), length=20_000_000),
        "at most 10000000 are read",
    ),
    "a header of two million lists": (
        lambda: header(b'{"x":[' + b"[]," * 2_000_000 + b"[]]}"),
        HEADER,
    ),
    "a header that is not UTF-8": (header(b'{"\xff":1}'), HEADER),
    "a header cut off": (header(b'{"x":{"dtype":"F32"'), HEADER),
    "a name of terminal codes": (
        header({"\x1b[31mred\x1b[2J": entry()}, bytes(4)),
        r"named '\\x1b\[31mred",
    ),
    "a name that turns the text": (
        header({"\u202egnp": entry()}, bytes(4)),
        r"named '\\u202egnp'",
    ),
    "half a character as a name": (
        header(b'{"\\ud800":' + _ONE.encode() + b"}", bytes(4)),
        r"named '\\ud800'",
    ),
    "a name of a million characters": (
        header({"x" * 10**6: entry()}, bytes(4)),
        "tensor named 'x{80}\\.\\.\\.'",
    ),
    "terminal codes in an error": (
        header({"\x1b[2J": entry("F8_E4M3")}, bytes(4)),
        r"tensor \\x1b\[2J is of dtype",
    ),
    "terminal codes as a dtype": (
        header({"x": entry("\x1b[2J")}, bytes(4)),
        r"of dtype \\x1b\[2J",
    ),
    "the same name compiled and not": (
        header({"x": entry(), "_orig_mod.x": entry(offsets=(4, 8))}, bytes(8)),
        "two tensors named x",
    ),
}


def all_files():
    """Returns name -> (function that makes the content, what the refusal must say)."""
    known = {
        "empty.pth": (b"", "it is empty"),
        "noise.pth": (np.random.default_rng(0).bytes(9999), "not a known kind"),
        **{f"zip {what}.pth": row for what, row in ZIPS.items()},
        **{f"legacy {what}.pth": row for what, row in LEGACIES.items()},
        **{f"{what}.safetensors": row for what, row in SAFETENSORS.items()},
    }
    files = {n: (functools.partial(made, c), says) for n, (c, says) in known.items()}
    for what, (program, says) in PICKLES.items():
        for kind, write in {"zip": in_zip, "legacy": in_legacy}.items():
            make = functools.partial(written, write, program)
            files[f"{kind} {what}.pth"] = make, says
    return files


def made(content):
    return content() if callable(content) else content


def written(write, program):
    return write(made(program))
