"""What every network of the table promises."""

import dataclasses
import functools
import importlib
import json
import pkgutil

from flax import linen as nn
import jax
import jax.numpy as jnp
import pytest

from docs import generate_catalogue
from jaxcnn import models
from jaxcnn.report import text
from tests.blocks import shallow

FAMILIES = {
    info.name: module.VARIANTS
    for info in pkgutil.iter_modules(models.__path__)
    if hasattr(
        module := importlib.import_module(f"jaxcnn.models.{info.name}"), "VARIANTS"
    )
}

SLOW = pytest.mark.slow
# Networks whose trace takes over a second.
LARGE = {
    *("googlenet", "inception_v3", "inception_resnet_v1"),
    *("efficientnet_b0", "mobilenet_v3_small", "fcn_resnet50", "pspnet_resnet50"),
    *("deeplabv3_resnet50", "lraspp_mobilenet_v3_large", "deepgaze2"),
}


def one_of_each(slow):
    """A network of each family; some are slow. What is asked of one network is asked in
    one process, which traces it once."""
    found = []
    for variants in FAMILIES.values():
        name = next(iter(variants))
        marks = [pytest.mark.xdist_group(f"network {name}"), *[SLOW][: slow(name)]]
        found.append(pytest.param(name, marks=marks))
    return found


# Networks that give logits for each frame, and their number: by hand, 100 columns are
# halved twice, and the last kernel has two of them; one pool and one convolution of the
# residual one see a column more.
FRAMES = {"crnn": (24,), "crnn_resnet": (26,)}

MAPS = ("segmentation", "restoration", "saliency")  # tasks of networks that give maps

ONE_OF_EACH = one_of_each(LARGE.__contains__)
TWO_OF_THEM = one_of_each(lambda name: name not in ("lenet5", "resnet18"))


def image_shape(name):
    return models.MODELS[name].image_shape


@functools.cache
def variables_of(name):
    return models.abstract_variables(shallow(name), image_shape(name))


def place(name):
    """Axes of the logits that are those of the image, or of a line of text."""
    if name in FRAMES:
        return FRAMES[name]
    is_map = models.MODELS[name].task in MAPS
    return image_shape(name)[:2] if is_map else ()


def test_every_row_of_every_family_is_in_the_table_once():
    rows = [
        (name, row) for variants in FAMILIES.values() for name, row in variants.items()
    ]
    assert len(rows) == len(models.MODELS)
    assert dict(rows) == models.MODELS


def test_every_row_says_where_its_facts_are_from():
    for name, row in models.MODELS.items():
        assert "http" in row.paper, name
        assert bool(row.top1) == bool(row.top1_source), name


def test_names_are_listed_in_the_order_of_their_numbers():
    names = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
    found = models.list_models("resnet*")
    assert [name for name in found if name in names] == names
    assert set(models.list_models()) == set(models.MODELS)
    assert models.list_models("no such*") == []


def test_groups_are_sorted_by_their_numbers():
    # By hand: from input to head, whatever the order of the letters.
    names = ["head", "aux1", "stage1_block10", "stage1_block2", "stage10_block1"]
    names += ["stage2_block1", "decoder", "stem", "aux2"]
    assert models.sort_groups(names) == (
        *("stem", "stage1_block2", "stage1_block10", "stage2_block1"),
        *("stage10_block1", "decoder", "aux1", "aux2", "head"),
    )
    with pytest.raises(ValueError, match="'conv1' is no layer group; groups are stem"):
        models.sort_groups(["stem", "conv1"])


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_groups_end_with_the_head_and_the_others_are_told_whether_they_train(name):
    told = {}

    def record(call, args, kwargs, context):
        if len(context.module.path) == 1:
            told.setdefault(context.module.path[0], kwargs.get("train"))
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        groups = models.layer_groups(shallow(name), image_shape(name))
    assert sorted(groups) == sorted(variables_of(name)["params"])
    assert groups[-1] == "head"
    assert told.pop("head") is None
    assert set(groups) - {"head"} <= set(told)
    assert set(told.values()) <= {False}


@pytest.mark.slow
# The head of the TDNN is a weight for each class, and so is the layer before it. Those
# of LR-ASPP, FCN and the dilated network on VGG-16 and those that predict saliency are
# several layers. An autoencoder without outputs is its encoder.
@pytest.mark.parametrize(
    "name",
    [
        n
        for n in ONE_OF_EACH
        if n.values[0]
        not in (
            *("tdnn", "lraspp_mobilenet_v3_large", "fcn32s_vgg16", "autoencoder"),
            *("dilated_vgg16", "deepgaze2", "salnet"),
        )
    ],
)
def test_without_classes_a_network_gives_what_its_head_takes(name):
    shapes = []
    for num_classes in 10, 0:
        model = shallow(name, num_classes)
        init = functools.partial(model.init_with_output, train=False)
        images = jnp.zeros((2, *image_shape(name)))
        y, variables = jax.eval_shape(init, jax.random.key(0), images)
        params = variables.get("params", {})
        shapes.append((y.shape, jax.tree.map(lambda v: v.shape, params)))
    (outputs, with_head), (features, without) = shapes
    assert outputs == (2, *place(name), 10)
    assert features == (*outputs[:-1], with_head.pop("head")["kernel"][-2])
    aux = {group for group in with_head if group.startswith("aux")}
    assert without == {g: with_head[g] for g in with_head.keys() - aux}


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])  # float32: below
def test_logits_have_the_dtype_of_images_and_parameters(name, dtype):
    with jax.enable_x64(dtype == "float64"):
        model, variables = shallow(name), variables_of(name)
        if dtype == "float64":
            variables = models.abstract_variables(model, image_shape(name))
        assert {v.dtype.name for v in jax.tree.leaves(variables)} == {"float32"}
        if dtype == "float64":
            variables = cast(variables, dtype)
        # As a step does: running statistics are not cast to a narrower type.
        variables = variables | {"params": cast(variables["params"], dtype)}
        images = jax.ShapeDtypeStruct((2, *image_shape(name)), dtype)
        logits, updated = jax.eval_shape(
            lambda v, x: model.apply(
                v,
                x,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(0)},
            ),
            variables,
            images,
        )
    check_dtypes(name, dtype, logits, updated)


def check_dtypes(name, dtype, logits, updated):
    assert (logits.shape[1:], logits.dtype) == ((*place(name), 10), dtype)
    wide = jnp.promote_types(dtype, jnp.float32)
    assert {v.dtype for v in jax.tree.leaves(updated)} <= {wide}


def cast(tree, dtype):
    return jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape, dtype), tree)


@pytest.mark.parametrize("name", TWO_OF_THEM)
def test_forward_and_backward_lower_for_accelerators(name):
    model, variables = shallow(name), variables_of(name)
    images = jax.ShapeDtypeStruct((8, *image_shape(name)), jnp.float32)

    def loss(variables, images):
        logits, updated = model.apply(
            variables,
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        check_dtypes(name, "float32", logits, updated)
        return jnp.sum(jax.nn.log_softmax(logits)[:, 0]), updated

    step = jax.jit(jax.grad(loss, has_aux=True)).trace(variables, images)
    for platform in "cuda", "tpu":
        text = step.lower(lowering_platforms=(platform,)).as_text()
        assert "dot_general" in text or "convolution" in text


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="Unknown model 'resnet19'; nearest: resnet18"):
        models.create_model("resnet19", 10)


@pytest.mark.parametrize(
    ("name", "num_classes", "fields", "text"),
    [
        ("resnet18", 10, {"deths": (1,)}, "field of resnet18 'deths'; nearest: depths"),
        ("lenet5_1998", 10, {"dropout": 0.5}, "'dropout'; known: none."),
        ("mlp", 10, {"hidden": 8}, "hidden of mlp is 8; it must be of type tuple"),
        ("mlp", 10, {"hidden": ("8",)}, r"hidden of mlp is \('8',\)"),
        ("lenet5", 10, {"dropout": "0.5"}, "dropout of lenet5 is '0.5'; it must be of"),
        ("mlp", -1, {}, "at least 1 class, or 0 for pooled features; num_classes=-1"),
        ("mlp", 10.0, {}, "num_classes of mlp is 10.0; it must be of type int"),
        ("mlp", True, {}, "num_classes of mlp is True"),
    ],
)
def test_a_wrong_field_is_refused(name, num_classes, fields, text):
    with pytest.raises(ValueError, match=text):
        models.create_model(name, num_classes, **fields)


def test_the_border_counts_in_multiply_adds():
    # By hand: 3x3 kernels from 2 to 5 channels at each of 4x4 pixels, then 5 to 3.
    class Network(nn.Module):
        @nn.compact
        def __call__(self, images, *, train):
            x = models.layers.Conv(5, 3)(images)
            return models.layers.Dense(3)(models.layers.global_avg_pool(x))

    assert models.count_macs(Network(), (4, 4, 2)) == 4 * 4 * 9 * 2 * 5 + 5 * 3
    assert models.count_params(Network(), (4, 4, 2)) == 9 * 2 * 5 + 5 + 5 * 3 + 3


HINT = "run `python docs/generate_catalogue.py`, which writes the catalogue"


def test_the_catalogue_has_every_network_and_says_what_its_row_says():
    rows, references = models.catalogue(), generate_catalogue.references()
    assert [row["model"] for row in rows] == models.list_models(), HINT
    for row in rows:
        name = row["model"]
        variant = models.MODELS[name]
        assert bool(variant.reference) != (name in references), name
        expected = dataclasses.replace(
            variant, reference=variant.reference or references[name]
        )
        for field in dataclasses.fields(expected):
            if field.name not in ("build", "scale"):
                assert row[field.name] == getattr(expected, field.name), HINT


def test_the_catalogue_has_images_that_are_no_squares():
    # Waibel et al. 1989: 15 frames of 16 coefficients.
    rows = models.catalogue("tdnn")
    assert rows[0]["image_size"] == (15, 16)
    assert json.loads(text.MODELS["json"](rows))[0]["image_size"] == [15, 16]
    assert "15 x 16 x 1 " in text.MODELS["table"](rows)
    assert "32 x 32 x 1 " in text.MODELS["table"](models.catalogue("lenet5"))


@pytest.mark.parametrize("name", TWO_OF_THEM)  # test_analysis has them all
def test_the_catalogue_is_what_its_generator_computes(name):
    (row,) = models.catalogue(name)
    assert row == generate_catalogue.row(name), HINT


def test_the_catalogue_computes_nothing(monkeypatch):
    def compute(*args):
        raise AssertionError("a network is traced")

    monkeypatch.setattr(models, "abstract_variables", compute)
    names = [row["model"] for row in models.catalogue("resnet*")]
    assert names == models.list_models("resnet*")
