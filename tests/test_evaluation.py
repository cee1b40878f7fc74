"""Evaluation counts each example once, on any number of devices."""

import dataclasses

import numpy as np
import pytest
from sklearn import metrics

import jaxcnn
from jaxcnn.config import Config, DataConfig, OptimConfig, TaskConfig
from jaxcnn.errors import UserError
from jaxcnn.serving import measure
from jaxcnn.training import loop, setup
from jaxcnn.training import workdir as workdir_lib
from tests.test_cli import make_folder


class NoWriter:
    def begin(self, run, first_step):
        pass

    def write(self, split, step, values):
        pass

    def close(self):
        pass


def small_config(**changes):
    config = Config(
        model="softmax_regression",
        data=DataConfig(name="digits", image_size=8, batch_size=64),
        optim=OptimConfig(peak_lr=0.3),
        num_epochs=2.0,
        num_devices=1,
    )
    return dataclasses.replace(config, **changes)


def fit(config, folder):
    return loop.fit(config, folder, make_writer=lambda *args: NoWriter())


@pytest.mark.parametrize(
    ("num_devices", "batch_size"), [(1, 64), (1, 1000), (8, 64), (8, 90), (3, 7)]
)
def test_metrics_depend_neither_on_devices_nor_on_batches(num_devices, batch_size):
    data = dataclasses.replace(small_config().data, eval_batch_size=batch_size)
    run = setup.prepare(small_config(num_devices=num_devices, data=data))
    state = run.init_state()
    measured = run.evaluator(None)("test", state.variables)
    examples = run.dataset.splits["test"]
    head = state.params["head"]
    x = (examples.images.reshape(899, 64) / 255 - run.info.mean[0]) / run.info.std[0]
    logits = x @ np.asarray(head["kernel"], np.float64) + np.asarray(head["bias"])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert sum(measured["support"]) == 899
    expected = metrics.accuracy_score(examples.labels, logits.argmax(axis=1))
    assert measured["accuracy"] == pytest.approx(expected, abs=1e-12)
    expected = metrics.log_loss(examples.labels, p)
    assert measured["loss"] == pytest.approx(expected, rel=1e-5)


def test_balanced_weights_and_sampling_help_the_rare_class(tmp_path):
    # 95 noisy images of one class, 5 of the other: a plain run may ignore the second.
    rng = np.random.default_rng(0)
    counts = {"many": 190, "rare": 10}
    make_folder(tmp_path / "images", {"": counts})
    from PIL import Image

    for name, level in (("many", 120), ("rare", 136)):
        for path in (tmp_path / "images" / name).iterdir():
            noise = rng.normal(level, 60, (8, 8)).clip(0, 255).astype(np.uint8)
            Image.fromarray(noise).save(path)
    data = DataConfig(
        name=f"folder:{tmp_path / 'images'}", image_size=8, channels=1, batch_size=20
    )
    recall = {}
    for label, sampling, weights in (
        ("plain", "uniform", "none"),
        ("weights", "uniform", "balanced"),
        ("sampling", "balanced", "none"),
    ):
        config = small_config(
            data=dataclasses.replace(data, sampling=sampling),
            task=TaskConfig(class_weights=weights),
            optim=OptimConfig(peak_lr=0.02),
            num_epochs=12.0,
            eval_every_epochs=12.0,
        )
        fit(config, tmp_path / label)
        measured = measure.evaluate(tmp_path / label, "latest", "train")
        recall[label] = measured.metrics["recall"][1]
    assert recall["weights"] > recall["plain"]
    assert recall["sampling"] > recall["plain"]


def test_a_predictor_says_what_the_evaluation_said(tmp_path):
    fit(small_config(), tmp_path)
    measured = measure.evaluate(tmp_path, "latest", "validation")
    run = setup.prepare(small_config())
    examples = run.dataset.splits["validation"]
    predictor = jaxcnn.load(tmp_path, "latest")
    predicted = predictor(examples.images).argmax(axis=1)
    correct = (predicted == examples.labels).mean()
    assert measured.metrics["accuracy"] == pytest.approx(correct, abs=1e-12)
    assert predictor.class_names == tuple("0123456789")
    assert predictor.step == measured.step == 25
    assert predictor([]).shape == (0, 10)
    names = [classes[0][0] for classes in predictor.top_k(list(examples.images), 2)]
    assert names == [str(label) for label in predicted]


def test_other_images_are_measured_and_other_classes_refused(tmp_path):
    images = make_folder(tmp_path / "a", {"": {"x": 10, "y": 10}}).partition("=")[2]
    data = DataConfig(name=images, image_size=8, batch_size=4)
    fit(small_config(data=data), tmp_path / "run")
    other = make_folder(tmp_path / "b", {"": {"x": 8, "y": 8}}).partition("=")[2]
    measured = measure.evaluate(tmp_path / "run", split="train", data_name=other)
    assert not measured.same_images
    assert measure.evaluate(tmp_path / "run", split="train").same_images
    third = make_folder(tmp_path / "c", {"": {"x": 8, "z": 8}}).partition("=")[2]
    with pytest.raises(ValueError, match="are x, z; the run in .* trained on x, y"):
        measure.evaluate(tmp_path / "run", data_name=third)


def test_the_best_checkpoint_is_tested(tmp_path):
    # The rate is far too high at the end, so an earlier checkpoint is the best.
    config = small_config(
        optim=OptimConfig(
            name="sgd",
            momentum=0.0,
            peak_lr=0.1,
            schedule="exponential",
            decay_factor=1e6,
        ),
        num_epochs=4.0,
    )
    result = fit(config, tmp_path)
    assert result.best_step < result.step
    measured = measure.evaluate(tmp_path, "best", "test")
    assert measured.step == result.best_step
    assert measured.metrics["accuracy"] == result.test["accuracy"]


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    config = small_config(
        optim=OptimConfig(name="sgd", peak_lr=1e30), log_every_steps=2, model="mlp"
    )
    with pytest.raises(FloatingPointError, match="loss of step .* optim.peak_lr"):
        fit(config, tmp_path)


def test_bad_images_are_listed_and_left_out(tmp_path):
    splits = {"train": {"x": 60, "y": 60}, "test": {"x": 60, "y": 60}}
    images = make_folder(tmp_path / "images", splits)
    bad = tmp_path / "images" / "test" / "x" / "7.png"
    bad.write_bytes(b"no image")
    data = DataConfig(
        name=images.partition("=")[2], image_size=8, batch_size=8, bad_images="skip"
    )
    result = fit(small_config(data=data, num_epochs=1.0), tmp_path / "run")
    assert result.test["support"] == [59, 60]
    lines = (tmp_path / "run" / workdir_lib.BAD_IMAGES).read_text().splitlines()
    assert len(lines) == 1
    assert str(bad) in lines[0]
    for i in (8, 9):
        bad.with_name(f"{i}.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="2 of 120; data.bad_images=skip allows 1%"):
        fit(small_config(data=data, num_epochs=1.0), tmp_path / "other")


def test_a_data_set_of_one_colour_is_refused(tmp_path):
    # Its standard deviation is zero, and would divide.
    from jaxcnn.data import arrays

    images = np.zeros((20, 8, 8, 1), np.uint8)
    labels = np.arange(20) % 2
    config = DataConfig(name="black")
    dataset = arrays.dataset("black", ["a", "b"], {"train": (images, labels)}, config)
    assert dataset.std == (0.0,)
    with pytest.raises(ValueError, match="standard deviation .* 0"):
        setup.check_statistics(dataset)
