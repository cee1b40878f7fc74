"""Every task goes through every verb, on images that a CSV file lists."""

import json

import numpy as np
from PIL import Image
import pytest

from jaxcnn import __main__, models, tasks
from jaxcnn.report import text
from tests import tiny

NUM_IMAGES = 40


@pytest.fixture(scope="module", params=["multi_label", "regression"])
def task(request, tmp_path_factory):
    """(name of the task, flags of its config, its folder)."""
    folder = tmp_path_factory.mktemp(request.param)
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    lines = ["file,left,right"]
    for i in range(NUM_IMAGES):
        pixels = rng.integers(0, 256, (16, 16), np.uint8)
        Image.fromarray(pixels).save(folder / f"images/{i}.png")
        sides = pixels[:, :8].mean(), pixels[:, 8:].mean()
        if request.param == "multi_label":
            sides = [int(side > 127) for side in sides]
        lines.append(f"images/{i}.png,{sides[0]},{sides[1]}")
    (folder / "list.csv").write_text("\n".join(lines))
    kind = {"multi_label": "labels", "regression": "value"}[request.param]
    flags = [
        f"--config.data.name=csv:{folder / 'list.csv'}",
        f"--config.data.target_kind={kind}",
        f"--config.task.name={request.param}",
        "--config.model=tiny",
        "--config.data.image_size=16",
        "--config.data.channels=1",
        "--config.data.batch_size=8",
        "--config.num_devices=1",
        "--config.num_epochs=2",
    ]
    patch = pytest.MonkeyPatch()
    patch.setitem(models.MODELS, "tiny", tiny.VARIANT)
    yield request.param, flags, folder
    patch.undo()


@pytest.fixture(scope="module")
def workdir(task):
    """The folder of a run that was trained by the verb."""
    _, flags, folder = task
    assert __main__.main(["train", *flags, f"--workdir={folder / 'run'}"]) == 0
    return folder / "run"


def test_train_resumes_and_evaluate_agrees_with_its_test(task, workdir, capsys):
    name, flags, _ = task
    records = [json.loads(x) for x in (workdir / "metrics.jsonl").open()]
    tested = next(r for r in records if r["split"] == "test")
    assert __main__.main(["train", *flags, f"--workdir={workdir}"]) == 0
    capsys.readouterr()
    verb = ["evaluate", f"--workdir={workdir}", "--format=json"]
    assert __main__.main(verb) == 0
    measured = json.loads(capsys.readouterr().out)
    metric = {"multi_label": "mean_average_precision", "regression": "rmse"}[name]
    assert measured[metric] == pytest.approx(tested[metric], rel=1e-5)
    assert measured["targets"] == {
        {"multi_label": "labels", "regression": "value"}[name]: ["left", "right"]
    }
    assert __main__.main([*verb[:2], "--pictures=3"]) == 0
    table = capsys.readouterr().out
    assert "left" in table
    plots = sorted(path.name for path in workdir.glob("*.png"))
    scatters = ["scatter_left_test.png", "scatter_right_test.png"]
    assert plots == [
        "pictures_test.png",
        *(scatters if name == "regression" else ()),
    ]


@pytest.mark.slow
def test_predict_prints_each_format(task, workdir, capsys):
    name, _, folder = task
    image = str(folder / "images/0.png")
    answers = {}
    for form in ("table", "json", "csv"):
        verb = ["predict", f"--workdir={workdir}", f"--format={form}", image]
        assert __main__.main(verb) == 0
        answers[form] = capsys.readouterr().out
    (answer,) = json.loads(answers["json"])
    if name == "regression":
        assert answers["csv"].splitlines()[0] == "image,left,right"
        assert f"left {answer['values']['left']:.6g}" in answers["table"]
    else:
        assert {row["class"] for row in answer["classes"]} == {"left", "right"}
        assert answers["csv"].splitlines()[0] == "image,class,probability,predicted"


def test_check_data_reads_every_image(task, tmp_path, capsys):
    name, flags, _ = task
    assert __main__.main(["check_data", *flags, f"--output={tmp_path}"]) == 0
    assert f"{NUM_IMAGES}" in capsys.readouterr().out
    sheets = sorted(path.name for path in tmp_path.glob("*.png"))
    assert sheets == (
        ["000_left.png", "001_right.png"]
        if name == "multi_label"
        else ["000_all_images.png"]
    )


@pytest.mark.slow
def test_cross_validate_predicts_each_image_once(task, workdir, tmp_path, capsys):
    _, flags, _ = task
    verb = ["cross_validate", *flags, "--folds=2", f"--output={tmp_path}"]
    assert __main__.main(verb) == 0
    lines = (tmp_path / "predictions.csv").read_text().splitlines()
    with np.load(workdir / "examples.npz") as used:  # without the test split
        assert len(lines) - 1 == sum(len(hashes) for hashes in used.values())
    result = json.loads((tmp_path / "cross_validate.json").read_text())
    assert set(result["mean"]) <= set(result["pooled"])


@pytest.mark.slow
def test_sweep_compares_by_the_metric_of_the_task(task, tmp_path, capsys):
    name, flags, _ = task
    verb = ["sweep", *flags, "--vary=optim.peak_lr=0.01,0.1", f"--output={tmp_path}"]
    assert __main__.main(verb) == 0
    out = capsys.readouterr().out
    assert {"multi_label": "mean_average_precision", "regression": "rmse"}[name] in out


@pytest.mark.slow
def test_find_lr_suggests_a_rate(task, tmp_path):
    _, flags, _ = task
    verb = ["find_lr", *flags, "--steps=40", f"--output={tmp_path}"]
    assert __main__.main(verb) == 0
    assert (tmp_path / "find_lr.json").exists()


@pytest.mark.slow
def test_a_classifier_is_fine_tuned_to_another_task(task, tmp_path, capsys):
    _, flags, _ = task
    classifier = tmp_path / "classifier"
    common = ["--config.model=tiny", "--config.data.image_size=16"]
    assert (
        __main__.main(
            [
                "train",
                *common,
                "--config.data.name=digits",
                "--config.num_devices=1",
                "--config.num_epochs=0.1",
                f"--workdir={classifier}",
            ]
        )
        == 0
    )
    verb = ["train", *flags, f"--config.init_from.path={classifier}"]
    assert __main__.main([*verb, f"--workdir={tmp_path / 'tuned'}"]) == 0
    out = capsys.readouterr().out
    assert "at random: 10 classes in the source, 2 in this network" in out


@pytest.mark.parametrize(
    ("task", "answers", "lines"),
    [
        (
            tasks.Segmentation(("sky", "sea", "sand")),
            [
                {
                    "classes": [
                        {"class": "sea", "share": 0.75},
                        {"class": "sky", "share": 0.25},
                    ]
                }
            ],
            [
                "image  largest, share of pixels  2",
                "a.png  sea 75.0%                 sky 25.0%",
            ],
        ),
        (
            tasks.Text(("a", "b"), 9),
            [{"text": "ab", "confidence": 0.5}, {"text": "abbab", "confidence": 0.25}],
            ["image  text  confidence", "a.png  ab    0.5000", "b.png  abbab  0.2500"],
        ),
        (
            tasks.Restoration(),
            [{"height": 6, "width": 4, "channels": 3, "pixels": ""}],
            ["image  restored, height x width", "a.png  6 x 4 pixels, RGB"],
        ),
    ],
)
def test_the_titles_of_predictions_say_what_is_below(task, answers, lines):
    images = ["a.png", "b.png"][: len(answers)]
    given = zip(images, answers, strict=True)
    assert list(text.PREDICTIONS["table"](task, images, given)) == lines
