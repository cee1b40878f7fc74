"""Saliency prediction against SciPy and scikit-learn, and by hand."""

import base64
import dataclasses
import json
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest
from scipy import ndimage, stats
from sklearn.metrics import roc_auc_score

import jaxcnn
from jaxcnn import __main__
from jaxcnn.config import AugmentConfig, Config, DataConfig, OptimConfig, TaskConfig
from jaxcnn.data.examples import DatasetInfo
from jaxcnn.errors import UserError
from jaxcnn.report import palette, pictures
from jaxcnn.serving import export, predictor
from jaxcnn.targets import Target
from jaxcnn.tasks import Saliency, create_task, saliency, saliency_metrics
from jaxcnn.training import begin, evaluation, feed, prepare
from tests import interrupted

SIZE = (16, 24)
COUNTS = {"fixations": Target("counts", "uint16")}
MAPS = {"maps": Target("image", "uint8", (1,))}


def task_of(targets=COUNTS, statistics=None, **options):
    options = {"centre_bias": statistics is not None} | options
    return create_task(
        TaskConfig(name="saliency", **options), targets, statistics or {}
    )


# Metrics.


def test_metrics_of_four_pixels_are_those_computed_by_hand():
    p = np.array([[0.5, 0.25], [0.125, 0.125]])
    q = np.array([[0.25, 0.25], [0.5, 0.0]])
    counts = np.array([[2, 0], [1, 0]])
    uniform = np.log(np.full((2, 2), 0.25))
    log_p, q, counts = np.log(p)[None], q[None], counts[None]
    with jax.enable_x64(True):
        found = of_all(log_p, q, counts)
        gain = saliency_metrics.information_gain(log_p, uniform, counts)
    deviations = [0.25, 0.0, -0.125, -0.125]  # of p from its mean
    of_q = [0.0, 0.0, 0.25, -0.25]
    assert np.dot(deviations, of_q) == 0
    expected = {
        "kl": 0.25 * math.log(0.5) + 0.5 * math.log(4),
        "cc": 0.0,
        "sim": 0.25 + 0.25 + 0.125,
        "nss": (2 * 0.25 - 0.125) / 3 / math.sqrt(0.09375 / 4),
        # Two at 0.5 beat 0.25 and 0.125; the one at 0.125 is equal to one of them.
        "auc_judd": (2 * 2 + 0.5) / (3 * 2),
        "log_likelihood": (2 * math.log(0.5) + math.log(0.125)) / 3,
    }
    np.testing.assert_allclose(gain, [(2 * 1 - 1) / 3], rtol=1e-12)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], [value], rtol=1e-12, err_msg=name)


def scene(seed=0, number=5, size=SIZE):
    """Logarithms of densities with equal values, and counts, of several images."""
    rng = np.random.default_rng(seed)
    logits = rng.integers(-3, 4, (number, *size)) / 2  # many ties
    counts = rng.poisson(0.1, logits.shape)
    return logits - np.log(np.exp(logits).sum((1, 2), keepdims=True)), counts


def test_metrics_are_those_of_scipy_and_scikit_learn():
    log_p, counts = scene()
    q = ndimage.gaussian_filter(counts.astype(float), (0, 2, 2), mode="constant")
    q[:, :3] = 0  # where log q is not finite
    q /= q.sum((1, 2), keepdims=True)
    with jax.enable_x64(True):
        found = of_all(log_p, q, counts)
    short = of_all(*np.float32([log_p, q]), np.int32(counts))
    for i, p in enumerate(np.exp(log_p)):
        flat, number = p.ravel(), counts[i].ravel()
        weights = np.where(number > 0, number, 1)
        expected = {
            "kl": stats.entropy(q[i].ravel(), flat),
            "cc": stats.pearsonr(flat, q[i].ravel()).statistic,
            "nss": np.average(stats.zscore(flat), weights=number),
            "auc_judd": roc_auc_score(number > 0, flat, sample_weight=weights),
        }
        for name, value in expected.items():
            assert found[name][i] == pytest.approx(value, rel=1e-10), name
            assert short[name][i] == pytest.approx(value, abs=1e-5), name
    assert number.max() > 1  # several at one pixel
    np.testing.assert_allclose(np.exp(log_p).sum((1, 2)), 1)


@jax.jit
def of_all(log_p, density, counts):
    """Each metric of densities and counts."""
    of_density = {"kl": "kl", "cc": "cc", "sim": "similarity"}
    names = ("nss", "auc_judd", "log_likelihood")
    found = {
        n: getattr(saliency_metrics, f)(log_p, density) for n, f in of_density.items()
    }
    return found | {n: getattr(saliency_metrics, n)(log_p, counts) for n in names}


def test_what_has_no_value_is_0_and_not_nan():
    log_p = np.full((1, *SIZE), -math.log(math.prod(SIZE)))
    none, one = np.zeros((2, 1, *SIZE), np.int32)
    one[0, 2, 3] = 1
    found = of_all(*np.float32([log_p, one]), one)
    assert found["cc"] == found["nss"] == 0  # the prediction is even
    assert found["auc_judd"] == 0.5
    found = of_all(*np.float32([log_p, none]), none)
    assert not np.any([*found.values()])


# Densities.


def test_the_density_of_fixations_is_scipys_gaussian_filter():
    _, counts = scene()
    task = task_of(fixation_sigma=0.1)
    with jax.enable_x64(True):
        found = task.density({"fixations": counts.astype(np.uint16)})
    for density, number in zip(found, counts, strict=True):
        # 0.1 of the longer side, 24 pixels.
        blurred = ndimage.gaussian_filter(
            number.astype(float), 2.4, mode="constant", truncate=12
        )
        np.testing.assert_allclose(density, blurred / blurred.sum(), rtol=1e-10)


def test_a_map_is_its_own_density():
    levels = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 1), np.uint8)
    both = task_of(COUNTS | MAPS)
    batch = {"maps": levels, "fixations": np.zeros((2, *SIZE), np.uint16)}
    found = both.density(jax.tree.map(jnp.asarray, batch))
    expected = levels[..., 0] / levels.sum((1, 2, 3))[:, None, None]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_losses_are_what_their_names_say():
    log_p, counts = scene()
    counts[1] = 0  # nobody looked at what is seen of this image
    output = jnp.asarray(log_p + 3)[..., None]  # the constant does not matter
    batch = {"fixations": counts.astype(np.uint16)}
    density = np.asarray(task_of().density(batch))
    found = {n: task_of(loss=n).loss(output, batch) for n in saliency.LOSSES}
    for i, p in enumerate(np.exp(log_p)):
        if i == 1:
            assert found["kl"][i] == found["log_likelihood"][i] == 0
            continue
        divergence = stats.entropy(density[i].ravel(), p.ravel())
        assert found["kl"][i] == pytest.approx(divergence, rel=1e-4)
        mean = np.average(log_p[i], weights=counts[i])
        assert found["log_likelihood"][i] == pytest.approx(-mean, rel=1e-4)


def test_the_centre_bias_is_the_density_of_all_training_fixations():
    # Two fixations of image 0 and one of image 1, which are of different sizes, so the
    # cells by hand: each image weighs the same.
    first, second = np.zeros((32, 64), np.uint16), np.zeros((160, 48), np.uint16)
    first[[0, 31], [0, 63]] = 1
    second[85, 20] = 7  # row 8.5, column 6.8 of 16 cells
    column = np.empty(3, object)
    column[:] = [first, second, np.zeros((4, 4), np.uint16)]
    found = Saliency.measure(TaskConfig("saliency"), COUNTS, {"fixations": column}.get)
    cells = np.zeros((16, 16))
    cells[0, 0] = cells[15, 15] = 0.25
    cells[8, 6] = 0.5
    share = np.eye(16)
    for number in range(16):  # the blur of each cell keeps its mass inside
        line = ndimage.gaussian_filter(share[number], 1, mode="constant", truncate=16)
        share[number] = line / line.sum()
    expected = 0.99 * share.T @ cells @ share + 0.01 / 256
    log_density = np.array(found["centre_bias"]).reshape(16, 16)
    np.testing.assert_allclose(np.exp(log_density), expected, rtol=1e-6)
    assert np.exp(log_density).sum() == pytest.approx(1)
    task = task_of(statistics=found)
    np.testing.assert_allclose(task.log_baseline((16, 16)), log_density, rtol=1e-4)
    # An image of another size: log density between the centres of two cells.
    large = task.log_baseline((64, 32))
    np.testing.assert_allclose(np.exp(large).sum(), 1, rtol=1e-5)
    between = large[34, 13] - large[38, 13]
    rows = _weights(34, 4) - _weights(38, 4)
    expected = rows @ log_density @ _weights(13, 2)
    np.testing.assert_allclose(between, expected, rtol=1e-3)
    # A network that says nothing predicts it.
    silent = task.predict(jnp.zeros((1, 64, 32, 1)))["density"]
    np.testing.assert_allclose(silent[0], np.exp(large), rtol=1e-4)
    even = task_of().predict(jnp.zeros((1, 64, 32, 1)))["density"]
    np.testing.assert_allclose(even, 1 / 2048, rtol=1e-5)


def _weights(pixel, scale):
    """Weights of 16 cells for a pixel of a line with `scale` pixels a cell."""
    place = (pixel + 0.5) / scale - 0.5
    return np.clip(1 - np.abs(np.arange(16) - place), 0, 1)


def test_maps_give_a_centre_bias_too():
    level = np.zeros((2, 32, 32, 1), np.uint8)
    level[:, 10:12, 20:22] = 200
    found = Saliency.measure(TaskConfig("saliency"), MAPS, {"maps": level}.get)
    counts = {"fixations": (level[..., 0] > 0).astype(np.uint16)}
    same = Saliency.measure(TaskConfig("saliency"), COUNTS, counts.get)
    np.testing.assert_allclose(found["centre_bias"], same["centre_bias"])
    off = TaskConfig("saliency", centre_bias=False)
    assert Saliency.measure(off, MAPS, {"maps": level}.get) == {}


@pytest.mark.parametrize(
    ("targets", "options", "text"),
    [
        (COUNTS, {"loss": "squared"}, "Unknown loss 'squared'; known: kl, log_like"),
        (MAPS, {"loss": "log_likelihood"}, "'kl' for a data set that has maps, but no"),
        ({"label": Target("value", "float32", (1,))}, {}, r"set has label \(value\)"),
        (COUNTS | {"b": COUNTS["fixations"]}, {}, r"b \(counts\). task.target chooses"),
        (COUNTS, {"target": "maps"}, r"task.target must be in \['fixations'\]"),
        (COUNTS, {"class_weights": "balanced"}, "'none' for task 'saliency'"),
    ],
)
def test_what_is_not_allowed_is_refused(targets, options, text):
    with pytest.raises(UserError, match=text):
        task_of(targets, **options)


def test_a_target_can_be_chosen():
    task = task_of(COUNTS | MAPS, target="maps")
    assert (task.fixations, task.maps) == (None, "maps")
    assert list(task.targets) == ["maps"]


def test_metrics_leave_out_images_without_fixations():
    log_p, counts = scene(number=3)
    counts[1] = 0
    batch = {"fixations": jnp.asarray(counts, jnp.uint16)}
    task = task_of()
    records = jax.jit(task.eval_records)(jnp.asarray(log_p)[..., None], batch)
    records = jax.tree.map(np.asarray, records)
    found = task.metrics({}, records)
    kept = {name: x[[0, 2]] for name, x in records.items()}
    others = task.metrics({}, kept)
    for name in task.METRICS:
        assert found[name] == others[name]
    assert found["images_without_fixations"] == 1
    assert "images_without_fixations" not in others
    none = task.metrics({}, {name: x[1:2] for name, x in records.items()})
    assert math.isnan(none["kl"])
    of_maps = task_of(MAPS)
    records = {n: records[n] for n in ("kl", "cc", "sim", "loss", "has_density")}
    assert "nss" not in of_maps.metrics({}, records)


# Prediction.


def test_an_answer_has_the_places_and_the_map():
    density = np.zeros((20, 40), np.float32)
    density[3, 5:13] = 0.5, 0.05, 0.02, 0.012, 0.01, 0.02 / 3, 0.006, 0.004  # a flank
    density[15, 30], density[10, 10] = 0.35, 0.001
    task = task_of(fixation_sigma=0.05)  # 2 pixels, so a place has a radius of 4
    answer = json.loads(json.dumps(task.answer({"density": density}, 5)))
    places = [(p["x"], p["y"]) for p in answer["places"]]
    assert places == [(5.5, 3.5), (30.5, 15.5)]
    shares = [p["share"] for p in answer["places"]]
    assert shares == pytest.approx([0.592, 0.35])
    levels = np.frombuffer(base64.b64decode(answer["levels"]), "<u2").reshape(20, 40)
    assert (levels[3, 5], levels[15, 30]) == (65535, 45874)
    assert answer["peak"] == 0.5
    assert len(task.answer({"density": density}, 1)["places"]) == 1
    assert task.cells(answer) == ["(6, 4) 59.2%", "(30, 16) 35.0%"]
    assert task.rows(answer)[0] == {"x": "5.5", "y": "3.5", "share": "0.592000"}
    assert task.spread({"density": density})["x"] == "5.5"


def test_a_heat_map_is_drawn_over_the_image_and_written_on_its_own(tmp_path):
    density = np.full((20, 40), 0.001, np.float32)
    density[:, 20:] = 0.0015
    task = task_of()
    marks = task.marks(task.answer({"density": density}, 1))
    pixels = np.full((20, 40, 3), 100, np.uint8)
    paths = pictures.write(tmp_path, "a.png", pixels, marks)
    assert paths == [tmp_path / "a.png", tmp_path / "saliency" / "a.png"]
    with Image.open(paths[1]) as image:
        levels = np.asarray(image)
    assert levels.dtype == np.uint16
    np.testing.assert_array_equal(np.unique(levels), [43690, 65535])
    with Image.open(paths[0]) as image:
        drawn = np.asarray(image)
    assert drawn.shape[1] == 2 * 480 + 6  # 12 times as large, and the map beside it
    assert (drawn[:240, :480] == 100).all()
    drawn = drawn[:, 486:]
    assert drawn.shape[0] == 240 + 20  # and a line for the place
    # The largest: 0.65 of its colour over 0.35 of the grey; by hand yellow, viridis'
    # last colour (253, 231, 36).
    assert palette.heat(np.array(1.0)).tolist() == [253, 231, 36]
    expected = 0.65 * np.array([253, 231, 36]) + 0.35 * 100
    np.testing.assert_allclose(drawn[230, 470], expected, atol=1)
    opacity = 0.65 * (0.5 + 0.5 * 2 / 3)
    low = opacity * palette.heat(np.array(2 / 3)) + (1 - opacity) * 100
    np.testing.assert_allclose(drawn[230, 10], low, atol=2)


def test_the_truth_is_the_density_over_the_image():
    image, counts = np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE, np.uint16)
    counts[5, 7] = 3
    task = task_of()
    seen, (mark,) = task.truth({"image": image, "fixations": counts})
    assert seen is image
    density = np.asarray(task.density({"fixations": jnp.asarray(counts)[None]})[0])
    expected = np.round(65535 * density / density[5, 7])
    np.testing.assert_allclose(mark.levels, expected, atol=1)
    assert mark.levels[5, 7] == 65535
    _, (mark,) = task.truth({"image": image, "fixations": 0 * counts})
    assert not mark.levels.any()


def test_the_mean_of_several_outputs_is_that_of_their_densities():
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(3, *SIZE, 1)).astype(np.float32)
    bias = {"centre_bias": rng.normal(size=256).tolist()}
    task = task_of(statistics=bias)
    mean = task.mean_output(list(outputs))
    found = task.predict(jnp.asarray(mean)[None])["density"][0]
    each = task.predict(jnp.asarray(outputs))["density"]
    np.testing.assert_allclose(found, each.mean(axis=0), rtol=1e-4)


# Runs.

FIELDS = (("filters", (4, 4)), ("kernels", (7, 5)))


def looks(number, seed):
    """Images [N, 16, 24] of noise with a bright disc, at which somebody looks."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 80, (number, *SIZE), np.uint8)
    counts = np.zeros(images.shape, np.uint16)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    for image, count in zip(images, counts, strict=True):
        cy, cx = rng.integers(3, SIZE[0] - 3), rng.integers(3, SIZE[1] - 3)
        image[(y - cy) ** 2 + (x - cx) ** 2 <= 9] += 150
        places = np.round(rng.normal((cy, cx), 1.2, (12, 2))).astype(int)
        np.add.at(count, tuple(np.clip(places, 0, np.array(SIZE) - 1).T), 1)
    return images, {"fixations": counts}


def config_of(**options):
    return Config(
        model="salnet",
        model_fields=FIELDS,
        data=DataConfig(image_size=SIZE, batch_size=8, eval_batch_size=16),
        task=TaskConfig(name="saliency", **options),
        optim=OptimConfig(name="adam", peak_lr=0.01),
        num_epochs=2.0,
        num_devices=1,
    )


def dataset():
    return jaxcnn.Dataset.from_arrays(
        *looks(48, 0), targets=COUNTS, test=looks(11, 1), validation=looks(8, 2)
    )


def test_evaluation_is_the_same_in_any_batches_and_on_any_devices():
    config, results = config_of(), []
    for size, devices in ((3, 1), (8, 4)):
        config.data.eval_batch_size, config.num_devices = size, devices
        run = prepare.prepare(config, dataset=dataset())
        variables = run.model.init(
            jax.random.key(5), jnp.zeros((1, *SIZE, 1)), train=False
        )
        results.append(evaluation.evaluator(run, None)("test", variables))
    one, other = results
    assert one.num_examples == other.num_examples == 11
    for name in Saliency.METRICS:
        assert other.metrics[name] == pytest.approx(one.metrics[name], rel=1e-5), name


def test_a_step_on_eight_devices_is_that_on_one():
    config, losses = config_of(loss="log_likelihood"), []
    config.augment = AugmentConfig(flip=0.5)
    for devices in (1, 8):
        config.num_devices = devices
        run = prepare.prepare(config, dataset=dataset())
        state = begin.init_state(run)
        batch = next(feed.train_batches(run, None, 0))
        step = run.compile_train_step(state)
        for _ in range(2):
            state, metrics = step(state, batch, run.run_key)
        losses.append((float(metrics["loss"]), float(metrics["cc"])))
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


def test_a_run_that_is_interrupted_ends_as_if_it_were_not(tmp_path):
    config = config_of()
    config.augment = AugmentConfig(flip=0.5)
    jaxcnn.fit(config, tmp_path / "whole", dataset=dataset())
    with interrupted.signalled(5):
        jaxcnn.fit(config, tmp_path / "cut", dataset=dataset())
    assert interrupted.last_state(tmp_path / "cut", 5)
    jaxcnn.fit(config, tmp_path / "cut", dataset=dataset())
    whole, cut = (interrupted.last_state(tmp_path / n, 12) for n in ("whole", "cut"))
    interrupted.assert_same_bits(cut, whole)
    info = [(tmp_path / n / "dataset.json").read_text() for n in ("whole", "cut")]
    assert info[0] == info[1]
    assert len(json.loads(info[0])["statistics"]["centre_bias"]) == 256


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"model": "lenet5", "model_fields": ()},
            r"one number for each pixel of an image, \[32, 32, 1\]; this one gives",
        ),
        ({"augment": AugmentConfig(cutmix=1.0)}, "0 with target 'fixations' of kind"),
    ],
)
def test_what_gives_no_density_is_refused_before_compiling(changes, text):
    config = dataclasses.replace(config_of(), **changes)
    if config.model == "lenet5":
        config.data.image_size = 32
    with pytest.raises(UserError, match=text):
        prepare.prepare(config, dataset=dataset())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos of two sizes with files of fixations."""
    folder = tmp_path_factory.mktemp("looks")
    (folder / "images").mkdir()
    (folder / "fixations").mkdir()
    images, targets = looks(24, 3)
    pairs = zip(images, targets["fixations"], strict=True)
    for number, (image, counts) in enumerate(pairs):
        scale = 2 + number % 2
        image = np.kron(image, np.ones((scale, scale), np.uint8))
        Image.fromarray(image).save(folder / f"images/{number}.png")
        places = np.repeat(np.argwhere(counts), counts[counts > 0], axis=0)
        lines = [f"{scale * (x + 0.5)},{scale * (y + 0.5)}" for y, x in places]
        (folder / f"fixations/{number}.csv").write_text("\n".join(["x,y", *lines]))
    return folder


@pytest.mark.slow
def test_a_folder_goes_through_every_verb(folder, tmp_path, capsys):
    flags = [
        f"--config.data.name=folder:{folder}",
        f"--config.data.image_size={SIZE}",
        "--config.data.channels=1",
        "--config.data.batch_size=8",
        "--config.task.name=saliency",
        "--config.model=salnet",
        f"--config.model_fields={FIELDS}",
        "--config.optim.name=adam",
        "--config.optim.peak_lr=0.01",
        "--config.num_epochs=40",
        "--config.eval_every_epochs=40",
        "--config.num_devices=1",
    ]
    assert __main__.main(["check_data", *flags, f"--output={tmp_path / 'seen'}"]) == 0
    workdir = tmp_path / "run"
    assert __main__.main(["train", *flags, f"--workdir={workdir}"]) == 0
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    tested = next(r for r in records if r["split"] == "test")
    assert tested["information_gain"] > 0.5  # bits over the centre bias
    assert tested["auc_judd"] > 0.8
    capsys.readouterr()
    verb = ["evaluate", f"--workdir={workdir}", "--format=json"]
    assert __main__.main(verb) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["kl"] == pytest.approx(tested["kl"], rel=1e-6)

    output, photo = tmp_path / "out", str(folder / "images/1.png")
    verb = ["predict", f"--workdir={workdir}", f"--output={output}", photo]
    assert __main__.main([*verb, "--format=json", "--tile=64", "--overlap=32"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    (density,) = jaxcnn.load(workdir)([photo])["density"]
    assert density.shape == (48, 72) == (answer["height"], answer["width"])
    assert density.sum() == pytest.approx(1, rel=1e-4)
    with Image.open(output / "saliency/1.png") as image:
        assert image.size == (72, 48)
        assert np.asarray(image).astype("<u2").tobytes() == base64.b64decode(
            answer["levels"]
        )
    assert __main__.main([*verb[:2], photo, "--format=csv"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "image,x,y,share"


def test_exported_weights_say_what_the_task_is():
    task = task_of(statistics={"centre_bias": np.linspace(-9, -4, 256).tolist()})
    config = Config(model="unet_resnet18", task=TaskConfig(name="saliency"))
    info = DatasetInfo(COUNTS, {}, 3, (0.5,) * 3, (0.25,) * 3, "")
    told = json.loads(json.dumps(export._describe(config, info, task).task))

    def read(told):
        weights = types.SimpleNamespace(
            task=told, num_classes=1, class_names=(), model=config.model, file="x"
        )
        return predictor._task_of(weights)

    assert read(told) == task
    told["centre_bias"].pop()
    with pytest.raises(UserError, match="none or 256 numbers, not 255"):
        read(told)
