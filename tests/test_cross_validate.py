"""Cross-validation: every image predicted once, by a network that never saw it."""

import csv
import dataclasses
import json
import os
import signal

import jax
import numpy as np
from PIL import Image
import pytest
from sklearn import metrics, model_selection

from jaxcnn import __main__, data
from jaxcnn.config import AverageConfig, Config, DataConfig, OptimConfig
from jaxcnn.data import datasets
from jaxcnn.data.examples import (
    ArrayExamples,
    Joined,
    Subset,
    make_dataset,
    names_of,
)
from jaxcnn.errors import UserError
from jaxcnn.report import progress, writers
from jaxcnn.studies import cross_validate
from jaxcnn.targets import classes
from jaxcnn.training import feed, fit
from jaxcnn.training.run import Run
from tests.test_cli import make_folder

# In one process, which makes what the tests share once.
pytestmark = pytest.mark.xdist_group("cross_validate")


def make_config(**changes):
    config = Config(
        model="softmax_regression",
        data=DataConfig(name="digits", image_size=8, batch_size=64),
        optim=OptimConfig(peak_lr=0.3),
        num_epochs=2.0,
        num_devices=1,
    )
    return dataclasses.replace(config, **changes)


def test_joined_examples_are_those_of_its_parts():
    images = np.arange(7, dtype=np.uint8)[:, None, None, None]
    whole = ArrayExamples(images, {"label": np.arange(7)})
    joined = Joined([Subset(whole, np.array([4, 2])), whole])
    assert len(joined) == 9
    expected = [4, 2, *range(7)]
    assert joined.column("label").tolist() == expected
    assert [int(joined[i]["image"].item()) for i in range(9)] == expected
    with pytest.raises(IndexError):
        joined[9]


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """Four folds of digits; how often JAX had compiled after each of them."""
    compiled, after_fold = [], []
    event = "/jax/core/compile/backend_compile_duration"
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *args, **kwargs: compiled.append(name) if name == event else None
    )
    output = tmp_path_factory.mktemp("folds")
    found = cross_validate.cross_validate(
        make_config(),
        4,
        output,
        on_fold=lambda number, fold: after_fold.append(len(compiled)),
    )
    return found, after_fold, output


def test_all_folds_take_one_compilation(result):
    _, after_fold, _ = result
    assert len(after_fold) == 4
    assert after_fold[0] > 0
    assert len(set(after_fold)) == 1  # nothing at all is compiled after the first


def test_folds_and_metrics_are_those_of_scikit_learn(result):
    found, _, _ = result
    splits = data.load(make_config().data).splits
    labels = Joined([splits["train"], splits["validation"]]).column("label")
    assert found.captions == list(map(str, labels))
    splitter = model_selection.StratifiedKFold(4, shuffle=True, random_state=0)
    predicted = np.full(len(labels), -1)
    for number, (_, unseen) in enumerate(splitter.split(labels, labels)):
        fold = found.folds[number]
        np.testing.assert_array_equal(fold.indices, unseen)
        accuracy = metrics.accuracy_score(labels[unseen], fold.predicted["class"])
        assert fold.metrics["accuracy"] == pytest.approx(accuracy, abs=1e-12)
        loss = metrics.log_loss(labels[unseen], fold.predicted["probabilities"])
        assert fold.metrics["loss"] == pytest.approx(loss, rel=1e-4)
        predicted[unseen] = fold.predicted["class"]
    expected = metrics.confusion_matrix(labels, predicted)
    np.testing.assert_array_equal(found.pooled.metrics["confusion"], expected)
    assert found.stopped_by is None
    assert np.trace(expected) > 0.85 * len(labels)


class Noise:
    """Random labels of random images: there is nothing to learn but by heart."""

    def __call__(self, config):
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (120, 8, 8, 1), np.uint8)
        labels = rng.permutation(np.arange(120, dtype=np.int32) % 2)
        parts = {
            "train": slice(80),
            "validation": slice(80, 100),
            "test": slice(100, 120),
        }
        return make_dataset(
            {
                name: ArrayExamples(images[part], {"label": labels[part]})
                for name, part in parts.items()
            },
            targets=classes(("a", "b")),
            channels=1,
            mean=(0.5,),
            std=(0.3,),
            fingerprint="noise",
        )


@pytest.mark.slow
def test_a_network_has_not_seen_what_it_predicts(tmp_path, monkeypatch):
    monkeypatch.setitem(datasets.DATASETS, "noise", Noise())
    config = make_config(
        data=DataConfig(name="noise", image_size=8, batch_size=16), num_epochs=60.0
    )
    found = cross_validate.cross_validate(config, 5, tmp_path)
    # 100 images: 0.5 is chance with a standard error of 0.05; by heart it would be 1.
    assert 0.3 <= found.values("accuracy").mean() <= 0.7
    assert found.pooled.num_examples == 100  # the test images are left alone
    assert len(found.images) == 100
    assert found.images[79:81] == ["train[79]", "validation[0]"]


@pytest.mark.slow
def test_a_fold_is_a_run_of_its_own_with_phases_and_average(tmp_path, monkeypatch):
    compiled = []
    compile_train_step = Run.compile_train_step

    def counted(run, state, step=0):
        compiled.append(step)
        return compile_train_step(run, state, step)

    monkeypatch.setattr(Run, "compile_train_step", counted)
    config = make_config(
        model="mlp",
        optim=OptimConfig(peak_lr=0.1, unfreeze=(("head", 0.0), ("stage1.*", 1.0))),
        average=AverageConfig("ema", decay=0.9),
    )
    found = cross_validate.cross_validate(config, 3, tmp_path / "folds")
    assert compiled == [0, 9]  # once for each set of parameters, not for each fold

    # Fold 2 as a run: its images, its last step, its average.
    splits = data.load(config.data).splits
    pool = Joined([splits["train"], splits["validation"]])
    unseen = found.folds[1].indices
    seen = np.setdiff1d(np.arange(len(pool)), unseen)
    cut = {"train": Subset(pool, seen), "validation": Subset(pool, unseen)}
    dataset = data.load(config.data).with_splits(cut)
    monkeypatch.setattr(data, "load", lambda config: dataset)
    result = fit.fit(
        dataclasses.replace(config, eval_every_epochs=2.0),
        tmp_path / "run",
        make_writer=writers.for_trial,
    )
    assert result.best_step == result.step
    assert result.validation == found.folds[1].metrics


def test_a_fold_trains_on_as_many_images_of_each_class_as_a_run(tmp_path, monkeypatch):
    trained, train_batches = [], feed.train_batches

    def noted(run, folder, start):
        trained.append(run.dataset.splits["train"])
        return train_batches(run, folder, start)

    monkeypatch.setattr(feed, "train_batches", noted)
    images = DataConfig(name="digits", image_size=8, batch_size=10, num_per_class=2)
    found = cross_validate.cross_validate(make_config(data=images), 2, tmp_path)
    first, second = trained[-2:]
    assert np.bincount(first.column("label")).tolist() == [2] * 10
    assert np.bincount(second.column("label")).tolist() == [2] * 10
    unseen = [set(found.folds[i].indices.tolist()) for i in (0, 1)]
    assert set(first.indices.tolist()) < unseen[1]  # of two folds, what is held out
    assert set(second.indices.tolist()) < unseen[0]  # of one is seen by the other


def interrupt_at(step):
    """A progress that sends this process a SIGTERM."""

    def update(done, total):
        if done == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return update


@pytest.mark.slow
def test_finished_folds_are_kept_and_the_others_are_the_same(result, tmp_path):
    whole, _, _ = result
    # 21 steps a fold: within the third.
    stopped = cross_validate.cross_validate(
        make_config(), 4, tmp_path, progress=interrupt_at(50)
    )
    assert stopped.stopped_by == signal.SIGTERM
    assert list(stopped.folds) == [0, 1]
    steps = []
    again = cross_validate.cross_validate(
        make_config(), 4, tmp_path, progress=lambda done, total: steps.append(done)
    )
    assert steps == list(range(43, 85))
    for number, fold in whole.folds.items():
        assert again.folds[number].metrics == fold.metrics
        np.testing.assert_array_equal(again.folds[number].indices, fold.indices)
        for name, expected in fold.predicted.items():
            found = again.folds[number].predicted[name]
            np.testing.assert_array_equal(found, expected)


def test_a_damaged_fold_is_computed_again(result, tmp_path):
    task, path, lines = result[0].task, tmp_path / "fold1.npz", []
    cross_validate._write(path, result[0].folds[0])
    text = path.read_bytes()
    assert cross_validate._read(path, task, lines.append) is not None
    assert lines == []
    other = tmp_path / "other.npz"
    np.savez(other, x=np.zeros(2))
    for damaged in b"", text[:100], text[:-1], text.replace(b"NUMPY", b"NUMPX", 1):
        path.write_bytes(damaged)
        assert cross_validate._read(path, task, lines.append) is None
        assert f"of fold1.npz is computed again: {path} is damaged: " in lines.pop()
    assert cross_validate._read(other, task, lines.append) is None
    assert lines == ["The fold of other.npz is computed again: 'indices'"]


def test_another_study_in_the_folder_is_refused(result):
    _, _, output = result
    changed = make_config(seed=3)
    with pytest.raises(UserError, match=r"another study \(folds: 4 -> 3; seed: 0 -> 3"):
        cross_validate.cross_validate(changed, 3, output)


def pool_of(folder, num_folds, **fields):
    """Name of each image that is not in the test split -> its fold."""
    config = make_config(data=DataConfig(name=f"folder:{folder}", **fields))
    dataset = data.load(config.data)
    pool = Joined((dataset.splits["train"], dataset.splits["validation"]))
    names, columns = names_of(pool), {"label": pool.column("label")}
    parts = cross_validate._parts(config, dataset, columns, num_folds, names)
    for seen, unseen in parts:
        assert sorted([*seen, *unseen]) == list(range(len(pool)))
    return {names[i]: fold for fold, (_, unseen) in enumerate(parts) for i in unseen}


def test_an_image_that_is_added_moves_few_others_between_folds(tmp_path):
    make_folder(tmp_path, {"": {"a": 60, "b": 40}})
    before = pool_of(tmp_path, 5)
    counts = np.bincount(list(before.values()))
    assert counts.max() - counts.min() <= 2
    (tmp_path / "a" / "new.png").write_bytes((tmp_path / "a/1.png").read_bytes())
    after = pool_of(tmp_path, 5)
    assert set(before) <= set(after)
    assert sum(before[name] != after[name] for name in before) <= 4


def test_both_images_of_a_subject_are_in_one_fold(tmp_path):
    # As random images that exist twice, of which a network would know the second.
    for label in "ab":
        (tmp_path / label).mkdir()
        for i in range(40):
            name = tmp_path / label / f"subject{i // 2}_{i % 2}.png"
            Image.new("L", (8, 8), i).save(name)
    found = pool_of(tmp_path, 4, groups="(./subject[0-9]+)_")
    for name, fold in found.items():
        other = name.replace("_0", "_x").replace("_1", "_0").replace("_x", "_1")
        assert found[other] == fold
    apart = pool_of(tmp_path, 4)
    assert any(apart.get(n.replace("_0", "_1"), f) != f for n, f in apart.items())
    with pytest.raises(UserError, match="Stratum 'a' has .* in .* groups; 30 folds"):
        pool_of(tmp_path, 30, groups="(./subject[0-9]+)_")


def test_an_image_that_is_left_out_shifts_no_other(tmp_path):
    images = make_folder(tmp_path / "images", {"train": {"a": 130, "b": 130}})
    bad = tmp_path / "images" / "train" / "a" / "7.png"
    bad.write_bytes(b"no image")
    name = images.partition("=")[2]
    config = make_config(
        data=DataConfig(name=name, image_size=8, batch_size=8, bad_images="skip")
    )
    found = cross_validate.cross_validate(config, 2, tmp_path / "folds")
    seen = np.concatenate([fold.indices for fold in found.folds.values()])
    missing = set(range(260)) - set(seen.tolist())
    assert [found.images[i] for i in missing] == [str(bad)]
    for fold in found.folds.values():
        right = [
            found.task.class_names[label] == found.captions[i]
            for label, i in zip(fold.predicted["class"], fold.indices, strict=True)
        ]
        assert fold.metrics["accuracy"] == pytest.approx(np.mean(right))


CONFIG = """
from jaxcnn.config import Config, DataConfig, OptimConfig

def get_config():
    return Config(
        model="softmax_regression",
        data=DataConfig(name="digits", image_size=8, batch_size=64),
        optim=OptimConfig(peak_lr=0.3),
        num_epochs=2.0,
        num_devices=1,
    )
"""


@pytest.fixture
def call(tmp_path):
    (tmp_path / "experiment.py").write_text(CONFIG)
    command = ["cross_validate", f"--config={tmp_path / 'experiment.py'}"]
    return lambda *flags: __main__.main([*command, *flags])


@pytest.mark.slow
def test_the_command_writes_predictions_and_goes_on(
    call, tmp_path, capsys, monkeypatch
):
    flags = ("--folds=3", f"--output={tmp_path / 'folds'}")
    with monkeypatch.context() as patch:
        bar = progress.bar

        class Interrupting:
            def __enter__(self):
                return interrupt_at(30)

            def __exit__(self, *args):
                pass

        patch.setattr(progress, "bar", lambda what: Interrupting())
        assert call(*flags) == 143
        assert progress.bar is not bar
    out = capsys.readouterr().out
    assert "fold 1/3" in out
    assert "after 1 of 3 folds, which are kept" in out
    assert call(*flags) == 0
    out = capsys.readouterr().out
    assert "fold 3/3" in out

    rows = list(csv.DictReader((tmp_path / "folds" / "predictions.csv").open()))
    assert len(rows) == 898
    assert rows[0]["image"] == "train[0]"
    assert rows[-1]["image"] == "validation[89]"
    for row in rows[::50]:
        probabilities = {str(i): float(row[f"P({i})"]) for i in range(10)}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert max(probabilities, key=probabilities.get) == row["prediction"]
    by_fold = [
        [row["target"] == row["prediction"] for row in rows if row["fold"] == str(fold)]
        for fold in (1, 2, 3)
    ]
    accuracies = [np.mean(right) for right in by_fold]
    written = json.loads((tmp_path / "folds" / "cross_validate.json").read_text())
    assert [f["accuracy"] for f in written["folds"]] == pytest.approx(accuracies)
    mean, std = np.mean(accuracies), np.std(accuracies, ddof=1)
    assert written["mean"]["accuracy"] == pytest.approx(mean)
    assert written["std"]["accuracy"] == pytest.approx(std)
    assert f"accuracy       {mean:.4f} ± {std:.4f}" in out
    confusion = list(csv.reader((tmp_path / "folds" / "confusion.csv").open()))
    assert sum(int(confusion[i + 1][i + 1]) for i in range(10)) == sum(
        map(sum, by_fold)
    )
    with Image.open(tmp_path / "folds" / "confusion.png") as picture:
        assert min(picture.size) > 300

    assert call(*flags, "--format=json") == 0
    assert json.loads(capsys.readouterr().out) == written


def test_mistakes_are_one_line(call, tmp_path, capsys):
    output = f"--output={tmp_path / 'folds'}"
    few = make_folder(tmp_path / "few", {"train": {"a": 9, "b": 3}})
    for flags, text in (
        ([], "--output=DIR is missing"),
        ([output, "--folds=1"], "folds must be at least 2, not 1"),
        ([output, "--folds=88"], "has 86 images besides"),
        (
            [output, few, "--folds=4"],
            "Stratum 'b' has 3 images besides those of the test",
        ),
        ([output, "--config.early_stopping_patience=2"], "would determine when to"),
        ([output, "--config.data.batch_size=800"], "more than the 718 training"),
    ):
        assert call(*flags) == 2
        line = capsys.readouterr().err
        assert text in line
        assert line.count("\n") == 1
    assert list((tmp_path / "folds").iterdir()) == []
