"""DnCNN and the autoencoders against torch, their papers and what starts from them."""

import functools
from pathlib import Path
import re

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.errors import UserError
from jaxcnn.training.transfer import Source, make_start
from tests.reference import filling

REFERENCE = Path(__file__).parent / "reference" / "restorers.npz"
SMALL = {
    "autoencoder": {"hidden": (8, 7, 4)},
    "conv_autoencoder": {"depths": (1, 2), "filters": (4, 6)},
}
NAMES = ("dncnn_s", "dncnn_b", "cdncnn_b", "autoencoder", "conv_autoencoder")
STATISTICS = {"running_mean": "mean", "running_var": "var"}


def layer_names(name, groups):
    """Tensors of the reference's layers -> our layers, both from input to output."""
    if name == "autoencoder":
        return {
            f"layers.{i}": group if group == "head" else f"{group}/dense"
            for i, group in enumerate(groups)
        }
    if name == "conv_autoencoder":
        found = {"head": "head"}
        stages = [("encoder", 1), ("encoder", 2), ("decoder", 1), ("decoder", 2)]
        for number, (part, _) in enumerate(stages, start=1):
            blocks = [group for group in groups if group.startswith(f"stage{number}_")]
            for j, group in enumerate(blocks):
                prefix = f"{part}.{(number - 1) % 2}"
                found[f"{prefix}.{3 * j}"] = f"{group}/conv"
                found[f"{prefix}.{3 * j + 1}"] = f"{group}/norm"
        return found
    found = {"model.0": "stem/conv"}  # convolution and ReLU, then three for a block
    for j, group in enumerate(groups[1:-1]):
        found[f"model.{3 * j + 2}"] = f"{group}/conv"
        found[f"model.{3 * j + 3}"] = f"{group}/norm"
    return found | {f"model.{3 * len(groups) - 4}": "head"}


def imported(name, groups, tensors):
    """Our variables of the reference's tensors."""
    flat, layers = {}, layer_names(name, groups)
    for key, tensor in tensors.items():
        layer, _, kind = key.rpartition(".")
        ours = layers[layer]
        if kind in STATISTICS:
            flat[f"batch_stats/{ours}/{STATISTICS[kind]}"] = tensor
        elif kind == "bias":
            flat[f"params/{ours}/bias"] = tensor
        elif tensor.ndim == 1:
            flat[f"params/{ours}/scale"] = tensor
        else:
            axes = (2, 3, 1, 0) if tensor.ndim == 4 else (1, 0)
            flat[f"params/{ours}/kernel"] = tensor.transpose(axes)
    return traverse_util.unflatten_dict(flat, sep="/")


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_of_the_same_network_in_torch(name):
    with np.load(REFERENCE) as file:
        numbers = {
            key.partition("/")[2]: x
            for key, x in file.items()
            if key.startswith(f"{name}/")
        }
    shapes = {
        str(key): tuple(map(int, text.split()))
        for key, text in zip(numbers["names"], numbers["shapes"], strict=True)
    }
    shape = numbers["output"].shape
    model = models.create_model(name, shape[-1], **SMALL.get(name, {}))
    groups = models.layer_groups(model, shape[1:])
    variables = imported(name, groups, filling.tensors(shapes))
    expected = models.abstract_variables(model, shape[1:])
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, expected) or (
        "batch_stats" not in variables
    )
    images = filling.images(shape)
    with jax.enable_x64(True):
        variables = jax.tree.map(jnp.asarray, variables)
        output = jax.jit(functools.partial(model.apply, train=False))(variables, images)
        np.testing.assert_allclose(output, numbers["output"], rtol=0, atol=1e-10)
        if "train" in numbers:
            apply = functools.partial(model.apply, train=True, mutable=["batch_stats"])
            output, _ = jax.jit(apply)(variables, images)
            np.testing.assert_allclose(output, numbers["train"], rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "layers", "parameters"),
    [
        # KAIR's layers: 9 * 64 * C + 64, then 9 * 64 * 64 + 3 * 64 for each of the
        # inner ones, then 9 * 64 * C + C.
        ("dncnn_s", 17, 640 + 15 * 37_056 + 577),
        ("dncnn_b", 20, 640 + 18 * 37_056 + 577),
        ("cdncnn_b", 20, 1_792 + 18 * 37_056 + 1_731),
    ],
)
def test_dncnn_has_the_layers_of_its_paper(name, layers, parameters):
    # Zhang et al. 2017, sec. III.A: 17 layers of 64 filters for a known level, 20 for
    # blind denoising.
    (row,) = models.catalogue(name)
    channels = row["num_classes"]
    model = models.create_model(name, channels)
    assert len(models.layer_groups(model, (8, 8, channels))) == layers
    assert row["parameters"] == parameters


def test_dncnn_starts_as_the_identity():
    model = models.create_model("dncnn_s", 3, depth=3, filters=4)
    images = jax.random.uniform(jax.random.key(0), (1, 5, 7, 3))
    output, _ = model.init_with_output(jax.random.key(1), images, train=False)
    np.testing.assert_array_equal(output, images)


def test_images_of_any_size_are_filled_up_and_cut():
    model = models.create_model("conv_autoencoder", 1, **SMALL["conv_autoencoder"])
    images = jax.random.uniform(jax.random.key(0), (1, 5, 7, 1))
    filled = jnp.concatenate([images] + 3 * [images[:, -1:]], axis=1)  # 8 rows
    filled = jnp.concatenate([filled, filled[:, :, -1:]], axis=2)  # 8 columns
    output, variables = model.init_with_output(jax.random.key(1), images, train=False)
    expected = model.apply(variables, filled, train=False)
    np.testing.assert_allclose(output, expected[:, :5, :7], rtol=1e-6)


def test_hidden_layers_on_the_pixels_know_the_size_of_their_images():
    model = models.create_model("autoencoder", 1, hidden=(3,))
    variables = model.init(jax.random.key(0), jnp.zeros((1, 4, 4, 1)), train=False)
    with pytest.raises(UserError, match="this one of 16 numbers, not 20"):
        model.apply(variables, jnp.zeros((1, 5, 4, 1)), train=False)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_denoiser_starts_another(channels):
    shape, fields = (8, 8, channels), {"depth": 3, "filters": 4}
    given = source_of("dncnn_s", shape, **fields)
    model = models.create_model("dncnn_s", channels, **fields)
    start = make_start(given, model, shape)
    assert set(dict(start.groups).values()) == {"loaded"}
    assert (start.mean, start.std) == ((0.0,) * channels, (1.0,) * channels)


def source_of(name, shape, **fields):
    """A trained restorer whose numbers tell where they are from."""
    model = models.create_model(name, shape[-1], **fields)
    variables = models.abstract_variables(model, shape)
    rng = np.random.default_rng(0)
    arrays = {
        path: rng.normal(size=leaf.shape)
        for path, leaf in traverse_util.flatten_dict(variables, sep="/").items()
    }
    return Source(name, arrays, (0.0,) * shape[-1], (1.0,) * shape[-1])


@pytest.mark.parametrize(
    ("source", "fields", "classifier", "only"),
    [
        (
            "autoencoder",
            {"hidden": (6, 5), "activation": "relu"},
            ("mlp", {"hidden": (6, 5)}),
            "stage1_block.*",
        ),
        (
            "conv_autoencoder",
            {"depths": (1, 2), "filters": (3, 4)},
            ("vgg11_bn", {"depths": (1, 2), "filters": (3, 4), "hidden": (5,)}),
            "stage[12]_block.*",
        ),
    ],
)
def test_an_encoder_starts_a_classifier(source, fields, classifier, only):
    shape, (name, own) = (8, 8, 3), classifier
    given = source_of(source, shape, **fields)
    model = models.create_model(name, 10, **own)
    start = make_start(given, model, shape, only=(only,))
    groups = dict(start.groups)
    encoder = {group for group in groups if re.fullmatch(only, group)}
    assert {group for group, text in groups.items() if text == "loaded"} == encoder
    assert len(encoder) == {"autoencoder": 2, "conv_autoencoder": 3}[source]
    assert "at random" in groups["head"]

    variables = model.init(jax.random.key(0), jnp.zeros((1, *shape)), train=False)
    filled = start.fill(variables)
    whole = models.create_model(source, 0, **fields)
    flat = traverse_util.flatten_dict(
        models.abstract_variables(whole, shape), sep="/"
    )  # the encoder alone: of 0 outputs
    own = {path: given.arrays[path] for path in flat}
    assert own.keys() == {p for p in given.arrays if p.split("/")[1] in encoder}
    images = jax.random.uniform(jax.random.key(1), (2, *shape))
    code = whole.apply(traverse_util.unflatten_dict(own, sep="/"), images, train=False)
    _, seen = model.apply(
        filled, images, train=False, capture_intermediates=True, mutable=True
    )
    last = seen["intermediates"][max(encoder)]["__call__"][0]
    if last.ndim == 4:  # before the last max-pool
        last = last.reshape(2, 2, 2, 2, 2, -1).max((2, 4)).mean((1, 2))
    np.testing.assert_allclose(last, code, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "num_classes", "fields", "shape", "text"),
    [
        ("dncnn_s", 4, {}, (8, 8, 3), "cannot give 4 channels for images of 3"),
        ("dncnn_s", 1, {"depth": 1}, (8, 8, 1), "at least 2 layers"),
        ("conv_autoencoder", 1, {"depths": (1,)}, (8, 8, 1), r"depths=\(1,\)"),
        ("autoencoder", 1, {"hidden": ()}, (8, 8, 1), r"hidden=\(\)"),
        ("autoencoder", 1, {"activation": "cube"}, (8, 8, 1), "activation 'cube'"),
    ],
)
def test_what_does_not_fit_is_refused(name, num_classes, fields, shape, text):
    def build():
        model = models.create_model(name, num_classes, **fields)
        models.abstract_variables(model, shape)

    with pytest.raises(UserError, match=text):
        build()
