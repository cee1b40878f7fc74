"""Mistakes of a newcomer: each is one line, before anything is made."""

from flax import linen as nn
import numpy as np
import pytest

import jaxcnn
from jaxcnn import __main__
from jaxcnn.config import Config, DataConfig
from jaxcnn.errors import UserError
from jaxcnn.targets import Target, classes

GREY = np.arange(24 * 16).reshape(24, 4, 4).astype(np.uint8)
LABELS = np.arange(24) % 2


def config():
    return Config(data=DataConfig(image_size=4, batch_size=8), num_epochs=1.0)


def dataset():
    return jaxcnn.Dataset.from_arrays(GREY, LABELS)


class Flat(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, images):
        return nn.Dense(self.num_classes)(images.reshape(len(images), -1))


class Misspelt(jaxcnn.Callback):
    def on_validaton(self, session, metrics):
        raise AssertionError("is never called")


class NoArguments:
    def write(self, split, step, values):
        raise AssertionError("is never called")

    def close(self):
        raise AssertionError("is never called")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"config": {}}, "fit needs config, a jaxcnn.config.Config, not a dict"),
        ({"workdir": None}, "fit needs workdir, the path of a folder, not a NoneType"),
        ({"model": "resnet18"}, "model must be an object; .* into config.model, not"),
        ({"dataset": "digits"}, "dataset must be an object; .* config.data.name, not"),
        ({"callbacks": Misspelt()}, "callbacks must be a list, not <.*Misspelt"),
        ({"callbacks": [Misspelt()]}, "Unknown method of Misspelt 'on_validaton'; nea"),
        ({"writers": [NoArguments]}, "must take the run's folder and the first step"),
    ],
)
def test_what_fit_cannot_take_is_refused(change, text, tmp_path):
    given = {"model": Flat, "dataset": dataset(), "writers": []}
    first = {"config": config(), "workdir": tmp_path / "run"}
    first |= {name: change[name] for name in first.keys() & change.keys()}
    given |= {name: change[name] for name in change.keys() - first.keys()}
    with pytest.raises(UserError, match=text):
        jaxcnn.fit(*first.values(), **given)
    assert not (tmp_path / "run").exists()


def test_a_section_of_a_config_must_be_one(tmp_path):
    wrong = Config(data={"image_size": 4})
    with pytest.raises(
        UserError, match="Config field data is .*; it must be a DataCon"
    ):
        jaxcnn.fit(wrong, tmp_path / "run")


@pytest.mark.parametrize("flags", [(), ("--dry_run",)])
def test_a_folder_of_a_run_cannot_be_below_a_file(flags, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "run"
    flags = ("--config.num_epochs=1.0", *flags)
    assert __main__.main(["train", f"--workdir={folder}", *flags]) == 2
    text = f"The folder of the run cannot be {folder}: {tmp_path / 'file'} is a file"
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("images", "values", "options", "text"),
    [
        (GREY, LABELS + 1, {}, "No training image has label 0: .* the largest is 2"),
        (GREY, 0 * LABELS, {}, "All labels are 0; a classification needs two classes"),
        ([GREY[0], GREY[1][:2]], [0, 1], {}, "train images are not all of one size"),
        (
            GREY / 255,
            LABELS,
            {"value_range": 1.0},
            "value_range must be .black, white.",
        ),
        (
            GREY,
            LABELS,
            {"test": (GREY, LABELS + 1)},
            "No training image has label 2: .* the largest is 2",
        ),
    ],
)
def test_arrays_that_would_train_something_else_are_refused(
    images, values, options, text
):
    with pytest.raises(UserError, match=text):
        jaxcnn.Dataset.from_arrays(images, values, **options)


def test_classes_without_images_may_be_named():
    names = ("none", "a", "b")
    made = jaxcnn.Dataset.from_arrays(
        GREY, LABELS + 1, validation=(GREY, LABELS + 1), names=names
    )
    assert made.info.targets["label"].names == names


PAIR = [(GREY[0][..., None], 0)] * 4
DICTS = [{"image": GREY[0][..., None], "label": 0}] * 4


@pytest.mark.parametrize(
    ("examples", "scale", "text"),
    [
        (PAIR, {}, "Example 0 of the train split must be a dict with 'image' and 'lab"),
        (DICTS, {"mean": (80.0,)}, "mean must be in .0, 1., of pixels divided by 255"),
        (DICTS, {"std": (60.0,)}, "std must be in .1e-6, 1., of pixels divided by 255"),
        (DICTS, {"std": (0.0,)}, "std must be in .1e-6, 1., of pixels divided by 255"),
    ],
)
def test_examples_that_are_not_as_they_must_be_are_refused(examples, scale, text):
    scale = {"mean": (0.5,), "std": (0.2,)} | scale
    with pytest.raises(UserError, match=text):
        jaxcnn.Dataset.from_examples(
            examples, classes(["a", "b"]), name="pictures", **scale
        )


def test_a_data_set_is_shown_in_one_line():
    values = {"mask": GREY, "count": LABELS.astype(float)}
    targets = {"mask": Target("mask", "uint8"), "count": Target("value", "float32")}
    made = jaxcnn.Dataset.from_arrays(GREY, values, targets=targets)
    shown = "<Dataset: 22 train, 2 validation; mask (mask), count (value)>"
    assert repr(made) == shown


def test_a_run_says_where_it_goes_on_and_that_it_is_complete(tmp_path, capsys):
    given = {"model": Flat, "dataset": dataset()}
    made = config()
    made.num_epochs, made.save_every_steps = 2.0, 1

    class Stop(jaxcnn.Callback):
        def on_step(self, session, metrics):
            session.stop("enough")

    assert jaxcnn.fit(made, tmp_path, callbacks=[Stop()], **given).step == 1
    capsys.readouterr()
    result = jaxcnn.fit(made, tmp_path, **given)
    assert "Resumed from the checkpoint of step 1." in capsys.readouterr().out
    jaxcnn.fit(made, tmp_path, **given)
    text = f"This run is complete: all {result.step} steps were taken."
    assert text in capsys.readouterr().out
    # A step may be a number, in Python.
    assert jaxcnn.load(tmp_path, checkpoint=result.step).step == result.step


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    jaxcnn.fit(config(), folder, model=Flat, dataset=dataset())
    return jaxcnn.load(folder)


@pytest.mark.parametrize("image", [GREY[0], GREY[0][..., None]])
def test_one_array_is_no_list_of_images(image, predictor):
    with pytest.raises(UserError, match=r"write \[image\]"):
        predictor(image)
    assert len(predictor.answers([image])) == 1


def test_a_run_that_diverges_is_one_line_and_a_failure(tmp_path, capsys):
    flags = [
        *(
            "--config.model=mlp",
            "--config.data.image_size=8",
            "--config.num_epochs=1.0",
        ),
        *("--config.optim.peak_lr=1e30", "--config.log_every_steps=1"),
    ]
    assert __main__.main(["train", f"--workdir={tmp_path / 'run'}", *flags]) == 1
    error = capsys.readouterr().err
    assert error.startswith("jaxcnn: Step 2 failed: the output of ")
    assert error.count("\n") == 1
