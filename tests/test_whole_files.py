"""Files that are written whole, and files of arrays that were damaged since."""

import errno

import numpy as np
import pytest

from jaxcnn import npz_files, whole_files
from jaxcnn.errors import UserError


def test_a_file_that_cannot_be_written_is_what_it_was(tmp_path):
    path = tmp_path / "results.json"
    whole_files.write_text(path, "before")

    def fail(path):
        with whole_files.replacing(path) as unfinished:
            unfinished.write_text("a part")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fail(path)
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_text() == "before"
    whole_files.write_text(path, "after")
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_text() == "after"


def test_damaged_arrays_are_one_line_or_as_they_were(tmp_path):
    arrays = {
        "indices": np.arange(3),
        "num_examples": np.int64(3),
        "sums/loss": np.float64(0.5),
    }
    path = tmp_path / "fold1.npz"
    npz_files.write(path, arrays)
    text = path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [text[:size] for size in range(0, len(text), 7)]
    for position, bit in enumerate(rng.integers(0, 8, len(text))):
        flipped = bytearray(text)
        flipped[position] ^= 1 << int(bit)
        damaged.append(bytes(flipped))
    # The length of a comment, which takes the members after it for its own.
    flipped = bytearray(text)
    flipped[text.index(b"PK\x01\x02") + 33] ^= 1
    damaged.append(bytes(flipped))
    outcomes = []
    for content in damaged:
        path.write_bytes(content)
        try:
            outcomes.append(npz_files.read(path))
        except UserError as error:
            outcomes.append(str(error))
    lines = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert len(lines) > len(damaged) / 2
    assert all(line.startswith(f"{path} is damaged: ") for line in lines)
    assert "\n" not in "".join(lines)
    for found in outcomes:
        if isinstance(found, dict):
            assert found.keys() == arrays.keys()
            for name, expected in arrays.items():
                np.testing.assert_array_equal(found[name], expected)
