"""The benchmark: what it counts, what it times, what it writes and refuses."""

import io
import itertools
import json
import math
import sys
import time
import types

import jax
import numpy as np
from PIL import Image
import pytest

from jaxcnn import __main__, models, studies
from jaxcnn.errors import UserError
from jaxcnn.report import benchmark as report
from jaxcnn.studies import benchmark, generated, timing
from jaxcnn.studies.timing import Times
from jaxcnn.training import feed, loop
from jaxcnn.training.run import Run
from tests import tiny

RESIDENT = 5 * 2**20


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A small network, a small matrix, short rounds."""
    monkeypatch.setitem(models.MODELS, "tiny", tiny.VARIANT)
    monkeypatch.setattr(benchmark, "_MATRIX_SIZES", {"cpu": 64, "gpu": 64})
    monkeypatch.setattr(timing, "ROUND_SECONDS", 0.01)
    monkeypatch.setattr(timing, "resident_bytes", lambda *_: RESIDENT)
    monkeypatch.setattr(generated, "_NUM_FILES", 2)


class Torch:
    """Stands in for torch_reference: a step takes 3 s eagerly, 2 s compiled."""

    MODES = ("torch_eager", "torch_compile", "torch_broken")
    freed = 0
    run_alone = None

    @staticmethod
    def device_of(platform):
        assert platform == "cpu"

    @staticmethod
    def versions():
        return {"torch": "2.13.0"}

    @staticmethod
    def build(name, num_classes, image_size, num_params):
        assert num_params == 9 * 8 + 16 + 9 * 8 * 16 + 32 + (16 + 1) * 1000
        return name, num_classes, image_size

    @classmethod
    def free(cls):
        cls.freed += 1

    class Trainer:
        compile_seconds, peak_bytes = None, 7 * 2**20

        def __init__(
            self, network, batch, mean, std, optim, precision, platform, mode, inference
        ):
            assert (platform, inference) == ("cpu", False)
            assert network == ("tiny", 1000, 16)
            assert batch["image"].shape == (8, 16, 16, 1)
            self.mode = mode

        def prepare(self):
            if self.mode == "torch_broken":
                raise RuntimeError("no compiler\n  on this machine")

        def take(self, num_steps):
            return num_steps * (2.0 if self.mode == "torch_compile" else 3.0)


def run(**arguments):
    defaults = {"batch_size": 8, "num_devices": 1, "rounds": 3}
    return benchmark.benchmark(["tiny"], **defaults | arguments)


# What it counts.


@pytest.mark.slow
def test_operations_are_six_for_each_published_multiply_add():
    # "GFLOPS" on torchvision's model cards, which count multiply-adds, for example
    # https://pytorch.org/vision/stable/models/generated/torchvision.models.resnet50
    for name, giga_macs in (("resnet50", 4.09), ("mobilenet_v2", 0.30)):
        config = benchmark.make_config(
            name, batch_size=4, image_size=224, precision="float32", num_devices=1
        )
        flops = benchmark.step_flops(benchmark.make_run(config))
        assert flops == pytest.approx(6 * 4 * giga_macs * 1e9, rel=0.005)


def test_the_peak_is_that_of_the_fastest_product(monkeypatch):
    clock = itertools.accumulate([0, 5, 0, 3, 0, 2, *[0, 4] * 7])
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    assert benchmark.matrix_flops(np.float32) == 2 * 64**3 / 2


def test_a_generated_file_is_like_one_of_imagenet():
    file = generated.jpeg(np.random.default_rng(0), 3)
    assert 95_000 < len(file) < 125_000  # 110 KB on average there
    with Image.open(io.BytesIO(file)) as image:
        assert (image.format, image.size, image.mode) == ("JPEG", (500, 375), "RGB")
    # Amplitudes fall as 1 / frequency (Field 1987, Figure 8), but for clipped pixels.
    pixels = generated.picture(np.random.default_rng(0), 256, 256, 1)[:, :, 0]
    amplitude = np.abs(np.fft.fft2(pixels))
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(256)] * 2))
    kept = (frequency > 0.01) & (frequency < 0.1)
    slope, _ = np.polyfit(np.log(frequency[kept]), np.log(amplitude[kept]), 1)
    assert slope == pytest.approx(-1, abs=0.15)


# What it times.


@pytest.mark.slow
def test_the_step_of_the_run_is_timed_in_the_loop_of_the_run(monkeypatch):
    compiled, taken = [], []
    compile_train_step, train = Run.compile_train_step, loop.train

    def compile_counted(run, state, step=0):
        compiled.append(run.config.compute_dtype)
        return compile_train_step(run, state, step)

    def train_counted(state, batches, key, *, step, num_steps, **others):
        assert isinstance(step, jax.stages.Compiled)
        taken.append(num_steps - int(state.step))
        return train(state, batches, key, step=step, num_steps=num_steps, **others)

    monkeypatch.setattr(Run, "compile_train_step", compile_counted)
    monkeypatch.setattr(loop, "train", train_counted)
    result = run(precision="bfloat16")
    # Once for "synthetic" and "real", and for each of the other operations.
    assert compiled == ["bfloat16"] * 3
    assert taken[:9] == [1] * 9  # the warm-up
    in_turns, of_real = taken[9:18], taken[18:]
    assert in_turns[::3] == of_real == [in_turns[0]] * 3
    assert min(in_turns) >= 1
    synthetic, lax, portable, real = result.rows
    modes = [row.mode for row in result.rows]
    assert modes == ["synthetic", "lax", "portable", "real"]
    assert (portable.peak_bytes, portable.peak_bytes_by) == (RESIDENT, "process")
    for row in result.rows:
        assert len(row.times.seconds) == 3
        median = np.median(row.times.seconds)
        assert row.images_per_second == 8 / median
        # 9 * 8 * 8x8 and 9 * 8 * 16 * 4x4 multiply-adds, and the head's.
        macs = 72 * 64 + 1152 * 16 + 16 * 1000
        expected = 6 * 8 * macs / median / result.peak_flops
        assert row.utilisation == pytest.approx(expected)
    assert synthetic.compile_seconds > 0
    assert 0 <= real.data_wait < 1


def test_waiting_for_batches_is_its_share_of_real_steps(monkeypatch):
    now, drawn = 0.0, []
    monkeypatch.setattr(time, "perf_counter", lambda: now)

    def train_batches(run, folder, start_step):
        nonlocal now
        for number in itertools.count(start_step):
            now += 3.0  # to make a batch
            drawn.append(number)
            yield {}

    monkeypatch.setattr(feed, "train_batches", train_batches)

    class Trainer:
        config = types.SimpleNamespace(data=types.SimpleNamespace(batch_size=8))
        run = types.SimpleNamespace(config=config)

        def take(self, num_steps, batches):
            nonlocal now
            start = now
            for _ in range(num_steps):
                next(batches)
                now += 1.0  # to train on it
            return now - start

    assert benchmark._real(Trainer(), 4, 3) == (Times((4.0,) * 3), 0.75)
    assert len(drawn) == benchmark._BUFFERED + 12  # none for a step that is not taken


@pytest.mark.slow
def test_ratios_are_times_of_torch_over_ours_and_failures_are_said(monkeypatch):
    monkeypatch.setattr(benchmark, "_torch", lambda: Torch)
    monkeypatch.setattr(timing, "STEADY", math.inf)
    result = run(vs_torch=True)
    rows = {row.mode: row for row in result.rows}
    assert [*rows] == ["synthetic", "lax", "portable", "real", *Torch.MODES]
    ours = min(rows["synthetic"].times.seconds)  # the fastest fifth of three rounds
    assert rows["synthetic"].ratio_to_torch == 2.0 / ours  # its fastest mode
    portable = min(rows["portable"].times.seconds)
    assert rows["portable"].ratio_to_torch == 2.0 / portable
    assert rows["torch_eager"].ratio_to_torch == 3.0 / ours
    assert rows["torch_compile"].ratio_to_torch == 2.0 / ours
    assert rows["real"].ratio_to_torch is None
    assert rows["torch_eager"].images_per_second == 8 / 3
    assert rows["torch_eager"].peak_bytes == RESIDENT
    broken = rows["torch_broken"]
    assert broken.error == "RuntimeError: no compiler on this machine"
    assert broken.images_per_second is None
    assert Torch.freed == 1
    for written in (report.as_text(result), report.as_markdown(result)):
        assert "torch_broken: RuntimeError: no compiler on this machine" in written
        assert f"{2 / ours:.2f}x" in written
        assert "above 1.00x, ours is" in written


def test_only_the_chosen_modes_are_timed(monkeypatch):
    monkeypatch.setattr(benchmark, "_torch", lambda: Torch)
    result = run(vs_torch=True, modes=["torch_eager", "lax"])
    assert [row.mode for row in result.rows] == ["synthetic", "lax", "torch_eager"]
    with pytest.raises(UserError, match="Unknown mode 'torch_eager'; known: det"):
        run(modes=["torch_eager"])


def test_what_a_step_costs_is_told_by_the_fastest_fifth():
    # By hand: the fastest fifth of ten rounds are two of them.
    times = Times((9.0, 5.0, 4.0, 9.0, 9.0, 7.0, 8.0, 9.0, 6.0, 9.0))
    assert (times.fastest, times.spread) == (4.5, 0.25)
    assert times.quartiles == (6.25, 8.5, 9.0)
    assert Times((3.0, 2.0)).fastest == 2.0
    steady = Times((4.0, 4.4, 9.0, 9.0, 9.0, 9.0, 9.0))
    both = {"torch_eager": steady, "synthetic": Times((2.0, 2.1, 9.0, 9.0, 9.0, 9.0))}
    ratio = benchmark._ratio(both, "torch_eager", "synthetic")
    assert ratio == {"ratio_to_torch": 4.2 / 2.05}
    both["synthetic"] = times
    ratio = benchmark._ratio(both, "torch_eager", "synthetic")
    assert ratio == {"not_measured": "the fastest rounds spread: synthetic by 25%"}


def test_a_ratio_of_unsteady_times_is_not_printed():
    times = Times((1.0, 2.0))
    row = benchmark.Row(
        *("tiny", "synthetic", 16, times, 8.0),
        not_measured="the fastest rounds spread: synthetic by 25%",
        utilisation=0.5,
    )
    assert report._cells(row)[-1] == "not measured"


def test_programs_take_turns_and_each_round_is_told():
    log = []

    class Program:
        def __init__(self, name):
            self.name = name

        def take(self, num_steps):
            log.append((self.name, num_steps))
            return 6.0

    programs = {"a": Program("a"), "b": Program("b")}
    times = timing.in_turns(programs, {"a": 2, "b": 3}, 2, lambda: log.append("round"))
    assert log == [("a", 2), ("b", 3), "round"] * 2
    assert times == {"a": Times((3.0, 3.0)), "b": Times((2.0, 2.0))}


@pytest.mark.slow
def test_memory_is_that_of_a_process_of_its_own(monkeypatch):
    monkeypatch.undo()  # the fixture's
    held = np.ones(200 * 2**20, np.uint8)  # which the other process does not have
    little, more = (timing.resident_bytes(np.ones, n) for n in (1, 2**23))
    assert 10 * 2**20 < little < held.nbytes
    assert more - little == pytest.approx(8 * 2**23, rel=0.1)


@pytest.mark.slow
def test_inference_is_the_forward_pass(monkeypatch):
    monkeypatch.setattr(Run, "compile_train_step", None)
    result = run(inference=True)
    assert [row.mode for row in result.rows] == ["synthetic", "lax", "portable"]
    assert "inference, batch size 8" in report.as_text(result)
    macs = 72 * 64 + 1152 * 16 + 16 * 1000
    for row in result.rows:
        expected = 2 * 8 * macs / row.times.quartiles[1] / result.peak_flops
        assert row.utilisation == pytest.approx(expected)


@pytest.mark.parametrize("name", ["lenet5", "resnet20_cifar", "resnet18"])
def test_the_network_in_torch_is_ours(name):
    flop_counter = pytest.importorskip("torch.utils.flop_counter")
    import torch

    from jaxcnn.studies import torch_reference

    variant = models.MODELS[name]
    shape = variant.image_shape
    model = models.create_model(name, variant.num_classes)
    size = variant.num_classes, variant.image_size
    num_params = models.count_params(model, shape)
    with pytest.raises(LookupError, match="ours 17"):
        torch_reference.build(name, *size, 17)
    with torch.device("meta"), flop_counter.FlopCounterMode(display=False) as counter:
        network = torch_reference.build(name, *size, num_params)
        network(torch.zeros(1, shape[2], *shape[:2]))
    assert counter.get_total_flops() == 2 * models.count_macs(model, shape)


# Images that are no squares.


def test_images_need_not_be_squares(monkeypatch):
    monkeypatch.setattr(benchmark, "_measure", lambda run, *_, **__: [run])
    arguments = {"batch_size": 8, "num_devices": 1, "rounds": 3}
    (own,) = benchmark.benchmark(["tdnn"], **arguments).rows
    assert own.batch_arrays(0)["image"].shape == (8, 15, 16, 1)
    assert own.dataset.splits["train"][0]["image"].shape == (15, 16, 1)
    (given,) = benchmark.benchmark(["tiny"], image_size=(8, 12), **arguments).rows
    assert given.batch_arrays(0)["image"].shape == (8, 8, 12, 1)


@pytest.mark.parametrize(
    ("flag", "size"), [("16", 16), ("8x12", (8, 12)), (None, None)]
)
def test_the_verb_takes_a_height_and_a_width(flag, size, monkeypatch):
    asked = []

    def measure(names, *, image_size, **others):
        asked.append(image_size)
        raise UserError("asked")

    monkeypatch.setattr(benchmark, "benchmark", measure)
    flags = [] if flag is None else [f"--image_size={flag}"]
    assert __main__.main(["benchmark", "--models=tiny", *flags]) == 2
    assert asked == [size]


@pytest.mark.parametrize(
    ("size", "name"), [(16, "tiny, 16"), ((8, 12), "tiny, 8x12"), ((8, 8), "tiny, 8")]
)
def test_the_size_of_images_stands_beside_the_name(size, name):
    row = benchmark.Row("tiny", "synthetic", size, error="none")
    assert report._cells(row)[0] == name


# What it writes.


@pytest.mark.parametrize(("load", "warned"), [(3.9, False), (4.1, True)])
def test_a_busy_machine_is_a_warning(load, warned, monkeypatch):
    monkeypatch.setattr(benchmark.os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(benchmark.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(benchmark, "_measure", lambda *_, **__: [])
    written = report.as_text(run())
    assert ("Warning: the load average was 4.1 on 8 CPU cores" in written) == warned


@pytest.mark.parametrize(
    ("value", "written"), [(1.0749, "1.07x"), (0.996, "1.00x"), (12, "12.00x")]
)
def test_ratios_have_two_digits(value, written):
    assert report.ratio(value) == written


@pytest.mark.slow
def test_json_has_an_object_for_each_mode_and_files_are_written(tmp_path, capsys):
    command = ["benchmark", "--models=tiny", "--batch_size=8", "--devices=1"]
    command += ["--rounds=2", f"--output={tmp_path / 'made'}", "--format=json"]
    assert __main__.main(command) == 0
    out = capsys.readouterr().out
    found = json.loads(out)
    assert json.loads((tmp_path / "made" / "benchmark.json").read_text()) == found
    assert [row["mode"] for row in found] == ["synthetic", "lax", "portable", "real"]
    for row in found:
        assert (row["model"], row["ratio_to_torch"]) == ("tiny", None)
        assert row["images_per_second"] == 8 / row["step_seconds"]
        low, high = row["step_seconds_quartiles"]
        assert low <= row["step_seconds"] <= high
        assert (row["batch_size"], row["image_size"]) == (8, 16)
        assert row["device"] == jax.devices()[0].device_kind
        assert row["versions"]["jax"] == jax.__version__
    lines = (tmp_path / "made" / "benchmark.md").read_text().splitlines()
    assert "| tiny, 16 | synthetic |" in " ".join(" ".join(lines).split())
    with Image.open(tmp_path / "made" / "benchmark.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    for colour in ((0x1F, 0x4E, 0x79), (0x7B, 0xA7, 0xD0)):  # a bar each
        assert (pixels == colour).all(axis=1).sum() > 1000


# What it refuses.


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ("--models=resnet19", "Unknown model 'resnet19'; nearest: resnet1"),
        ("--models=", "--models must be names of `jaxcnn models`, not ''."),
        ("--models=tiny --batch_size=0", "--batch_size must be at least 1, not 0."),
        (
            "--models=tiny --batch_size=9 --devices=2",
            "data.batch_size is 9, which does not divide over 2 devices; nearest that "
            "do: 8, 10.",
        ),
        ("--models=tiny --devices=9", "num_devices is 9; this machine has 1 to 8."),
        ("--models=tiny --image_size=0", "--image_size must be at least 1, not 0."),
        ("--models=tiny --image_size=a", "must be N or HEIGHTxWIDTH, not 'a'."),
        ("--models=tiny,vgg16 --image_size=16", "this network needs larger images."),
        ("--models=tiny --precision=int8", "Unknown compute_dtype 'int8'; known: "),
        ("--models=tiny --modes=fast", "Unknown mode 'fast'; known: deterministic"),
        ("--models=tiny --rounds=0", "--rounds must be at least 1, not 0."),
        ("--models=tiny --vs=tensorflow", "tensorflow"),
        (
            "--models=tiny --vs=torch",
            "--vs=torch needs torch, which is not installed: "
            "`pip install torch torchvision`.",
        ),
    ],
)
def test_mistakes_are_one_line_before_anything_is_compiled(
    flags, text, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "jaxcnn.studies.torch_reference", raising=False)
    monkeypatch.delattr(studies, "torch_reference", raising=False)
    monkeypatch.setattr(Run, "compile_train_step", None)
    monkeypatch.setattr(benchmark, "matrix_flops", None)
    assert __main__.main(["benchmark", *flags.split()]) == 2
    captured = capsys.readouterr()
    assert text in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_torch_is_timed_on_one_device(monkeypatch):
    monkeypatch.setattr(benchmark, "_torch", lambda: Torch)
    monkeypatch.setattr(benchmark, "matrix_flops", None)
    with pytest.raises(UserError, match="--devices must be 1 with --vs=torch"):
        run(vs_torch=True, num_devices=2)
