"""Transposed convolution, resizing and unpooling against PyTorch's numbers."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import ops
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
