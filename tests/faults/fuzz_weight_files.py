"""Reads weight files that were changed at random.

A changed file must be read or refused by a UserError, in bounded time and memory:

    python -m tests.faults.fuzz_weight_files --count=100000 --h5_count=3000

The files that did anything else are kept in --keep=FOLDER.
"""

import argparse
from collections.abc import Callable, Iterator
import dataclasses
import hashlib
import io
from pathlib import Path
import pickletools
import re
import resource
import signal
import struct
import sys
import tempfile
import time
import zipfile

import numpy as np

from jaxcnn.errors import UserError
from jaxcnn.pretrained import description, files
from jaxcnn.pretrained.preprocessing import Preprocessing

FOLDER = Path(__file__).parent.parent / "reference" / "files"
LIMIT_SECONDS = 10.0  # for one file; a hanging .h5 is stopped by its own limit
H5_LIMIT_SECONDS = 60.0
CANARY = b"This file is not to be touched."

# Numbers that break sums and products of sizes.
_EDGES = [0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**62, 2**63]
# Operations of pickles, those that torch.save never writes included.
_OPERATIONS = (
    b"(.0122FIJKLMNPQRSTUVX]abcdeghijlopqrstu}\x80\x81\x82\x85\x86\x8a\x8c\x94"
)


def _flip(content: bytearray, rng: np.random.Generator) -> None:
    """Changes up to eight bytes."""
    for position in rng.integers(len(content), size=rng.integers(1, 9)):
        content[position] ^= int(rng.integers(1, 256))


def _truncate(content: bytearray, rng: np.random.Generator) -> None:
    del content[rng.integers(len(content)) :]


def _insert(content: bytearray, rng: np.random.Generator) -> None:
    """Inserts operations of pickles, or characters of JSON."""
    position, letters = (
        rng.integers(len(content)),
        [_OPERATIONS, b'[]{}",:0-9e'][rng.integers(2)],
    )
    chosen = rng.choice(np.frombuffer(letters, np.uint8), size=rng.integers(1, 9))
    content[position:position] = chosen.tobytes()


def _repeat(content: bytearray, rng: np.random.Generator) -> None:
    """Repeats a part of the file up to 200 times."""
    start = rng.integers(len(content))
    part = content[start : start + rng.integers(1, 65)]
    content[start:start] = part * int(rng.integers(1, 201))


def _remove(content: bytearray, rng: np.random.Generator) -> None:
    start = rng.integers(len(content))
    del content[start : start + rng.integers(1, 65)]


def _move(content: bytearray, rng: np.random.Generator) -> None:
    """Copies a part of the file over another one."""
    start, goal = rng.integers(len(content), size=2)
    part = content[start : start + rng.integers(1, 65)]
    content[goal : goal + len(part)] = part


def _set_number(content: bytearray, rng: np.random.Generator) -> None:
    """Writes an edge of a range, as 1 to 8 bytes."""
    length = int(rng.choice([1, 2, 4, 8]))
    number = int(rng.choice(np.array(_EDGES, object))) % 2 ** (8 * length)
    position = rng.integers(len(content))
    content[position : position + length] = number.to_bytes(length, "little")


def _set_digits(content: bytearray, rng: np.random.Generator) -> None:
    """Replaces a number in the text."""
    found = list(re.finditer(rb"\d+", content))
    if found:
        start, end = found[rng.integers(len(found))].span()
        number = int(rng.choice(np.array(_EDGES, object)))
        content[start:end] = str(number * int(rng.choice([1, -1]))).encode()


MUTATIONS: tuple[Callable[[bytearray, np.random.Generator], None], ...] = (
    _flip,
    _truncate,
    _insert,
    _repeat,
    _remove,
    _move,
    _set_number,
    _set_digits,
)


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """The content after one to three changes."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        if changed:
            MUTATIONS[rng.integers(len(MUTATIONS))](changed, rng)
    return bytes(changed)


def _mutate_operations(program: bytes, rng: np.random.Generator) -> bytes:
    """A pickle after up to four of its operations were removed, repeated or moved."""
    starts = [start for _, _, start in pickletools.genops(program)]
    parts = [program[a:b] for a, b in zip(starts, [*starts[1:], None], strict=True)]
    for _ in range(rng.integers(1, 5)):
        here, there = rng.integers(len(parts), size=2)
        action = rng.integers(4)
        if action == 0 and len(parts) > 1:
            del parts[here]
        elif action == 1:
            parts[here:here] = [parts[there]]
        elif action == 2:
            parts[here], parts[there] = parts[there], parts[here]
        else:  # one that needs nothing but what is on the stack
            parts[here:here] = [bytes([rng.choice([*b"()]}.Nabestu\x81\x85\x86\x87"])])]
    return b"".join(parts)


def _mutate_zip(content: bytes, rng: np.random.Generator) -> bytes:
    """Changes the pickle in a zip file, whose checksums are right again."""
    changed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(changed, "w") as new,
    ):
        for entry in old.infolist():
            part = old.read(entry)
            if entry.filename.endswith("/data.pkl"):
                change = (mutate, _mutate_operations)[rng.integers(2)]
                part = change(part, rng)
            new.writestr(entry.filename, part)
    return changed.getvalue()


def _mutate_header(content: bytes, rng: np.random.Generator) -> bytes:
    """Changes the header of a safetensors file, whose length is right again."""
    (length,) = struct.unpack("<Q", content[:8])
    header = mutate(content[8 : 8 + length], rng)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def safetensors_content() -> bytes:
    """A small file with tensors of several kinds, and metadata."""
    import safetensors.numpy

    tensors = {
        "module.fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "module.fc.bias": np.float16([1.5, -2]),
        "module.steps": np.array(3),
        "module.flags": np.array([True, False]),
    }
    scale = {"mean": (0.5,), "std": (0.25,), "value_range": (0.0, 1.0)}
    told = description.Description(
        model="lenet5",
        fields={"dropout": 0.5},
        names=("a", "b"),
        preprocessing=Preprocessing((32, 40), 0.875, "bilinear", **scale),
        task={"name": "multi_label", "class_names": ("a", "b"), "threshold": 0.5},
    )
    metadata = {"format": "pt", description.KEY: told.to_json()}
    return safetensors.numpy.save(tensors, metadata)


def inputs(kind: str, count: int, seed: int) -> Iterator[bytes]:
    """Changed files of a kind: "pth", "safetensors" or "h5"."""
    rng = np.random.default_rng([seed, *kind.encode()])
    if kind == "safetensors":
        known, inner = [safetensors_content()], _mutate_header
    else:
        known = [path.read_bytes() for path in sorted(FOLDER.glob(f"*.{kind}"))]
        inner = _mutate_zip
    for _ in range(count):
        content = known[rng.integers(len(known))]
        has_inner = kind == "safetensors" or content.startswith(b"PK")
        if has_inner and rng.integers(2):
            yield inner(content, rng)
        else:
            yield mutate(content, rng)


@dataclasses.dataclass
class Row:
    """What became of the files of a kind.

    Attributes:
        kind: Kind of the files.
        inputs: Number of files.
        refused: Number of those that a UserError refused in one line.
        loaded: Number of those that were read.
        other: What else happened, and the SHA-256 of the file.
        seconds: Time of all files together.
        slowest: Time of the slowest file, in seconds.
        memory: Largest memory of a process, in MB above that before the first file;
            for "h5", of the processes that read the files.
    """

    kind: str
    inputs: int = 0
    refused: int = 0
    loaded: int = 0
    other: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    slowest: float = 0.0
    memory: float = 0.0


def reset_peak() -> None:
    """Starts to measure the peak of this process's memory anew (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_megabytes(which: str = "VmHWM") -> float:
    """The peak of this process's memory since reset_peak; "VmRSS": its memory now."""
    (line,) = re.findall(rf"{which}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(line) / 1024


class _Slow(BaseException):
    """A file took too long."""


def _raise_slow(*_: object) -> None:
    raise _Slow


def attempt(path: Path) -> str:
    """Reads a file; returns "loaded", "refused" or what else happened."""
    try:
        tensors = files.read(path)
        text = files.read_metadata(path).get(description.KEY)
        if text is not None:
            description.parse(path, text)
        for tensor in tensors.values():
            tensor.copy()  # reads its memory
    except UserError as error:
        return "refused" if str(error).isprintable() else f"prints {str(error)!r}"
    except _Slow:
        return "took too long"
    except BaseException as error:  # whatever it is, it is found out here
        return f"{type(error).__name__}: {error}"
    return "loaded"


def run(kind: str, count: int, seed: int = 0, keep: Path | None = None) -> Row:
    """Reads `count` changed files of a kind."""
    row = Row(kind)
    limit = H5_LIMIT_SECONDS if kind == "h5" else LIMIT_SECONDS
    before = peak_megabytes("VmRSS")
    reset_peak()
    previous = signal.signal(signal.SIGALRM, _raise_slow)
    try:
        with tempfile.TemporaryDirectory() as folder:
            canary, path = Path(folder, "canary"), Path(folder, "weights")
            canary.write_bytes(CANARY)
            path.touch()
            for content in inputs(kind, count, seed):
                path.write_bytes(content)
                start = time.perf_counter()
                signal.setitimer(signal.ITIMER_REAL, limit)
                outcome = attempt(path)
                signal.setitimer(signal.ITIMER_REAL, 0)
                taken = time.perf_counter() - start
                row.inputs += 1
                row.seconds += taken
                row.slowest = max(row.slowest, taken)
                if outcome in ("loaded", "refused"):
                    setattr(row, outcome, getattr(row, outcome) + 1)
                else:
                    digest = hashlib.sha256(content).hexdigest()[:16]
                    row.other.append(f"{outcome} ({digest})")
                    if keep is not None:
                        keep.mkdir(parents=True, exist_ok=True)
                        (keep / f"{digest}.{kind}").write_bytes(content)
            names = sorted(file.name for file in Path(folder).iterdir())
            if names != ["canary", "weights"] or canary.read_bytes() != CANARY:
                row.other.append(f"the folder has {names}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    row.memory = peak_megabytes() - before
    if kind == "h5":
        row.memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return row


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| kind | inputs | refused | loaded | other | seconds | slowest | peak MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (row.kind, row.inputs, row.refused, row.loaded, len(row.other))
        numbers = (f"{row.seconds:.0f}", f"{row.slowest:.2f}", f"{row.memory:.0f}")
        lines.append(f"| {' | '.join(map(str, (*cells, *numbers)))} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--h5_count", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=None)
    given = parser.parse_args()
    h5_count = given.count // 100 if given.h5_count is None else given.h5_count
    counts = {"pth": given.count, "safetensors": given.count, "h5": h5_count}
    rows = [run(kind, n, given.seed, given.keep) for kind, n in counts.items()]
    print(table(rows))
    for row in rows:
        for other in row.other:
            print(f"{row.kind}: {other}")
    return 1 if any(row.other for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
