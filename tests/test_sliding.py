"""A classifier along a line is what it is on each window."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw, ImageFont
import pytest

from jaxcnn import __main__, fit, models
from jaxcnn.analysis import sliding
from jaxcnn.config import Config, DataConfig
from jaxcnn.data import glyphs
from jaxcnn.errors import UserError


def test_a_class_map_is_the_network_on_each_window():
    model = models.create_model("character_net", 5)
    line = jax.random.normal(jax.random.key(0), (2, 32, 61, 1))
    variables = model.init(jax.random.key(1), line[:, :, :32], train=False)
    # Larger than they start, so that logits differ.
    variables = jax.tree.map(lambda x: 20 * x, variables)
    found = sliding.class_map(model.apply, variables, line)
    assert found.shape == (2, 1, 8, 5)
    apply = jax.jit(functools.partial(model.apply, train=False))
    for place in range(8):  # a window every four columns, by two max-pools
        window = line[:, :, 4 * place : 4 * place + 32]
        expected = apply(variables, window)
        np.testing.assert_allclose(found[:, 0, place], expected, rtol=1e-4, atol=1e-5)
    assert float(jnp.std(found, axis=2).min()) > 1e-2


def test_a_network_with_one_vector_for_an_image_cannot_slide():
    model = models.create_model("resnet20_cifar", 5)
    images = jnp.zeros((1, 32, 64, 3))
    variables = jax.eval_shape(
        functools.partial(model.init, train=False), jax.random.key(0), images
    )
    with pytest.raises(UserError, match="its head must be a convolution"):
        jax.eval_shape(
            functools.partial(sliding.class_map, model.apply), variables, images
        )


def test_runs_are_collapsed():
    # By hand; the issue of the lecture: "ttthhhee" is "the".
    assert sliding.collapse("ttthhhee") == ["t", "h", "e"]
    assert sliding.collapse("") == []
    assert sliding.collapse("ttxttaab") == ["t", "x", "t", "a", "b"]
    assert sliding.collapse("ttxttaab", shortest_run=2) == ["t", "a"]


@pytest.mark.slow
def test_the_verb_prints_what_is_at_each_place(tmp_path, monkeypatch, capsys):
    # Fonts enough for a network that knows its letters by the end of the test.
    monkeypatch.setattr(
        glyphs,
        "MATPLOTLIB_FONTS",
        {split: ["DejaVuSansMono"] for split in ("train", "validation", "test")},
    )
    config = Config(
        model="character_net",
        data=DataConfig(name="glyphs", batch_size=64, eval_batch_size=64),
        num_devices=1,
        num_epochs=20.0,
        eval_every_epochs=20.0,
    )
    config.optim.name, config.optim.peak_lr = "adamw", 2e-3
    done = fit(config, tmp_path / "run")
    assert done.test["accuracy"] > 0.95
    line = Image.new("L", (200, 32))
    path = glyphs.matplotlib_files("test")[0]
    font = ImageFont.truetype(path, 24)
    for i, letter in enumerate("rhex"):
        ImageDraw.Draw(line).text((8 + 48 * i, 24), letter, 255, font, anchor="ls")
    line.save(tmp_path / "line.png")
    command = ["slide", f"--workdir={tmp_path / 'run'}", str(tmp_path / "line.png")]
    capsys.readouterr()
    assert __main__.main([*command, "--format=json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert len(row["places"]) == (200 - 32) // 4 + 1
    for i, letter in enumerate("rhex"):
        # The window whose centre is the letter's.
        centre = 8 + 48 * i + font.getlength(letter) / 2
        place = round((centre - 16) / 4)
        assert row["places"][place] == letter, (letter, row["places"])
    assert row["text"] == "".join(sliding.collapse(row["places"]))
    assert __main__.main(command) == 0
    assert row["text"] in capsys.readouterr().out
    small = tmp_path / "small.png"
    line.crop((0, 0, 20, 32)).save(small)
    assert __main__.main([*command[:2], str(small)]) == 2
    assert "20 pixels wide at a height of 32; it must be at least 32" in (
        capsys.readouterr().err
    )
