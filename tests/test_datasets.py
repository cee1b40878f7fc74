"""data.name: every kind of it, and what is none."""

import dataclasses
import os
import pathlib
import socket
import time

import matplotlib
import numpy as np
from PIL import Image
import pytest

from jaxcnn.config import DATA_PREFIXES, AugmentConfig, Config, DataConfig
from jaxcnn.data import datasets
from jaxcnn.errors import UserError
from jaxcnn.serving import measure
from jaxcnn.training import prepare, workdir

FONTS = pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf")


@pytest.mark.parametrize("name", ["digits", "glyphs"])
def test_embedded_sets_have_three_splits_of_every_class(name):
    dataset = datasets.load(DataConfig(name=name))
    assert set(dataset.splits) == {"train", "validation", "test"}
    number = len(dataset.info.targets["label"].names)
    for examples in dataset.splits.values():
        assert set(examples.column("label")) == set(range(number))


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_are_those_of_the_config(channels):
    dataset = datasets.load(DataConfig(name="digits", channels=channels))
    assert (
        dataset.info.channels
        == len(dataset.info.mean)
        == len(dataset.info.std)
        == channels
    )
    assert dataset.splits["test"][0]["image"].shape == (8, 8, channels)


@pytest.mark.slow
def test_prefixes_lead_to_folders_of_images_and_of_fonts(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for i in range(5):
            image = Image.fromarray(np.full((4, 4, 3), i, np.uint8))
            image.save(tmp_path / label / f"{i}.png")
    dataset = datasets.load(DataConfig(name=f"folder:{tmp_path}"))
    assert list(dataset.info.targets["label"].names) == ["cat", "dog"]
    dataset = datasets.load(DataConfig(name=f"glyphs:{FONTS}"))
    assert list(dataset.info.targets["label"].names) == list(
        "abcdefghijklmnopqrstuvwxyz"
    )


def test_there_is_a_source_for_each_prefix_of_a_config():
    assert datasets.PREFIXES.keys() == DATA_PREFIXES.keys()
    with pytest.raises(UserError, match="csv:PATH, .* tfds:NAME"):
        datasets.load(DataConfig(name="no"))


def test_an_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(UserError, match="dataset 'digit'; nearest: digits"):
        datasets.load(DataConfig(name="digit"))
    for name in ("no", "tfds:"):
        with pytest.raises(UserError, match=f"Unknown dataset '{name}'"):
            datasets.load(DataConfig(name=name))


@pytest.mark.parametrize(
    "name",
    sorted(set(datasets.DATASETS) - set(datasets._FIXED)) + ["tfds:food101"],
)
def test_missing_data_is_refused_without_asking_the_network(
    tmp_path, monkeypatch, name
):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(UserError, match="tfds build .* --file_format=array_record"):
        datasets.load(DataConfig(name=name, dir=str(tmp_path)))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos")
    for split in ("train", "val"):
        for label in ("cat", "dog"):
            (path / split / label).mkdir(parents=True)
            for i in range(5):
                name = path / split / label / f"{i}.png"
                Image.new("RGB", (4, 4), (i, 0, 0)).save(name)
    return path


@pytest.mark.parametrize(
    ("name", "changes", "remarked"),
    [
        ("digits", {"dir": "elsewhere", "test_fraction": 0.5}, "dir test_fraction"),
        ("digits", {"validation_fraction": 0.5, "split_seed": 3}, ""),
        (
            "digits",
            {"max_pixels": 9, "scaled_decoding": True},
            "scaled_decoding max_pixels",
        ),
        ("shapes", {"bad_images": "skip", "num_workers": 2, "channels": 3}, ""),
        (
            "folder:{}",
            {"validation_fraction": 0.5, "split_seed": 3, "test_fraction": 0.3},
            "validation_fraction split_seed test_fraction",
        ),
        ("folder:{}/train", {"split_seed": 3, "test_fraction": 0.3}, ""),
        ("folder:{}", {"max_pixels": 99, "scaled_decoding": True, "dir": "x"}, "dir"),
    ],
)
def test_a_choice_that_nothing_reads_is_said(
    photos, monkeypatch, name, changes, remarked
):
    monkeypatch.setattr(datasets, "SLOW_SECONDS", np.inf)
    name = name.format(photos)
    dataset = datasets.load(DataConfig(name=name, **changes))
    assert len(dataset.remarks) == len(remarked.split())
    for field in remarked.split():
        assert any(f"data.{field}" in line and name in line for line in dataset.remarks)
    assert datasets.load(DataConfig(name=name)).remarks == ()


@pytest.mark.parametrize(
    ("name", "changes", "text"),
    [
        (
            "folder:{}",
            {"target_kind": "value"},
            "must be 'label' for a folder per class",
        ),
        (
            "digits",
            {"target_kind": "mask"},
            "must be 'label' for digits, which does not",
        ),
        ("digits", {"target_columns": ("x",)}, "must be .. for digits, which does not"),
        ("digits", {"groups": "(a)"}, "data.groups is '.a.', but the examples have no"),
        ("disc", {"groups": "(a)"}, "data.groups is '.a.', but the examples have no"),
        (f"{__name__}:by_hand", {"groups": "(a)"}, "does not say in made_with that it"),
    ],
)
def test_a_choice_of_what_is_learned_that_nothing_reads_is_refused(
    photos, name, changes, text
):
    with pytest.raises(UserError, match=text):
        datasets.load(DataConfig(name=name.format(photos), **changes))


def by_hand(config):
    dataset = datasets.load(DataConfig())
    return dataclasses.replace(dataset, made_with={})


def test_every_kind_of_data_set_is_in_the_table():
    kinds = {*datasets.PREFIXES, "files", "fixed"}
    assert {datasets._kind(name) for name in datasets.DATASETS} == {
        "files",
        "fixed",
        "tfds",
    }
    for field, readers in datasets.READ_BY.items():
        assert hasattr(DataConfig(), field)
        assert set(readers) < kinds


def test_copies_are_only_worth_their_time_where_they_differ():
    config = Config(
        model="softmax_regression",
        data=DataConfig(image_size=8, repeats=3),
        augment=AugmentConfig(noise=1.0),
    )
    prepare.check_training(prepare.prepare(config))
    config.augment = AugmentConfig()
    with pytest.raises(UserError, match="data.repeats must be 1 where nothing changes"):
        prepare.check_training(prepare.prepare(config))
    config.data.repeats, config.data.max_pixels = 1, 2 * 10**8
    with pytest.raises(UserError, match="data.max_pixels must be 1 to 178956970"):
        prepare.check_training(prepare.prepare(config))


def test_data_dir_is_refused_where_no_data_is_in_it(tmp_path):
    config = Config(data=DataConfig(image_size=8))
    workdir.write(tmp_path, config, datasets.load(config.data).info)
    with pytest.raises(
        UserError, match="data_dir must be None for digits, which is no"
    ):
        measure.evaluate(tmp_path, data_dir="elsewhere")


@pytest.mark.slow
def test_twenty_thousand_files_of_a_thousand_classes_are_listed_in_seconds(
    tmp_path, monkeypatch
):
    for label in range(1000):
        folder = tmp_path / f"{label}"
        folder.mkdir()
        for i in range(20):
            os.mknod(folder / f"{i}.png")
    config = DataConfig(name=f"folder:{tmp_path}")
    begin = time.process_time()
    dataset = datasets.load(config)
    assert time.process_time() - begin < 3
    assert sum(dataset.info.num_examples.values()) == 20_000
    for part in dataset.splits.values():
        assert set(part.column("label")) == set(range(1000))
    monkeypatch.setattr(datasets, "SLOW_SECONDS", 0.0)
    (remark,) = datasets.load(config).remarks
    assert "20,000 examples, took " in remark
