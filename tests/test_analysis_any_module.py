"""The table of any Linen module: receptive fields against gradients, published counts,
and `summarize --model=MODULE:ATTRIBUTE`."""

import functools
import json
import sys
import textwrap

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import __main__, models
from jaxcnn.analysis import table
from jaxcnn.analysis.trace import Trace
from jaxcnn.errors import UserError
from jaxcnn.models import adapter, layers
from jaxcnn.report import network


class Steps(nn.Module):
    """Modules and functions one after the other, called without `train`."""

    steps: tuple

    @nn.compact
    def __call__(self, x):
        for step in self.steps:
            x = step.copy(parent=self)(x) if isinstance(step, nn.Module) else step(x)
        return x


def resize(method, size):
    return lambda x: jax.image.resize(x, (len(x), size, size, x.shape[-1]), method)


def depth_to_space(x):
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, 2 * h, 2 * w, c // 4)


def space_to_depth(x):
    b, h, w, c = x.shape
    x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // 2, w // 2, 4 * c)


def mean_of_blocks(x):
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))


def zeros_between(x):
    return jax.lax.pad(x, 0.0, ((0, 0, 0), (1, 2, 1), (0, 1, 2), (0, 0, 0)))


def flat_and_back(x):
    """As a network with maps of channels first flattens them."""
    b, h, w, c = x.shape
    flat = nn.relu(x.transpose(0, 3, 1, 2).reshape(b, -1))
    return flat.reshape(b, c, h, w).transpose(0, 2, 3, 1)


CONV = nn.Conv(4, (3, 3))
CHANGES = {
    "transposed 3/2": nn.ConvTranspose(4, (3, 3), (2, 2)),
    "transposed 4/2": nn.ConvTranspose(4, (4, 4), (2, 2)),
    "transposed 2/2": nn.ConvTranspose(4, (2, 2), (2, 2)),
    "transposed 5/3 valid": nn.ConvTranspose(4, (5, 5), (3, 3), "VALID"),
    "transposed 1x4/1x2": nn.ConvTranspose(4, (1, 4), (1, 2)),
    "transposed and dilated": nn.ConvTranspose(4, (3, 3), (2, 2), kernel_dilation=2),
    "gaps": nn.ConvTranspose(4, (1, 1), (2, 2)),
    "nearest": resize("nearest", 24),
    "nearest by 3/2": resize("nearest", 18),
    "linear": resize("linear", 24),
    "cubic": resize("cubic", 24),
    "lanczos": resize("lanczos3", 24),
    "linear by 4/3": resize("linear", 16),
    "linear, smaller": resize("linear", 6),
    "linear, odd": resize("linear", 7),
    "ours, transposed 3/2": layers.ConvTranspose(4, 3, 2, 1, 1),
    "ours, transposed in groups": layers.ConvTranspose(4, (4, 5), (2, 3), groups=2),
    "ours, bilinear": lambda x: layers.resize(x, (24, 16)),
    "ours, corners aligned": lambda x: layers.resize(x, (23, 34), align_corners=True),
    "ours, nearest": lambda x: layers.resize(x, (24, 18), "nearest"),
    "ours, smaller": lambda x: layers.resize(x, (6, 4)),
    "depth to space": depth_to_space,
    "space to depth": space_to_depth,
    "mean of blocks": mean_of_blocks,
    "repeat": lambda x: jnp.repeat(jnp.repeat(x, 2, axis=1), 3, axis=2),
    "every other row": lambda x: x[:, 1::2],
    "chosen rows": lambda x: x[:, np.array([0, 3, 6, 9])],
    "zeros between": zeros_between,
    "flat and back": flat_and_back,
}
# What comes before and after shows whether the units have kept their order.
NETWORKS = {name: (CONV, change, CONV) for name, change in CHANGES.items()} | {
    "twice": (CONV, CHANGES["transposed 4/2"], CHANGES["linear"], CONV),
    "strided, then back": (
        nn.Conv(4, (3, 3), (2, 2)),
        CHANGES["transposed 3/2"],
        nn.Conv(4, (3, 3), (2, 2)),
        depth_to_space,
        CONV,
    ),
    "there and back": (CONV, space_to_depth, CONV, depth_to_space, CONV),
    "columns as channels": (
        CONV,
        lambda x: x.reshape(*x.shape[:2], -1),
        nn.Conv(4, (5,)),
        lambda x: x[:, :, None],
    ),
    "from one unit": (
        lambda x: x.mean(axis=(1, 2)),
        nn.Dense(64),
        lambda x: x.reshape(len(x), 4, 4, 4),
        CHANGES["transposed 4/2"],
    ),
}


def positive(path, leaf):
    rng = np.random.default_rng(leaf.size)
    return rng.uniform(0.5, 1.5, leaf.shape) * (path[-1].key == "kernel")


def seen(model, image_shape):
    """Which pixels each unit in the middle column, and row, depends on: bool [rows,
    height] and [columns, width], from gradients."""
    variables = models.abstract_variables(model, image_shape)
    with jax.enable_x64(True):
        variables = jax.tree_util.tree_map_with_path(positive, variables)
        # Gradients through ReLU need images that are positive.
        images = np.random.default_rng(0).uniform(0.5, 1.5, (1, *image_shape))
        output, pull_back = jax.vjp(functools.partial(model.apply, variables), images)
        _, rows, columns, _ = output.shape

        def pixels(row, column, axis):
            gradient = pull_back(jnp.zeros_like(output).at[0, row, column].set(1))[0]
            size = jnp.abs(gradient[0]).sum(axis=(1 - axis, 2))
            return size > 1e-7 * size.max()

        column_units, row_units = np.arange(columns), np.arange(rows)
        of_rows = jax.vmap(lambda i: pixels(i, columns // 2, 0))(row_units)
        of_columns = jax.vmap(lambda i: pixels(rows // 2, i, 1))(column_units)
    return np.asarray(of_rows), np.asarray(of_columns)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_fields_of_maps_that_change_their_size_are_those_of_the_gradient(name):
    model, image_shape = Steps(NETWORKS[name]), (12, 12, 4)
    fields = Trace(model, image_shape).drafts[-1].output.fields
    row = table.summarize(model, image_shape).layers[-1]
    for axis, measured in enumerate(seen(model, image_shape)):
        field = fields[axis]
        assert row.output_size[axis] == len(measured) == len(field)
        inside = 0
        for first, last, pixels in zip(field.first, field.last, measured, strict=True):
            found = np.flatnonzero(pixels)
            if first > last:
                assert len(found) == 0
                continue
            if first >= 0 and last < image_shape[axis]:
                assert (found[0], found[-1]) == (first, last)
                inside += 1
            elif len(found):  # what a unit sees beyond the border is cut off
                assert first <= found[0]
                assert found[-1] <= last
        sizes = [np.ptp(np.flatnonzero(p)) + 1 for p in measured if p.any()]
        if inside:
            assert row.receptive_field[axis] >= max(sizes)
            assert row.receptive_field[axis] == (field.last - field.first).max() + 1
        assert inside or row.receptive_field[axis] >= 12


def rows_of(*steps, image_shape=(12, 12, 4)):
    return table.summarize(Steps(steps), image_shape).layers


@pytest.mark.parametrize("method", ["nearest", "linear", "cubic", "lanczos3"])
def test_a_resize_is_one_row_and_the_maps_keep_their_shape(method):
    rows = rows_of(nn.Conv(8, (3, 3)), resize(method, 64), nn.Conv(8, (3, 3)))
    assert [row.type for row in rows] == ["conv", "resize", "conv"]
    assert [(row.output_size, row.channels) for row in rows[1:]] == [((64, 64), 8)] * 2


def test_units_of_a_resize_are_not_cut_at_the_border():
    # By hand: at twice the size, unit i lies at (i + 1/2)/2 - 1/2 = -1/4, 1/4, 3/4, ...
    # and takes the two pixels around it: -1 and 0, 0 and 1, 0 and 1, ...
    (row,) = rows_of(resize("linear", 24))
    assert (row.receptive_field, row.receptive_field_centre) == ((2, 2), (-0.5, -0.5))
    field = Trace(Steps((resize("linear", 8),)), (4, 4, 1)).drafts[-1].output.fields[0]
    np.testing.assert_array_equal(field.first, [-1, 0, 0, 1, 1, 2, 2, 3])
    np.testing.assert_array_equal(field.last, [0, 1, 1, 2, 2, 3, 3, 4])


def test_strides_of_growing_maps_are_fractions():
    # By hand: two pixels, then one, one half, and one third of that.
    rows = rows_of(
        nn.Conv(4, (3, 3), (2, 2)),
        nn.ConvTranspose(4, (4, 4), (2, 2)),
        resize("linear", 24),
        nn.ConvTranspose(4, (3, 3), (3, 3)),
    )
    assert [row.type for row in rows] == [
        *("conv", "conv_transpose", "resize", "conv_transpose")
    ]
    assert [row.stride[0] for row in rows] == [2, 0.5, 0.5, pytest.approx(1 / 3)]
    strides = [row.receptive_field_stride[0] for row in rows]
    assert strides == [2, 1, 0.5, pytest.approx(1 / 6)]
    assert [row.kernel[0] for row in rows] == [3, 4, 2, 3]


@pytest.mark.parametrize(("kernel", "stride", "pad"), [(4, 2, 1), (3, 2, 0), (5, 3, 2)])
def test_a_transposed_convolution_has_the_numbers_of_pytorch(kernel, stride, pad):
    # nn.ConvTranspose2d: H_out = (H - 1) stride - 2 padding + kernel, and kernel^2 in
    # out weights, each of which multiplies each input unit once.
    edge = kernel - 1 - pad  # Flax pads the map with zeros between its units
    module = nn.ConvTranspose(
        6, (kernel,) * 2, (stride,) * 2, [(edge, edge)] * 2, transpose_kernel=True
    )
    (row,) = rows_of(module)
    size = 11 * stride - 2 * pad + kernel
    assert (row.output_size, row.channels) == ((size, size), 6)
    assert (row.kernel, row.depth) == ((kernel, kernel), 4)
    assert row.padding == ((pad, pad), (pad, pad))
    assert row.parameters == kernel**2 * 4 * 6 + 6
    assert row.macs == 12 * 12 * kernel**2 * 4 * 6
    assert row.connections == row.macs + size**2 * 6
    assert models.count_macs(Steps((module,)), (12, 12, 4)) == row.macs


# What is not known.


def attention(x):
    tokens = x.reshape(len(x), -1, x.shape[-1])  # [B, HW, C]
    weights = nn.softmax(tokens @ tokens.swapaxes(1, 2))
    return (weights @ tokens).reshape(x.shape)


def brightest_rows_first(x):
    order = jnp.argsort(x[0].sum(axis=(1, 2)))
    return x[:, order]


UNKNOWN = {
    "cumsum": lambda x: jnp.cumsum(x, axis=1),
    "attention": attention,
    "sort": lambda x: jnp.sort(x, axis=1),
    "gather": brightest_rows_first,
    "tokens": lambda x: x.reshape(len(x), -1, 4)[:, ::-1].reshape(x.shape),
    "rows as images": lambda x: (x.reshape(-1, *x.shape[2:]) @ np.ones((4, 4))).reshape(
        x.shape
    ),
    "mixed": lambda x: x.reshape(len(x), 4, 12, 12).transpose(0, 2, 3, 1),
    "dynamic filters": lambda x: jax.lax.conv_general_dilated(
        x,
        x[0, :3, :3, :, None],
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    ),
    "loop": lambda x: jax.lax.fori_loop(0, 3, lambda i, y: jnp.roll(y, 1, axis=1), x),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_is_said_to_be_so_from_there_on(name):
    model = Steps((nn.Conv(4, (3, 3)), UNKNOWN[name], nn.Conv(5, (3, 3))))
    summary = table.summarize(model, (12, 12, 4))
    first, *_, last = summary.layers
    assert first.receptive_field == (3, 3)
    assert last.receptive_field is last.receptive_field_stride is None
    depth = 1 if name == "dynamic filters" else 4
    # All else of a convolution is known all the same.
    assert (last.kernel, last.depth) == ((3, 3), depth)
    assert (last.output_size, last.channels) == ((12, 12), 5)
    lines = network.LAYERS["table"](summary).splitlines()
    header, row = lines[0], lines[len(summary.layers) + 1]
    end = header.index("field") + len("field")
    assert row[:end].endswith(" -")
    found = json.loads(network.LAYERS["json"](summary))[-1]
    assert found["receptive_field"] is None


def test_a_loop_counts_all_its_rounds():
    # Over the columns of 12 rows: 12 products of [4] with [4, 5], of [5] with [5, 5].
    (row, *_) = rows_of(nn.RNN(nn.SimpleCell(5)))
    assert (row.type, row.kernel, row.receptive_field) == ("scan", None, None)
    assert row.macs == 12 * 12 * (4 * 5 + 5 * 5)
    assert row.parameters == 4 * 5 + 5 + 5 * 5


def test_circular_padding_sees_what_lies_beyond_the_border():
    rows = rows_of(nn.Conv(4, (3, 3), padding="CIRCULAR"), nn.Conv(4, (3, 3)))
    assert [row.type for row in rows] == ["pad", "conv", "conv"]
    assert rows[0].padding == ((1, 1), (1, 1))
    assert [row.receptive_field for row in rows] == [(1, 1), (3, 3), (5, 5)]
    assert [row.receptive_field_stride for row in rows] == [(1, 1)] * 3


# Counts that papers publish.


def test_lenet5_has_the_connections_of_the_paper():
    # LeCun et al. 1998, section II.B: layers C1 to F6.
    model = models.create_model("lenet5_1998", 10)
    rows = table.summarize(model, (32, 32, 1)).layers

    def connections(group, *parts):
        return sum(
            row.connections
            for row in rows
            if row.name.startswith(group) and any(part in row.name for part in parts)
        )

    assert connections("stem/", "conv") == 122_304
    assert connections("stem/", "subsample") == 5_880
    assert connections("stage1_block1/", "conv") == 151_600
    assert connections("stage1_block1/", "subsample") == 2_000
    assert connections("stage2_block1/", "conv") == 48_120
    assert connections("stage2_block2/", "dense") == 10_164


def test_the_tdnn_has_the_connections_of_the_paper_in_its_own_shape(capsys):
    # Waibel et al. 1989: 15 frames of 16 coefficients; 13 x 8 units of 3 x 16 inputs,
    # 9 x 3 units of 5 x 8 inputs.
    assert call("--model=tdnn", "--format=json") == 0
    rows = json.loads(capsys.readouterr().out)
    conv = [row for row in rows if row["type"] == "conv"]
    assert [row["connections"] for row in conv[:2]] == [13 * 8 * 49, 9 * 3 * 41]
    assert [row["depth"] for row in conv] == [1, 8, 1]
    assert sum(row["parameters"] for row in rows) == 521


def test_a_bias_of_a_normalisation_is_a_connection():
    rows = table.summarize(layers.ConvNorm(8, 3), (12, 12, 4)).layers
    assert [row.type for row in rows] == ["conv", "batch_norm", "relu"]
    assert [row.connections for row in rows] == [144 * 8 * 36, 144 * 8, 0]


def test_the_total_of_vgg16_is_in_megabytes(capsys):
    # Simonyan and Zisserman: 138 million parameters; 528 MB in Keras's documentation,
    # whose MB has 2**20 bytes.
    assert call("--model=vgg16") == 0
    *_, total, size = capsys.readouterr().out.splitlines()
    assert total.split()[:2] == ["total", "138,357,544"]
    assert size == "float32 parameters: 553.4 MB (527.8 MiB)"


# Any Linen module.


class WithoutTrain(nn.Module):
    """Names whose alphabetical order is not that of their calls."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(8, (3, 3), name="zeta")(x))
        return nn.Dense(3, name="alpha")(x.mean(axis=(1, 2)))


class WithSetup(nn.Module):
    """Layers that setup() makes in another order than they are called in."""

    def setup(self):
        self.shift = self.param("shift", nn.initializers.zeros, (4,))
        self.last = nn.Dense(3)
        self.norm = nn.BatchNorm()
        self.first = [nn.Conv(4, (1, 1)), nn.Conv(4, (3, 3))]

    def __call__(self, x, train):
        for layer in reversed(self.first):
            x = layer(x)
        x = self.norm(x + self.shift, use_running_average=not train)
        return self.last(x.mean(axis=(1, 2)))


class WithDefault(nn.Module):
    """As in Flax's examples; what is inside relies on its own default."""

    @nn.compact
    def __call__(self, x, train: bool = True):
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(3)(x.mean(axis=(1, 2)))


SEQUENCE = nn.Sequential(
    [
        layers.ConvNorm(4, 3),
        layers.relu,
        nn.Conv(4, (3, 3)),
        *(layers.Dropout(0.5), layers.global_avg_pool, nn.Dense(3)),
    ]
)
ORDERS = {
    "without train": (WithoutTrain(), ("zeta", "alpha")),
    "setup": (WithSetup(), ("shift", "first_1", "first_0", "norm", "last")),
    "default": (WithDefault(), ("BatchNorm_0", "Dense_0")),
    "sequence": (SEQUENCE, ("layers_0", "layers_2", "layers_5")),
    # Lifted, a network's parameters come back in the order of their letters.
    "remat": (nn.remat(WithoutTrain)(), ("zeta", "alpha")),
    "one layer": (nn.Conv(4, (3, 3)), ("kernel", "bias")),
}


@pytest.mark.parametrize("name", ORDERS)
def test_groups_of_any_module_are_in_the_order_of_their_first_call(name):
    model, order = ORDERS[name]
    shape = (8, 8, 4)
    assert adapter.call_order(model, shape) == order
    assert models.layer_groups(model, shape) == order
    groups = table.summarize_groups(model, shape)
    assert tuple(g.group for g in groups if g.level == "fine") == order
    summary = table.summarize(model, shape)
    assert sum(g.parameters for g in groups if g.level == "coarse") == (
        models.count_params(model, shape)
    )
    assert sum(g.macs for g in groups if g.level == "coarse") == summary.macs > 0
    assert summary.parameters == models.count_params(model, shape)


def test_the_call_order_of_our_own_networks_is_that_of_their_groups():
    model = models.create_model("resnet18", 10)
    assert adapter.call_order(model, (32, 32, 3)) == models.layer_groups(model)


def test_modules_of_a_sequence_are_told_whether_they_train():
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype(np.float32)
    network = adapter.adapted(SEQUENCE)
    variables = network.init(jax.random.key(0), images, train=False)
    once, again = (network.apply(variables, images, train=False) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    _, changed = network.apply(
        variables,
        images,
        train=True,
        mutable=["batch_stats"],
        rngs={"dropout": jax.random.key(1)},
    )
    assert jnp.abs(changed["batch_stats"]["layers_0"]["norm"]["mean"]).max() > 0


def test_a_function_that_the_user_has_named_is_one_row():
    @layers.named
    def half_shifted(x):
        return 0.5 * x + jnp.tanh(x)

    rows = rows_of(nn.Conv(4, (3, 3)), half_shifted, nn.Conv(4, (3, 3)))
    layers.NAMED.remove("half_shifted")
    assert [row.type for row in rows] == ["conv", "half_shifted", "conv"]


class WithoutCall(nn.Module):
    size: int = 1


class TwoImages(nn.Module):
    def __call__(self, left, right):
        return left + right


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (nn.Conv, "must be a flax.linen.Module, not Conv."),
        (3, "must be a flax.linen.Module, not int."),
        (TwoImages(), r"TwoImages is called as \(left, right\); a network must be"),
        (WithoutCall(), "WithoutCall has no __call__"),
    ],
)
def test_what_is_no_network_is_refused(model, text):
    with pytest.raises(UserError, match=text):
        table.summarize(model, (8, 8, 3))


# The verb.


def call(*arguments):
    return __main__.main(["summarize", *arguments])


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """The folder of a user, with a package of networks in it."""
    package = tmp_path / "my_nets"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "nets.py").write_text(
        textwrap.dedent("""\
        from flax import linen as nn

        class Fixed(nn.Module):
            width: int = 8

            @nn.compact
            def __call__(self, x):
                return nn.Dense(6)(nn.Conv(self.width, (3, 3))(x).mean((1, 2)))

        class Net(nn.Module):
            num_classes: int

            @nn.compact
            def __call__(self, x):
                return nn.Dense(self.num_classes)(nn.Conv(8, (3, 3))(x).mean((1, 2)))

        def small(num_classes=7):
            return Net(num_classes)

        ready = Net(5)
        number = 3

        def wrong():
            return number
        """)
    )
    (package / "broken.py").write_text("import no_such_library\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    yield package
    for name in [name for name in sys.modules if "my_nets" in name]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("flags", "classes", "channels"),
    [
        (("--model=my_nets.nets:Net", "--num_classes=4"), 4, 3),
        (("--model=my_nets.nets:small", "--channels=1"), 7, 1),
        (("--model=my_nets.nets:small", "--num_classes=2"), 2, 3),
        (("--model=my_nets.nets:ready",), 5, 3),
        (("--model=my_nets.nets:Fixed",), 6, 3),
    ],
)
def test_a_network_of_ones_own_has_a_table(flags, classes, channels, nets, capsys):
    assert call(*flags, "--image_size=15x16", "--format=json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == ["Conv_0", "avg_pool", "Dense_0"]
    assert (rows[0]["output_size"], rows[0]["depth"]) == ([15, 16], channels)
    assert rows[0]["macs"] == 15 * 16 * 9 * channels * 8
    assert rows[-1]["channels"] == classes
    assert call(*flags, "--image_size=16", "--groups") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["Conv_0", "Dense_0", "total"]


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("--model=no_nets:Net",), "No module named 'no_nets'"),
        (("--model=my_nets.broken:Net",), "No module named 'no_such_library'"),
        (("--model=my_nets.nets:Ney",), "has no 'Ney'; nearest: Net"),
        (("--model=my_nets.nets:Net",), "missing a required argument: 'num_classes'"),
        (("--model=my_nets.nets:number",), "flax.linen.Module, not int"),
        (("--model=my_nets.nets:wrong",), "flax.linen.Module, not int"),
        (
            ("--model=my_nets.nets:ready", "--num_classes=3"),
            "num_classes=3 cannot be chosen: my_nets.nets:ready is a network already",
        ),
        (
            ("--model=my_nets.nets:Fixed", "--num_classes=3"),
            "Unknown field of my_nets.nets:Fixed 'num_classes'; known: width.",
        ),
        (
            ("--model=my_nets.nets:small", "--image_size="),
            "--image_size must be N or HEIGHTxWIDTH, not ''",
        ),
    ],
)
def test_mistakes_in_naming_ones_own_network_get_one_line(flags, text, nets, capsys):
    assert call(*flags) == 2
    error = capsys.readouterr().err
    assert text in error
    assert flags[0].removeprefix("--model=") in error or "--image_size" in error
    assert error.count("\n") == 1


def test_the_size_of_images_for_ones_own_network_must_be_given(nets, capsys):
    assert call("--model=my_nets.nets:ready") == 2
    assert (
        "--image_size=N or HEIGHTxWIDTH is missing, which my_nets.nets:ready needs"
        in capsys.readouterr().err
    )
