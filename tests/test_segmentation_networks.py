"""Backbones, and the segmentation networks that no other library has.

Those that another library has are in tests/parity/segmentation.py. What torch computes
is in tests/reference/paper_networks.npz, see make_paper_networks_reference.py.
"""

import contextlib
import functools

from flax import linen as nn
from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.models import backbone, dilation, unet
from jaxcnn.training import intercept, transfer
from tests.reference import compare, filling
from tests.small_networks import small

NARROW = (4, 6, 8, 10, 12)
SIZES = {
    "unet_2015": (20, 36),
    "fcn": (70, 101),
    "dilated": (72, 96),
    "segnet": (37, 50),
}
FCN = {"filters": NARROW, "hidden": (14, 14)}
NETWORKS = {
    "unet_2015": ("unet_2015", {"filters": NARROW}),
    "segnet": ("segnet", {"filters": NARROW}),
    **{f"fcn{stride}s": (f"fcn{stride}s_vgg16", FCN) for stride in (32, 16, 8)},
    "fcn16s_bn": ("fcn16s_vgg16_bn", FCN),
    "dilated": ("dilated_vgg16", FCN),
    "dilated_basic": ("dilated_vgg16_basic", FCN),
    "dilated_large": ("dilated_vgg16_large", FCN),
}
# Published counts: torchvision's documentation (21 classes, without the auxiliary
# head); the U-Net of 2015 and SegNet in countless copies of them.
PARAMETERS = {
    "fcn_resnet50": (21, 32_957_013),
    "deeplabv3_resnet50": (21, 39_638_869),
    "deeplabv3_mobilenet_v3_large": (21, 11_025_477),
    "lraspp_mobilenet_v3_large": (21, 3_221_538),
    "unet_2015": (2, 31_030_658),
}


class Maps(nn.Module):
    """The feature maps of a network."""

    network: nn.Module
    output_stride: int = 32
    dilate_strided: bool = False
    also: tuple[str, ...] = ()

    def setup(self):
        nn.share_scope(self, self.network)

    def __call__(self, images, *, train):
        return backbone.feature_maps(
            self.network,
            images,
            train=train,
            output_stride=self.output_stride,
            also=self.also,
            dilate_strided=self.dilate_strided,
        )


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_papers_are_those_written_in_torch(name):
    model_name, fields = NETWORKS[name]
    model = models.create_model(model_name, 3, **fields)
    size = next(size for start, size in SIZES.items() if name.startswith(start))
    images = filling.images((2, *size, 3))
    with np.load(compare.FOLDER / "paper_networks.npz") as file:
        theirs = file[name]
    with jax.enable_x64(True):
        variables = compare.filled(models.abstract_variables(model, (*size, 3)))
        apply = jax.jit(
            functools.partial(model.apply, train=False),
            compiler_options=compare.IN_A_HURRY,
        )
        logits = apply(variables, images)
    assert logits.shape == (2, *size, 3)
    assert compare.relative_error(logits[:, ::4, ::3], theirs) < 1e-12


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_as_many_as_published(name):
    num_classes, number = PARAMETERS[name]
    fields = {"aux": None} if name != "unet_2015" and "lraspp" not in name else {}
    model = models.create_model(name, num_classes, **fields)
    shape = (64, 64, models.MODELS[name].channels)
    assert models.count_params(model, shape) == number


# Table 1 of the paper: C channels, or 2C, 2C, 4C, 8C, 16C, 32C, 32C, and C.
@pytest.mark.parametrize(
    ("context", "multiples"),
    [
        (dilation.BASIC, [1, 1, 1, 1, 1, 1, 1, 1]),
        (dilation.LARGE, [2, 2, 4, 8, 16, 32, 32, 1]),
    ],
)
def test_a_context_module_starts_as_the_identity(context, multiples):
    classes = dilation.Classes(3, context)
    maps = jax.random.uniform(jax.random.key(0), (1, 24, 20, 3))
    params = classes.init(jax.random.key(1), maps)["params"]
    params["score"]["kernel"] = jnp.eye(3)[None, None]
    found = classes.apply({"params": params}, maps)
    assert compare.relative_error(found, maps) < (1e-6 if max(multiples) == 1 else 0.05)
    widths = [params[f"context{i}"]["bias"].size for i in range(1, 9)]
    assert widths == [3 * multiple for multiple in multiples]


def test_a_context_module_sees_what_its_table_says():
    model = dilation.Classes(3, dilation.BASIC)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 80, 80, 3)))
    ones = jax.tree.map(jnp.ones_like, variables)

    def centre(maps):
        return model.apply(ones, maps)[0, 40, 40, 0]

    seen = jax.grad(centre)(jnp.ones((1, 80, 80, 3)))[0, ..., 0] > 0
    rows = np.flatnonzero(seen.any(axis=1))
    assert rows[-1] - rows[0] + 1 == 67  # Table 1


def test_unet_sees_and_gives_what_figure_1_says():
    # From 572 x 572 to 388 x 388 pixels.
    assert unet.margins(388, 5) == (92, 92)
    before, behind = unet.margins(389, 5)
    assert (before, 389 + before + behind) == (92, 572 + 16)


# Of other families a stride is outside of the table, or a gate sees all pixels.
DILATED = ("densenet", "mobilenet_v2", "resnet", "resnet_v2", "shufflenet_v2", "vgg")
QUICK = ("densenet", "vgg")  # poolings and convolutions


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, marks=[] if family in QUICK else pytest.mark.slow)
        for family in DILATED
    ],
)
def test_dilated_maps_have_the_old_values_at_the_old_places(family):
    # Chen et al. 2018, section 3.1: the strided map is the dilated one, subsampled.
    network, (_, _, channels) = small(family)
    network = network.clone(num_classes=0)
    images = filling.images((2, 64, 96, channels))
    init = functools.partial(Maps(network).init, train=False)
    variables = compare.filled(
        jax.eval_shape(init, jax.random.key(0), images.astype(np.float32))
    )

    @functools.partial(jax.jit, compiler_options=compare.IN_A_HURRY)
    def apply(variables, images):
        return {
            output_stride: Maps(network, output_stride)
            .apply(variables, images, train=False)
            .by_stride
            for output_stride in (8, 16, 32)
        }

    with jax.enable_x64(True):
        maps = apply(variables, images)
    for stride, last in maps[32].items():
        assert last.shape[1:3] == (64 // stride, 96 // stride)
        for output_stride in (8, 16):
            step = max(1, stride // output_stride)
            dense = maps[output_stride][stride]
            assert dense.shape[1:3] == tuple(step * n for n in last.shape[1:3])
            error = compare.relative_error(dense[:, ::step, ::step], last)
            assert error < 1e-10, (stride, output_stride)
    assert max(maps[32]) == 32


# One of each family whose maps are the input of a decoder.
CHANNELS = {
    "convnext_tiny": {4: 96, 8: 192, 16: 384, 32: 768},
    "mobilenet_v3_large": {2: 16, 4: 24, 8: 40, 16: 112, 32: 960},
    "resnet50": {2: 64, 4: 256, 8: 512, 16: 1024, 32: 2048},
    "resnet20_cifar": {1: 16, 2: 32, 4: 64},
    "vgg16": {1: 64, 2: 128, 4: 256, 8: 512, 16: 512, 32: 512},
}


@pytest.mark.parametrize("name", CHANNELS)
def test_maps_have_the_channels_of_the_papers_tables(name):
    model = Maps(models.create_model(name, 0))
    images = jnp.zeros((1, 96, 128, 3))
    maps, variables = jax.eval_shape(
        functools.partial(model.init_with_output, train=False),
        jax.random.key(0),
        images,
    )
    assert {s: x.shape[-1] for s, x in maps.by_stride.items()} == CHANNELS[name]
    for stride, x in maps.by_stride.items():
        assert x.shape[1:3] == (96 // stride, 128 // stride)
    # What a classifier computes behind its last map has no parameters here.
    classifier = models.abstract_variables(model.network, (96, 128, 3))["params"]
    assert variables["params"].keys() <= classifier.keys()


def test_a_backbone_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match=r"output_stride must be one of \(8, 16, 32\)"):
        models.create_model("fcn_resnet50", 3, output_stride=4)
    model = Maps(models.create_model("resnet18", 0), also=("stage9_block1",))
    init = functools.partial(model.init, train=False)
    with pytest.raises(ValueError, match="feature map 'stage9_block1'; nearest: "):
        jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    with pytest.raises(ValueError, match="Unknown backbone 'my.module:Net'"):
        models.create_model("unet_resnet18", 3, backbone="my.module:Net")
    with pytest.raises(ValueError, match="needs the map of 'stage3_block1'.* none"):
        models.abstract_variables(
            models.create_model("lraspp_mobilenet_v3_large", 3, also=()), (64, 64, 3)
        )
    with pytest.raises(ValueError, match="'segnet' is no classifier; it is made for"):
        models.create_model("unet_resnet18", 3, backbone="segnet")
    model = models.create_model("unet_resnet18", 3, backbone="mlp")
    with pytest.raises(ValueError, match="Mlp has no feature maps, so it is no"):
        models.abstract_variables(model, (64, 64, 3))
    model = models.create_model("deeplabv3plus_resnet34", 3, backbone="resnet20_cifar")
    with pytest.raises(ValueError, match="no map at stride 32, .* has 1, 2, 4"):
        models.abstract_variables(model, (64, 64, 3))


def test_normalisation_of_a_segmenter_is_that_of_its_backbone():
    # As training gives the networks of replicas the name of their axis.
    model = models.create_model("lraspp_mobilenet_v3_large", 3)
    model = model.clone(norm=functools.partial(model.norm, momentum=0.25))
    images = jnp.zeros((2, 32, 32, 3))
    told = {}

    def record(call, args, kwargs, context):
        if isinstance(context.module, models.layers.BatchNorm):
            layer = context.module
            told[layer.path[0]] = (layer.momentum, layer.epsilon)
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        jax.eval_shape(
            functools.partial(model.init, train=False), jax.random.key(0), images
        )
    assert told["stem"] == (0.25, 1e-3)  # MobileNetV3's own epsilon
    assert told["decoder"] == (0.25, 1e-5)


def source(name, num_classes=10):
    """A trained classifier, as init_from has it."""
    model = models.create_model(name, num_classes)
    variables = models.abstract_variables(model, (32, 32, 3))
    flat = traverse_util.flatten_dict(variables, sep="/")
    arrays = {path: np.zeros(leaf.shape, np.float32) for path, leaf in flat.items()}
    return transfer.Source(name, arrays, (0.5,) * 3, (0.25,) * 3)


@pytest.mark.parametrize(
    ("name", "fields", "backbone"),
    [
        ("unet_resnet18", {"backbone": "resnet20_cifar"}, "resnet20_cifar"),
        ("lraspp_mobilenet_v3_large", {}, "mobilenet_v3_large"),
        ("fcn8s_vgg16", {}, "vgg16"),
        ("fcn8s_vgg16_bn", {}, "vgg16_bn"),
        ("dilated_vgg16_basic", {}, "vgg16"),
        ("segnet", {}, "vgg16_bn"),
    ],
)
def test_the_weights_of_a_classifier_start_a_segmenter(name, fields, backbone):
    assert models.backbone_of(name, fields) == backbone
    model = models.create_model(name, 3, **fields)
    start = transfer.make_start(source(backbone), model, (64, 64, 3))
    groups = dict(start.groups)
    states = {
        groups.pop(group).partition(":")[0]
        for group in ("decoder", "head")
        if group in groups
    }
    assert states == {"at random"}
    assert set(groups.values()) == {"loaded"}
    if name.startswith(("fcn8s", "dilated")):  # the hidden layers, as convolutions
        assert "stage6_block2" in groups


def test_a_classifier_is_no_start_for_a_segmenter_on_another():
    model = models.create_model("unet_resnet18", 3, backbone="resnet20_cifar")
    with pytest.raises(ValueError, match="init_from: resnet32_cifar does not fit"):
        transfer.make_start(source("resnet32_cifar"), model, (64, 64, 3))


@pytest.mark.slow
@pytest.mark.parametrize(
    # Of ResNet-18 one map is inside of the stem, of VGG-16 one is behind all groups.
    ("name", "fields"),
    [("unet_resnet18", {}), ("unet_vgg16", {"backbone": "vgg11"})],
)
def test_gradients_do_not_depend_on_what_is_recomputed(name, fields):
    model = models.create_model(name, 3, **fields)
    images = filling.images((2, 32, 32, 3)).astype(np.float32)
    variables = compare.filled(models.abstract_variables(model, (32, 32, 3)))
    variables = jax.tree.map(np.float32, variables)
    params, others = variables.pop("params"), variables

    @functools.partial(
        jax.jit, compiler_options=compare.IN_A_HURRY, static_argnames="remat"
    )
    def gradient(params, remat):
        def loss(params):
            logits, _ = model.apply(
                {"params": params, **others},
                images,
                train=True,
                mutable=["batch_stats"],
            )
            return jnp.mean(jnp.sin(logits))

        with intercept.recomputed_blocks() if remat else contextlib.nullcontext():
            return jax.grad(loss)(params)

    jaxprs = [str(gradient.trace(params, remat=r).jaxpr) for r in (False, True)]
    assert ["checkpoint" in text or "remat" in text for text in jaxprs] == [False, True]
    plain, recomputed = (gradient(params, remat=r) for r in (False, True))
    plain, recomputed = (
        np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
        for tree in (plain, recomputed)
    )
    assert compare.relative_error(recomputed, plain) < 1e-5


def test_another_number_of_classes_starts_at_random():
    fields = {"filters": NARROW, "hidden": (14, 14)}
    theirs = models.create_model("fcn8s_vgg16", 5, **fields)
    flat = traverse_util.flatten_dict(
        models.abstract_variables(theirs, (32, 32, 3)), sep="/"
    )
    arrays = {path: np.zeros(leaf.shape, np.float32) for path, leaf in flat.items()}
    given = transfer.Source("fcn", arrays, (0.5,) * 3, (0.25,) * 3)
    model = models.create_model("fcn8s_vgg16", 3, **fields)
    groups = dict(transfer.make_start(given, model, (32, 32, 3)).groups)
    assert groups.pop("head") == (
        "at random: 5 classes in the source, 3 in this network"
    )
    assert set(groups.values()) == {"loaded"}


def test_a_segmenter_inside_of_another_module_computes_the_same():
    model = models.create_model("unet_resnet18", 3, backbone="resnet20_cifar")

    class Parent(nn.Module):
        @nn.compact
        def __call__(self, images):
            return model.clone(parent=self, name="child")(images, train=False)

    images = filling.images((1, 16, 16, 3)).astype(np.float32)
    found, variables = jax.jit(Parent().init_with_output)(jax.random.key(0), images)
    variables = {name: values["child"] for name, values in variables.items()}
    expected = jax.jit(functools.partial(model.apply, train=False))(variables, images)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backbone", ["convnext_tiny", "squeezenet1_1"])
def test_arguments_of_batch_norm_pass_over_other_backbones(backbone):
    model = models.create_model("unet_resnet18", 3, backbone=backbone)
    model = model.clone(norm=functools.partial(model.norm, momentum=0.25))
    models.abstract_variables(model, (64, 64, 3))  # is built
