"""Transposed convolution, resizing and unpooling against PyTorch's numbers."""

from collections.abc import Callable
import functools
import math
from pathlib import Path
import re

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models, ops
from jaxcnn.analysis import table
from jaxcnn.errors import UserError
from jaxcnn.models import layers
from jaxcnn.ops import backends
from tests.reference.upsampling_cases import (
    POOLED,
    RESIZED,
    ROUNDED,
    TRANSPOSED,
    numbers,
)

# Made by tests/reference/make_upsampling_reference.py with torch 2.13.0.
REFERENCE = dict(np.load(Path(__file__).parent / "reference" / "upsampling.npz"))
TABLES = ["lax", "portable", *([] if backends.missing() else ["native"])]
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}


def near(found, expected):
    """Compares within the tolerance of the dtype, relative to the largest number."""
    atol = TOLERANCE[found.dtype.name] * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def with_gradients(function, *arrays):
    """The result, and the gradients of its sum with other numbers as weights."""
    y, pull_back = jax.vjp(function, *arrays)
    return y, *pull_back(jnp.asarray(numbers(y.shape, 9), y.dtype))


def compare(name, outputs, function, *arrays):
    """Compares a function with PyTorch's, with all tables and in both dtypes."""
    expected = [REFERENCE[f"{name}/{output}"] for output in outputs]

    @jax.jit
    def compute(arrays):
        found = {}
        for table_name in TABLES:
            for dtype in TOLERANCE:
                with ops.using(ops.TABLES[table_name]):
                    cast = [a.astype(dtype) for a in arrays]
                    found[table_name, dtype] = with_gradients(function, *cast)
        return found

    with jax.enable_x64(True):
        for found in compute([jnp.asarray(a) for a in arrays]).values():
            for array, wanted in zip(found, expected, strict=True):
                assert array.shape == wanted.shape
                near(array, wanted)


@pytest.mark.parametrize("name", TRANSPOSED)
def test_a_transposed_convolution_is_that_of_pytorch(name):
    shape, filters, kernel, fields = TRANSPOSED[name]
    layer = layers.ConvTranspose(filters, kernel, **fields)

    def apply(x, kernel, bias):
        return layer.apply({"params": {"kernel": kernel, "bias": bias}}, x)

    arrays = (
        numbers((2, *shape), 0),
        numbers((*kernel, shape[-1] // fields.get("groups", 1), filters), 1),
        numbers((filters,), 2),
    )
    compare(f"transposed/{name}", ("y", "dx", "dkernel", "dbias"), apply, *arrays)


@pytest.mark.parametrize("case", range(len(RESIZED)))
def test_a_resized_map_is_that_of_pytorch(case):
    size, new_size, method, align_corners = RESIZED[case]
    resize = functools.partial(
        layers.resize, size=new_size, method=method, align_corners=align_corners
    )
    compare(f"resized/{case}", ("y", "dx"), resize, numbers((1, *size, 2), 0))


@pytest.mark.parametrize("case", range(len(ROUNDED)))
def test_the_nearest_pixel_is_rounded_as_by_pytorch(case):
    size, new_size = ROUNDED[case]
    x = jnp.asarray(numbers((1, *size, 2), 0), jnp.float32)
    rows, columns = (np.arange(m) * n // m for n, m in zip(size, new_size, strict=True))
    exact = x[:, rows][:, :, columns]
    expected = REFERENCE[f"rounded/{case}/y"]
    assert not np.array_equal(exact, expected)
    for table_name in TABLES:
        with ops.using(ops.TABLES[table_name]):
            np.testing.assert_array_equal(
                layers.resize(x, new_size, "nearest"), expected
            )


@pytest.mark.parametrize("case", range(len(POOLED)))
def test_pooling_with_switches_and_unpooling_are_those_of_pytorch(case):
    size, window, stride, padding, ceil_mode = POOLED[case]
    place = (window, stride, padding)
    x = numbers((2, *size, 3), 0)
    pool = functools.partial(layers.max_pool_switches, ceil_mode=ceil_mode)
    compare(f"pooled/{case}", ("y", "dx"), lambda x: pool(x, *place)[0], x)
    switches = pool(jnp.asarray(x), *place)[1]
    # PyTorch numbers the pixels of the image.
    rows, columns = np.divmod(np.asarray(switches, int), window[1])
    _, *windows, _ = switches.shape
    rows += (np.arange(windows[0]) * stride[0] - padding[0]).reshape(-1, 1, 1)
    columns += (np.arange(windows[1]) * stride[1] - padding[1]).reshape(-1, 1)
    expected = REFERENCE[f"pooled/{case}/places"]
    np.testing.assert_array_equal(rows * size[1] + columns, expected)

    def unpool(values):
        return layers.max_unpool(values, switches, *place, size=size)

    values = numbers(switches.shape, 3)
    compare(f"unpooled/{case}", ("y", "dx"), unpool, values)


@pytest.mark.parametrize("stride", [2, 3, 4])
@pytest.mark.parametrize("groups", [1, 3])
def test_the_bilinear_start_interpolates_inside_of_the_map(stride, groups):
    # Long et al. 2015, section 3.3. What reaches beyond the border differs.
    layer = layers.ConvTranspose(
        *(3, 2 * stride - stride % 2, stride, stride // 2),
        groups=groups,
        kernel_init=layers.bilinear_kernel,
        bias_init=nn.initializers.zeros,
    )
    x = jnp.asarray(numbers((2, 5, 6, 3), 0), jnp.float32)
    y, variables = layer.init_with_output(jax.random.key(0), x)
    inside = slice(stride, -stride)
    expected = layers.resize(x, (5 * stride, 6 * stride))
    assert y.shape == expected.shape
    near(y[:, inside, inside], expected[:, inside, inside])
    assert variables["params"]["kernel"].shape[2] == 3 // groups


def test_a_bilinear_kernel_has_the_numbers_of_the_authors_code():
    # surgery.py of fcn.berkeleyvision.org: 1 - |i - centre| / factor, where 4 pixels
    # have the centre 1.5 and the factor 2, and 3 pixels 1 and 2.
    kernel = layers.bilinear_kernel(jax.random.key(0), (4, 3, 2, 4))
    tent = np.outer([0.25, 0.75, 0.75, 0.25], [0.5, 1, 0.5])
    maps = np.array([[1, 0, 1, 0], [0, 1, 0, 1]])
    np.testing.assert_allclose(kernel, tent[..., None, None] * maps)


def test_a_transposed_convolution_starts_as_in_pytorch():
    # torch.nn.init takes the second axis of [C, filters / groups, kh, kw] for the
    # fan-in: uniform in +-1/sqrt(3 * 5 * 8 / 2) here.
    layer = layers.ConvTranspose(8, (3, 5), groups=2)
    variables = layer.init(jax.random.key(0), jnp.zeros((1, 4, 4, 64)))["params"]
    bound = 1 / np.sqrt(60)
    assert variables["kernel"].shape == (3, 5, 32, 8)
    for values in variables.values():
        assert 0.7 * bound < np.abs(values).max() <= bound
    assert np.std(variables["kernel"]) == pytest.approx(bound / np.sqrt(3), rel=0.05)


def test_values_that_share_a_place_are_summed():
    # By hand: both windows of 3 pixels have their largest one in the middle.
    x = jnp.zeros((1, 1, 5, 1)).at[0, 0, 2, 0].set(7.0)
    for name in TABLES:
        with ops.using(ops.TABLES[name]):
            y, switches = layers.max_pool_switches(x, (1, 3), (1, 2))
            whole = layers.max_unpool(y, switches, (1, 3), (1, 2))
        np.testing.assert_array_equal(switches.ravel(), [2, 0])
        np.testing.assert_array_equal(whole, 2 * x)


@pytest.mark.parametrize("table_name", TABLES)
def test_maps_of_few_digits_keep_their_dtype_and_are_resized_in_float32(table_name):
    x = jnp.asarray(numbers((1, 5, 6, 2), 0), jnp.bfloat16)
    with ops.using(ops.TABLES[table_name]):
        y = layers.resize(x, (9, 13))
        pooled, switches = layers.max_pool_switches(x, 2, 2)
        whole = layers.max_unpool(pooled, switches, 2, 2, size=(5, 6))
    exact = layers.resize(x.astype(jnp.float32), (9, 13))
    assert y.dtype == pooled.dtype == whole.dtype == jnp.bfloat16
    assert switches.dtype == jnp.uint8
    np.testing.assert_array_equal(y, exact.astype(jnp.bfloat16))


X = jnp.zeros((1, 6, 6, 4))
SWITCHES = jnp.zeros(X.shape, jnp.uint8)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: layers.resize(X, 0),
            "be resized to (0, 0) pixels; allowed: 1 or more",
        ),
        (
            lambda: layers.resize(X, 9, "cubic"),
            "method of resizing 'cubic'; known: bil",
        ),
        (
            lambda: layers.resize(X, 9, "nearest", align_corners=True),
            "align_corners=True is for method='bilinear', not 'nearest'",
        ),
        (
            lambda: layers.max_unpool(X[:, :5], SWITCHES, 2, 2),
            "values [1, 5, 6, 4] and switches [1, 6, 6, 4], which differ",
        ),
        (
            lambda: layers.max_unpool(X, SWITCHES, 2, 2, size=(14, 12)),
            "max_unpool cannot make 14 pixels of this map, but 11 to 13",
        ),
        (
            lambda: transposed(kernel=2, stride=2, output_padding=2),
            "output_padding=2 of a transposed convolution is not in [0, 2)",
        ),
        (
            lambda: transposed(kernel=3, padding=4),
            "kernel 3, stride 1 and padding 4 leaves nothing of 6 pixels",
        ),
        (lambda: transposed(kernel=3, groups=3), "4 channels do not divide into 3 gro"),
        (
            lambda: transposed(kernel=4, kernel_init=layers.bilinear_kernel),
            "needs a multiple of 4 filters, the channels that each one sees, not 6",
        ),
    ],
)
def test_mistakes_are_named(call, text):
    with pytest.raises(UserError, match=re.escape(text)):
        call()


def transposed(**fields):
    layer = layers.ConvTranspose(6, **fields)
    jax.eval_shape(layer.init, jax.random.key(0), X)


# Counts.


@pytest.mark.parametrize("name", TRANSPOSED)
def test_a_transposed_convolution_has_the_multiply_adds_of_pytorch(name):
    shape, filters, kernel, fields = TRANSPOSED[name]
    layer = layers.ConvTranspose(filters, kernel, **fields)
    expected = int(REFERENCE[f"transposed/{name}/macs"])
    if fields.get("stride", 1) == 1:
        # It is a convolution, whose windows are counted instead of its pixels.
        output = REFERENCE[f"transposed/{name}/y"].shape
        expected = expected * math.prod(output[1:3]) // math.prod(shape[:2])
    (row,) = table.summarize(Steps((layer,)), shape).layers
    assert models.count_macs(Steps((layer,)), shape) == row.macs == expected
    assert row.name == "ConvTranspose_0"


class Steps(nn.Module):
    """Layers one after the other, called without `train`."""

    steps: tuple[Callable, ...]

    @nn.compact
    def __call__(self, x):
        for step in self.steps:
            x = step.copy(parent=self)(x) if isinstance(step, nn.Module) else step(x)
        return x


class SegNet(nn.Module):
    """A convolution, a pool and back, in little."""

    window: int

    @nn.compact
    def __call__(self, x):
        place = (self.window, 2, self.window // 3)
        x = layers.Conv(4, 3, name="first")(x)
        y, switches = layers.max_pool_switches(x, *place)
        y = layers.Conv(4, 3, name="middle")(y)
        y = layers.max_unpool(y, switches, *place, size=x.shape[1:3])
        y = layers.Conv(4, 3, name="last")(y)
        return layers.resize(y, (24, 36))


def test_a_network_that_unpools_and_resizes_is_read_layer_by_layer():
    # By hand: a unit of the middle sees 3 + 1 + 2 * 2 = 8 pixels, and with it each of
    # the two units that its window of 2 has become; the last one sees the fields of
    # units 0, 0 and 1 of the middle: 8 + 2 pixels. A window of 3 has two places more.
    summary = table.summarize(SegNet(2), (12, 12, 4))
    rows = {row.name.removeprefix("SegNet_0/"): row for row in summary.layers}
    assert list(rows) == [
        *("first", "max_pool_switches", "middle", "max_unpool", "last", "resize")
    ]
    fields = [row.receptive_field[0] for row in summary.layers]
    assert fields == [3, 4, 8, 8, 10, 12]
    pool, unpool, resize = (rows[n] for n in (list(rows)[1], list(rows)[3], "resize"))
    assert (pool.kernel, pool.stride, pool.output_size) == ((2, 2), (2, 2), (6, 6))
    assert pool.connections == 6 * 6 * 4 * 4
    assert (unpool.kernel, unpool.stride) == ((1, 1), (0.5, 0.5))
    assert (unpool.output_size, unpool.channels) == ((12, 12), 4)
    assert (resize.kernel, resize.output_size) == ((2, 2), (24, 36))
    assert resize.stride == (0.5, pytest.approx(1 / 3))
    assert [row.macs for row in (pool, unpool, resize)] == [0, 0, 0]
    convolutions = (12 * 12 + 6 * 6 + 12 * 12) * 9 * 4 * 4
    assert summary.macs == models.count_macs(SegNet(2), (12, 12, 4)) == convolutions
    pool, _, unpool = table.summarize(SegNet(3), (12, 12, 4)).layers[1:4]
    assert (pool.padding, pool.stride) == (((1, 1), (1, 1)), (2, 2))
    # Pixels that lie in two windows, 2 pixels apart.
    assert (unpool.kernel, unpool.receptive_field) == ((2, 2), (11, 11))
