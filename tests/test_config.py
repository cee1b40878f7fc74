"""The config of a run: types, names, JSON, and what a resume may change."""

import dataclasses
import json
import re

import pytest

from jaxcnn import config_fields, errors
from jaxcnn.config import Config, DataConfig, OptimConfig
from jaxcnn.errors import UserError


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


NAN, INF = float("nan"), float("inf")
# Field -> values just outside of what is allowed, and one just inside.
BOUNDS = {
    "num_epochs": ([0.0, -1.0, 1e12, INF, NAN], 1e9),
    "eval_every_epochs": ([0.0, 1e-9, NAN], 1e-4),
    "seed": ([-1, 2**32, 2**70], 2**32 - 1),
    "steps_per_epoch": ([0, 2**31], None),
    "data.split_seed": ([-1, 2**32], 2**32 - 1),
    "data.batch_size": ([0, -3, 10**9], 1),
    "data.num_threads": ([0, 10**6], 1),
    "data.num_workers": ([-1, 10**6], 0),
    "data.validation_fraction": ([1.0, -0.1], 0.999),
    "augment.flip": ([1.5, -0.1], 1.0),
    "augment.crop_padding_pixels": ([-1, 10**9], 0),
    "augment.shift_pixels": ([-1.0, INF], 0.0),
    "augment.rotation_degrees": ([181.0], 180.0),
    "augment.shear_degrees": ([90.0], 80.0),
    "augment.noise": ([NAN, 256.0], 255.0),
    "augment.randaugment": ([-1, 10**6], 2),
    "augment.randaugment_magnitude": ([31], 30),
    "augment.hue": ([0.6], 0.5),
    "augment.mixup": ([-1.0, INF], 0.0),
    "task.label_smoothing": ([1.0, -0.1], 0.9),
    "task.threshold": ([1.0, 0.0], 0.5),
    "task.huber_delta": ([0.0, INF], 1.0),
    "optim.peak_lr": ([0.0, NAN, INF], 1e-9),
    "optim.lr_for_batch_size": ([0], None),
    "optim.warmup_epochs": ([-1.0], 0.0),
    "optim.momentum": ([1.0], 0.0),
    "optim.beta1": ([-0.1], 0.0),
    "optim.beta2": ([NAN], 0.999),
    "optim.epsilon": ([-1.0], 0.0),
    "optim.weight_decay": ([-1e-4], 0.0),
    "optim.clip_norm": ([0.0], None),
    "optim.decay_factor": ([0.0], 1.0),
    "optim.decay_epochs": ([(1.0, NAN), (-1.0,)], (1.0, 2.0)),
    "optim.lr_decay": ([0.0, 1.5], 1.0),
    "optim.lr_factors": ([((".*", -0.5),), ((".*", NAN),)], ((".*", 0.0),)),
    "optim.unfreeze": ([(("head", -1.0),)], (("head", 0.0),)),
    "average.decay": ([1.0, -0.1], 0.0),
    "average.start_epoch": ([-1.0, INF], 0.0),
    "model": (["a\0b"], "a b"),
    "model_fields": (
        [(("a", NAN),), (("a", object()),), (("a", {}),), (("a", 1), ("a", 2))],
        (("a", ("b", None, True)),),
    ),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_value_out_of_its_bounds_is_refused_by_name_and_rule(name):
    wrong, right = BOUNDS[name]
    for value in wrong:
        with pytest.raises(UserError) as caught:
            config_fields.replace(Config(), {name: value})
        line = str(caught.value)
        assert re.fullmatch(rf"{name} must be .+, not .+\.", line)
        assert line.endswith(f"not {errors.shown(value)}.")
    config_fields.replace(Config(), {name: right})


def test_each_number_has_bounds():
    for name, (field, _) in config_fields.fields(Config()).items():
        if config_fields.declared_type(name) in (int, float, int | None, float | None):
            assert field.metadata["allowed"], name


def test_a_value_that_cannot_be_printed_is_refused_all_the_same():
    with pytest.raises(UserError, match=r"seed must be in .*, not a int \(ValueError"):
        config_fields.replace(Config(), {"seed": 10**5000})


def test_a_misspelt_argument_of_a_section_names_the_nearest():
    with pytest.raises(UserError, match="'lr'; nearest: .*lr_decay, .*peak_lr"):
        OptimConfig(lr=1)
    with pytest.raises(
        UserError, match="field of Config 'epochs'; nearest: .*, num_epochs"
    ):
        Config(epochs=3)
