"""Evaluation counts each example once, on any number of devices."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image
import pytest
from sklearn import metrics

import jaxcnn
from jaxcnn import __main__
from jaxcnn.config import Config, DataConfig, OptimConfig, TaskConfig
from jaxcnn.data.examples import names_of
from jaxcnn.errors import UserError
from jaxcnn.serving import measure
from jaxcnn.targets import classes
from jaxcnn.tasks import Metric, Task, metric_table
from jaxcnn.training import begin, evaluation, prepare
from jaxcnn.training import fit as fit_lib
from jaxcnn.training import used as used_lib
from jaxcnn.training import workdir as workdir_lib
from tests.interrupted import NoWriter
from tests.test_cli import make_folder


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
    return fit_lib.fit(config, folder, make_writer=lambda *args: NoWriter())


@pytest.mark.parametrize(
    ("num_devices", "batch_size"), [(1, 64), (1, 1000), (8, 64), (8, 90), (3, 7)]
)
def test_metrics_depend_neither_on_devices_nor_on_batches(num_devices, batch_size):
    data = dataclasses.replace(small_config().data, eval_batch_size=batch_size)
    run = prepare.prepare(small_config(num_devices=num_devices, data=data))
    state = begin.init_state(run)
    measured = evaluation.evaluator(run, None)("test", state.variables)
    examples = run.dataset.splits["test"]
    head = state.params["head"]
    x = (examples.images.reshape(899, 64) / 255 - run.info.mean[0]) / run.info.std[0]
    logits = x @ np.asarray(head["kernel"], np.float64) + np.asarray(head["bias"])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert measured.num_examples == sum(measured.metrics["support"]) == 899
    expected = metrics.accuracy_score(examples.column("label"), logits.argmax(axis=1))
    assert measured.metrics["accuracy"] == pytest.approx(expected, abs=1e-12)
    expected = metrics.log_loss(examples.column("label"), p)
    assert measured.metrics["loss"] == pytest.approx(expected, rel=1e-5)


class Ranking(Task):
    """Finds even digits, by one logit; its metric is no sum over the examples."""

    METRICS = metric_table(Metric("average_precision"))
    targets = classes("0123456789")
    outputs = {"num_classes": 1}

    @classmethod
    def create(cls, config, targets, statistics):
        return cls()

    def loss(self, output, batch):
        return optax.sigmoid_binary_cross_entropy(
            output[:, 0], 1.0 - batch["label"] % 2
        )

    def eval_sums(self, output, batch):
        return {"even": jnp.sum(batch["weight"] * (batch["label"] % 2 == 0))}

    def eval_records(self, output, batch):
        return {"score": output[:, 0], "even": batch["label"] % 2 == 0}

    def metrics(self, sums, records):
        # The mean of the precision at each even digit, from the highest score down.
        even = records["even"][np.argsort(-records["score"], kind="stable")]
        precision = np.cumsum(even) / np.arange(1, len(even) + 1)
        return {"average_precision": float(precision[even].sum() / sums["even"])}

    def predict(self, output):
        return {"score": output[:, 0]}


@pytest.mark.parametrize(
    ("num_devices", "batch_size"), [(1, 1000), (2, 90), (4, 64), (8, 7)]
)
def test_a_metric_of_ranks_is_that_of_scikit_learn_on_any_layout(
    num_devices, batch_size
):
    # 899 examples fill up no batch of these sizes; each is recorded once.
    config = small_config(
        num_devices=num_devices,
        data=dataclasses.replace(small_config().data, eval_batch_size=batch_size),
        task=TaskConfig(name=f"{__name__}:Ranking"),
    )
    run = prepare.prepare(config)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda x: rng.normal(size=x.shape).astype(np.float32), run.variable_shapes
    )
    measured = evaluation.evaluator(run, None)("test", variables)
    examples, head = run.dataset.splits["test"], variables["params"]["head"]
    x = (examples.images.reshape(899, 64) / 255 - run.info.mean[0]) / run.info.std[0]
    score = (x @ head["kernel"] + head["bias"])[:, 0]
    even = examples.column("label") % 2 == 0
    expected = metrics.average_precision_score(even, score)
    assert 0.2 < expected < 0.8
    assert measured.num_examples == 899
    found = measured.scalars["average_precision"]
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow
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
        done = measure.evaluate(tmp_path / label, "latest", "train")
        recall[label] = done.measured.metrics["recall"][1]
    assert recall["weights"] > recall["plain"]
    assert recall["sampling"] > recall["plain"]


def test_a_predictor_says_what_the_evaluation_said(tmp_path):
    fit(small_config(), tmp_path)
    done = measure.evaluate(tmp_path, "latest", "validation")
    run = prepare.prepare(small_config())
    examples = run.dataset.splits["validation"]
    predictor = jaxcnn.load(tmp_path, "latest")
    predicted = predictor(examples.images)["class"]
    correct = (predicted == examples.column("label")).mean()
    assert done.measured.metrics["accuracy"] == pytest.approx(correct, abs=1e-12)
    assert predictor.task.class_names == tuple("0123456789")
    assert predictor.step == done.step == 25
    assert predictor([])["probabilities"].shape == (0, 10)
    answers = [answer["classes"] for answer in predictor.answers(examples.images, 2)]
    assert {len(answer) for answer in answers} == {2}
    assert [answer[0]["class"] for answer in answers] == [str(i) for i in predicted]


def test_other_images_are_measured_and_other_classes_refused(tmp_path):
    images = make_folder(tmp_path / "a", {"": {"x": 10, "y": 10}}).partition("=")[2]
    data = DataConfig(name=images, image_size=8, batch_size=4)
    fit(small_config(data=data), tmp_path / "run")
    other = make_folder(tmp_path / "b", {"": {"x": 8, "y": 8}}).partition("=")[2]
    done = measure.evaluate(tmp_path / "run", split="train", data_name=other)
    assert not done.same_images
    assert measure.evaluate(tmp_path / "run", split="train").same_images
    third = make_folder(tmp_path / "c", {"": {"x": 8, "z": 8}}).partition("=")[2]
    with pytest.raises(ValueError, match="are x, z; the run in .* trained on x, y"):
        measure.evaluate(tmp_path / "run", data_name=third)


def test_an_evaluation_says_which_examples_the_run_has_used(tmp_path, capsys):
    name = make_folder(tmp_path / "images", {"": {"x": 40, "y": 40}})
    images, run = tmp_path / "images", tmp_path / "run"
    data = DataConfig(name=name.partition("=")[2], image_size=8, batch_size=8)
    fit(small_config(data=data, num_epochs=0.2), run)
    splits = prepare.prepare(small_config(data=data)).dataset.splits
    sizes = {split: len(part) for split, part in splits.items()}
    with np.load(run / "examples.npz") as used:
        assert {s: len(used[s]) for s in used} == {
            s: sizes[s] for s in ("train", "validation")
        }
        for hashes in used.values():
            assert (np.diff(hashes) > 0).all()

    done = measure.evaluate(run, "latest")
    assert (done.num_used, done.remark) == ({"train": 0, "validation": 0}, None)
    done = measure.evaluate(run, "latest", "train")
    assert done.num_used == {"train": sizes["train"], "validation": 0}

    # A photo more, and the test split has no image that was trained on.
    Image.new("RGB", (8, 8)).save(images / "x" / "new.png")
    done = measure.evaluate(run, "latest")
    assert (done.same_images, done.remark) == (False, None)

    # Another folder that has some of the images, two of which were trained on.
    kept = names_of(splits["train"])[:2] + names_of(splits["validation"])[:1]
    others = names_of(splits["test"])
    for path in [*kept, *others]:
        (tmp_path / "flat" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(images / path, tmp_path / "flat" / path)
    flat = f"folder:{tmp_path / 'flat'}"
    parts = prepare.prepare(small_config(data=dataclasses.replace(data, name=flat)))
    found = {
        split: used_lib.count(run, part) for split, part in parts.dataset.splits.items()
    }
    assert sum(used["train"] for used in found.values()) == 2
    assert sum(used["validation"] for used in found.values()) == 1
    split = next(split for split in found if found[split]["train"])
    command = ["evaluate", f"--workdir={run}", "--checkpoint=latest"]
    assert __main__.main([*command, f"--data_name={flat}", f"--split={split}"]) == 0
    line = f"known images  in this run, {found[split]['train']} were trained on"
    assert line in capsys.readouterr().out

    whole = (run / "examples.npz").read_bytes()
    (run / "examples.npz").write_bytes(whole[: len(whole) // 2])
    assert __main__.main(command) == 2
    assert "examples.npz, which says what" in capsys.readouterr().err


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
    done = measure.evaluate(tmp_path, "best", "test")
    assert done.step == result.best_step
    assert done.measured.metrics["accuracy"] == result.test["accuracy"]


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    config = small_config(
        optim=OptimConfig(name="sgd", peak_lr=1e30), log_every_steps=2, model="mlp"
    )
    with pytest.raises(FloatingPointError, match="Step . failed: .* optim.peak_lr"):
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
    for i in (8, 9, 10):
        bad.with_name(f"{i}.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="3 of 240 in the data set; .*allows 1%"):
        fit(small_config(data=data, num_epochs=1.0), tmp_path / "other")


def test_a_run_says_what_its_data_took_and_ignored(monkeypatch):
    monkeypatch.setattr(begin, "SLOW_SECONDS", 0.0)
    data = dataclasses.replace(small_config().data, test_fraction=0.5)
    started = begin.begin(prepare.prepare(small_config(data=data)))
    started.batches.close()
    ignored, took = started.remarks[0], started.remarks[-2]
    assert ignored == "Warning: data.test_fraction=0.5 cuts nothing off digits."
    assert took.startswith("The first batch took 0.")


def test_a_data_set_of_one_colour_is_refused(tmp_path):
    # Its standard deviation is zero, and would divide.
    from jaxcnn.data import arrays

    images = np.zeros((20, 8, 8, 1), np.uint8)
    labels = np.arange(20) % 2
    config = DataConfig(name="black")
    dataset = arrays.of_classes("black", "ab", {"train": (images, labels)}, config)
    assert dataset.info.std == (0.0,)
    with pytest.raises(UserError, match="standard deviation .* 0"):
        prepare.prepare(small_config(), dataset=dataset)
