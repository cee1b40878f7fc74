"""The Neocognitron against the numbers and the equations of its paper."""

import functools

import jax
import numpy as np
import pytest
from scipy import ndimage

from jaxcnn import models
from jaxcnn.models import neocognitron

GENERATOR = np.random.default_rng(0)


def distances(size):
    offsets = np.arange(size) - (size - 1) / 2
    return np.sqrt(offsets[:, None] ** 2 + offsets**2)


def correlate(plane, weights):
    """SciPy's, with zeros beyond the border: one result for each cell of the plane."""
    return ndimage.correlate(plane, weights, mode="constant")


def test_layers_have_the_published_numbers_of_cells():
    # Fukushima 1980: 16x16x24 cells in U_S1, 10x10x24 in U_C1, 8x8x24 in U_S2, 6x6x24
    # in U_C2, 2x2x24 in U_S3 and 24 in U_C3; windows of 5x5, and of 2x2 in U_C3.
    model = models.create_model("neocognitron", 10)
    apply = functools.partial(
        model.apply, train=False, capture_intermediates=True, mutable=True
    )
    variables = models.abstract_variables(model, (16, 16, 1))
    _, seen = jax.eval_shape(apply, variables, np.zeros((1, 16, 16, 1), np.float32))
    seen = seen["intermediates"]
    sizes = [
        seen[module][layer]["__call__"][0].shape[1:]
        for module in ("stem", "stage1_block1", "stage2_block1")
        for layer in ("s", "c")
    ]
    assert sizes == [(n, n, 24) for n in (16, 10, 8, 6, 2, 1)]


def test_modifiable_weights_are_those_of_the_published_windows():
    # a: 5x5 cells of each plane below, for 24 planes; b: one a plane.
    params = models.abstract_variables(
        models.create_model("neocognitron", 10), (16, 16, 1)
    )["params"]
    counts = {
        name: sum(leaf.size for leaf in jax.tree.leaves(group))
        for name, group in params.items()
    }
    assert counts == {
        "stem": 5 * 5 * 24 + 24,
        "stage1_block1": 5 * 5 * 24 * 24 + 24,
        "stage2_block1": 5 * 5 * 24 * 24 + 24,
        "head": 24 * 10 + 10,
    }


@pytest.mark.parametrize("r", [4.0, 1.5])
def test_s_cells_follow_the_equation_of_the_paper(r):
    # u = r phi((1 + sum a u) / (1 + 2r/(1+r) b v) - 1), v = sqrt(sum c u^2), where c
    # falls with the distance and sums to 1 over window and planes.
    x = GENERATOR.random((1, 7, 7, 3))
    params = {
        "excitatory": GENERATOR.normal(size=(5, 5, 3, 24)),
        "inhibitory": GENERATOR.normal(size=24),
    }
    a, b = (np.log1p(np.exp(params[name])) for name in ("excitatory", "inhibitory"))
    c = 0.8 ** distances(5)
    c /= 3 * c.sum()
    v = np.sqrt(sum(correlate(x[0, ..., k] ** 2, c) for k in range(3)))
    expected = np.empty((7, 7, 24))
    for plane in range(24):
        excited = sum(correlate(x[0, ..., k], a[..., k, plane]) for k in range(3))
        ratio = (1 + excited) / (1 + 2 * r / (1 + r) * b[plane] * v)
        expected[..., plane] = r * np.maximum(ratio - 1, 0)
    layer = neocognitron.SCells(selectivity=r, window=5, padding=2)
    with jax.enable_x64(True):
        found = layer.apply({"params": params}, x)
    np.testing.assert_allclose(found[0], expected, rtol=1e-9)


def test_c_cells_follow_the_equation_of_the_paper():
    # u = psi((1 + sum d u) / (1 + v) - 1), v the mean over planes of sum d u, and
    # psi(x) = x / (0.5 + x) above 0; every second cell.
    x = GENERATOR.random((1, 9, 9, 3))
    near = np.stack(
        [correlate(x[0, ..., k], 0.8 ** distances(5)) for k in range(3)], axis=-1
    )[::2, ::2]
    ratio = (1 + near) / (1 + near.mean(axis=-1, keepdims=True)) - 1
    expected = np.maximum(ratio, 0) / (0.5 + np.maximum(ratio, 0))
    with jax.enable_x64(True):
        found = neocognitron.CCells(window=5, stride=2, padding=2).apply({}, x)
    np.testing.assert_allclose(found[0], expected, rtol=1e-9)


def test_blank_images_have_finite_gradients():
    layer = neocognitron.SCells(selectivity=4.0, window=5, padding=2)
    blank = np.zeros((1, 5, 5, 1), np.float32)
    variables = jax.jit(layer.init)(jax.random.key(0), blank)
    slopes = jax.jit(jax.grad(lambda v, x: layer.apply(v, x).sum(), (0, 1)))
    for leaf in jax.tree.leaves(slopes(variables, blank)):
        assert np.isfinite(leaf).all()


def test_larger_images_are_taken_and_smaller_ones_refused():
    model = models.create_model("neocognitron", 10)
    params = models.abstract_variables(model, (32, 32, 3))["params"]
    assert params["head"]["kernel"].shape == (24, 10)
    with pytest.raises(ValueError, match="this network needs larger images"):
        models.abstract_variables(model, (8, 8, 1))
