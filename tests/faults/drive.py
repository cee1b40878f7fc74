r"""The long runs of the harness, and the table of docs/reliability.md.

    python -m tests.faults.drive --kills=200 --signals=50 --full=20 --flips=100

Hours of kills would say little more than minutes, so a run is small, see workload.py;
what differs between the trials is when it is killed. A row that is not as it must be is
written as it is, and the exit code is 1.
"""

import argparse
from collections.abc import Mapping
import dataclasses
import datetime
import json
from pathlib import Path
import platform
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import optax
from orbax.checkpoint import v1 as ocp

from jaxcnn import models
from jaxcnn.studies import verify_resume
from jaxcnn.training import checkpoint, saving, state
from tests import test_writers
from tests.faults import test_checkpoint_damage as damage
from tests.faults import workload

PAGE = Path(__file__).parent.parent.parent / "docs" / "reliability.md"
STEPS, CUTS = 120, 20  # of each run that is killed
STOP_SECONDS = 5
HANG_SECONDS = 300  # after which a process counts as one that hangs

# Scenarios whose trials are tests: name -> arguments of pytest.
TESTS = {
    "devices 1, 2, 4, 8 between cuts; 4, 2 and 1 processes; one of several killed": (
        "tests/test_parallel.py::test_a_run_moves_between_devices",
        "tests/test_hosts.py",
    ),
    "losses and gradients that are not finite, in float32 and float16": (
        "tests/test_divergence.py",
    ),
    "damaged images and weight files, absurd configs and JSON": (
        "tests/faults/test_images.py",
        "tests/faults/test_predict.py",
        "tests/faults/test_weight_files.py",
        "tests/test_absurd.py",
        "tests/test_json_files.py",
    ),
    "eight runs in one process: descriptors and threads": (
        "tests/faults/test_signals.py::test_runs_leave_no_descriptors_and_threads_behind",
    ),
    "builds that are wrong on purpose, each of which the harness must tell": (
        "tests/faults/test_verify_resume.py",
        "tests/faults/test_checkpoint_damage.py::"
        "test_damage_would_not_be_noticed_without_digests",
    ),
}


@dataclasses.dataclass
class Row:
    """A scenario: what was tried, how often, and what came of it.

    Attributes:
        scenario: What was tried.
        trials: How often.
        wrong: Trial -> what was wrong with it.
        note: What came of the others.
    """

    scenario: str
    trials: int
    wrong: Mapping[str, str]
    note: str

    def line(self) -> str:
        right = self.trials - len(self.wrong)
        wrong = [f"{trial}: {what}" for trial, what in self.wrong.items()]
        notes = "; ".join([self.note, *wrong[:3]])
        return f"| {self.scenario} | {right} of {self.trials} | {notes} |"


def kills(images: Path, folder: Path, count: int) -> Row:
    done, repeated, number = 0, 0, 0
    wrong: dict[str, str] = {}
    while done < count:
        workers = 2 * (number % 2)
        config = workload.make_config(images, num_workers=workers)
        found = verify_resume.verify_resume(
            config,
            folder / f"kills{number}",
            num_steps=STEPS,
            num_cuts=min(CUTS, count - done),
            seed=number,
            say=lambda line: print(line, flush=True),
        )
        done, repeated = done + len(found.kills), repeated + found.repeated
        whole, cut = (folder / f"kills{number}" / name for name in ("whole", "cut"))
        differences = [*found.differences, *tensorboard_differences(whole, cut)]
        if differences:
            wrong[f"run {number}"] = ", ".join(differences)
        if not found.kills:
            raise ChildProcessError("A run ended before it was killed.")
        number += 1
    return Row(
        "SIGKILL at random moments and in saves, of the process or its group, every "
        "second run with two worker processes",
        done,
        wrong,
        f"{number} runs of {STEPS} steps, {repeated} steps taken again, 0 bits of "
        "states, batches, keys, rates and losses differ; metrics.jsonl and TensorBoard "
        "without a gap or a repeat; no process is left after 5 s"
        if not wrong
        else "differences",
    )


def tensorboard_differences(whole: Path, cut: Path) -> list[str]:
    """Whether TensorBoard shows other points of a run that was cut."""
    shown = [
        {
            split: [
                point
                for point in test_writers.shown(folder / "run/tensorboard" / split)
                if point[1] not in verify_resume._TIMES
            ]
            for split in ("train", "validation", "test")
        }
        for folder in (whole, cut)
    ]
    assert all(shown[0].values())
    return [
        f"TensorBoard shows other points of {split}"
        for split in shown[0]
        if shown[0][split] != shown[1][split]
    ]


def start(config: Path, folder: Path, limit: int | None = None) -> subprocess.Popen:
    def set_limit() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        [
            *(sys.executable, "-m", "jaxcnn", "train"),
            *(f"--config={config}", f"--workdir={folder}"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=set_limit,
    )


def outcome(process: subprocess.Popen) -> str:
    """What a process said on stderr until its end; it must come to one."""
    try:
        return process.communicate(timeout=HANG_SECONDS)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"Traceback: it was still running after {HANG_SECONDS} s"


def last_logged(folder: Path) -> int:
    """The last step of metrics.jsonl, which has a line for each."""
    file = folder / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return max((json.loads(line)["step"] for line in lines), default=0)


def signals(config: Path, folder: Path, count: int) -> Row:
    rng, longest, steps = random.Random(0), 0.0, 0
    wrong: dict[str, str] = {}
    for number in range(count):
        which = rng.choice([signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
        place = folder / f"signal{number}"
        process = start(config, place)
        # Half of them while it starts and compiles, the others while it trains.
        if number % 2:
            while not last_logged(place) and process.poll() is None:
                time.sleep(0.05)
        time.sleep(rng.uniform(0, 8))
        begin = time.monotonic()
        process.send_signal(which)
        text = outcome(process)
        seconds = time.monotonic() - begin
        longest = max(longest, seconds)
        step = last_logged(place)
        steps += step > 0
        problems = []
        before = process.returncode == -which and step == 0  # it was still starting
        if process.returncode != 128 + which and not before:
            problems.append(f"exit code {process.returncode} for {which.name}")
        if "Traceback" in text:
            problems.append("a traceback")
        if max(checkpoint.steps_in(place / "checkpoints"), default=0) != step:
            problems.append(f"step {step} was not saved")
        if seconds > STOP_SECONDS:
            problems.append(f"took {seconds:.1f} s")
        if problems:
            wrong[f"trial {number}"] = ", ".join(problems)
    return Row(
        "SIGTERM, SIGINT, SIGHUP at random moments, half of them before the first step",
        count,
        wrong,
        f"the last finished step is saved in the {steps} runs that had one, exit code "
        f"128 + signal; at most {longest:.1f} s to the end",
    )


def full_disk(config: Path, folder: Path, count: int) -> Row:
    rng, wrong = random.Random(0), {}
    unlimited = start(config, folder / "unlimited")
    unlimited.communicate()
    assert unlimited.returncode == 0
    for number in range(count):
        place = folder / f"full{number}"
        process = start(config, place, limit=rng.randrange(1_000, 25_000))
        text = outcome(process)
        # Besides these, Python and its libraries may warn.
        lines = [line for line in text.splitlines() if line.startswith("jaxcnn: ")]
        problems = []
        if "Traceback" in text:
            problems.append("a traceback")
        if process.returncode != 1 or len(lines) != 1:
            problems.append(f"exit code {process.returncode}, {len(lines)} lines")
        if not lines or "could not be written: File too large" not in lines[-1]:
            problems.append(f"it says {lines[-1:]}")
        directory = place / "checkpoints"
        for step in checkpoint.steps_in(directory):
            try:
                checkpoint.load_all(directory / str(step))
            except checkpoint.CorruptError:
                problems.append(f"the checkpoint of step {step} is corrupt")
        if list(directory.glob("*tmp*")):
            problems.append("a part of a checkpoint is left")
        if problems:
            wrong[f"trial {number}"] = ", ".join(problems)
    return Row(
        "files that may not grow beyond a limit (RLIMIT_FSIZE, 1 to 25 kB)",
        count,
        wrong,
        "exit code 1, one line with path, bytes needed and free; what was saved loads",
    )


def damaged(folder: Path, flips: int) -> Row:
    original = folder / "original"
    damage.save_two(original)
    trials = list(damage.damages(original, flips))
    wrong, noticed = {}, 0
    for name, file, change in trials:
        try:
            noticed += damage.try_damage(original, folder / "copy", name, file, change)
        except AssertionError as error:
            wrong[name] = str(error)
    return Row(
        f"files of a checkpoint emptied, halved, one byte short, deleted; {flips} bits "
        "flipped",
        len(trials),
        wrong,
        f"{noticed} noticed, set aside and the one before used; "
        f"{len(trials) - noticed} without effect",
    )


def tested(scenario: str, selection: tuple[str, ...]) -> Row:
    """Runs tests, each of which is a trial."""
    with tempfile.NamedTemporaryFile(suffix=".xml") as file:
        command = ["-m", "pytest", "-q", f"--junitxml={file.name}", *selection]
        subprocess.run([sys.executable, *command], check=False)
        cases = [*ElementTree.parse(file.name).iter("testcase")]
    wrong = {
        case.get("name", ""): str(failure.get("message"))
        for case in cases
        for failure in case
        if failure.tag in ("failure", "error")
    }
    files = sorted({f"`{name.partition('::')[0]}`" for name in selection})
    return Row(scenario, len(cases), wrong, f"tests of {', '.join(files)}")


def save_time(folder: Path, count: int = 7) -> str:
    """How much longer than Orbax alone a save of ResNet-50 holds the loop."""
    model = models.create_model("resnet50", 1000)
    shapes = jax.eval_shape(
        lambda key: state.create_state(
            state.init_variables(model, key, (64, 64, 3)), optax.sgd(0.1, momentum=0.9)
        ),
        jax.random.key(0),
    )
    arrays = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), shapes)
    size = sum(x.nbytes for x in jax.tree.leaves(arrays))
    longer = []
    with (
        saving.open_checkpoints(folder / "a", keep=1, metric=damage.METRIC) as ours,
        ocp.training.Checkpointer(
            folder / "b",
            preservation_policy=ocp.training.preservation_policies.LatestN(1),
        ) as plain,
    ):
        for step in range(count + 1):
            begin = time.perf_counter()
            ours.save(step, arrays)
            middle = time.perf_counter()
            ours.wait()
            second = time.perf_counter()
            plain.save_async(step, arrays)
            end = time.perf_counter()
            plain.wait()
            longer.append((middle - begin) - (end - second))
    longer = sorted(longer[1:])  # the first makes the folders
    return (
        f"A save of ResNet-50 with momentum ({size / 1e6:.1f} MB) holds the loop "
        f"{longer[count // 2]:.2f} s longer than Orbax alone (median of {count}, "
        f"{longer[0]:.2f} to {longer[-1]:.2f} s)."
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in "kills", "signals", "full", "flips":
        parser.add_argument(f"--{name}", type=int, default=10)
    parser.add_argument("--output", type=Path, default=PAGE)
    given = parser.parse_args()
    # What is ignored here, as by nohup, would be ignored by the processes as well.
    for number in signal.SIGHUP, signal.SIGINT:
        signal.signal(number, signal.SIG_DFL)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        longer = save_time(folder)
        images = folder / "images"
        workload.make_images(images)
        endless = workload.make_config(images, num_workers=2, num_epochs=400.0)
        endless = workload.write_experiment(folder / "endless.py", endless)
        short = workload.make_config(images, num_epochs=2.0)
        short = workload.write_experiment(folder / "short.py", short)
        rows = []
        for number, make in (
            (given.kills, lambda: kills(images, folder, given.kills)),
            (given.signals, lambda: signals(endless, folder, given.signals)),
            (given.full, lambda: full_disk(short, folder, given.full)),
            (given.flips, lambda: damaged(folder, given.flips)),
            *((1, lambda each=each: tested(*each)) for each in TESTS.items()),
        ):
            if number:
                rows.append(make())
                print(rows[-1].line(), flush=True)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True
    ).stdout.strip()
    lines = [
        "| what happens | as it must be | outcome |",
        "|---|---|---|",
        *(row.line() for row in rows),
        "",
        f"{datetime.date.today()}, commit {commit}, {platform.machine()}, "
        f"{jax.devices()[0].device_kind}, {jax.local_device_count()} device, "
        f"{(time.monotonic() - begin) / 60:.0f} minutes.",
        "",
        longer,
    ]
    text = given.output.read_text()
    before, _, after = text.partition("<!-- begin -->")
    _, _, after = after.partition("<!-- end -->")
    table = "\n".join(lines)
    given.output.write_text(f"{before}<!-- begin -->\n\n{table}\n\n<!-- end -->{after}")
    print(table)
    return int(any(row.wrong for row in rows))


if __name__ == "__main__":
    sys.exit(main())
