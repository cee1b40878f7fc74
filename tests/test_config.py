"""The config of a run: types, names, JSON, and what a resume may change."""

import dataclasses
import json

import pytest

from jaxcnn import config_fields
from jaxcnn.config import Config, DataConfig, OptimConfig


def test_every_field_says_what_it_means():
    for name, (field, _) in config_fields.fields(Config()).items():
        assert len(field.metadata["meaning"]) > 10, name


def through_json(config):
    """The values of a config as its file has them."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def test_json_gives_the_same_config_back():
    config = Config(
        model="mlp",
        model_fields=(("widths", (8, 4)), ("activation", "tanh")),
        data=DataConfig(channels=3),
        optim=OptimConfig(lr_factors=(("stem", 0.1), (".*", 1.0)), clip_norm=1),
    )
    config_fields.check(config)
    back = config_fields.from_values(through_json(config))
    assert back == config
    assert back.model_fields == (("widths", (8, 4)), ("activation", "tanh"))
    assert type(back.optim.clip_norm) is float


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("num_epochs", "3", "num_epochs is '3'; it must be of type float"),
        ("seed", 1.5, "seed is 1.5; it must be of type int"),
        ("seed", True, "seed is True; it must be of type int"),
        ("num_devices", 2.0, r"num_devices is 2.0; it must be of type int \| None"),
    ],
)
def test_a_value_of_another_type_is_refused(name, value, expected):
    config = dataclasses.replace(Config(), **{name: value})
    with pytest.raises(ValueError, match=expected):
        config_fields.check(config)


def test_a_pair_of_another_type_is_refused():
    config = Config(optim=OptimConfig(lr_factors=(("stem", "fast"),)))
    with pytest.raises(ValueError, match="optim.lr_factors is .*'fast'"):
        config_fields.check(config)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("optim.peak_lrr", "optim.peak_lr"),
        ("peak_lr", "optim.peak_lr"),
        ("data.batchsize", "data.batch_size"),
        ("epochs", "num_epochs"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_ones(name, nearest):
    error = config_fields.unknown_field(name)
    assert f"Unknown config field {name!r}; nearest: " in str(error)
    assert nearest in str(error)


def test_an_attribute_that_is_no_field_is_refused():
    config = Config()
    config.optim.learning_rate = 3.0
    with pytest.raises(ValueError, match="Unknown config field 'optim.learning_rate'"):
        config_fields.check(config)


def test_tuples_within_tuples_stay_so():
    fields = (("stages", ((8, 1), (16, 2))), ("act", "relu"))
    config = Config(model_fields=fields)
    assert config_fields.from_values(through_json(config)).model_fields == fields


def test_a_field_of_another_version_is_refused_by_name():
    values = through_json(Config())
    values["optim"]["peak_rate"] = values["optim"].pop("peak_lr")
    with pytest.raises(ValueError, match="Unknown config field 'optim.peak_rate'"):
        config_fields.from_values(values)


def test_only_what_changes_numbers_counts_as_a_difference():
    old = Config()
    new = Config(
        data=DataConfig(dir="/elsewhere", num_threads=9),
        log_every_steps=3,
        num_devices=4,
        parallel="pmap",
    )
    assert config_fields.differences(old, new) == []
    new = Config(optim=OptimConfig(peak_lr=0.5), seed=1)
    assert config_fields.differences(old, new) == [
        "optim.peak_lr: 0.1 -> 0.5",
        "seed: 0 -> 1",
    ]


def test_a_folder_that_has_moved_is_no_difference():
    # Its content is compared by the fingerprint of the images.
    def differences(old, new):
        configs = (Config(data=DataConfig(name=name)) for name in (old, new))
        return config_fields.differences(*configs)

    for prefix in "folder", "csv", "glyphs":
        assert differences(f"{prefix}:/a", f"{prefix}:/b") == []
    other = differences("folder:/a", "tfds:a")
    assert other == ["data.name: 'folder:/a' -> 'tfds:a'"]
    assert len(differences("tfds:a", "tfds:b")) == 1


def test_a_module_that_is_called_folder_is_no_folder():
    old, new = (Config(model=name) for name in ("folder:Small", "folder:Large"))
    changed = config_fields.differences(old, new)
    assert changed == ["model: 'folder:Small' -> 'folder:Large'"]


def test_fields_are_replaced_by_name_in_a_copy():
    config = Config(optim=OptimConfig(decay_epochs=(1.0,)))
    values = {"optim.decay_epochs": [3, 6.0], "seed": 4, "optim.clip_norm": 1}
    changed = config_fields.replace(config, values)
    assert changed.optim.decay_epochs == (3.0, 6.0)
    assert (changed.seed, changed.optim.clip_norm) == (4, 1.0)
    assert config == Config(optim=OptimConfig(decay_epochs=(1.0,)))
    assert config_fields.declared_type("optim.clip_norm") == float | None
    with pytest.raises(ValueError, match="Unknown config field 'optim.peak'"):
        config_fields.replace(config, {"optim.peak": 1.0})
    with pytest.raises(ValueError, match="Unknown config field 'optim'"):
        config_fields.replace(config, {"optim": 1.0})
    with pytest.raises(ValueError, match="seed is 0.5; it must be of type int"):
        config_fields.replace(config, {"seed": 0.5})
