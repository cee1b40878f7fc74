"""data.name: every kind of it, and what is none."""

import pathlib
import socket

import matplotlib
import numpy as np
from PIL import Image
import pytest

from jaxcnn.config import DATA_PREFIXES, DataConfig
from jaxcnn.data import datasets
from jaxcnn.errors import UserError

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
    sorted(set(datasets.DATASETS) - {"digits", "glyphs", "shapes", "disc"})
    + ["tfds:food101"],
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
