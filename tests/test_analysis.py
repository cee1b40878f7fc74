"""The network's table against published tables and measured receptive fields."""

import csv
import functools
import io
import json

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import __main__, models, ops
from jaxcnn.analysis import receptive_field, table
from jaxcnn.models import layers
from jaxcnn.models.layers import Conv, ConvNorm, Dense
from jaxcnn.report import network
from tests.blocks import shallow

# The table that MatConvNet prints of imagenet-vgg-verydeep-16, without its softmax
# (https://www.vlfeat.org/matconvnet/models/imagenet-vgg-verydeep-16.svg): a row for
# each convolution, ReLU and max-pool.
VGG16_FIELDS = (
    *(3, 3, 5, 5, 6, 10, 10, 14, 14, 16, 24, 24, 32, 32, 40, 40, 44, 60, 60, 76, 76),
    *(92, 92, 100, 132, 132, 164, 164, 196, 196, 212, 404, 404, 404, 404, 404),
)
VGG16_KB = (
    *(7, 144, 289, 577, 1153, 2305, 2305, 4610, 9218, 9218, 9218, 9218, 9218),
    *(401424, 65552, 16004),
)


class Layers(nn.Module):
    """The modules and functions of a list, one after the other."""

    steps: tuple

    @nn.compact
    def __call__(self, x, *, train):
        for step in self.steps:
            x = step.copy(parent=self)(x) if isinstance(step, nn.Module) else step(x)
        return x


def flatten(x):
    return x.reshape(len(x), -1)


def rows_of(steps, image_shape=(16, 16, 4)):
    return table.summarize(Layers(tuple(steps)), image_shape).layers


def fields_of(rows):
    return [row.receptive_field[0] for row in rows]


# Published tables.


def test_vgg16_has_the_published_table():
    model = models.create_model("vgg16", 1000)
    rows = table.summarize(model, (224, 224, 3)).layers
    assert tuple(fields_of(rows)) == VGG16_FIELDS
    kinds = {"conv": [], "relu": [], "max_pool": []}
    for row in rows:
        kinds[row.type].append(row)
    assert tuple(row.kb for row in kinds["conv"]) == VGG16_KB
    # Linear layers as convolutions, with their supports and outputs.
    dense = kinds["conv"][-3:]
    assert [row.depth for row in dense] == [512, 4096, 4096]
    assert [row.depth for row in kinds["conv"][:3]] == [3, 64, 64]
    assert {row.depth for row in kinds["max_pool"]} == {None}
    assert [row.kernel for row in dense] == [(7, 7), (1, 1), (1, 1)]
    assert {(row.output_size, row.stride) for row in dense} == {((1, 1), (1, 1))}
    assert [row.channels for row in dense] == [4096, 4096, 1000]
    # "rf stride" and "rf offset", which counts pixels from 1.
    assert [row.receptive_field_stride[0] for row in kinds["max_pool"]] == [
        *(2, 4, 8, 16, 32)
    ]
    centres = [row.receptive_field_centre[0] + 1 for row in kinds["max_pool"]]
    assert centres == [1.5, 2.5, 4.5, 8.5, 16.5]
    assert dense[0].receptive_field_centre == (111.5, 111.5)


def test_the_character_network_has_its_receptive_fields():
    steps = (
        *(
            Conv(20, 5, padding=0),
            functools.partial(layers.max_pool, window=2, stride=2),
        ),
        *(
            Conv(50, 5, padding=0),
            functools.partial(layers.max_pool, window=2, stride=2),
        ),
        *(Conv(500, 4, padding=0), layers.relu, Conv(26, 2, padding=0)),
    )
    rows = rows_of(steps, (32, 32, 1))
    assert fields_of(rows) == [5, 6, 14, 16, 28, 28, 32]
    assert [row.output_size[0] for row in rows] == [28, 14, 10, 5, 2, 2, 1]


def test_four_layers_have_the_parameters_of_the_example():
    steps = (Conv(8, 3), Conv(16, 5, 2), flatten, Dense(512), Dense(4))
    summary = table.summarize(Layers(steps), (32, 32, 3))
    assert summary.parameters == 2_103_156
    assert [row.parameters for row in rows_of([Conv(16, 3)], (8, 8, 3))] == [448]


# GFLOPS, of multiply-adds, on torchvision's model cards (0.28, IMAGENET1K_V1).
TORCHVISION_GIGA_MACS = {
    **{"alexnet": 0.714, "vgg11": 7.609, "vgg11_bn": 7.609, "vgg13": 11.308},
    **{"vgg13_bn": 11.308, "vgg16": 15.47, "vgg16_bn": 15.47, "vgg19": 19.632},
    **{"vgg19_bn": 19.632, "googlenet": 1.498, "inception_v3": 5.713},
    **{"resnet18": 1.814, "resnet34": 3.664, "resnet50": 4.089, "resnet101": 7.801},
    **{"resnet152": 11.514, "wide_resnet50_2": 11.398, "wide_resnet101_2": 22.753},
    **{"resnext50_32x4d": 4.23, "resnext101_32x8d": 16.414, "resnext101_64x4d": 15.46},
    **{"densenet121": 2.834, "densenet161": 7.728, "densenet169": 3.36},
    **{"densenet201": 4.291, "mobilenet_v2": 0.301, "mobilenet_v3_small": 0.057},
    **{"mobilenet_v3_large": 0.217, "shufflenet_v2_x0_5": 0.04},
    **{"shufflenet_v2_x1_0": 0.145, "shufflenet_v2_x1_5": 0.296},
    **{"shufflenet_v2_x2_0": 0.583, "squeezenet1_0": 0.819, "squeezenet1_1": 0.349},
    **{"efficientnet_b0": 0.386, "efficientnet_b1": 0.687, "efficientnet_b2": 1.088},
    **{"efficientnet_b3": 1.827, "efficientnet_b4": 4.394, "efficientnet_b5": 10.266},
    **{"efficientnet_b6": 19.068, "efficientnet_b7": 37.746},
    **{"efficientnet_v2_s": 8.366, "efficientnet_v2_m": 24.582},
    **{"efficientnet_v2_l": 56.08, "regnet_x_400mf": 0.414, "regnet_x_800mf": 0.8},
    **{"regnet_x_1_6gf": 1.603, "regnet_x_3_2gf": 3.177, "regnet_x_8gf": 7.995},
    **{"regnet_x_16gf": 15.941, "regnet_x_32gf": 31.736, "regnet_y_400mf": 0.402},
    **{"regnet_y_800mf": 0.834, "regnet_y_1_6gf": 1.612, "regnet_y_3_2gf": 3.176},
    **{"regnet_y_8gf": 8.473, "regnet_y_16gf": 15.912, "regnet_y_32gf": 32.28},
    **{"convnext_tiny": 4.456, "convnext_small": 8.684, "convnext_base": 15.355},
    **{"convnext_large": 34.361},
}


def test_macs_are_those_of_torchvisions_model_cards():
    # Within half the last digit, or 1%. The catalogue is what test_models recomputes.
    rows = {row["model"]: row for row in models.catalogue()}
    checked = rows.keys() & TORCHVISION_GIGA_MACS.keys()
    assert len(checked) >= 10
    for name in checked:
        macs, published = rows[name]["macs"], TORCHVISION_GIGA_MACS[name] * 1e9
        assert abs(macs - published) <= max(0.5e6, 0.01 * published), name


# Receptive fields of branches, measured.


def positive_variables(model, image_shape):
    """Kernels that average with positive weights, normalisations that do nothing."""
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        name = path[-1].key
        if name == "kernel":
            weights = rng.uniform(0.5, 1.5, leaf.shape)
            return weights / np.prod(leaf.shape[:-1])
        return np.full(leaf.shape, 0.0 if name in ("bias", "mean") else 1.0)

    variables = models.abstract_variables(model, image_shape)
    return jax.tree_util.tree_map_with_path(fill, variables)


def measured_fields(model, image_shape, groups):
    """The pixels (first row, last row, first column, last column) that the channels of
    the central unit of each group's output depend on.

    A max-pool becomes a mean, so that every pixel counts; squeeze-and-excitation and
    normalisations let pass what comes. Convolutions have one filter, for speed.
    """
    means = functools.partial(ops.LAX.avg_pool, count_include_pad=True)
    passing = (layers.SqueezeExcitation, layers.BatchNorm, layers.LayerNorm)

    def let_pass(call, args, kwargs, context):
        if isinstance(context.module, passing):
            return args[0]
        return call(*args, **kwargs)

    def is_group(module, method):
        return len(module.path) == 1 and method == "__call__"

    def convolve_means(x, kernel, bias, *, groups, **places):
        """The mean of all channels, convolved with one filter, for every channel."""
        x, thin = x.mean(-1, keepdims=True), kernel.mean((2, 3), keepdims=True)
        y = ops.LAX.conv(x, thin, groups=1, **places)
        y = jnp.broadcast_to(y, (*y.shape[:-1], kernel.shape[-1]))
        return y if bias is None else y + bias

    measuring = ops.Table(conv=convolve_means, max_pool=means)

    @jax.jit
    def maps(variables, images):
        _, kept = model.apply(
            variables,
            images,
            train=False,
            capture_intermediates=is_group,
            mutable=["intermediates"],
        )
        return {g: kept["intermediates"][g]["__call__"][0] for g in groups}

    @jax.jit
    def gradient(variables, images, chosen):
        _, pull_back = jax.vjp(functools.partial(maps, variables), images)
        return pull_back(chosen)[0]

    found = {}
    with ops.using(measuring), jax.enable_x64(True), nn.intercept_methods(let_pass):
        variables = positive_variables(model, image_shape)
        images = np.full((1, *image_shape), 1e-3)
        nothing = {
            group: np.zeros(output.shape)
            for group, output in jax.eval_shape(maps, variables, images).items()
        }
        for group, zeros in nothing.items():
            chosen = zeros.copy()
            chosen[0, zeros.shape[1] // 2, zeros.shape[2] // 2] = 1.0  # every channel
            seen = gradient(variables, images, nothing | {group: chosen})
            seen = np.abs(seen[0]).sum(axis=-1) > 0
            rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
            found[group] = rows[0], rows[-1], columns[0], columns[-1]
    return found


def computed_fields(rows, image_shape, groups):
    """The same by the table, for images of which the network reads every pixel."""
    found = {}
    for group in groups:
        row = [row for row in rows if row.name.startswith(group + "/")][-1]
        found[group] = ()
        for axis in 0, 1:
            centre = row.receptive_field_centre[axis]
            centre += row.output_size[axis] // 2 * row.receptive_field_stride[axis]
            reach = (row.receptive_field[axis] - 1) / 2
            last = image_shape[axis] - 1
            found[group] += max(centre - reach, 0), min(centre + reach, last)
    return found


def check_fields(model, image_shape, at_most=None):
    """Compares all groups whose maps have rows and columns, or a few of those whose
    field is at most so large."""
    rows = table.summarize(model, image_shape).layers
    last = {row.name.partition("/")[0]: row for row in rows if "/" in row.name}
    groups = [g for g in last if min(last[g].output_size) > 1]
    if at_most is not None:
        groups = [g for g in groups if max(last[g].receptive_field) <= at_most]
        groups = groups[-3:]
    assert len(groups) > 1
    measured = measured_fields(model, image_shape, groups)
    assert measured == computed_fields(rows, image_shape, groups)


@pytest.mark.slow
def test_fields_of_resnet18_are_measured_to_be_so():
    # Table of Araujo et al. 2019: 435 pixels, which the image has.
    model = models.create_model("resnet18", 10)
    rows = table.summarize(model, (480, 448, 3)).layers
    last = [row for row in rows if row.name.startswith("stage4_block2/")][-1]
    assert last.receptive_field == (435, 435)
    check_fields(model, (480, 448, 3))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet20_cifar", "lenet5"])
def test_fields_of_small_networks_are_measured_to_be_so(name):
    variant = models.MODELS[name]
    shape = variant.image_shape
    check_fields(models.create_model(name, 10), shape)


BRANCHY = (
    *("resnet50", "googlenet", "inception_v3", "inception_v4", "inception_resnet_v2"),
    *("xception", "densenet121", "mobilenet_v2", "mobilenet_v3_large"),
    *("legacy_seresnet50", "shufflenet_v2_x1_0", "squeezenet1_1", "efficientnet_b0"),
    *("regnet_y_400mf", "convnext_tiny", "resnext50_32x4d"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", BRANCHY)
def test_fields_of_branches_are_measured_to_be_so(name):
    # The last pixel of an even size is not read by stems without padding.
    check_fields(shallow(name), (191, 191, 3), at_most=190)


# What a layer is.


class Branches(nn.Module):
    """The results of some steps on the same maps, merged."""

    steps: tuple
    merge: object

    @nn.compact
    def __call__(self, x, *, train):
        return self.merge(*(step(x) for step in self.steps))


@pytest.mark.parametrize(
    ("merge", "kind"),
    [
        (lambda x, y: x + y, "sum"),
        (lambda x, y: x * y, "product"),
        (jnp.maximum, "maximum"),
        (lambda x, y: jnp.concatenate([x, y], axis=-1), "concat"),
    ],
)
def test_a_merge_sees_the_smallest_interval_that_covers_its_branches(merge, kind):
    # By hand: rows -2..2 and columns 0; rows 0 and columns -3..3.
    model = Branches((Conv(4, (5, 1)), Conv(4, (1, 7))), merge)
    row = table.summarize(model, (16, 16, 4)).layers[-1]
    assert (row.type, row.receptive_field) == (kind, (5, 7))
    # Rows 0..2 and 6..8: the pixels between them, which neither sees, are covered.
    left = lambda x: Conv(4, 3, padding=0)(x)[:, :-6, :-6]  # noqa: E731
    right = lambda x: Conv(4, 3, padding=0)(x)[:, 6:, 6:]  # noqa: E731
    row = table.summarize(Branches((left, right), merge), (16, 16, 4)).layers[-1]
    assert row.receptive_field == (9, 9)
    assert row.receptive_field_centre == (4.0, 4.0)


class Gated(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        x = layers.relu(Conv(8, 3, 2, name="conv")(x))
        return layers.SqueezeExcitation(2, name="se")(x, train=train)


@pytest.mark.parametrize("size", [16, 2])  # maps of 8 pixels, and of one
def test_gates_are_left_out_and_said_to_be(size):
    summary = table.summarize(Gated(), (size, size, 4))
    types = [row.type for row in summary.layers if row.type != "avg_pool"]
    assert types == ["conv", "relu", "conv", "relu", "conv", "sigmoid", "gate"]
    assert summary.layers[-2].receptive_field[0] == (17 if size == 16 else 3)
    gate = summary.layers[-1]
    assert gate.receptive_field == (3, 3)
    assert gate.output_size == (size // 2, size // 2)
    assert "left out" in gate.note
    last = network.LAYERS["table"](summary).splitlines()[-1]
    assert last == "gate: the gate is left out of the receptive field."


def named_activations():
    return {
        "relu": layers.relu,
        "tanh": jnp.tanh,
        "sigmoid": jax.nn.sigmoid,
        "silu": jax.nn.silu,
        "gelu": jax.nn.gelu,
        "leaky_relu": jax.nn.leaky_relu,
        "softplus": jax.nn.softplus,
        "relu6": jax.nn.relu6,
        "hard_silu": jax.nn.hard_swish,
        "local_response_norm": functools.partial(
            layers.local_response_norm, size=5, alpha=1e-4, beta=0.75, k=2.0
        ),
    }


@pytest.mark.parametrize("kind", named_activations())
def test_an_activation_is_one_row_with_its_name(kind):
    rows = rows_of([Conv(4, 3), named_activations()[kind], Conv(4, 3)])
    assert [row.type for row in rows] == ["conv", kind, "conv"]
    assert fields_of(rows) == [3, 3, 5]


def test_a_normalisation_is_one_row_and_its_statistics_are_not_seen():
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            x = ConvNorm(8, 3, name="first")(x, train=train)
            x = layers.LayerNorm(name="second")(x, train=train)
            return nn.GroupNorm(2, name="third")(x)

    rows = table.summarize(Network(), (16, 16, 4)).layers
    assert [row.type for row in rows] == [
        *("conv", "batch_norm", "relu", "layer_norm", "group_norm")
    ]
    assert [row.parameters for row in rows] == [9 * 4 * 8, 16, 0, 16, 16]
    assert fields_of(rows) == [3] * 5


def test_shuffles_splits_and_shapes_change_no_field():
    def rename(x):
        x = layers.channel_shuffle(x, 2)
        left, right = jnp.split(x, 2, axis=-1)
        x = jnp.concatenate([right, left], axis=-1)[..., np.array([0, 2, 1, 3])]
        return x.transpose(0, 3, 1, 2).reshape(-1, 4, 16, 16).transpose(0, 2, 3, 1)

    rows = rows_of([Conv(4, 3), rename, Conv(4, 3)])
    assert [row.type for row in rows] == ["conv", "conv"]
    assert fields_of(rows) == [3, 5]


def test_dilation_padding_and_subsampling_count():
    # By hand. A kernel of 3 at dilation 2 reaches 5 pixels. Two zeros before move the
    # first unit two steps back.
    pad = functools.partial(jnp.pad, pad_width=((0, 0), (2, 0), (2, 1), (0, 0)))
    steps = (
        Conv(4, 3, dilation=2),
        lambda x: x[:, ::2, ::2],
        pad,
        Conv(4, 3, padding=0),
    )
    rows = rows_of(steps)
    assert [row.type for row in rows] == ["conv", "subsample", "pad", "conv"]
    assert fields_of(rows) == [5, 5, 5, 9]
    assert [row.receptive_field_stride[0] for row in rows] == [1, 2, 2, 2]
    assert [row.receptive_field_centre[0] for row in rows] == [0, 0, -4, -2]
    assert rows[0].dilation == rows[1].stride == (2, 2)
    assert rows[2].padding == ((2, 0), (2, 1))


@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [(12, 4, 4), (3, 1, 1), (5, 3, 2)]
)
def test_pooling_to_a_fixed_size_is_one_row(size, kernel, stride):
    # PyTorch's windows from floor(i n / 3) to ceil((i + 1) n / 3): of 5 pixels 0-1,
    # 1-3 and 3-4.
    pool = functools.partial(layers.adaptive_avg_pool, size=3)
    rows = rows_of([pool, flatten, Dense(7)], (size, size, 2))
    assert fields_of(rows)[-1] == size
    assert rows[-1].kernel == (3, 3)
    if size == 3:  # nothing to pool
        assert [row.type for row in rows] == ["conv"]
    else:
        assert rows[0].type == "adaptive_avg_pool"
        assert (rows[0].kernel, rows[0].stride) == ((kernel,) * 2, (stride,) * 2)


def test_units_of_a_field_by_hand():
    # Windows of 3 at stride 2 on 5 pixels padded by 1: -1..1, 1..3, 3..5.
    field = receptive_field.pixels(5).pad(1, 1).slide(3, 2)
    np.testing.assert_array_equal(field.first, [-1, 1, 3])
    np.testing.assert_array_equal(field.last, [1, 3, 5])
    assert (field.size, field.stride, field.centre) == (3, 2, 0.0)


# Totals.


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        name
        if name in ("lenet5", "googlenet")
        else pytest.param(name, marks=pytest.mark.slow)
        for name in models.list_models()
    ],
)
def test_every_network_has_a_table_with_all_its_parameters_and_macs(name):
    variant = models.MODELS[name]
    shape = variant.image_shape
    model = models.create_model(name, variant.num_classes)
    summary = table.summarize(model, shape)
    (row,) = models.catalogue(name)
    hint = "run `python docs/generate_catalogue.py`, which writes the catalogue"
    assert summary.parameters + summary.unused == row["parameters"], hint
    assert summary.macs == row["macs"], hint
    if summary.unused:
        groups = models.layer_groups(model, shape)
        assert any(group.startswith("aux") for group in groups)
    assert len({layer.name for layer in summary.layers}) == len(summary.layers)
    last = summary.layers[-1]
    if name.startswith("crnn"):  # nothing is known behind an LSTM but what it costs
        assert (last.name, last.output_size) == ("head", None)
        return
    if name == "autoencoder":  # a linear layer, whose numbers are the pixels
        assert (last.output_size, last.channels) == ((1, 1), 28 * 28)
        return
    is_map = variant.task in ("restoration", "saliency", "segmentation")
    size = shape[:2] if is_map else (1, 1)
    assert (last.output_size, last.channels) == (size, variant.num_classes)


@pytest.mark.slow
def test_groups_have_the_parameters_and_macs_of_their_blocks():
    model = models.create_model("resnet18", 1000)
    groups = table.summarize_groups(model, (224, 224, 3))
    fine = [group for group in groups if group.level == "fine"]
    coarse = [group for group in groups if group.level == "coarse"]
    assert tuple(group.group for group in fine) == models.layer_groups(model)
    names = ["stem", "stage1", "stage2", "stage3", "stage4", "head"]
    assert [group.group for group in coarse] == names
    summary = table.summarize(model, (224, 224, 3))
    for level in fine, coarse:
        assert sum(group.macs for group in level) == summary.macs
        assert sum(group.parameters for group in level) == summary.parameters
    # By hand: four 3x3 convolutions of 64 to 64 channels, on 56x56 pixels.
    assert coarse[1].macs == 4 * 9 * 64 * 64 * 56 * 56


class WithAuxiliaryHead(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        x = layers.global_avg_pool(Conv(8, 3, name="stem")(x))
        self.sow("intermediates", "logits", Dense(5, name="aux1")(x))
        return Dense(10, name="head")(x)


def test_an_auxiliary_head_has_no_row_but_is_a_group():
    model = WithAuxiliaryHead()
    summary = table.summarize(model, (16, 16, 4))
    assert [row.name for row in summary.layers] == ["stem", "avg_pool", "head"]
    assert (summary.unused, summary.macs) == (45, 16 * 16 * 36 * 8 + 80)
    assert models.count_macs(model, (16, 16, 4)) == summary.macs
    groups = table.summarize_groups(model, (16, 16, 4))
    assert ("aux1", "coarse", 45, 0) in {
        (g.group, g.level, g.parameters, g.macs) for g in groups
    }


# The verb.


def call(*arguments):
    return __main__.main(["summarize", *arguments])


def test_the_verb_prints_rows_and_a_total(capsys):
    assert call("--model=lenet5") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["layer", "type", "support"]
    assert lines[2].split()[:3] == ["stem/conv", "conv", "5"]
    assert lines[-2].split() == ["total", "61,706", "429,342", "241", "416,520"]
    assert lines[-1] == "float32 parameters: 0.2 MB (0.2 MiB)"


def test_the_verb_writes_a_list_of_objects(capsys):
    flags = ("--model=resnet18", "--image_size=64", "--channels=1", "--num_classes=7")
    assert call(*flags, "--format=json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["receptive_field"] == rows[0]["kernel"] == 7
    assert rows[0]["parameters"] == 49 * 64
    assert (rows[0]["output_size"], rows[-1]["channels"]) == (32, 7)
    assert (rows[0]["depth"], rows[1]["depth"]) == (1, None)
    assert rows[0]["connections"] == 32 * 32 * 64 * 49
    assert call(*flags, "--format=csv") == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    for column in "macs", "connections":
        assert [int(line[column]) for line in lines] == [row[column] for row in rows]
    assert (lines[0]["depth"], lines[1]["depth"]) == ("1", "")


@pytest.mark.slow
def test_the_verb_writes_groups(capsys):
    assert call("--model=resnet18", "--groups", "--format=json") == 0
    rows = json.loads(capsys.readouterr().out)
    stage = [row for row in rows if row["group"] == "stage1"]
    assert [(row["level"], row["parameters"]) for row in stage] == [
        ("coarse", 4 * (9 * 64 * 64 + 2 * 64))
    ]
    assert call("--model=resnet18", "--groups") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].split()[:2] == ["total", "11,689,512"]
    assert [line.split()[0] for line in lines].count("stem") == 1


@pytest.mark.slow
def test_groups_without_parameters_have_their_macs(capsys):
    # The Gabor filters of HMAX are computed, and come before its head.
    assert call("--model=hmax", "--groups", "--format=json") == 0
    groups = json.loads(capsys.readouterr().out)
    (row,) = models.catalogue("hmax")
    assert sum(g["macs"] for g in groups if g["level"] == "fine") == row["macs"]


def test_unequal_sides_are_written_one_by_one(capsys):
    pad = functools.partial(jnp.pad, pad_width=((0, 0), (0, 1), (2, 3), (0, 0)))
    summary = table.summarize(Layers((Conv(4, (1, 7)), pad)), (16, 16, 4))
    conv, padded = json.loads(network.LAYERS["json"](summary))
    assert (conv["kernel"], conv["padding"], conv["stride"]) == ([1, 7], [0, 3], 1)
    assert padded["padding"] == [0, 1, 2, 3]
    conv, padded = csv.DictReader(io.StringIO(network.LAYERS["csv"](summary)))
    assert (conv["kernel"], conv["padding"], conv["stride"]) == ("1x7", "0x3", "1")
    assert padded["padding"] == "0,1,2,3"


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ((), "--model=NAME is missing"),
        (("--model=vgg17",), "Unknown model 'vgg17'; nearest: vgg1"),
        (("--model=lenet5", "--image_size=8"), "needs larger images"),
        (
            ("--model=lenet5", "--image_size=0"),
            "--image_size must be at least 1, not 0.",
        ),
        (("--model=lenet5", "--channels=-1"), "--channels must be at least 1, not -1."),
        (("--model=lenet5", "--image_size=32x0"), "must be at least 1, not 32x0."),
        (("--model=lenet5", "--image_size=32,32"), "N or HEIGHTxWIDTH, not '32,32'"),
        (("--model=lenet5", "deep"), "not 'deep'"),
    ],
)
def test_mistakes_get_one_line(flags, text, capsys):
    assert call(*flags) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
