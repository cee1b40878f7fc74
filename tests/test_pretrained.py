"""Weight files to networks with the right logits, to folders, and back to files."""

import dataclasses
import functools
import importlib
import json
import os
import pathlib
import re

import jax
import numpy as np
from PIL import Image
import pytest
import safetensors.numpy

import jaxcnn
from jaxcnn import __main__, models, tasks
from jaxcnn.config import Config, DataConfig, InitConfig, TaskConfig
from jaxcnn.data.examples import DatasetInfo
from jaxcnn.data.transforms import resize_and_crop
from jaxcnn.pretrained import files, rules, weights
from jaxcnn.serving import export, predictor
from jaxcnn.training import transfer
from tests.reference import compare, exported, filling
from tests.reference.generated_image import generated

# In one process, which makes what the tests share once.
pytestmark = pytest.mark.xdist_group("pretrained")

REFERENCES = pathlib.Path(__file__).parent / "reference"


def save(tensors, path, **metadata):
    single = {n: np.ascontiguousarray(t, np.float32) for n, t in tensors.items()}
    safetensors.numpy.save_file(single, path)
    return path


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory):
    """(comparison, file) of torchvision's resnet18 with 10 classes."""
    row = compare.Parity("resnet18", "resnet18", "torchvision")
    comparison = compare.Comparison(row)
    folder = tmp_path_factory.mktemp("resnet18")
    return comparison, save(comparison.tensors, folder / "resnet18.safetensors")


def run(*arguments):
    return __main__.main([str(argument) for argument in arguments])


def logits_of(model, variables, images):
    apply = jax.jit(functools.partial(model.apply, train=False))
    return apply(variables, images.astype(np.float32))


def test_a_loaded_network_gives_the_logits_of_torchvision(resnet18):
    comparison, path = resnet18
    model, variables = jaxcnn.pretrained.load("resnet18", path)
    assert model.num_classes == 10
    assert {v.dtype.name for v in jax.tree.leaves(variables)} == {"float32"}
    images = filling.images(tuple(comparison.numbers["image_shape"]))
    logits = logits_of(model, variables, images)
    assert compare.relative_error(logits, comparison.numbers["float32"]) < 1e-5


def test_without_a_classifier_the_network_gives_features(resnet18, tmp_path):
    tensors = {
        name: tensor
        for name, tensor in resnet18[0].tensors.items()
        if not name.startswith("fc.")
    }
    model, variables = jaxcnn.pretrained.load(
        "resnet18", save(tensors, tmp_path / "features")
    )
    assert model.num_classes == 0
    assert "head" not in variables["params"]


def test_weights_for_grey_images_are_known_by_their_shape(tmp_path):
    row = compare.Parity("lenet5", "lenet5", "pytorch")
    tensors = dict(compare.Comparison(row).tensors)
    grey = weights.load("lenet5", save(tensors, tmp_path / "grey"))
    assert (grey.channels, grey.num_classes, grey.library) == (1, 10, "pytorch")
    assert grey.preprocessing.mean == (0.0,)
    tensors["conv1.weight"] = tensors["conv1.weight"].repeat(3, axis=1)
    colour = weights.load("lenet5", save(tensors, tmp_path / "colour"))
    assert colour.channels == 3
    assert colour.preprocessing.mean == (0.0, 0.0, 0.0)


@pytest.mark.slow
def test_weights_of_another_network_are_refused_with_those_that_fit(resnet18, tmp_path):
    message = (
        r"does not fit resnet34 \(torchvision\); it fits resnet18 \(torchvision\); "
        r"missing: layer1\.2\.bn1\.running_mean .* and \d+ more\."
    )
    output = tmp_path / "folder"
    with pytest.raises(ValueError, match=message):
        weights.save(weights.load("resnet34", resnet18[1]), output)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda t: t.pop("bn1.bias"),
            "nor does it fit any similar network; missing: bn1",
        ),
        (lambda t: t.update(extra=t["fc.bias"]), "similar network; not used: extra."),
    ],
)
def test_weights_that_fit_nothing_are_refused_with_what_differs(
    resnet18, change, text, tmp_path, capsys
):
    tensors = dict(resnet18[0].tensors)
    change(tensors)
    path = save(tensors, tmp_path / "changed")
    output = tmp_path / "new" / "folder"
    arguments = ["--model=resnet18", f"--weights={path}", f"--output={output}"]
    assert run("import_weights", *arguments) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
    assert not output.parent.exists()


@pytest.fixture(scope="module")
def folder(resnet18, tmp_path_factory):
    """A folder of imported weights, as the command line makes it."""
    output = tmp_path_factory.mktemp("imported") / "resnet18"
    arguments = ["--model=resnet18", f"--weights={resnet18[1]}", f"--output={output}"]
    assert run("import_weights", *arguments) == 0
    return output


def test_the_folder_says_what_the_weights_are(folder, resnet18):
    assert sorted(p.name for p in folder.iterdir()) == [
        weights.MODEL,
        weights.VARIABLES,
    ]
    description = json.loads((folder / weights.MODEL).read_text())
    sha256 = description.pop("sha256")
    assert len(sha256) == len(description.pop("content_sha256")) == 64
    assert description == {
        "model": "resnet18",
        "fields": {},
        "num_classes": 10,
        "class_names": None,
        "channels": 3,
        # https://pytorch.org/vision/stable/models/generated/torchvision.models.resnet18
        "preprocessing": {
            "image_size": 224,
            "crop_ratio": 0.875,
            "interpolation": "bilinear",
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "order": "RGB",
        },
        "library": "torchvision",
        "file": "resnet18.safetensors",
    }
    opened = weights.open_folder(folder)
    assert opened.sha256 == sha256
    loaded = weights.load("resnet18", resnet18[1])
    jax.tree.map(np.testing.assert_array_equal, opened.variables, loaded.variables)


def edited(folder, path, **changes):
    """A copy of a folder, with other preprocessing."""
    for file in folder.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    model = path / weights.MODEL
    description = json.loads(model.read_text())
    description["preprocessing"] |= changes
    description.pop("content_sha256", None)  # which would not be right
    model.write_text(json.dumps(description))
    return path


@pytest.mark.slow
def test_predictions_are_those_of_the_stored_preprocessing(folder, tmp_path, capsys):
    pixels = generated((250, 300, 3))
    image = tmp_path / "image.png"
    Image.fromarray(pixels).save(image)
    changes = {"image_size": 64, "crop_ratio": 0.8, "interpolation": "bicubic"}
    (tmp_path / "small").mkdir()
    small = edited(folder, tmp_path / "small", **changes)
    found = jaxcnn.load(small)([image])["probabilities"]
    imported = weights.open_folder(small)
    # The pixels are compared with torchvision's elsewhere.
    cropped = resize_and_crop(pixels, 64, 0.8, "bicubic")
    images = (cropped / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    logits = logits_of(imported.make_model(), imported.variables, images[None])
    np.testing.assert_allclose(found, jax.nn.softmax(logits), atol=1e-5)
    assert found.max() < 0.999  # there is something to compare
    capsys.readouterr()
    assert run("predict", f"--workdir={small}", image, "--format=json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert str(np.argmax(found)) in json.dumps(row)


@pytest.mark.slow
def test_channels_are_swapped_for_weights_that_want_bgr(folder, tmp_path):
    changed = edited(folder, tmp_path, order="BGR")
    image = generated((250, 300, 3))
    swapped = jaxcnn.load(folder).read(image)[..., ::-1]
    np.testing.assert_array_equal(jaxcnn.load(changed).read(image), swapped)


def test_a_thousand_classes_are_imagenet_s_unless_they_are_named(resnet18, tmp_path):
    tensors = dict(resnet18[0].tensors)
    tensors["fc.weight"] = np.zeros((1000, 512))
    tensors["fc.bias"] = np.zeros(1000)
    path = save(tensors, tmp_path / "thousand")
    found = weights.load("resnet18", path)
    # meta["categories"] of torchvision's weights: the first, one within, the last.
    names = found.class_names
    assert (names[0], names[281], names[999]) == ("tench", "tabby", "toilet tissue")
    named = weights.load("resnet18", path, [f"kind {i}" for i in range(1000)])
    assert named.class_names[7] == "kind 7"
    with pytest.raises(ValueError, match="has 1000 classes, but 2 class names"):
        weights.load("resnet18", path, ["a", "b"])


def test_preprocessing_is_read_from_the_config_beside_weights_of_timm(
    resnet18, tmp_path
):
    path = save(resnet18[0].tensors, tmp_path / "model.safetensors")
    config = {  # as https://huggingface.co/timm/resnet18.a1_in1k has it, in part
        "architecture": "resnet18",
        "pretrained_cfg": {
            "input_size": [3, 288, 288],
            "crop_pct": 0.95,
            "interpolation": "bicubic",
            "mean": [0.4, 0.5, 0.6],
            "std": [0.2, 0.3, 0.4],
        },
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = weights.load("resnet18", path).preprocessing
    assert (found.image_size, found.crop_ratio) == (288, 0.95)
    assert (found.interpolation, found.mean) == ("bicubic", (0.4, 0.5, 0.6))
    config["pretrained_cfg"]["input_size"] = [3, 288, 144]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="says images of 288x144 pixels; .* square"):
        weights.load("resnet18", path)


def test_a_network_that_no_library_has_is_refused(tmp_path):
    with pytest.raises(ValueError, match="No known library has weights for mlp"):
        weights.load("mlp", tmp_path / "x")
    with pytest.raises(ValueError, match="Unknown model 'resnet19'; nearest: resnet18"):
        weights.load("resnet19", tmp_path / "x")


def test_a_folder_that_holds_something_is_not_written_over(folder, resnet18, tmp_path):
    (tmp_path / "mine").write_text("mine")
    loaded = weights.load("resnet18", resnet18[1])
    with pytest.raises(ValueError, match="exists and is not empty"):
        weights.save(loaded, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_nothing_is_left_when_writing_fails(resnet18, tmp_path, monkeypatch):
    loaded = weights.load("resnet18", resnet18[1])

    def fail(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr(weights, "_write_safetensors", fail)
    with pytest.raises(OSError, match="No space"):
        weights.save(loaded, tmp_path / "folder")
    with pytest.raises(OSError, match="No space"):
        weights.export(
            "resnet18",
            loaded.make_model(),
            loaded.variables,
            "torchvision",
            tmp_path / "file.safetensors",
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"num_classes": 11, "class_names": None},
            "does not fit model.json in this folder",
        ),
        ({"model": "resnet19"}, "Unknown model 'resnet19'"),
        ({"unknown": 1}, "model.json cannot be read"),
        ({"preprocessing": {}}, "model.json cannot be read"),
        ({"fields": {"depths": [10**9] * 4}}, "absurdly large network"),
    ],
)
def test_a_folder_that_was_edited_wrongly_is_refused(folder, tmp_path, change, text):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    model = tmp_path / weights.MODEL
    values = json.loads(model.read_text()) | change
    del values["content_sha256"]
    model.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=text):
        weights.open_folder(tmp_path)


@pytest.mark.parametrize(("family", "reference"), exported.EXPORTED)
def test_pytorch_has_loaded_what_is_exported_and_gives_the_same_logits(
    family, reference, tmp_path
):
    # exported.json is of files that PyTorch loaded with strict=True.
    known = json.loads((REFERENCES / "exported.json").read_text())[reference]
    path = tmp_path / f"{reference}.safetensors"
    exported.write(family, reference, path)
    tensors = safetensors.numpy.load_file(path)
    assert filling.fingerprint(tensors) == known["fingerprint"]
    rows = importlib.import_module(f"tests.parity.{family}").PARITY
    (row,) = (row for row in rows if row.reference == reference)
    comparison = compare.Comparison(row)
    error = compare.relative_error(comparison.numbers["float32"], known["logits"])
    assert error < 1e-6


def test_what_was_imported_is_exported_as_it_was(folder, resnet18, tmp_path):
    output = tmp_path / "back.safetensors"
    assert run("export_weights", f"--weights={folder}", f"--output={output}") == 0
    written, read = files.read(output), files.read(resnet18[1])
    counters = {n for n in written if n.endswith(".num_batches_tracked")}
    assert len(counters) == 20
    assert set(written) - counters == set(read)
    for name, tensor in read.items():
        np.testing.assert_array_equal(written[name], tensor)
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "Give either --workdir=DIR or --weights=DIR"),
        (["--weights=DIR"], "--output=FILE.safetensors is missing"),
        (["--weights=nowhere", "--output=x"], "No run in nowhere"),
        (["--weights=DIR", "--output=x.pth"], "must end with .safetensors: x.pth"),
        (
            ["--weights=DIR", "--output=x.safetensors", "--library=timm"],
            "No rules for resnet18 in timm; known: torchvision",
        ),
    ],
)
def test_mistakes_in_exporting_are_told(folder, arguments, text, capsys, monkeypatch):
    arguments = [argument.replace("DIR", str(folder)) for argument in arguments]
    assert run("export_weights", *arguments) == 2
    assert text in capsys.readouterr().err


def run_of(task, tmp_path, **data):
    """The folder of a run of a few steps on noise, and an image of another size."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 32, 40, 3), np.uint8)
    values = {
        "classification": np.array(["zebra", "ape"] * 4),
        "multi_label": rng.integers(0, 2, (8, 3)),
        "regression": rng.normal(7, 3, (8, 2)),
    }[task]
    names = {"multi_label": ["a", "b", "c"], "regression": ["x", "y"]}.get(task)
    image, value_range = rng.integers(0, 256, (50, 47, 3), np.uint8), None
    if task == "classification":  # and floats from -1 to 1
        images, image, value_range = images / 127.5 - 1, image / 127.5 - 1, (-1, 1)
    config = Config(
        model="lenet5",
        task=TaskConfig(name=task),
        data=DataConfig(image_size=(32, 40), channels=3, batch_size=4, **data),
        num_epochs=2.0,
        num_devices=1,
    )
    both = {"validation": (images, values), "value_range": value_range}
    dataset = jaxcnn.Dataset.from_arrays(
        images, values, names=names, config=config.data, **both
    )
    jaxcnn.fit(config, tmp_path / "run", dataset=dataset)
    return tmp_path / "run", image


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "transform"),
    [
        ("classification", "pad"),
        ("multi_label", "resize"),
        ("regression", "center_crop"),
    ],
)
def test_an_exported_run_predicts_the_same_when_it_is_imported(
    task, transform, tmp_path, capsys
):
    workdir, image = run_of(task, tmp_path, eval_transform=transform)
    output, folder = tmp_path / "lenet5.safetensors", tmp_path / "imported"
    assert run("export_weights", f"--workdir={workdir}", f"--output={output}") == 0
    out = capsys.readouterr().out
    info = json.loads((workdir / "dataset.json").read_text())
    for numbers in info["mean"], info["std"]:
        assert ", ".join(f"{number:.6g}" for number in numbers) in out
    assert "32x40" in out
    arguments = ["--model=lenet5", f"--weights={output}", f"--output={folder}"]
    assert run("import_weights", *arguments) == 0
    before, after = jaxcnn.load(workdir), jaxcnn.load(folder)
    assert after.image_size == before.image_size == (32, 40)
    for size in (
        slice(None),
        slice(0, 32),
    ):  # an image of another size, or partly of it
        picture = image[size, :40]
        np.testing.assert_array_equal(after.read(picture), before.read(picture))
    assert after.answers([image]) == before.answers([image])
    for name, array in before([image]).items():
        np.testing.assert_array_equal(after([image])[name], array)
    start = Config(model="lenet5", init_from=InitConfig(path=str(output)))
    source = transfer.open_source(start)
    assert [*source.mean] == info["mean"]
    assert [*source.std] == info["std"]
    (target,) = info["targets"].values()
    assert [*source.names] == target["names"]


@pytest.mark.slow
def test_what_is_exported_twice_is_the_same(tmp_path):
    workdir, _ = run_of("multi_label", tmp_path)
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    folder = tmp_path / "imported"
    assert run("export_weights", f"--workdir={workdir}", f"--output={first}") == 0
    arguments = ["--model=lenet5", f"--weights={first}", f"--output={folder}"]
    assert run("import_weights", *arguments) == 0
    assert run("export_weights", f"--weights={folder}", f"--output={second}") == 0
    tensors = [files.read(path) for path in (first, second)]
    jax.tree.map(np.testing.assert_array_equal, *tensors)
    assert files.read_metadata(first) == files.read_metadata(second)
    with safetensors.safe_open(first, "numpy") as file:
        told = json.loads(file.metadata()["jaxcnn"])
    assert told["names"] == ["a", "b", "c"]
    assert told["preprocessing"]["image_size"] == [32, 40]
    assert told["task"]["threshold"] == 0.5


def test_what_is_the_user_s_own_is_missed_when_it_is_imported(lenet5):
    class Own(tasks.MultiLabel):
        """A task that no file can hold."""

    config = Config(model="lenet5", task=TaskConfig(name="my.tasks:Own"))
    config.data.eval_transform = "my.transforms:mine"
    info = DatasetInfo({}, {}, 3, (0.5,) * 3, (0.25,) * 3, "")
    about = export._describe(config, info, Own(("a", "b")))
    assert about.task == {"name": "my.tasks:Own"}
    assert about.names == ("a", "b")
    assert (
        "by my.transforms:mine, which is yours"
        in about.preprocessing.in_words()["images"]
    )
    path = lenet5[2]
    loaded = weights.load("lenet5", path)
    predictor.check_imported(loaded)
    for change in {"task": about.task}, {"preprocessing": about.preprocessing}:
        with pytest.raises(ValueError, match="Unknown .* of imported weights 'my"):
            predictor.check_imported(dataclasses.replace(loaded, **change))


@pytest.fixture(scope="module")
def lenet5(tmp_path_factory):
    """(tensors of PyTorch's LeNet-5, what a file says about it, such a file)."""
    comparison = compare.Comparison(compare.Parity("lenet5", "lenet5", "pytorch"))
    path = tmp_path_factory.mktemp("lenet5") / "lenet5.safetensors"
    loaded = weights.load("lenet5", save(dict(comparison.tensors), path))
    return dict(comparison.tensors), json.loads(loaded.description.to_json()), path


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ("[" * 100_000, "cannot be read .*recursion"),
        ("{", "cannot be read"),
        ("[]", "it is no object"),
        ({"model": 1}, "its model is no text"),
        ({"names": "x"}, "its names are no texts"),
        ({"names": ["x"]}, "has 10 classes, but 1 class names are in its"),
        ({"names": [1] * 10}, "its names are no texts"),
        ({"unknown": 1}, "unexpected keyword argument 'unknown'"),
        ({"fields": [1]}, "a part of it is no object"),
        ({"fields": {"width": 10**9}}, "absurdly large network"),
        ({"fields": {"width": 10**400}}, "no finite number"),
        ({"fields": {"width": {"a": 1}}}, "no finite number"),
        ({"fields": {"unknown": 1}}, "Unknown field of lenet5 'unknown'"),
        ({"preprocessing": None}, "reprocessing"),
        ({"preprocessing": {"mean": 1}}, "reprocessing"),
        ({"preprocessing.image_size": 10**9}, "reprocessing"),
        ({"preprocessing.image_size": [32]}, "reprocessing"),
        ({"preprocessing.image_size": True}, "reprocessing"),
        ({"preprocessing.image_size": 1}, "does not fit lenet5|cannot be made"),
        ({"preprocessing.mean": [float("nan")]}, "reprocessing"),
        ({"preprocessing.mean": [[0.5]]}, "reprocessing"),
        ({"preprocessing.mean": [0.1] * 3, "preprocessing.std": [1] * 3}, "channels"),
        ({"preprocessing.std": [0.0]}, "reprocessing"),
        ({"preprocessing.std": [1e-320]}, "std must be over 1e-06"),
        ({"preprocessing.image_size": 2**13}, "of at most 16777216 pixels"),
        ({"preprocessing.transform": "os:system"}, "Unknown transform of imported we"),
        ({"preprocessing.transform": "random_crop"}, "Unknown transform of imported"),
        ({"preprocessing.transform": "\x1b[2J"}, "preprocessing.transform must be"),
        ({"preprocessing.interpolation": ["bilinear"]}, "reprocessing"),
        ({"preprocessing.value_range": [1]}, "reprocessing"),
        ({"preprocessing.value_range": [1, 0]}, "reprocessing"),
        (
            {"task": {"name": "os:system"}},
            "Unknown task of imported weights 'os:system'",
        ),
        ({"task": {"name": ["multi_label"]}}, "Unknown task of imported weights"),
        (
            {"task": {"name": "multi_label"}},
            "not describe; it must say class_names",
        ),
        (
            {
                "task": {
                    "name": "multi_label",
                    "class_names": ["a"],
                    "target": "labels",
                    "threshold": 0.5,
                }
            },
            "has 10 outputs, which its task multi_label does not describe",
        ),
        (
            {
                "task": {
                    "name": "multi_label",
                    "class_names": [1] * 10,
                    "target": "labels",
                    "threshold": 0.5,
                }
            },
            "has 10 outputs, which its task multi_label does not describe",
        ),
    ],
)
def test_a_file_that_describes_itself_wrongly_is_refused(
    lenet5, changes, text, tmp_path, capsys
):
    tensors, told, _ = lenet5
    if isinstance(changes, dict):
        told = json.loads(json.dumps(told))
        for name, value in changes.items():
            section, _, field = name.rpartition(".")
            (told[section] if section else told)[field] = value
        changes = json.dumps(told)
    path = tmp_path / "lenet5.safetensors"
    single = {n: np.ascontiguousarray(t, np.float32) for n, t in tensors.items()}
    safetensors.numpy.save_file(single, path, {"jaxcnn": changes})
    output = tmp_path / "new"
    arguments = ["--model=lenet5", f"--weights={path}", f"--output={output}"]
    assert run("import_weights", *arguments) == 2
    error = capsys.readouterr().err
    assert re.search(text, error), error
    assert error.count("\n") == 1
    assert not output.exists()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda t: t.view(np.int32),
            "stem/conv/kernel would have numbers of dtype int32",
        ),
        (lambda t: np.full_like(t, np.nan), "would have numbers that are not finite"),
        (lambda t: np.full(t.shape, 1e300), "would have numbers that are not finite"),
    ],
)
def test_numbers_that_no_weight_has_are_refused(lenet5, change, text, tmp_path):
    tensors = {n: np.ascontiguousarray(t, np.float32) for n, t in lenet5[0].items()}
    tensors["conv1.weight"] = change(tensors["conv1.weight"])
    safetensors.numpy.save_file(tensors, tmp_path / "x")
    with pytest.raises(ValueError, match=text):
        weights.load("lenet5", tmp_path / "x")
    good = weights.load("lenet5", save(lenet5[0], tmp_path / "good"))
    weights.save(good, tmp_path / "folder")
    variables = dict(files.read(tmp_path / "folder" / weights.VARIABLES))
    variables["params/stem/conv/kernel"] = change(variables["params/stem/conv/kernel"])
    safetensors.numpy.save_file(variables, tmp_path / "folder" / weights.VARIABLES)
    with pytest.raises(ValueError, match=text):
        weights.open_folder(tmp_path / "folder")


def test_variances_below_0_are_refused():
    assert weights._numbers("batch_stats/stem/norm/var", np.zeros(2)).dtype == "float32"
    with pytest.raises(ValueError, match="stem/norm/var would have variances below 0"):
        weights._numbers("batch_stats/stem/norm/var", np.array([1.0, -1.0]))


def test_class_names_are_lines_of_a_text_file_in_utf_8(lenet5, tmp_path, capsys):
    weight_file, listed = save(lenet5[0], tmp_path / "x"), tmp_path / "names.txt"
    lines = ["\u00e4", "b\x85b", "", *"defghij"]
    listed.write_bytes("\ufeff".encode() + "\r\n".join([*lines, ""]).encode())
    given = ["--model=lenet5", f"--weights={weight_file}", f"--output={tmp_path}/new"]
    for name, text in (
        ("/dev/zero", "must be a text file, not '/dev/zero'"),
        (str(tmp_path), "must be a text file"),
        (str(weight_file), "cannot be read: 'utf-8' codec can't decode"),
    ):
        assert run("import_weights", *given, f"--class_names={name}") == 2
        assert text in capsys.readouterr().err
    assert run("import_weights", *given, f"--class_names={listed}") == 0
    assert weights.open_folder(tmp_path / "new").class_names == tuple(lines)


@pytest.mark.slow
def test_weights_of_a_network_with_other_fields_are_imported(tmp_path, capsys):
    model = models.create_model("mobilenet_v2", 3, width=0.25)
    variables = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype),
        models.abstract_variables(model, (32, 32, 3)),
    )
    path = tmp_path / "narrow.safetensors"
    weights.export("mobilenet_v2", model, variables, "torchvision", path)
    given = ["--model=mobilenet_v2", f"--weights={path}", f"--output={tmp_path}/new"]
    for field, text in (
        ("width=0.5", "does not fit mobilenet_v2 (torchvision)"),
        ("depth=3", "Unknown field of mobilenet_v2 'depth'"),
        ("path=3", "Unknown field of mobilenet_v2 'path'"),
        ("width", "--field must be NAME=VALUE, not 'width'"),
        ("num_classes=3", "--field must not name num_classes, which the file says"),
    ):
        assert run("import_weights", *given, f"--field={field}") == 2
        assert text in capsys.readouterr().err
    assert run("import_weights", *given, "--field=width=0.25") == 0
    opened = weights.open_folder(tmp_path / "new")
    assert opened.fields == {"width": 0.25}
    assert opened.num_classes == 3


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b"{}", b"\xff", b'{"pretrained_cfg": 1}', None]
)
def test_a_config_that_is_not_timm_s_is_left_alone(lenet5, content, tmp_path):
    path = save(lenet5[0], tmp_path / "x")
    config = tmp_path / "config.json"
    if content is None:
        os.mkfifo(config)  # to read it would wait for ever
    else:
        config.write_bytes(content)
    assert weights.load("lenet5", path).preprocessing.image_size == 32


def test_wrapped_names_are_read_in_safetensors_too(lenet5, tmp_path):
    """As in the files of PyTorch, which test_pretrained_files reads."""
    tensors = lenet5[0]
    good = weights.load("lenet5", save(tensors, tmp_path / "plain")).variables
    worse = {f"model.{name}": tensor + 1 for name, tensor in tensors.items()}
    counter = {"n_averaged": np.ones(())}
    for prefixes, beside in [
        (["module."], counter),
        (["_orig_mod."], {}),
        (["module._orig_mod.", "_orig_mod.module."], {}),
        (["model."], {"criterion.weight": np.ones(3)}),
        (["state_dict.model.", "model_state_dict.", "net.module."], {}),
        (["model_ema.module.", "state_dict_ema."], worse),
    ]:
        for prefix in prefixes:
            wrapped = {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
            path = save({**wrapped, **beside}, tmp_path / "wrapped")
            found = weights.load("lenet5", path).variables
            jax.tree.map(np.testing.assert_array_equal, found, good)


def test_without_classes_a_network_gives_features(resnet18, tmp_path):
    path = resnet18[1]
    whole = jaxcnn.pretrained.load("resnet18", path)[1]
    model, variables = jaxcnn.pretrained.load("resnet18", path, num_classes=0)
    assert model.num_classes == 0
    assert "head" not in variables["params"]
    kept = {n: x for n, x in whole["params"].items() if n != "head"}
    jax.tree.map(np.testing.assert_array_equal, variables["params"], kept)
    apply = functools.partial(model.apply, train=False)
    features = jax.eval_shape(apply, variables, np.ones((1, 64, 64, 3), np.float32))
    assert features.shape == (1, 512)
    same, _ = jaxcnn.pretrained.load("resnet18", path, num_classes=10)
    assert same.num_classes == 10
    with pytest.raises(ValueError, match="num_classes must be 10, as in .* not 5"):
        jaxcnn.pretrained.load("resnet18", path, num_classes=5)


def test_every_row_of_the_rules_is_for_a_network_that_there_is():

    for source in rules.SOURCES:
        known = [
            name for name in models.MODELS if source in rules.sources(name).values()
        ]
        assert known, source.models
