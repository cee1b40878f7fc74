"""PilotNet against its paper, and against the same network in torch."""

import functools
from pathlib import Path

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

from jaxcnn import models
from jaxcnn.errors import UserError
from jaxcnn.models import pilotnet
from tests.reference import filling

REFERENCE = Path(__file__).parent / "reference" / "pilotnet.npz"


def test_outputs_and_gradients_are_those_of_the_same_network_in_torch():
    with np.load(REFERENCE) as file:
        output, slopes = file["output"], file["slopes"]
        names = [str(name) for name in file["names"]]
    images = filling.images((3, 66, 200, 3))
    model = models.create_model("pilotnet", 1)
    expected = models.abstract_variables(model, images.shape[1:])["params"]
    flat = traverse_util.flatten_dict(expected, sep="/")
    shapes = {name: x.shape for name, x in flat.items()}
    assert set(shapes) == set(names)
    directions = filling.directions(shapes)
    with jax.enable_x64(True):
        params = {n: jnp.asarray(x) for n, x in filling.tensors(shapes).items()}

        def loss(params):
            nested = traverse_util.unflatten_dict(params, sep="/")
            found = model.apply({"params": nested}, images, train=True)
            return jnp.sum(found**2) / 2, found

        (_, found), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
        np.testing.assert_allclose(found, output, rtol=1e-12, atol=1e-12)
        for name, slope in zip(names, slopes, strict=True):
            projected = np.sum(np.asarray(gradients[name]) * directions[name])
            np.testing.assert_allclose(projected, slope, rtol=1e-9, err_msg=name)


def test_its_numbers_are_those_of_the_paper():
    # Section 4: "about 27 million connections and 250 thousand parameters". By hand,
    # from Figure 4: kernels and biases, and the multiplications of each output.
    parameters = [24 * 76, 36 * 601, 48 * 901, 64 * 433, 64 * 577]
    parameters += [100 * 1153, 50 * 101, 10 * 51, 11]
    outputs = [31 * 98 * 24, 14 * 47 * 36, 5 * 22 * 48, 3 * 20 * 64, 18 * 64]
    products = sum(
        number * inputs
        for number, inputs in zip(outputs, [75, 600, 900, 432, 576], strict=True)
    )
    products += 100 * 1152 + 50 * 100 + 10 * 50 + 10
    (row,) = models.catalogue("pilotnet")
    assert row["parameters"] == sum(parameters) == 252_219
    in_colour = 66 * 200 * 9  # from RGB to YUV
    assert row["macs"] == products + in_colour
    connections = products + sum(outputs) + 100 + 50 + 10 + 1  # with biases
    assert round(connections / 1e6) == 27
    assert row["task"] == "regression"


def test_its_colours_are_those_of_bt_601():
    # Y, U and V of pure red, green and blue, as
    # https://en.wikipedia.org/wiki/Y'UV prints them for SDTV.
    printed = [
        [0.299, -0.14713, 0.615],
        [0.587, -0.28886, -0.51499],
        [0.114, 0.436, -0.10001],
    ]
    found = pilotnet.to_yuv(jnp.eye(3)[None, None])[0, 0]
    np.testing.assert_allclose(found, 2 * np.array(printed) - [1, 0, 0], atol=2e-5)
    # Pillow's YCbCr has the same Y, and U and V in other units, rounded to 8 bits.
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    found = np.asarray(pilotnet.to_yuv(jnp.asarray(pixels[None] / 255.0))[0])
    other = np.asarray(Image.fromarray(pixels).convert("YCbCr"), float)
    factors = np.array([2, 4 * 0.436, 4 * 0.615]) / 255
    expected = factors * (other - [127.5, 128, 128])
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_other_images_are_refused():
    model = models.create_model("pilotnet", 1)
    init = functools.partial(model.init, jax.random.key(0), train=False)
    with pytest.raises(UserError, match="RGB images, of 3 channels, not 1"):
        jax.eval_shape(init, jnp.zeros((1, 66, 200, 1)))
    with pytest.raises(UserError, match="this network needs larger images"):
        jax.eval_shape(init, jnp.zeros((1, 32, 200, 3)))
