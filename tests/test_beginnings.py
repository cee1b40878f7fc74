"""Networks of the beginnings against the counts and formulas of their papers."""

import functools

import jax
import numpy as np
import pytest
from scipy import signal

from jaxcnn import models

GENERATOR = np.random.default_rng(0)


def filled(name, num_classes, image_shape):
    """A network, and variables of which none is 0."""
    model = models.create_model(name, num_classes)
    variables = jax.tree.map(
        lambda v: GENERATOR.normal(size=v.shape, scale=0.2).astype(np.float32),
        models.abstract_variables(model, image_shape),
    )
    return model, variables


def apply(model, variables, images):
    return jax.jit(functools.partial(model.apply, train=False))(variables, images)


def layer_outputs(model, variables, images):
    """What each top-level part gives."""
    call = functools.partial(
        *(model.apply, variables),
        train=False,
        capture_intermediates=True,
        mutable=["intermediates"],
    )
    _, seen = jax.jit(call)(images)
    parts = seen["intermediates"].items()
    return {name: part["__call__"][0] for name, part in parts if name != "__call__"}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_tdnn_has_the_published_weights_and_connections():
    # Waibel et al. 1989, section II: 15 frames of 16 coefficients; 8 units over 3
    # frames, 3 units over 5 frames, and 3 outputs that sum over 9 places with one
    # weight and one bias each. The layers' 521 weights make 6,233 connections.
    model, variables = filled("tdnn", 3, (15, 16, 1))
    assert models.count_params(model, (15, 16, 1)) == 521
    places = 13 * 8, 9 * 3
    connections = places[0] * (3 * 16 + 1) + places[1] * (5 * 8 + 1) + 3 * (9 + 1)
    assert connections == 6_233
    # Multiply-adds are connections without biases; the sum comes before its weight.
    macs = models.count_macs(model, (15, 16, 1))
    assert macs == connections - sum(places) - 3 - 3 * 8
    assert variables["params"]["stem"]["conv"]["kernel"].shape == (3, 16, 1, 8)


def test_tdnn_is_the_formula_of_the_paper():
    model, variables = filled("tdnn", 3, (15, 16, 1))
    images = GENERATOR.normal(size=(2, 15, 16, 1)).astype(np.float32)
    params = variables["params"]
    first, second = params["stem"]["conv"], params["stage1_block1"]["conv"]
    expected = np.empty((2, 3))
    for i, image in enumerate(images[..., 0]):
        hidden = [  # time x unit
            sigmoid(
                np.einsum("tf,tfu->u", image[t : t + 3], first["kernel"][:, :, 0])
                + first["bias"]
            )
            for t in range(13)
        ]
        evidence = [
            sigmoid(
                np.einsum("tu,tuc->c", hidden[t : t + 5], second["kernel"][:, 0])
                + second["bias"]
            )
            for t in range(9)
        ]
        head = params["head"]
        expected[i] = head["kernel"][0, 0, 0] * np.sum(evidence, 0) + head["bias"]
    np.testing.assert_allclose(apply(model, variables, images), expected, rtol=1e-4)


def test_the_zip_code_network_has_the_published_parameters_and_connections():
    # LeCun et al. 1989, section 3: "1256 units, 64,660 connections, and 9760
    # independent parameters"; H1 768 biases and 25 times 12 weights, H2 2,592
    # parameters, H3 5,790, the output 310.
    model = models.create_model("zipcode_1989", 10)
    params = models.abstract_variables(model, (16, 16, 1))["params"]
    counts = {
        name: sum(leaf.size for leaf in jax.tree.leaves(group))
        for name, group in params.items()
    }
    assert counts == {
        "stem": 768 + 25 * 12,
        "stage1_block1": 2_592,
        "stage2_block1": 5_790,
        "head": 310,
    }
    assert sum(counts.values()) == 9_760
    biases = 768 + 192 + 30 + 10
    assert models.count_macs(model, (16, 16, 1)) + biases == 64_660


def test_units_of_the_zip_code_network_are_the_formula_of_the_paper():
    # 5x5 kernels at every second place; beyond the border a background of -1.
    model, variables = filled("zipcode_1989", 10, (16, 16, 1))
    images = GENERATOR.normal(size=(2, 16, 16, 1)).astype(np.float32)
    outputs = layer_outputs(model, variables, images)
    params = variables["params"]

    def units(maps, kernels, bias):
        """One map of units; maps is [H, W, C], kernels [5, 5, C]."""
        maps = np.pad(maps, ((2, 2), (2, 2), (0, 0)), constant_values=-1)
        total = sum(
            signal.correlate2d(maps[..., c], kernels[..., c], "valid")[::2, ::2]
            for c in range(maps.shape[-1])
        )
        return 1.7159 * np.tanh(2 / 3 * (total + bias))

    stem = params["stem"]
    h1 = units(images[1], stem["conv1"]["kernel"][..., 7], stem["bias"][..., 7])
    np.testing.assert_allclose(outputs["stem"][1, ..., 7], h1, atol=1e-5)
    block = params["stage1_block1"]
    # Map 9 of H2 is the second of the last four, which see 8 to 11 and 0 to 3.
    seen = np.asarray(outputs["stem"])[1][..., [8, 9, 10, 11, 0, 1, 2, 3]]
    h2 = units(seen, block["conv3"]["kernel"][..., 1], block["bias"][..., 9])
    np.testing.assert_allclose(outputs["stage1_block1"][1, ..., 9], h2, atol=1e-5)


def test_every_map_of_h1_is_seen_by_eight_maps_of_h2():
    # "each unit in H2 combines local information coming from 8 of the 12 different
    # feature maps in H1".
    model, variables = filled("zipcode_1989", 10, (16, 16, 1))
    block = models.zipcode.SharedKernels(models.zipcode.H2_TABLE, 4)
    h1 = np.eye(13, 12)[:, None, None] * np.ones((13, 8, 8, 12), np.float32)
    params = {"params": variables["params"]["stage1_block1"]}
    h2 = np.asarray(block.apply(params, h1, train=False))
    connected = np.any(h2[:12] != h2[12], axis=(1, 2))  # [H1, H2]
    assert connected.sum(axis=0).tolist() == [8] * 12
    assert connected.sum(axis=1).tolist() == [8] * 12


def test_the_character_network_has_the_layers_of_the_practical():
    # 5x5x20, 5x5x50, 4x4x500 and 2x2x26, on 32, 14, 5 and 2 pixels without padding.
    model, variables = filled("character_net", 26, (32, 32, 1))
    kernels = 25 * 20, 25 * 20 * 50, 16 * 50 * 500, 4 * 500 * 26
    assert models.count_params(model, (32, 32, 1)) == sum(kernels) + 20 + 50 + 500 + 26
    pixels = 28**2, 10**2, 2**2, 1
    macs = sum(k * p for k, p in zip(kernels, pixels, strict=True))
    assert models.count_macs(model, (32, 32, 1)) == macs
    images = GENERATOR.normal(size=(2, 32, 32, 1)).astype(np.float32)
    outputs = layer_outputs(model, variables, images)
    sizes = {name: output.shape[1:] for name, output in outputs.items()}
    assert sizes == {
        "stem": (14, 14, 20),
        "stage1_block1": (5, 5, 50),
        "stage2_block1": (2, 2, 500),
        "head": (1, 1, 26),
    }
    # Only the third convolution has a ReLU.
    assert outputs["stem"].min() < 0
    assert outputs["stage1_block1"].min() < 0
    assert outputs["stage2_block1"].min() == 0


@pytest.mark.slow
def test_a_receptive_field_of_the_character_network_is_the_whole_image():
    model, variables = filled("character_net", 26, (32, 32, 1))
    images = GENERATOR.normal(size=(1, 32, 32, 1)).astype(np.float32)

    @jax.jit
    @jax.grad
    def slope(x):
        return model.apply(variables, x, train=False)[:, 3].sum()

    # A max-pool passes on a quarter of the gradient: the extent over several images.
    many = GENERATOR.normal(size=(200, 32, 32, 1)).astype(np.float32)
    touched = np.any(np.asarray(slope(many)) != 0, axis=(0, 3))
    assert touched.all()
    larger = np.pad(images, ((0, 0), (0, 4), (0, 0), (0, 0)))  # one place more
    places = [larger[:, i : i + 32] for i in (0, 4)]
    mean = np.mean([apply(model, variables, x) for x in places], axis=0)
    found = apply(model, variables, larger)
    np.testing.assert_allclose(found, mean, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "shape", "features"),
    [
        ("tdnn", (20, 16, 3), 8),
        ("zipcode_1989", (16, 16, 3), 30),
        ("character_net", (40, 36, 3), 500),
    ],
)
def test_colour_images_any_number_of_classes_and_none_are_taken(name, shape, features):
    for num_classes, size in (7, 7), (0, features):
        model = models.create_model(name, num_classes)
        init = functools.partial(model.init_with_output, train=False)
        images = np.zeros((3, *shape), np.float32)
        logits, variables = jax.eval_shape(init, jax.random.key(0), images)
        assert logits.shape == (3, size)
        assert ("head" in variables["params"]) == (num_classes > 0)
