"""Every experiment builds, and its step fits together, on fake data of its shape.

Compiling the networks as they are would take an hour, so each has few blocks and small
images for its steps, and most steps are only traced. Compiled and taken are those of
experiments that together have every choice that a recipe makes of optimizer, schedule,
augmentation and loss, and of the networks that no other library has; how the others
train, test_parity compares with the libraries that have them.
"""

import dataclasses
import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import data, models
from jaxcnn.config import Config
from jaxcnn.data.examples import ArrayExamples, make_dataset
from jaxcnn.data.transforms import height_and_width
from jaxcnn.targets import Target, classes
from jaxcnn.training import feed
from jaxcnn.training import prepare as prepare_lib

FOLDER = pathlib.Path(__file__).parent.parent / "experiments"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))

# Classes and channels of the data sets: their own pages.
SHAPES = {
    "digits": (10, 1),
    "glyphs": (26, 1),
    "cifar10": (10, 3),
    "cifar100": (100, 3),
    "imagenet2012": (1000, 3),
    "folder:photos": (5, 3),
    "folder:grey_photos": (2, 1),
    "shapes": (5, 1),
    "disc": (3, 1),
    "text_lines": (27, 1),
    "glyph_scenes": (11, 3),
    "glyph_crops": (10, 3),
    "road": (2, 3),  # a second number, so that numbers differ
}
# Data sets whose target is no class -> its kind and dtype.
KINDS = {
    "shapes": ("labels", "uint8"),
    "disc": ("value", "float32"),
    "road": ("value", "float32"),
    "text_lines": ("text", "int32"),
}

# Experiments that take their steps -> height and width of their images then.
COMPILED = {
    "alexnet_2012_imagenet": 64,
    "character_net_glyphs": 32,
    "convnext_tiny_imagenet": 32,
    "crnn_text_lines": (32, 64),
    "disc_regression": 32,
    "dncnn_photos": 32,
    "googlenet_2014_imagenet": 80,
    "hmax_digits": 64,
    "inception_resnet_v2_imagenet": 75,
    "lenet5_digits": 32,
    "mobilenet_v3_large_imagenet": 32,
    "neocognitron_digits": 16,
    "pilotnet_road": 66,
    "resnet20_cifar10": 32,
    "resnet50_modern_imagenet": 32,
    "resnetv2_50_imagenet": 32,
    "shapes_multi_label": 32,
    "shufflenet_g3_w1_imagenet": 32,
    "unet_glyph_scenes": 32,
}
QUICK = ("lenet5_digits",)  # of those that are compiled
SLOW = ("inception", "resnetv2_1001", "xception")

# Numbers that change no operation of a step.
NUMBERS = {
    *("optim.peak_lr", "optim.warmup_epochs", "optim.weight_decay", "optim.momentum"),
    *("optim.decay_epochs", "optim.decay_every_epochs", "optim.decay_factor"),
    *("optim.beta2", "optim.epsilon", "optim.power", "augment.randaugment_magnitude"),
}
# Choices of one experiment, finetune_folder, that test_layerwise and test_resume
# compile.
ELSEWHERE = {
    ("optim.unfreeze", ""),
    ("optim.unfreeze_warmup_epochs", ""),
    ("optim.lr_decay", ""),
}


def marked(compiled=()):
    slow = {name for name in NAMES if name.startswith(SLOW)}
    slow |= {*compiled} - {*QUICK}
    return [
        pytest.param(name, marks=[pytest.mark.slow] if name in slow else [])
        for name in NAMES
    ]


def recipe(config):
    """What a config chooses of the step: names, and fields that are not at rest."""
    chosen = set()
    for part in ("optim", "augment", "average", "task"):
        values, at_rest = getattr(config, part), getattr(Config(), part)
        for field in dataclasses.fields(values):
            value, name = getattr(values, field.name), f"{part}.{field.name}"
            if isinstance(value, str):
                chosen.add((name, value))
            elif value != getattr(at_rest, field.name) and name not in NUMBERS:
                chosen.add((name, ""))
    return chosen


def get_config(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert f"--config=experiments/{name}.py" in module.__doc__
    assert "Result:" in module.__doc__
    return module.get_config()


def fake(config):
    """Random images instead of those that the config names."""
    num_classes, channels = SHAPES[config.name]
    size, rng = height_and_width(config.image_size), np.random.default_rng(0)
    count = max(config.batch_size, num_classes)
    images = rng.integers(0, 256, (count, *size, channels), np.uint8)
    names = tuple(str(i) for i in range(num_classes))
    targets, column = classes(names), np.arange(count, dtype=np.int32) % num_classes
    if config.name in KINDS:
        kind, dtype = KINDS[config.name]
        ragged = kind == "text"  # here each character once, from one of them on
        target = Target(kind, dtype, (num_classes,), ragged=ragged, names=names)
        targets = {kind: target}
        rows = np.eye(num_classes, dtype=dtype)
        if ragged:
            numbers = np.arange(num_classes)
            rows = (numbers + numbers[:, None]) % num_classes
        column = rows[column]
    if config.name == "glyph_scenes":
        targets = {"mask": Target("mask", "uint8", names=names, fill=255)}
        column = rng.integers(0, num_classes, (count, *size), np.uint8)
    examples = ArrayExamples(images, {name: column for name in targets})
    return make_dataset(
        {"train": examples, "validation": examples, "test": examples},
        targets=targets,
        channels=channels,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        fingerprint="fake",
    )


def prepare(config, monkeypatch, model=None, **sizes):
    """The run on one device with other sizes of its batches or images."""
    monkeypatch.setattr(data, "load", fake)
    data_config = dataclasses.replace(config.data, num_per_class=None, **sizes)
    config = dataclasses.replace(config, data=data_config, num_devices=1)
    return prepare_lib.prepare(config, model=model)


def smaller(model):
    """Fields of the same network with a block or two in each stage."""
    if model == "vgg11_bn":
        return {}  # it is small in its experiments
    network = models.create_model(model, 10)
    stages = getattr(network, "stages", ())
    fields = {}
    if hasattr(network, "depths"):
        fields["depths"] = tuple(1 for _ in network.depths)
    if model.startswith(("resnet", "wide", "vgg")):
        fields["filters"] = {"vgg16": (8,) * 5}.get(model, 16)
    if model == "vgg16":
        fields["hidden"] = (16, 16)
    if model == "unet_resnet18":
        return {"backbone": "resnet20_cifar"}
    if model == "crnn":
        fields |= {"filters": (4,) * 7, "hidden": 4}
    if model.startswith("mobilenet") and hasattr(network, "width"):
        fields["width"] = 0.25
    if model.startswith("regnet"):
        fields["depth"] = 4
    if stages and hasattr(stages[0], "depth"):
        fields["stages"] = tuple(stage._replace(depth=1) for stage in stages)
    elif stages and not model.startswith(("alexnet", "zfnet")):
        fields["stages"] = tuple(stage[:1] for stage in stages)
    return fields


def filled(shapes):
    """A state with small random parameters, which is quicker than to initialise."""
    numbers = np.random.default_rng(0).normal(0, 0.05, 9973)  # a prime: no pattern
    params = jax.tree.map(
        lambda x: jnp.array(np.resize(numbers, x.shape), x.dtype), shapes.params
    )
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return zeros.replace(params=params)


def test_every_choice_of_a_recipe_is_compiled():
    compiled = set.union(*(recipe(get_config(name)) for name in COMPILED))
    for name in NAMES:
        assert recipe(get_config(name)) <= compiled | ELSEWHERE, name


@pytest.mark.slow
@pytest.mark.parametrize("name", marked())
def test_an_experiment_builds(name, monkeypatch):
    config = get_config(name)
    assert type(config) is Config
    run = prepare(config, monkeypatch, batch_size=8)
    prepare_lib.check_training(run)


@pytest.mark.slow
@pytest.mark.parametrize("name", marked(COMPILED))
def test_an_experiment_takes_two_steps(name, monkeypatch):
    config = get_config(name)
    monkeypatch.setitem(SHAPES, config.data.name, (10, SHAPES[config.data.name][1]))

    def model(num_classes, **fields):
        fields |= smaller(config.model)
        return models.create_model(config.model, num_classes, **fields)

    config.compute_dtype = "float32"
    image_size = COMPILED.get(name, config.data.image_size)
    sizes = {"image_size": image_size, "image_size_stages": ()}
    run = prepare(config, monkeypatch, model, batch_size=4, **sizes)
    batches = feed.train_batches(run, None, 0)
    step, first = jax.jit(run.train_step()), next(batches)
    if name not in COMPILED:
        after, metrics = jax.eval_shape(step, run.state_shapes(0), first, run.run_key)
        before = run.state_shapes(0)
        assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, before)
        assert metrics["loss"].shape == ()
    else:
        before = state = filled(run.state_shapes(0))
        # XLA's optimisations would take most of the time.
        options = {"xla_backend_optimization_level": 0}
        step = step.lower(state, first, run.run_key).compile(options)
        for batch in (first, next(batches)):
            state, metrics = step(state, batch, run.run_key)
        assert int(state.step) == 2
        assert np.isfinite(float(metrics["loss"]))
        moved = jax.tree.map(lambda a, b: (a != b).any(), before.params, state.params)
        for group in moved.values():
            assert any(jax.tree.leaves(group))
    batches.close()
