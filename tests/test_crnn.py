"""The CRNN against its Table 1 in PyTorch's layers."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.errors import UserError
from tests.reference import compare, filling

REFERENCE = np.load(pathlib.Path(__file__).parent / "reference" / "text.npz")
TENSORS = {
    name.removeprefix("crnn/"): REFERENCE[name]
    for name in REFERENCE.files
    if name.startswith("crnn/")
}
CONVOLUTIONS = {
    "stem": "1",
    "stage1_block1": "2",
    "stage2_block1": "3",
    "stage2_block2": "4",
    "stage3_block1": "5",
    "stage3_block2": "6",
    "stage4_block1": "7",
}


def dense(name):
    return {"kernel": TENSORS[f"{name}.weight"].T, "bias": TENSORS[f"{name}.bias"]}


def lstm(name, suffix=""):
    """Gates of an LSTM: PyTorch's rows are those of i, f, g and o, and each gate has
    two biases."""
    inputs, hidden = (
        np.split(TENSORS[f"{name}.weight_{kind}_l0{suffix}"], 4)
        for kind in ("ih", "hh")
    )
    biases = np.split(
        TENSORS[f"{name}.bias_ih_l0{suffix}"] + TENSORS[f"{name}.bias_hh_l0{suffix}"], 4
    )
    gates = {}
    for gate, w, u, b in zip("ifgo", inputs, hidden, biases, strict=True):
        gates[f"i{gate}"] = {"kernel": w.T}
        gates[f"h{gate}"] = {"kernel": u.T, "bias": b}
    return gates


def variables_of_reference():
    params, statistics = {"head": dense("head")}, {}
    for group, number in CONVOLUTIONS.items():
        kernel = TENSORS[f"conv{number}.weight"].transpose(2, 3, 1, 0)
        params[group] = {
            "conv": {"kernel": kernel, "bias": TENSORS[f"conv{number}.bias"]}
        }
        norm = f"norm{number}"
        if f"{norm}.weight" in TENSORS:
            scale, bias = TENSORS[f"{norm}.weight"], TENSORS[f"{norm}.bias"]
            params[group]["norm"] = {"scale": scale, "bias": bias}
            mean, var = (TENSORS[f"{norm}.running_{name}"] for name in ("mean", "var"))
            statistics[group] = {"norm": {"mean": mean, "var": var}}
    for group, name in (("stage5_block1", "lstm1"), ("stage5_block2", "lstm2")):
        params[group] = {"forward": lstm(name), "backward": lstm(name, "_reverse")}
    params["stage5_block1"]["join"] = dense("join")
    return {"params": params, "batch_stats": statistics}


@pytest.mark.parametrize(("x64", "accuracy"), [(True, 1e-12), (False, 1e-5)])
def test_logits_are_those_of_pytorch_with_the_same_weights(x64, accuracy):
    with jax.enable_x64(x64):
        variables = jax.tree.map(jnp.asarray, variables_of_reference())
        images = jnp.asarray(REFERENCE["crnn_images"])
        model = models.create_model("crnn", 6, filters=(3, 4, 5, 6, 7, 8, 9), hidden=5)
        shapes = models.abstract_variables(model, images.shape[1:])
        assert jax.tree.map(jnp.shape, variables) == jax.tree.map(
            lambda x: x.shape, shapes
        )
        logits = model.apply(variables, images, train=False)
        assert logits.dtype == images.dtype
    np.testing.assert_allclose(logits, REFERENCE["crnn_logits"], atol=accuracy)


def test_it_has_the_paper_s_number_of_parameters():
    # Flax's LSTMs have one bias for each of four gates, where PyTorch's have two.
    ours = models.count_params(models.create_model("crnn", 37), (32, 100, 1))
    assert ours == REFERENCE["crnn_parameters"] - 4 * 4 * 256
    assert round(ours / 1e6, 1) == 8.3  # the paper's Table 3


def test_residual_convolutions_are_those_written_in_torch():
    fields = {"filters": (4, 6, 8, 10, 12, 12), "hidden": 5}
    model = models.create_model("crnn_resnet", 3, **fields)
    with np.load(compare.FOLDER / "paper_networks.npz") as file:
        theirs = file["crnn_resnet"]
    with jax.enable_x64(True):
        images = filling.images((2, 32, 43, 3))
        shapes = models.abstract_variables(model, images.shape[1:])
        variables = compare.filled(shapes)
        apply = jax.jit(
            functools.partial(model.apply, train=False),
            compiler_options=compare.IN_A_HURRY,
        )
        logits = apply(variables, images)
    assert logits.shape == (2, 43 // 4 + 1, 3)
    assert compare.relative_error(logits, theirs) < 1e-12


def test_residual_convolutions_have_as_many_parameters_as_published():
    model = models.create_model("crnn_resnet", 0)
    params = models.abstract_variables(model, (32, 100, 1))["params"]
    convolutions = {n: g for n, g in params.items() if not n.startswith("stage5")}
    number = sum(leaf.size for leaf in jax.tree.leaves(convolutions))
    linear = (512 + 1) * 37
    # Baek et al. 2019, Table 4: None-ResNet-None-CTC.
    assert round((number + linear) / 1e6, 1) == 44.3


def test_a_frame_is_four_columns_and_the_width_is_free():
    # By hand, from Table 1: 100 / 2 / 2 columns, and a last kernel of two.
    model = models.create_model("crnn", 5, filters=(2,) * 7, hidden=3)
    for width, frames in ((100, 24), (103, 24), (512, 127), (8, 1)):
        images = jax.ShapeDtypeStruct((2, 32, width, 1), jnp.float32)

        def apply(x):
            return model.init_with_output(jax.random.key(0), x, train=False)[0]

        assert jax.eval_shape(apply, images).shape == (2, frames, 5)


@pytest.mark.parametrize("shape", [(31, 100, 1), (64, 100, 1), (32, 7, 1)])
def test_images_of_another_height_are_refused(shape):
    model = models.create_model("crnn", 5)
    size = f"not {shape[0]}x{shape[1]}"
    with pytest.raises(UserError, match=f"32 pixels high and at least 8 wide, {size}"):
        models.abstract_variables(model, shape)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_it_computes_in_the_dtype_of_images_and_parameters(dtype):
    variables = jax.tree.map(
        lambda x: jnp.asarray(x, jnp.float32), variables_of_reference()
    )
    params = jax.tree.map(lambda x: x.astype(dtype), variables["params"])
    images = jnp.asarray(REFERENCE["crnn_images"], dtype)
    model = models.create_model("crnn", 6, filters=(3, 4, 5, 6, 7, 8, 9), hidden=5)
    logits = model.apply({**variables, "params": params}, images, train=False)
    assert logits.dtype == dtype
    np.testing.assert_allclose(
        logits.astype(jnp.float32), REFERENCE["crnn_logits"], atol=0.1
    )
