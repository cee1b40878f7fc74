"""The JSON files of a run and of weights, damaged in many ways: as they were, or one
line."""

import dataclasses
import json
import re

import jax
import numpy as np
import pytest

from jaxcnn import json_files, models, tasks
from jaxcnn.config import Config, DataConfig, OptimConfig, TaskConfig
from jaxcnn.data.examples import DatasetInfo
from jaxcnn.errors import UserError
from jaxcnn.pretrained import weights
from jaxcnn.pretrained.preprocessing import Preprocessing
from jaxcnn.targets import Target
from jaxcnn.training import workdir

CONFIG = Config(
    model="mlp",
    model_fields=(("widths", (8, 4)),),
    data=DataConfig(image_size=(8, 6), image_size_stages=((4, 0.5),)),
    task=TaskConfig(class_weights="balanced"),
    optim=OptimConfig(lr_factors=(("stem", 0.1), (".*", 1.0)), clip_norm=1.0),
)
INFO = DatasetInfo(
    targets={"label": Target("label", "int32", names=("caf\u00e9", "\udce9", "$x$"))},
    num_examples={"train": 7, "validation": 2},
    channels=1,
    mean=(0.25,),
    std=(0.5,),
    fingerprint="a1b2",
    value_range=(0.0, 1.0),
    statistics={"counts": [3, 3, 1]},
)
WEIGHTS = weights.Weights(
    model="softmax_regression",
    fields={},
    num_classes=2,
    class_names=("cat", "dog"),
    channels=1,
    preprocessing=Preprocessing(28, 1.0, "bilinear", (0.5,), (0.5,)),
    library="pytorch",
    file="weights.pth",
    sha256="0" * 64,
    variables={},
)


def open_run(folder):
    config, info = workdir.read(folder)
    tasks.create_task(config.task, info.targets, info.statistics)
    return config, info


def open_weights(folder):
    opened = weights.open_folder(folder)
    return dataclasses.replace(opened, variables=None)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder with all three files."""
    folder = tmp_path_factory.mktemp("files")
    shape = (*models.MODELS[WEIGHTS.model].image_shape[:2], WEIGHTS.channels)
    shapes = models.abstract_variables(WEIGHTS.make_model(), shape)
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    given = dataclasses.replace(WEIGHTS, variables=zeros)
    weights.save(given, folder / "weights")
    workdir.write(folder / "weights", CONFIG, INFO)
    return folder / "weights"


OPEN = {
    "config.json": open_run,
    "dataset.json": open_run,
    "model.json": open_weights,
}


@pytest.fixture
def outcome(original, tmp_path):
    """outcome(file, text): "equal", "other" or the error of opening the folder."""
    for path in original.iterdir():
        (tmp_path / path.name).hardlink_to(path)

    def open_with(name, text):
        path = tmp_path / name
        path.unlink()
        path.write_bytes(text)
        try:
            opened = OPEN[name](tmp_path)
        except UserError as error:
            return str(error)
        return "equal" if opened == OPEN[name](original) else "other"

    return open_with


def leaves(values, path=()):
    """(path, value) of everything in a JSON object, objects and lists themselves."""
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in items:
        yield (*path, key), value
        if isinstance(value, dict | list):
            yield from leaves(value, (*path, key))


def changed(values, path, value):
    copy = json.loads(json.dumps(values))
    holder = copy
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return copy


WRONG = (
    *(None, True, 0, -1, 1, 2**70, 1.5, -0.0, 1e308, "x", "", "\x00", [], [[]], [None]),
    *({}, {"x": 1}, ["x", "x"], [0, 0, 0, 0], [1e9] * 3, [["head", "x"]]),
)


@pytest.mark.parametrize("name", OPEN)
def test_a_wrong_value_is_one_line_that_names_file_and_field(name, original, outcome):
    values = json.loads((original / name).read_text())
    digest = values.pop(json_files.DIGEST)
    fields = list(leaves(values))
    rng = np.random.default_rng(0)
    named = 0
    for path, old in fields:
        for index in rng.permutation(len(WRONG))[:4]:
            new = WRONG[index]
            text = json.dumps(changed(values, path, new))
            # Without a digest, as of an older version, and with it.
            found = outcome(name, text.encode())
            named += f"{name} cannot be read" in found and str(path[0]) in found
            text = json.dumps(changed({**values, json_files.DIGEST: digest}, path, new))
            found_with = outcome(name, text.encode())
            is_equal = json.dumps(old) == json.dumps(new)
            assert (found_with == "equal") == is_equal, (path, old, new)
            assert found_with == "equal" or name in found_with
            assert "\n" not in found + found_with
    assert named > 1.6 * len(fields)  # most, and the others are allowed


@pytest.mark.parametrize("name", OPEN)
def test_a_flipped_bit_or_a_cut_is_noticed(name, original, outcome):
    text = (original / name).read_bytes()
    rng = np.random.default_rng(1)
    for place in rng.choice(len(text), 150, replace=False):
        damaged = bytearray(text)
        damaged[place] ^= 1 << int(rng.integers(8))
        found = outcome(name, bytes(damaged))
        assert found == "equal" or name in found, (place, found)
        if found == "equal":  # white space, or a digit that a float does not hold
            assert json.loads(damaged) == json.loads(text)
    for length in (0, 1, len(text) // 2, len(text) - 3):
        assert "cannot be read" in outcome(name, text[:length])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"[" * 100_000, "recursion"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "digits"),
        (b'{"num_epochs": NaN}', "NaN is not a finite number"),
        (b'{"num_epochs": 1e999}', "1e999 is not a finite number"),
        (b'{"seed": 0, "seed": 1}', "an object has a field twice"),
        (b'{"model": "\xff"}', "can't decode"),
        (b"[]", "must hold an object"),
        (b'{"__class__": 1}', "Unknown config field '__class__'"),
        (b'{"data": []}', "Config section data. is \\[\\]"),
        (b'{"num_epochs": 1e12}', "num_epochs must be in \\(0, 1e9\\]"),
    ],
)
def test_json_that_is_no_config_is_one_line(text, why, outcome):
    assert re.search(f"config.json cannot be read.*{why}", outcome("config.json", text))


def test_an_altered_class_name_is_noticed(original, outcome):
    for name, old, new in (
        ("dataset.json", "$x$", "$y$"),
        ("dataset.json", "a1b2", "a1b3"),
        ("model.json", "cat", "cut"),
        ("config.json", '"seed": 0', '"seed": 1'),
    ):
        text = (original / name).read_text().replace(old, new)
        assert f"{name} was altered" in outcome(name, text.encode())


def test_an_older_file_without_a_digest_is_read(original, outcome):
    for name in OPEN:
        values = json.loads((original / name).read_text())
        del values[json_files.DIGEST]
        assert outcome(name, json.dumps(values).encode()) == "equal"


def test_a_file_that_would_take_all_memory_is_neither_read_nor_written(tmp_path):
    path, name = tmp_path / "config.json", "x" * 2**24
    with pytest.raises(UserError, match="cannot be written: it has over 16,777,216 b"):
        json_files.write(path, {"names": name})
    path.write_text(f'{{"names": "{name}"}}')
    with pytest.raises(UserError, match="it has more than 16,777,216 bytes"):
        json_files.read(path, dict)


def test_a_file_that_cannot_be_opened_is_one_line(tmp_path):
    (tmp_path / "config.json").mkdir()
    with pytest.raises(UserError, match="config.json cannot be read: Is a directory"):
        json_files.read(tmp_path / "config.json", dict)


@pytest.mark.parametrize("value", [float("nan"), np.zeros(2), object()])
def test_what_json_does_not_have_is_not_written(value, tmp_path):
    path = tmp_path / "config.json"
    with pytest.raises(UserError, match="config.json cannot be written: .*JSON"):
        json_files.write(path, {"x": value})
    assert not path.exists()
