"""ConvNeXt against torchvision and the paper's formulas."""

import jax
import numpy as np
import pytest
from scipy import ndimage, special

from jaxcnn import models
from jaxcnn.models import convnext
from tests.blocks import counted

# "num_params" and "GFLOPS" (of multiply-adds) on torchvision's model cards,
# https://pytorch.org/vision/stable/models/generated/torchvision.models.convnext_tiny
TORCHVISION_CARDS = {
    "convnext_tiny": (28_589_128, 4.456),
    "convnext_small": (50_223_688, 8.684),
    "convnext_base": (88_591_464, 15.355),
    "convnext_large": (197_767_336, 34.361),
}


@pytest.mark.parametrize("name", TORCHVISION_CARDS)
def test_parameters_and_multiply_adds_are_those_of_torchvision(name):
    num_params, giga_macs = TORCHVISION_CARDS[name]
    parameters, macs = counted(name, 224)
    assert parameters == num_params
    assert round(macs / 1e9, 3) == giga_macs


def test_a_block_is_the_formula_of_the_paper():
    # Figure 4: d7x7, LN, 1x1 to 4C, GELU = x * Phi(x), 1x1 to C; with the layer scale
    # and the shortcut.
    generator = np.random.default_rng(0)
    x = generator.normal(size=(1, 6, 5, 4))
    block = convnext.Block(drop_rate=0.5, layer_scale=1e-6)
    shapes = jax.eval_shape(
        lambda: block.init(jax.random.key(0), x.astype(np.float32), train=False)
    )
    params = jax.tree.map(lambda v: generator.normal(size=v.shape), shapes["params"])
    kernel = params["conv"]["kernel"][:, :, 0]
    y = np.stack(
        [
            ndimage.correlate(x[0, ..., c], kernel[..., c], mode="constant")
            for c in range(4)
        ],
        axis=-1,
    )
    y = y + params["conv"]["bias"]
    y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-6)
    y = y * params["norm"]["scale"] + params["norm"]["bias"]
    y = y @ params["fc1"]["kernel"] + params["fc1"]["bias"]
    y = y * special.ndtr(y)
    y = y @ params["fc2"]["kernel"] + params["fc2"]["bias"]
    expected = x + params["layer_scale"] * y
    with jax.enable_x64(True):
        found = block.apply({"params": params}, x, train=False)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_branches_are_left_out_more_often_towards_the_head():
    # torchvision: drop_rate * block / (blocks - 1); the paper's Table 5 has 0.1.
    rates = []

    class Recorder(models.layers.StochasticDepth):
        def __call__(self, x, *, train):
            rates.append(self.rate)
            return x

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convnext, "StochasticDepth", Recorder)
        model = models.create_model("convnext_tiny", 10)
        models.abstract_variables(model, (32, 32, 3))
    np.testing.assert_allclose(rates, 0.1 * np.arange(18) / 17)


def test_images_that_are_too_small_are_refused():
    # torchvision's min_size of these weights is 32 pixels.
    model = models.create_model("convnext_tiny", 10)
    assert models.layer_groups(model, (32, 32, 1))[-2:] == ("stage5_block1", "head")
    with pytest.raises(ValueError, match="this network needs larger images"):
        models.layer_groups(model, (31, 31, 1))
