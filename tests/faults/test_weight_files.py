"""Hostile and damaged weight files end as one line, and touch nothing else.

Bounded memory and time are measured in a process that reads all of them.
"""

import json
from pathlib import Path
import re
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

from jaxcnn import __main__
from jaxcnn.errors import UserError
from jaxcnn.pretrained import files, keras_files
from tests.faults import fuzz_weight_files, hostile_weight_files

# In one process, which reads the hostile files once.
pytestmark = pytest.mark.xdist_group("weight files")

HOSTILE = hostile_weight_files.all_files()
ROOT = Path(__file__).parent.parent.parent
KERAS = fuzz_weight_files.FOLDER / "keras2.h5"
MAX_SECONDS, MAX_MEGABYTES = 8.0, 200  # for one file

READ_ALL = """
import json, sys, time
from pathlib import Path
from jaxcnn.pretrained import files
from tests.faults.fuzz_weight_files import peak_megabytes, reset_peak

for path in sorted(Path(sys.argv[1]).iterdir()):
    before, start = peak_megabytes("VmRSS"), time.process_time()
    reset_peak()
    try:
        files.read(path)
        said = "loaded"
    except ValueError as error:
        said = f"{type(error).__name__}: {error}"
    seconds, memory = time.process_time() - start, peak_megabytes() - before
    print(json.dumps([path.name, said, seconds, memory]), flush=True)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Name -> (what reading it said, seconds, peak of memory above that before)."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, (make, _) in HOSTILE.items():
        (folder / name).write_bytes(make())
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, folder],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert after == before
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: row for name, *row in rows}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_one_printable_line(outcomes, name):
    said, seconds, megabytes = outcomes[name]
    assert said.startswith("UserError: ")
    assert said.isprintable()
    assert len(said) < 1500
    assert re.search(HOSTILE[name][1], said), said
    assert seconds < MAX_SECONDS
    assert megabytes < MAX_MEGABYTES


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("pth", 400),
        ("safetensors", 400),
        pytest.param("h5", 10, marks=pytest.mark.slow),
    ],
)
def test_files_changed_at_random_are_read_or_refused(kind, count):
    row = fuzz_weight_files.run(kind, count, seed=1)
    assert row.other == []
    assert row.refused + row.loaded == row.inputs
    assert row.refused > row.inputs / 2
    if kind != "h5":  # what that may use is limited; and other tests started processes
        assert row.memory < MAX_MEGABYTES


def test_the_fuzzer_tells_what_is_neither(monkeypatch, tmp_path):
    def read(path):
        if path.read_bytes()[0] % 2:
            raise KeyError("x")
        raise UserError("a line\nand another")

    monkeypatch.setattr(files, "read", read)
    row = fuzz_weight_files.run("safetensors", 100, keep=tmp_path)
    assert (row.refused, row.loaded, len(row.other)) == (0, 0, 100)
    assert {other.partition(" (")[0] for other in row.other} == {
        "KeyError: 'x'",
        r"prints 'a line\nand another'",
    }
    assert len(list(tmp_path.iterdir())) > 50  # some are equal


def test_the_fuzzer_prints_a_table_of_what_it_is_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fuzz", "--count=30", "--h5_count=0"])
    assert fuzz_weight_files.main() == 0
    header, _, *rows = capsys.readouterr().out.splitlines()
    assert [cell.strip() for cell in header.split("|")[1:4]] == [
        "kind",
        "inputs",
        "refused",
    ]
    assert [row.split(" | ")[:2] for row in rows] == [
        ["| pth", "30"],
        ["| safetensors", "30"],
        ["| h5", "0"],
    ]


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("while True: pass", r"stopped after 1 s of processor time"),
        pytest.param(
            "import time; time.sleep(60)",
            r"stopped after 1 s of processor time, or 3",
            marks=pytest.mark.slow,
        ),
        ("import os; os.abort()", r"ended with signal 6 \(Aborted\)"),
        ("import os; os.kill(os.getpid(), 11)", r"ended with signal 11 \(Segmentation"),
        ("raise KeyError('\x1b[2J')", r"failed with code 1 \(KeyError: '"),
        ("print('x' * 10**8)", r"failed with code 1 \(BrokenPipe"),
        (
            "import sys; sys.stderr.write('is bad \x1b[2J'); sys.exit(3)",
            r"bad \\x1b\[2J",
        ),
    ],
)
def test_whatever_happens_to_the_process_that_reads_keras_files_is_one_line(
    program, says, monkeypatch, tmp_path
):
    reader = tmp_path / "reader.py"
    limits = "import resource, sys\nresource.setrlimit(resource.RLIMIT_CPU, (1, 1))\n"
    reader.write_text(limits + program)
    monkeypatch.setattr(keras_files, "_READER", reader)
    monkeypatch.setattr(keras_files, "_SECONDS", 1)
    with pytest.raises(UserError, match=says) as caught:
        files.read(KERAS)
    assert str(caught.value).isprintable()


def test_the_process_that_reads_keras_files_has_its_limits(monkeypatch):
    monkeypatch.setattr(keras_files, "_MEMORY", 60_000_000)
    with pytest.raises(UserError, match="is damaged"):
        files.read(KERAS)


def test_the_process_that_reads_keras_files_does_not_load_jax():
    code = (
        "import sys; sys.argv = ['', *sys.argv[1:]]\n"
        "from jaxcnn.pretrained import keras_reader\n"
        "keras_reader.main(sys.argv[1], '9', '2000000000')\n"
        "sys.stderr.write(str('jax' in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, KERAS], capture_output=True, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (0, b"False")


@pytest.mark.parametrize(
    "name",
    ["zip holds itself.pth", "lists 100,000 deep.safetensors", "zip parts outside.pth"],
)
def test_the_command_refuses_and_writes_nothing(name, tmp_path, capsys):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    canary, path = tmp_path / "canary", inner / "weights"
    canary.write_bytes(fuzz_weight_files.CANARY)
    path.write_bytes(HOSTILE[name][0]())
    output = inner / "new"
    arguments = ["--model=lenet5", f"--weights={path}", f"--output={output}"]
    assert __main__.main(["import_weights", *arguments]) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert [p.name for p in inner.iterdir()] == ["weights"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "canary"]
    assert canary.read_bytes() == fuzz_weight_files.CANARY


def test_two_hundred_flips_of_every_kind_of_number_are_found(tmp_path):
    """Numbers in a .pth have checksums; those of safetensors have none."""
    path = tmp_path / "weights"
    content = (fuzz_weight_files.FOLDER / "plain_zip.pth").read_bytes()
    good = files.read(fuzz_weight_files.FOLDER / "plain_zip.pth")
    rng = np.random.default_rng(0)
    for position in rng.integers(len(content), size=200):
        changed = bytearray(content)
        changed[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            found = files.read(path)
        except UserError:
            continue
        assert found.keys() == good.keys()
        for name, array in good.items():
            np.testing.assert_array_equal(found[name], array)


def test_a_file_that_lasts_shorter_than_its_arrays_is_safe(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({"x": np.arange(9.0)}, path)
    tensors = files.read(path)
    path.unlink()
    np.testing.assert_array_equal(tensors["x"], np.arange(9.0))
