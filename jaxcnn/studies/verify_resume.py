"""Shows that a run which is killed and resumed is the same run, bit for bit.

The run is trained twice in processes of its own: once to its end, and once killed with
SIGKILL and resumed each time, at random moments and as soon as a save begins, alone and
with its worker processes. Compared are what each step was made of, see journal.py,
every step that was taken twice included, the last states, and the metrics that were
logged.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import json
import os
from pathlib import Path
import random
import shutil
import signal
import subprocess
import sys
import time
from typing import Any, NamedTuple

from jaxcnn import config_fields, errors, json_files
from jaxcnn.config import Config
from jaxcnn.training import checkpoint, digests, prepare, workdir

COMMAND = (sys.executable, "-m", "jaxcnn.studies.journal")
_TIMES = {"images_per_second", "data_wait", "seconds_left"}
_ORPHAN_SECONDS = 5
_PROC = Path("/proc")


@dataclasses.dataclass(frozen=True)
class Verified:
    """What was compared, and what differed.

    Attributes:
        steps: Updates of the run.
        kills: Steps after whose journal line a process was killed.
        repeated: Steps that were taken again after a kill.
        differences: One line for each difference; none: both are the same run.
    """

    steps: int
    kills: tuple[int, ...]
    repeated: int
    differences: tuple[str, ...]


def verify_resume(
    config: Config,
    folder: Path,
    *,
    num_steps: int,
    num_cuts: int,
    seed: int = 0,
    command: Sequence[str] = COMMAND,
    say: Callable[[str], None] = lambda line: None,
) -> Verified:
    """Trains a run uncut and cut, and compares both.

    Args:
        config: The run.
        folder: A new folder for both runs.
        num_steps: Updates that are taken, the first ones of the run.
        num_cuts: Times that it is killed.
        seed: Seed of the moments at which it is killed.
        command: Program that trains, as journal.py does.
        say: Called with lines about progress.

    Raises:
        UserError: A mistake in the config or the folder.
        ChildProcessError: A process failed without having been killed.
    """
    errors.require(num_steps >= 2, "--steps", num_steps, "at least 2")
    errors.require(
        0 <= num_cuts < num_steps, "--cuts", num_cuts, f"from 0 to {num_steps - 1}"
    )
    if folder.exists() and any(folder.iterdir()):
        raise errors.UserError(f"{folder} must be a new or an empty folder.")
    config = _checked(config, num_steps)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "config.json"
    json_files.write(file, dataclasses.asdict(config))
    whole, cut = (
        _Place(file, folder / name, command, num_steps) for name in ("whole", "cut")
    )

    say(f"training {num_steps} steps without a cut")
    begin = time.monotonic()
    with whole.running() as process:
        while process.poll() is None and not _last_step(whole.journal):
            time.sleep(0.01)
        startup = time.monotonic() - begin
        whole.finish(process)
    rng = random.Random(seed)
    kills, problems = [], []
    for number, step in enumerate(sorted(rng.sample(range(1, num_steps), num_cuts))):
        # A step that is there already: it is killed while it starts.
        late = _last_step(cut.journal) >= step
        in_save = not late and number % 2 == 0
        seconds = 1.0 if in_save else rng.uniform(0, startup if late else 0.3)
        kill = os.kill if number % 4 < 2 else os.killpg
        killed = _kill_at(cut, step, kill, seconds, in_save=in_save)
        if killed is None:  # it ended before
            break
        if killed.outlived:
            problems.append(f"kill {number + 1}: a process outlived its killed parent")
        if max(checkpoint.steps_in(cut.checkpoints), default=0) < killed.saved:
            problems.append(
                f"kill {number + 1}: lost the checkpoint of step {killed.saved}"
            )
        problems += _taken_back(cut.checkpoints / str(num_steps))
        kills.append(killed.step)
        say(f"cut {number + 1} of {num_cuts}: killed after step {killed.step}")
    with cut.running() as process:
        cut.finish(process)
    differences = compare(whole.folder, cut.folder)
    lines = _lines(cut.journal)
    repeated = len(lines) - len({line["step"] for line in lines})
    return Verified(num_steps, tuple(kills), repeated, (*problems, *differences))


def _checked(config: Config, num_steps: int) -> Config:
    """The config, which may train, and saves within num_steps."""
    if config.save_every_steps is None:
        every = max(1, num_steps // 10)
        config = config_fields.replace(config, {"save_every_steps": every})
    run = prepare.prepare(config)
    prepare.check_training(run)
    rule = f"at most the {run.num_steps} of the run"
    errors.require(num_steps <= run.num_steps, "--steps", num_steps, rule)
    return config


@dataclasses.dataclass(frozen=True)
class _Place:
    """A folder with a run, its journal and what its processes say.

    Attributes:
        config: Its config.json.
        folder: The folder.
        command: Program that trains.
        num_steps: Updates that are taken.
    """

    config: Path
    folder: Path
    command: Sequence[str]
    num_steps: int

    @property
    def journal(self) -> Path:
        return self.folder / "journal.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "run" / workdir.CHECKPOINTS

    @property
    def _messages(self) -> Path:
        return self.folder / "stderr.txt"

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """A process that trains, or resumes; it and its workers end with the context.

        It writes to a file, since a pipe that is not read would hold it.
        """
        self.folder.mkdir(exist_ok=True)
        paths = [self.config, self.folder / "run", self.journal]
        with self._messages.open("w") as messages:
            process = subprocess.Popen(
                [*self.command, *map(str, paths), str(self.num_steps)],
                stdout=subprocess.DEVNULL,
                stderr=messages,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def finish(self, process: subprocess.Popen[bytes]) -> None:
        """Waits for a process; ChildProcessError where it failed."""
        if process.wait() != 0:
            text = self._messages.read_text(errors="backslashreplace")
            last = (text.strip().splitlines() or ["it says nothing"])[-1]
            raise ChildProcessError(f"The run ended with {process.returncode}: {last}")


def _taken_back(last: Path) -> list[str]:
    """Removes the checkpoint after the last step, beyond which a process would go on.

    The steps before it are taken again. The result says whether it was damaged.
    """
    problems = []
    if last.exists():
        try:
            checkpoint.load_all(last)
        except checkpoint.CorruptError as error:
            problems.append(str(error))
        shutil.rmtree(last)
    return problems


class _Killed(NamedTuple):
    """What was there when a process was killed: the last step of the journal, the
    newest checkpoint that was ever seen, and whether one of its processes lives on."""

    step: int
    saved: int
    outlived: bool


def _kill_at(
    place: _Place,
    step: int,
    kill: Callable[[int, int], None],
    seconds: float,
    *,
    in_save: bool,
) -> _Killed | None:
    """Starts a process and kills it some time after it has noted a step.

    Args:
        place: The run.
        step: The step.
        kill: os.kill, or os.killpg, which kills its worker processes as well.
        seconds: The time; with in_save at most this.
        in_save: Whether to kill it sooner, as soon as a save or deletion has begun.

    Returns:
        None: It ended before.
    """
    saved, deadline = 0, None
    with place.running() as process:
        while process.poll() is None:
            saved = max(saved, *checkpoint.steps_in(place.checkpoints), 0)
            now = time.monotonic()
            if deadline is None and _last_step(place.journal) >= step:
                deadline = now + seconds
            if deadline is not None and (
                now >= deadline or (in_save and any(place.checkpoints.glob("*.*")))
            ):
                kill(process.pid, signal.SIGKILL)
                process.wait()
                outlived = _outlived(process.pid)
                return _Killed(_last_step(place.journal), saved, outlived)
            time.sleep(0.002)
        place.finish(process)
        return None


def _last_step(journal: Path) -> int:
    if not journal.exists():
        return 0
    return max((line["step"] for line in _lines(journal)), default=0)


def _lines(file: Path) -> list[dict[str, Any]]:
    """The lines of a file; of a killed process the last may be a part."""
    found = []
    for line in file.read_text().splitlines():
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def _outlived(group: int) -> bool:
    """Whether a process of a group runs some seconds after the first has ended."""
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while _runs(group):
        if time.monotonic() > deadline:
            return True
        time.sleep(0.05)
    return False


def _runs(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return not _PROC.is_dir() or any(found.group == group for found in processes())


class Process(NamedTuple):
    """A process, its parent and its group, by number."""

    number: int
    parent: int
    group: int


def processes() -> Iterator[Process]:
    """The processes of this machine, which is one with /proc, that run.

    One that has ended is none of them, though its parent may not have asked for its
    exit code: the first process of a container often does not.
    """
    for path in _PROC.glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it is gone
            # See proc_pid_stat(5); the name, in parentheses, may hold anything.
            fields = path.read_bytes().rpartition(b")")[2].split()
            if fields[0] != b"Z":
                yield Process(int(path.parent.name), int(fields[1]), int(fields[2]))


def compare(whole: Path, cut: Path) -> list[str]:
    """The differences of two runs, one line each.

    Args:
        whole: Folder of the run that was not cut, with its journal and its run.
        cut: Folder of the other.
    """
    expected = {line["step"]: line for line in _lines(whole / "journal.jsonl")}
    differences, seen = [], set()
    for line in _lines(cut / "journal.jsonl"):
        seen.add(line["step"])
        right = expected.get(line["step"], {})
        wrong = [name for name in line if line[name] != right.get(name)]
        if wrong:
            differences.append(f"step {line['step']}: another {', '.join(wrong)}")
    missing = sorted(expected.keys() - seen)
    if missing:
        differences.append(f"steps that were not taken: {missing}")
    logged = [_logged(folder / "run" / "metrics.jsonl") for folder in (whole, cut)]
    if logged[0] != logged[1]:
        differences.append("metrics.jsonl has other lines")
    aside = [*(cut / "run" / workdir.CHECKPOINTS).glob(f"*{checkpoint.CORRUPT}*")]
    differences += [
        f"{path.name}: a checkpoint was not what was saved" for path in aside
    ]
    states = [_digests(folder / "run") for folder in (whole, cut)]
    if not states[0].keys() <= states[1].keys():  # more: a killed run deleted no others
        differences.append(
            f"checkpoints of steps {[*states[1]]} instead of {[*states[0]]}"
        )
    for step in states[0].keys() & states[1].keys():
        leaves = [state[step] for state in states]
        wrong = sorted(n for n in leaves[0] if leaves[0][n] != leaves[1].get(n))
        if wrong:
            differences.append(f"checkpoint of step {step}: another {', '.join(wrong)}")
    return differences


def _logged(file: Path) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in line.items() if name not in _TIMES}
        for line in _lines(file)
        if line["split"] != "compile"
    ]


def _digests(folder: Path) -> dict[int, dict[str, Any]]:
    """Step -> the digests of the arrays of a checkpoint, which are read."""
    directory = (folder / workdir.CHECKPOINTS).absolute()
    return {
        step: digests.of_leaves(checkpoint.load_all(directory / str(step)))
        for step in checkpoint.steps_in(directory)
    }
