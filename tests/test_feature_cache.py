"""A run on cached features is the run on images."""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.config import AugmentConfig, AverageConfig, Config, DataConfig, OptimConfig
from jaxcnn.data import transforms
from jaxcnn.data.memory import DecodedExamples
from jaxcnn.errors import UserError
from jaxcnn.studies import cross_validate, find_lr
from jaxcnn.training import (
    begin,
    feature_cache,
    network,
    parallel,
    prepare,
    workdir,
)
from tests import tiny
from tests.test_evaluation import fit


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setitem(models.MODELS, "tiny", tiny.VARIANT)


def config(freeze=("stem",), **changes):
    made = Config(
        model="tiny",
        data=DataConfig(name="digits", image_size=16, batch_size=64),
        optim=OptimConfig(peak_lr=0.1, freeze=freeze),
        num_epochs=1.0,
        num_devices=1,
    )
    return dataclasses.replace(made, **changes)


def variables(folder):
    run, info = workdir.read(folder)
    mesh = parallel.data_mesh(1)
    return network.load_variables(folder, run, info, "latest", mesh)[1]


@pytest.mark.slow
@pytest.mark.parametrize("freeze", [("stem",), ("stem", "stage1_.*")])
def test_parameters_and_metrics_are_those_without_the_cache(freeze, tmp_path):
    # With the stem alone frozen, BatchNorm and dropout follow the features.
    plain = fit(config(freeze), tmp_path / "plain")
    cached = fit(config(freeze, cache_features=True), tmp_path / "cached")
    assert cached.step == plain.step
    for name in ("accuracy", "loss"):
        assert cached.test[name] == pytest.approx(plain.test[name], rel=1e-5)
    pairs = zip(
        jax.tree.leaves(variables(tmp_path / "cached")),
        jax.tree.leaves(variables(tmp_path / "plain")),
        strict=True,
    )
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_folds_are_those_without_the_cache(tmp_path):
    plain = cross_validate.cross_validate(config(), 3, tmp_path / "plain")
    made = config(cache_features=True)
    cached = cross_validate.cross_validate(made, 3, tmp_path / "cached")
    for number, expected in plain.folds.items():
        found = cached.folds[number]
        np.testing.assert_array_equal(found.indices, expected.indices)
        np.testing.assert_allclose(
            found.predicted["probabilities"],
            expected.predicted["probabilities"],
            rtol=1e-4,
            atol=1e-5,
        )
        for name in ("accuracy", "loss"):
            assert found.metrics[name] == pytest.approx(expected.metrics[name], 1e-5)


def test_images_that_are_taken_keep_their_errors():
    images = np.arange(4, dtype=np.float32)[:, None]
    whole = DecodedExamples(images, {"label": np.arange(4)}, {1: "a", 3: "b"})
    some = whole.take(np.array([3, 0]))
    assert some.errors == {0: "b"}
    assert some.column("label").tolist() == [3, 0]
    assert some[1]["image"].item() == 0


@pytest.mark.slow
def test_a_range_test_is_that_without_the_cache():
    plain, cached = (
        find_lr.find_lr(made, low=1e-3, high=1.0, num_steps=20)
        for made in (config(), config(cache_features=True))
    )
    np.testing.assert_allclose(cached.losses, plain.losses, rtol=1e-5)


def test_folds_whose_features_would_differ_have_no_cache(tmp_path):
    class Imprinted(tiny.Tiny):
        def imprint(self, variables, images, key):
            return variables

    imprinted = dataclasses.replace(tiny.VARIANT, build=Imprinted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.MODELS, "tiny", imprinted)
        with pytest.raises(
            UserError, match="in cross-validation: the features of tiny"
        ):
            cross_validate.cross_validate(config(cache_features=True), 3, tmp_path)


def test_what_is_frozen_is_no_part_of_the_step():
    def flops(run):
        state = begin.init_state(run)
        if run.config.cache_features:
            run = feature_cache.cached(run, state, None)
        return run.compile_train_step(state).cost_analysis()["flops"]

    frozen = ("stem", "stage1_.*")
    # XLA does not count what compiled operations do.
    plain = flops(prepare.prepare(config(frozen, ops="lax")))
    cached = flops(prepare.prepare(config(frozen, cache_features=True, ops="lax")))
    assert cached < 0.05 * plain


def test_features_that_are_not_those_of_the_images_are_an_error(monkeypatch):
    run = prepare.prepare(config(cache_features=True))
    features = feature_cache._features
    monkeypatch.setattr(
        feature_cache,
        "_features",
        lambda *args, **kwargs: 1.01 * features(*args, **kwargs),
    )
    with pytest.raises(FloatingPointError, match="outputs from cached features differ"):
        feature_cache.cached(run, begin.init_state(run), None)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"freeze": ()}, "the first layers are not frozen"),
        ({"freeze": ("stage1_.*",)}, "the first layers are not frozen"),
        ({"augment": AugmentConfig(flip=0.5)}, "augment changes the images"),
        ({"parallel": "pmap"}, "parallel is 'pmap'"),
        ({"average": AverageConfig(name="swa")}, "average.name='swa' needs the images"),
    ],
)
def test_where_it_cannot_be_it_is_refused(changes, text):
    with pytest.raises(UserError, match=f"cache_features is not possible: .*{text}"):
        feature_cache.check(prepare.prepare(config(cache_features=True, **changes)))


class Scaled(nn.Module):
    """A network with a parameter of its own before its frozen first layer, and layers
    that are made in setup."""

    num_classes: int
    scaled: bool = True

    def setup(self):
        self.stem = Stem()
        self.head = nn.Dense(self.num_classes)
        if self.scaled:
            self.scale = self.param("scale", nn.initializers.ones, ())

    def __call__(self, images):
        images = self.scale * images if self.scaled else images
        return self.head(self.stem(images))


class Stem(nn.Module):
    def setup(self):
        self.dense = nn.Dense(4)

    def __call__(self, images):
        return self.dense(images.reshape(len(images), -1))


def test_a_parameter_that_is_trained_before_what_is_frozen_is_refused():
    made = config(cache_features=True, model=f"{__name__}:Scaled")
    with pytest.raises(UserError, match="'scale' is trained and used before 'head'"):
        feature_cache.check(prepare.prepare(made))


def test_layers_that_are_made_in_setup_are_cached():
    made = config(
        cache_features=True,
        model=f"{__name__}:Scaled",
        model_fields=(("scaled", False),),
    )
    run = prepare.prepare(made)
    feature_cache.check(run)
    state = begin.init_state(run)
    features = feature_cache.cached(run, state, None).dataset.splits["train"].images
    digits = run.dataset.splits["train"]
    apply = transforms.find("resize").apply
    batch = np.stack([apply(digits[i]["image"], (16, 16), None) for i in range(4)])
    images = run.normalise(jnp.asarray(batch)).reshape(4, -1)
    dense = state.params["stem"]["dense"]
    expected = images @ dense["kernel"] + dense["bias"]
    np.testing.assert_allclose(features[:4], expected, rtol=1e-4, atol=1e-5)


def test_features_that_do_not_fit_are_refused(tmp_path):
    data = dataclasses.replace(config().data, in_memory_mib=1)
    text = "features of 1797 images take 4 MiB, and data.in_memory_mib is 1"
    with pytest.raises(UserError, match=text):
        fit(config(cache_features=True, data=data), tmp_path)
