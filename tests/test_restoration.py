"""Restoration against scikit-image, and by hand."""

import base64
import dataclasses
import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

import jaxcnn
from jaxcnn import __main__, augment, data
from jaxcnn.config import (
    AugmentConfig,
    Config,
    DataConfig,
    OptimConfig,
    TaskConfig,
)
from jaxcnn.data import transforms
from jaxcnn.errors import UserError
from jaxcnn.report import evaluation as evaluation_report
from jaxcnn.report import pictures
from jaxcnn.serving import measure
from jaxcnn.targets import Target, classes
from jaxcnn.tasks import create_task, similarity
from jaxcnn.tasks.corruptions import CORRUPTIONS, NUM_BOXES
from jaxcnn.tasks.parts import Picture
from jaxcnn.training import begin, evaluation, feed, prepare
from tests import interrupted

REFERENCE = Path(__file__).parent / "reference" / "similarity.npz"
SIZE = (16, 12)


def images(count=6, channels=1, size=SIZE):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, *size, channels), np.uint8)


def task_of(corruption="none", level=(), channels=1, targets=None, **options):
    config = TaskConfig(
        name="restoration",
        corruption=corruption,
        corruption_level=level,
        **options,
    )
    return create_task(config, targets or {}, {}, None, channels)


def keys(count):
    return augment.example_keys(jax.random.key(0), 3, jnp.arange(count))


# Similarity.


@pytest.mark.parametrize("channels", [1, 3])
def test_psnr_and_ssim_are_those_of_scikit_image(channels):
    with np.load(REFERENCE) as file:
        clean, noisy, psnr, ssim = (
            file[f"{name}{channels}"] for name in ("clean", "noisy", "psnr", "ssim")
        )
    with jax.enable_x64(True):
        clean, noisy = np.broadcast_to(clean, noisy.shape) / 255, noisy / 255
        found = jax.jit(similarity.psnr)(noisy, clean)
        np.testing.assert_allclose(found, psnr, rtol=1e-12)
        found = jax.jit(similarity.ssim)(noisy, clean)
        np.testing.assert_allclose(found, ssim, rtol=1e-10)


def test_metrics_are_of_the_levels_that_are_predicted():
    with np.load(REFERENCE) as file:
        clean, noisy = file["clean1"], file["noisy1"]
        expected = {name: file[f"{name}1"].mean() for name in ("psnr", "ssim")}
    task = task_of()
    assert task.METRICS["psnr"] == task.metric(None)
    # What is less than half a level away is the same level; what is outside is clipped.
    output = noisy / 255 + np.random.default_rng(0).uniform(-0.4, 0.4) / 255
    output = np.where(noisy == 0, -0.3, np.where(noisy == 255, 1.3, output))
    batch = {"image": noisy, "clean": np.stack([clean] * len(noisy))}
    with jax.enable_x64(True):
        records = jax.jit(task.eval_records)(output, batch)
        predicted = task.predict(jnp.asarray(output))["restored"]
    metrics = task.metrics({}, {name: np.asarray(x) for name, x in records.items()})
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(value, rel=1e-10)
        assert metrics[f"input_{name}"] == pytest.approx(value, rel=1e-10)
    assert predicted.dtype == np.uint8
    np.testing.assert_array_equal(predicted, noisy)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("squared", lambda x, y: ((x - y) ** 2).mean((1, 2, 3))),
        ("absolute", lambda x, y: np.abs(x - y).mean((1, 2, 3))),
        ("ssim", lambda x, y: 1 - np.asarray(jax.jit(similarity.ssim)(x, y))),
    ],
)
def test_losses_are_on_the_scale_of_0_to_1(name, expected):
    clean = images()
    output = np.random.default_rng(1).normal(0.5, 0.5, clean.shape).astype(np.float32)
    task = task_of(loss=name)
    loss = jax.jit(task.loss)(output, {"clean": clean})
    np.testing.assert_allclose(
        loss, expected(output, np.float32(clean / 255)), rtol=1e-5
    )


# Corruptions.


def corrupted(name, level, channels=1, count=40, size=(40, 32)):
    task = task_of(name, level, channels)
    batch = {"image": images(count, channels, size)}
    batch = jax.jit(task.inputs)(batch, keys(count))
    np.testing.assert_array_equal(batch["clean"], images(count, channels, size))
    return np.asarray(batch["image"]), np.asarray(batch["clean"])


def test_gaussian_noise_has_its_level_and_is_not_clipped():
    noisy, clean = corrupted("gaussian", (25.0,))
    noise = noisy - clean
    assert noise.std() == pytest.approx(25, rel=0.01)
    assert abs(noise.mean()) < 0.5
    assert noisy.min() < 0
    assert noisy.max() > 255
    assert np.abs(np.corrcoef(noise.reshape(40, -1)) - np.eye(40)).max() < 0.15


def test_blind_noise_has_a_level_of_its_own_for_each_image():
    noisy, clean = corrupted("gaussian", (5.0, 55.0))
    levels = (noisy - clean).std(axis=(1, 2, 3))
    # Uniform: mean 30, standard deviation 50 / sqrt(12), of 40 images.
    assert levels.mean() == pytest.approx(30, abs=3 * 14.4 / 40**0.5)
    assert levels.std() == pytest.approx(14.4, rel=0.25)
    assert levels.min() > 4.5
    assert levels.max() < 58


def test_masking_sets_a_fraction_of_the_numbers_to_0():
    masked, clean = corrupted("masking", (0.3,), channels=3)
    is_kept = masked == clean
    assert (masked[~is_kept] == 0).all()
    share = 0.7 + 0.3 / 256  # what was 0 is as it was
    assert is_kept.mean() == pytest.approx(share, abs=0.005)


def test_boxes_hide_rectangles_of_all_channels():
    hidden, clean = corrupted("boxes", (0.25,), channels=3)
    is_hidden = (hidden == 0).all(axis=-1)
    assert (hidden[~is_hidden] == clean[~is_hidden]).all()
    area = NUM_BOXES * 10 * 8  # a quarter of each side of 40 x 32
    hidden_pixels = is_hidden.sum(axis=(1, 2))
    assert hidden_pixels.max() <= area + 2  # and pixels that were black before
    assert area / 2 < hidden_pixels.mean() < area  # they may overlap


@pytest.mark.parametrize("factor", [2, 4])
def test_downsampling_is_pillows_bicubic(factor):
    # Pillow has the same kernel, and rounds in between: it is given float images.
    small, clean = corrupted("downsample", (float(factor),), count=2)
    for x, y in zip(small[..., 0], clean[..., 0], strict=True):
        image = Image.fromarray(y.astype(np.float32), "F")
        shrunk = image.resize((32 // factor, 40 // factor), Image.Resampling.BICUBIC)
        expected = shrunk.resize((32, 40), Image.Resampling.BICUBIC)
        # At the border Pillow leaves out what is outside, as JAX does.
        np.testing.assert_allclose(x, expected, atol=0.01)


@pytest.mark.parametrize(
    ("name", "level", "text"),
    [
        ("gaussian", (300.0,), r"\(300,\); it must be from 0 to 255"),
        ("gaussian", (5.0, 2.0), r"\(5, 2\); it must be from 0 to 255"),
        ("masking", (2.0,), "from 0 to 1 with task.corruption='masking'"),
        ("downsample", (2.0, 3.0), "one whole number from 2 to 8"),
        ("downsample", (2.5,), "one whole number from 2 to 8"),
        ("none", (1.0,), "from 0 to 0"),
        ("gaussian", (1.0, 2.0, 3.0), r"\(\), \(level,\) or \(lowest, highest\)"),
        ("rain", (), "task.corruption 'rain'; known: boxes, downsample, gaussian"),
    ],
)
def test_levels_that_are_not_allowed_are_refused(name, level, text):
    with pytest.raises(UserError, match=text):
        task_of(name, level)


# The batch.


def test_the_clean_image_is_the_augmented_one():
    task = task_of("gaussian", (30.0,))
    config = AugmentConfig(flip=0.5, crop_padding_pixels=2)
    change = functools.partial(
        augment.augment_batch, config=config, mean=(0.2,), std=(0.5,), targets={}
    )
    batch = {"image": images()}
    corrupt = jax.jit(functools.partial(change, inputs=task.inputs))
    plain, found = jax.jit(change)(batch, keys(6)), corrupt(batch, keys(6))
    expected = (found["clean"] / 255 - 0.2) / 0.5
    np.testing.assert_allclose(plain["image"], expected, rtol=1e-5, atol=1e-6)
    noise = (found["image"] - expected) * 0.5 * 255
    assert noise.std() == pytest.approx(30, rel=0.05)
    alike = np.corrcoef(noise.reshape(6, -1)) - np.eye(6)
    assert np.abs(alike).max() < 0.3  # of 192 numbers each
    other = corrupt(batch, keys(12)[6:])
    assert not np.array_equal(other["image"] - other["clean"] / 127.5, noise)


def test_keys_of_contents_differ_by_every_pixel_and_not_by_place():
    one = images(4)
    first = jax.random.key_data(augment.content_keys(one))
    assert len(np.unique(first, axis=0)) == 4
    np.testing.assert_array_equal(
        jax.random.key_data(augment.content_keys(one[::-1]))[::-1], first
    )
    for index in ((0, 0, 0, 0), (0, 15, 11, 0), (0, 7, 3, 0)):
        other = one.copy()
        other[index] ^= 1
        data = jax.random.key_data(augment.content_keys(other))
        assert not np.array_equal(data[0], first[0])
        np.testing.assert_array_equal(data[1:], first[1:])
    swapped = one.copy()
    swapped[0, [0, 1]] = one[0, [1, 0]]
    data = jax.random.key_data(augment.content_keys(swapped))
    assert not np.array_equal(data[0], first[0])


FIELDS = (("depth", 3), ("filters", 4))


def config_of(**options):
    return Config(
        model="dncnn_s",
        model_fields=FIELDS,
        data=DataConfig(image_size=SIZE, batch_size=8, channels=1),
        task=TaskConfig(name="restoration", corruption="gaussian", **options),
        optim=OptimConfig(name="adam", peak_lr=0.01),
        num_epochs=2.0,
    )


def dataset_of(config, count=40):
    """Waves of random directions, which a network can tell from noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    a, b, c = rng.uniform(-0.5, 0.5, (3, count, 1, 1))
    pixels = 127.5 + 100 * np.sin(a * y + b * x + 6 * c)
    pixels = np.round(pixels).astype(np.uint8)[..., None]
    return jaxcnn.Dataset.from_arrays(pixels, {}, targets={}, config=config.data)


def test_evaluation_is_the_same_in_any_batches_and_on_any_devices():
    config = config_of()
    results = []
    for size, devices in ((3, 1), (8, 4)):
        config.data.eval_batch_size, config.num_devices = size, devices
        run = prepare.prepare(config, dataset=dataset_of(config))
        variables = run.model.init(
            jax.random.key(5), jnp.zeros((1, *SIZE, 1)), train=False
        )
        variables["params"]["head"]["kernel"] += 0.01  # no longer the identity
        results.append(evaluation.evaluator(run, None)("train", variables))
    for other in results[1:]:
        for name, x in results[0].metrics.items():
            assert other.metrics[name] == pytest.approx(x, rel=1e-6), name
        np.testing.assert_allclose(
            other.records["input_psnr"], results[0].records["input_psnr"], rtol=1e-6
        )
    measured = results[0].metrics
    # 20 log10(255 / 25), of few pixels each.
    assert measured["input_psnr"] == pytest.approx(20.17, abs=0.3)
    assert measured["psnr"] != pytest.approx(measured["input_psnr"], abs=0.1)


def test_a_batch_of_another_target_is_restored_to_that():
    clean = images(4, 3)
    targets = {"sharp": Target("image", "uint8", (3,)), **classes(("a", "b"))}
    task = create_task(TaskConfig(name="restoration"), targets, {}, None, 1)
    assert (task.target, task.outputs) == ("sharp", {"num_classes": 3})
    batch = {"image": images(4), "sharp": clean}
    batch = task.inputs(batch, keys(4))
    assert task.loss(jnp.asarray(clean / 255, jnp.float32), batch).max() < 1e-10
    records = jax.eval_shape(task.eval_records, jnp.zeros(clean.shape), batch)
    assert set(records) == {"loss", "psnr", "ssim"}  # the input is grey
    with pytest.raises(UserError, match="'label' is int32|task.target"):
        create_task(TaskConfig(name="restoration", target="label"), targets, {})
    deep = {"depth": Target("image", "float32", (1,))}
    with pytest.raises(UserError, match="'depth' is float32 of shape"):
        create_task(TaskConfig(name="restoration"), deep, {})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"model": "lenet5", "model_fields": ()},
            r"gives an image \[16, 12, 1\]; this",
        ),
        (
            {"augment": AugmentConfig(mixup=0.2)},
            "augment.mixup must be 0 for task.name='rest",
        ),
        ({"augment": AugmentConfig(erasing=0.2)}, "which changes the images itself"),
        ({"data": DataConfig(image_size=8, channels=1)}, "SSIM has windows of 11 x 11"),
        ({"cache_features": True}, "task.name='restoration' changes the images"),
    ],
)
def test_what_cannot_be_restored_is_refused_before_compiling(changes, text):
    config = dataclasses.replace(config_of(), **changes)
    if config.model == "lenet5":
        config.data.image_size = 32
        text = text.replace("16, 12", "32, 32")
    dataset = jaxcnn.Dataset.from_arrays(images(40), {}, targets={}, config=config.data)

    def begin():
        run = prepare.prepare(config, dataset=dataset)
        prepare.check_training(run)

    with pytest.raises(UserError, match=text):
        begin()


# Prediction.


def test_a_picture_stands_beside_the_image_and_is_written_on_its_own(tmp_path):
    task = task_of(channels=3)
    (restored,) = images(1, 3)
    answer = task.answer({"restored": restored}, 5)
    json.dumps(answer)
    (mark,) = task.marks(answer)
    assert task.cells(answer) == ["16 x 12 pixels, RGB"]
    assert task.rows(answer) == [{"height": 16, "width": 12, "channels": 3}]
    pixels = np.zeros((8, 8, 1), np.uint8)
    pictures.write(tmp_path, "a.png", pixels, [mark])
    with Image.open(tmp_path / "restored" / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), restored)
    with Image.open(tmp_path / "a.png") as image:
        drawn = np.asarray(image)
    assert drawn.shape == (512, 512 + 6 + 12 * 32, 3)  # 8 * 64, and 16 * 32 beside
    assert (drawn[:, :512] == 0).all()
    np.testing.assert_array_equal(drawn[16::32, 518 + 16 :: 32], restored)
    assert isinstance(mark, Picture)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos without classes, of different sizes: of one grey level each."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "trips").mkdir()
    for i in range(16):
        pixels = np.full((20 + i, 26 + 2 * i), 60 + 8 * i, np.uint8)
        pixels[::7] += 10  # not all of one colour
        path = folder / ("" if i % 2 else "trips") / f"{i}.png"
        Image.fromarray(pixels).save(path)
    return folder


def check_samples(workdir):
    """Images are drawn as they were restored, beside what they were before."""
    done = measure.evaluate(workdir, num_samples=2)
    rows = evaluation_report.gallery(done)
    assert len(rows) == len(done.samples) == 2
    for i, ((noisy, (mark,)), (clean, nothing)) in enumerate(rows):
        assert nothing == []
        assert (noisy != clean).any()
        error = np.mean(np.square(mark.pixels.astype(float) - clean))
        psnr = done.measured.records["psnr"][i]
        assert 10 * np.log10(255**2 / error) == pytest.approx(psnr, rel=1e-5)


def test_photos_train_a_denoiser_from_the_command_line(folder, tmp_path, capsys):
    flags = [
        f"--config.data.name=folder:{folder}",
        "--config.data.target_kind=none",
        "--config.data.channels=1",
        "--config.data.image_size=24",
        "--config.data.image_size_stages=((16,0.0),)",
        "--config.data.train_transform=random_patch",
        "--config.data.eval_transform=center_patch",
        "--config.data.batch_size=4",
        "--config.data.eval_batch_size=2",
        "--config.task.name=restoration",
        "--config.task.corruption=gaussian",
        "--config.task.corruption_level=(0,55)",
        "--config.model=dncnn_s",
        f"--config.model_fields={FIELDS}",
        "--config.optim.name=adam",
        "--config.optim.peak_lr=0.02",
        "--config.num_epochs=12",
        "--config.num_devices=1",
        "--config.eval_every_epochs=12",
    ]
    workdir = tmp_path / "run"
    assert __main__.main(["train", *flags, f"--workdir={workdir}"]) == 0
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    tested = next(r for r in records if r["split"] == "test")
    assert tested["psnr"] > tested["input_psnr"]  # it has learned something
    capsys.readouterr()
    verb = ["evaluate", f"--workdir={workdir}", "--format=json"]
    assert __main__.main(verb) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["psnr"] == pytest.approx(tested["psnr"], rel=1e-6)
    check_samples(workdir)

    output = tmp_path / "out"
    photo = str(folder / "1.png")
    verb = ["predict", f"--workdir={workdir}", f"--output={output}", photo]
    assert __main__.main([*verb, "--format=json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    with Image.open(output / "restored" / "1.png") as image:
        assert image.size == (28, 21) == (answer["width"], answer["height"])
        assert image.tobytes() == base64.b64decode(answer["pixels"])
    assert (output / "1.png").exists()


# Data.


def test_a_folder_without_classes_has_its_images_and_splits(folder, tmp_path):
    config = DataConfig(name=f"folder:{folder}", target_kind="none", channels=1)
    dataset = data.load(config)
    assert dataset.info.targets == {}
    assert sum(map(len, dataset.splits.values())) == 16
    assert set(dataset.splits) == {"train", "validation", "test"}
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        for i in range(3):
            (tmp_path / split / f"{i}.png").write_bytes((folder / "1.png").read_bytes())
    config.name = f"folder:{tmp_path}"
    dataset = data.load(config)
    lengths = {split: len(x) for split, x in dataset.splits.items()}
    assert lengths == {"train": 3, "validation": 3}
    with pytest.raises(UserError, match="needs one target of kind 'label'"):
        create_task(TaskConfig(), dataset.info.targets, {})
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "1.png").write_bytes((folder / "1.png").read_bytes())
    with pytest.raises(UserError, match="images in more/, which is no split"):
        data.load(config)
    config.target_kind = "value"
    with pytest.raises(
        UserError, match="or 'none' for images without classes, not 'va"
    ):
        data.load(config)
    (tmp_path / "empty").mkdir()
    config.name, config.target_kind = f"folder:{tmp_path / 'empty'}", "none"
    with pytest.raises(UserError, match="has no images; files that end in"):
        data.load(config)


def test_patches_are_windows_of_the_image_as_it_is():
    (image,) = images(1, 1, (30, 50))
    rng = np.random.default_rng(0)
    found = set()
    for _ in range(50):
        patch = transforms.TRANSFORMS["random_patch"].apply(image, (10, 20), rng)
        places = [
            (y, x)
            for y in range(21)
            for x in range(31)
            if np.array_equal(image[y : y + 10, x : x + 20], patch)
        ]
        assert len(places) == 1
        found |= set(places)
    assert len(found) > 40
    centre = transforms.TRANSFORMS["center_patch"].apply(image, (10, 20), None)
    np.testing.assert_array_equal(centre, image[10:20, 15:35])
    # A smaller image is enlarged until it covers the patch.
    large = transforms.TRANSFORMS["center_patch"].apply(image, (60, 60), None)
    assert large.shape == (60, 60, 1)
    assert large.min() >= image.min()
    assert (large[[0, -1]] > 0).mean() > 0.9


def test_every_corruption_is_named_where_it_is_chosen():
    (field,) = (f for f in dataclasses.fields(TaskConfig) if f.name == "corruption")
    for name in CORRUPTIONS:
        assert name in field.metadata["meaning"]


# Runs.


def test_a_denoiser_that_is_interrupted_ends_as_if_it_were_not(tmp_path):
    config = config_of(corruption_level=(5.0, 55.0))
    config.num_devices, config.augment = 1, AugmentConfig(flip=0.5)
    dataset = dataset_of(config)
    jaxcnn.fit(config, tmp_path / "whole", dataset=dataset)
    with interrupted.signalled(4):
        jaxcnn.fit(config, tmp_path / "cut", dataset=dataset)
    assert interrupted.last_state(tmp_path / "cut", 4)
    jaxcnn.fit(config, tmp_path / "cut", dataset=dataset)
    steps = prepare.prepare(config, dataset=dataset).num_steps
    assert steps > 4
    whole, cut = (
        interrupted.last_state(tmp_path / name, steps) for name in ("whole", "cut")
    )
    interrupted.assert_same_bits(cut, whole)


def test_a_step_on_eight_devices_is_that_on_one():
    config, losses = config_of(), []
    for devices in (1, 8):
        config.num_devices = devices
        run = prepare.prepare(config, dataset=dataset_of(config))
        state = begin.init_state(run)
        batch = next(feed.train_batches(run, None, 0))
        step = run.compile_train_step(state)
        for _ in range(2):
            state, metrics = step(state, batch, run.run_key)
        losses.append((float(metrics["loss"]), float(metrics["psnr"])))
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
