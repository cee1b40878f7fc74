"""Writers into the run's folder: metrics.jsonl, metrics.csv and TensorBoard events.

A killed run has written values of steps that come after its last checkpoint. A resumed
run takes these steps again, so its writers drop those values. They also drop the test's
values, which are measured again when training ends.
"""

from collections.abc import Iterable, Mapping
import csv
import io
import json
from pathlib import Path
import struct
import time
from typing import Any

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c
from tensorboardX.summary import scalar

from jaxcnn import whole_files
from jaxcnn.report import strict_json

Values = Mapping[str, Any]


class JsonLines:
    """metrics.jsonl: one JSON object a line, {"split", "step", ...}, on disk at once.

    Args:
        folder: The run's folder.
        first_step: The step of the checkpoint from which the run continues, or 0.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        path = folder / "metrics.jsonl"
        if path.exists():
            records = ((line, _parse(line)) for line in _whole_lines(path))
            kept = [line for line, record in records if _is_before(record, first_step)]
            whole_files.write_text(path, "".join(kept))
        self._file = path.open("a", buffering=1)

    def write(self, split: str, step: int, values: Values) -> None:
        record = {"split": split, "step": step, **values}
        self._file.write(strict_json.dumps(record) + "\n")

    def close(self) -> None:
        self._file.close()


def _parse(line: str) -> Values:
    """The object of a line; {} where the line is damaged."""
    try:
        return json.loads(line)
    except ValueError:
        return {}


class Csv:
    """metrics.csv: a row for each write, a column for each name, on disk at once.

    A cell is empty where a write has no value of that name. A new name becomes the last
    column, for which the file is written anew: that happens when a split is written for
    the first time.

    Args:
        folder: The run's folder.
        first_step: The step of the checkpoint from which the run continues, or 0.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self._path = folder / "metrics.csv"
        self._columns = ["split", "step"]
        rows = []
        if self._path.exists():
            reader = csv.DictReader(_whole_lines(self._path))
            self._columns = list(reader.fieldnames or self._columns)
            rows = [
                row
                for row in reader
                if _is_before(row, first_step) and _has_all_cells(row)
            ]
        self._file = self._written_anew(rows)

    def _written_anew(self, rows: Iterable[Values]) -> io.TextIOBase:
        """The file with a header and these rows, open for more."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        whole_files.write_text(self._path, text.getvalue())
        return self._path.open("a", buffering=1)

    def write(self, split: str, step: int, values: Values) -> None:
        record = {"split": split, "step": step, **values}
        new = [name for name in record if name not in self._columns]
        if new:
            self._file.close()
            rows = list(csv.DictReader(_whole_lines(self._path)))
            self._columns += new
            self._file = self._written_anew(rows)
        csv.DictWriter(self._file, self._columns, lineterminator="\n").writerow(record)

    def close(self) -> None:
        self._file.close()


def _has_all_cells(row: Values) -> bool:
    """Whether csv.DictReader found a cell for each column, and none too many."""
    return None not in row and None not in row.values()


def _whole_lines(path: Path) -> list[str]:
    """The lines of a file, without a last one that has no end: the run was killed."""
    lines = path.read_text().splitlines(keepends=True)
    return [line for line in lines if line.endswith("\n")]


def _is_before(record: Values, first_step: int) -> bool:
    """Whether a resumed run keeps a record: not if it is damaged."""
    try:
        return int(record["step"]) < _first_dropped(record["split"], first_step)
    except (KeyError, TypeError, ValueError):
        return False


def _first_dropped(split: str, first_step: int) -> int:
    """The first step whose values a resumed run does not keep.

    Of the test none are kept. The compilation at first_step is that of the steps after
    it. A run that starts anew keeps nothing.
    """
    if split == "test" or first_step == 0:
        return 0
    return first_step if split == "compile" else first_step + 1


class TensorBoard:
    """TensorBoard events, on disk at once: a split is a TensorBoard run, a name a tag.

    TensorBoard draws a tag that several runs have in one chart. So tensorboard/train
    and tensorboard/validation, both with the tag "loss", are two lines of one chart.

    Args:
        folder: The run's folder.
        first_step: The step of the checkpoint from which the run continues, or 0.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self._folder = folder / "tensorboard"
        self._first_step = first_step
        self._folder.mkdir(exist_ok=True)
        # Now, not with the next value, TensorBoard is to hide what a killed run left.
        splits = [path.name for path in self._folder.iterdir() if path.is_dir()]
        self._files = {split: self._begin_file(split) for split in splits}

    def _begin_file(self, split: str) -> io.BufferedWriter:
        """A new events file of a split, which hides values that older files have."""
        folder = self._folder / split
        folder.mkdir(exist_ok=True)
        # TensorBoard reads the files of a folder in the order of their names.
        file = (folder / f"events.out.tfevents.{time.time_ns()}").open("xb")
        _write_event(file, file_version="brain.Event:2")
        # Values of this step and later ones in older files are not shown.
        first_hidden = _first_dropped(split, self._first_step)
        start = SessionLog(status=SessionLog.START)
        _write_event(file, step=first_hidden, session_log=start)
        return file

    def write(self, split: str, step: int, values: Values) -> None:
        if split not in self._files:
            self._files[split] = self._begin_file(split)
        summary = Summary()
        for name, value in values.items():
            summary.MergeFrom(scalar(name, value))
        _write_event(self._files[split], step=step, summary=summary)

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def _write_event(file: io.BufferedWriter, **fields: Any) -> None:
    """Appends a tensorboardX event in the TFRecord format.

    tensorboardX's SummaryWriter keeps events in a queue that flush() does not empty: a
    killed run lost a fifth of them. Its EventsWriter waits for the disk at each flush.
    """
    data = Event(wall_time=time.time(), **fields).SerializeToString()
    length = struct.pack("<Q", len(data))
    checksums = [struct.pack("<I", masked_crc32c(part)) for part in (length, data)]
    file.write(length + checksums[0] + data + checksums[1])
    file.flush()
