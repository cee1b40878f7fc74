"""The scale of the images that a network of a paper is made for."""

import json

import jax
import numpy as np
import pytest

import jaxcnn
from jaxcnn import models
from jaxcnn.config import Config, DataConfig
from jaxcnn.training import network, prepare, workdir

BLACK_AND_WHITE = np.array([[0, 255]], np.uint8)[..., None, None]  # [1, 2, 1, 1]


def prepared(model, size, **choices):
    data = DataConfig(image_size=size, batch_size=96, num_per_class=40)
    return prepare.prepare(Config(model=model, data=data, num_epochs=1.0, **choices))


@pytest.mark.parametrize(
    ("model", "size", "black", "white"),
    [
        # LeCun et al. 1989, section 2: "the grey levels ... are scaled ... -1 to 1".
        ("zipcode_1989", 16, -1.0, 1.0),
        # LeCun et al. 1998, section II.B: background -0.1, foreground 1.175.
        ("lenet5_1998", 32, -0.1, 1.175),
    ],
)
def test_black_and_white_are_those_of_the_paper(model, size, black, white):
    run = prepared(model, size)
    found = run.normalise(BLACK_AND_WHITE).ravel()
    np.testing.assert_allclose(found, [black, white], atol=1e-6)
    batch = {"image": BLACK_AND_WHITE, "label": np.zeros(1, np.int32)}
    augmented = run.augment(batch, jax.random.split(jax.random.key(0), 1))[
        "image"
    ].ravel()
    np.testing.assert_allclose(augmented, [black, white], atol=1e-6)


def test_others_are_normalised_by_their_own_mean_and_deviation():
    digits = prepared("lenet5", 32)
    assert digits.info.mean == pytest.approx(digits.dataset.info.mean)
    assert models.normalisation("lenet5") is None
    assert models.normalisation("my_package.nets:MyNet") is None
    # scikit-learn's digits, all but the second half: their mean grey is 0.3.
    assert digits.info.mean[0] == pytest.approx(0.3, abs=0.02)
    with_scale = [name for name, row in models.MODELS.items() if row.scale is not None]
    restored = [n for n in with_scale if models.MODELS[n].task == "restoration"]
    # Of black 0 and white 1: images that are restored, and what becomes YUV.
    black_and_white = [*restored, "pilotnet"]
    assert {models.MODELS[name].scale for name in black_and_white} == {(0.0, 1.0)}
    assert {*with_scale} == {"zipcode_1989", "lenet5_1998", *black_and_white}


@pytest.mark.slow
def test_training_prediction_and_export_have_the_same_scale(tmp_path):
    data = DataConfig(
        image_size=16, batch_size=96, num_per_class=20, eval_batch_size=96
    )
    config = Config(model="zipcode_1989", data=data, num_epochs=1.0, writers=())
    config.num_devices = 1
    jaxcnn.fit(config, tmp_path / "run")
    info = json.loads((tmp_path / "run" / "dataset.json").read_text())
    assert (info["mean"], info["std"]) == ([0.5], [0.5])
    predictor = jaxcnn.load(tmp_path / "run")
    image = np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)
    resumed = prepare.prepare(config, workdir.read(tmp_path / "run")[1])
    _, variables = network.load_variables(
        tmp_path / "run", config, resumed.info, "best", resumed.mesh
    )
    logits = resumed.model.apply(
        variables, (image / 127.5 - 1)[None, ..., None].astype(np.float32), train=False
    )
    shares = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(predictor([image])["probabilities"], shares, rtol=1e-4)
