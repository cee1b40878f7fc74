"""HMAX against the paper's formulas, in NumPy and SciPy."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from scipy import ndimage, signal

from jaxcnn import Dataset, models
from jaxcnn.config import Config, DataConfig
from jaxcnn.models import adapter, hmax
from jaxcnn.training import begin, prepare

IMAGES = np.random.default_rng(0).normal(size=(3, 32, 32, 1)).astype(np.float32)
FIELDS = {"num_bands": 2, "patch_sizes": (3, 4), "num_patches": 5}


@pytest.fixture(scope="module")
def small():
    """A network for 32 pixels, its variables before imprinting, and after."""
    model = models.create_model("hmax", 4, **FIELDS)
    init = functools.partial(model.init, train=False)
    before = jax.jit(init)(jax.random.key(0), IMAGES)
    after = jax.jit(model.imprint)(before, IMAGES, jax.random.key(1))
    return model, before, after


@jax.jit
def c1(images):
    """C1 of the first two bands."""
    return hmax.Stem(num_bands=2).apply({}, images, train=False)


def features(model, variables):
    """C2 of IMAGES."""
    block = hmax.PatchBlock(model.patch_sizes, model.num_patches, model.sharpness)
    stored = {"batch_stats": variables["batch_stats"]["stage1_block1"]}
    apply = functools.partial(block.apply, train=False)
    return np.asarray(jax.jit(apply)(stored, c1(IMAGES)))


def s1(image, size, sigma, wavelength, degrees):
    """Serre et al. 2007, equations 1 and 3 of section 2.1, one pixel at a time."""
    theta = np.deg2rad(degrees)
    bank = np.empty((size, size))
    for row in range(size):
        for column in range(size):
            x, y = column - size // 2, row - size // 2
            x0 = x * np.cos(theta) + y * np.sin(theta)
            y0 = -x * np.sin(theta) + y * np.cos(theta)
            bank[row, column] = np.exp(
                -(x0**2 + 0.3**2 * y0**2) / (2 * sigma**2)
            ) * np.cos(2 * np.pi / wavelength * x0)
    bank -= bank.mean()
    bank /= np.sqrt((bank**2).sum())
    response = signal.correlate2d(image, bank, "same")
    energy = signal.correlate2d(image**2, np.ones((size, size)), "same")
    return np.abs(response) / np.sqrt(energy)


def test_the_table_of_filters_follows_the_formula_that_made_it():
    # The authors' code: a wavelength is 2 * size / d, where d falls from 4 by 0.05 a
    # size, and sigma 0.8 of it. Table 1 has one digit, not always the nearest.
    rows = [row for band in hmax.BANDS for row in zip(*band[:3], strict=True)]
    assert [size for size, _, _ in rows] == list(range(7, 38, 2))
    for i, (size, sigma, wavelength) in enumerate(rows):
        expected = 2 * size / (4 - 0.05 * i)
        assert wavelength == pytest.approx(expected, abs=0.1)
        assert sigma == pytest.approx(0.8 * expected, abs=0.1)
    assert [band.window for band in hmax.BANDS] == list(range(8, 23, 2))


@pytest.mark.parametrize("orientation", range(4))
def test_c1_is_the_largest_of_two_gabor_responses_over_a_neighbourhood(orientation):
    # Table 1, band 1: filters of 7 and 9 pixels, pooled over 8x8, 4 apart.
    maps = c1(IMAGES)
    assert [x.shape for x in maps] == [(3, 7, 7, 4), (3, 5, 5, 4)]
    degrees = (0, 45, 90, 135)[orientation]
    image = IMAGES[1, ..., 0].astype(np.float64)
    fine, coarse = s1(image, 7, 2.8, 3.5, degrees), s1(image, 9, 3.6, 4.6, degrees)
    largest = ndimage.maximum_filter(
        np.maximum(fine, coarse), size=8, origin=-4, mode="constant"
    )
    expected = largest[0:25:4, 0:25:4]
    np.testing.assert_allclose(maps[0][1, ..., orientation], expected, rtol=1e-4)


def test_c2_is_the_response_of_the_nearest_patch_of_any_band(small):
    # Equation 4: exp(-beta |X - P|^2), and the maximum over places and scales.
    model, _, variables = small
    found = features(model.clone(sharpness=0.7), variables)
    stored = variables["batch_stats"]["stage1_block1"]
    expected = []
    for size in 3, 4:
        patches = np.asarray(stored[f"patches{size}"], np.float64)
        for p in range(5):
            distances = [
                ((x[2, i : i + size, j : j + size] - patches[..., p]) ** 2).sum()
                for x in map(np.asarray, c1(IMAGES))
                for i in range(x.shape[1] - size + 1)
                for j in range(x.shape[2] - size + 1)
            ]
            expected.append(np.exp(-0.7 * (4 / size) ** 2 * min(distances)))
    np.testing.assert_allclose(found[2], expected, rtol=1e-4)


def test_patches_are_cut_from_c1_of_training_images(small):
    model, before, after = small
    _, second = c1(IMAGES)
    for size in 3, 4:
        windows = np.lib.stride_tricks.sliding_window_view(second, (size, size), (1, 2))
        windows = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, size * size * 4)
        patches = after["batch_stats"]["stage1_block1"][f"patches{size}"]
        patches = np.asarray(patches).reshape(-1, 5).T
        found = {int(np.flatnonzero((windows == p).all(1))[0]) for p in patches}
        assert len(found) > 1  # not all from one place
    # Where a patch is from it answers fully, and before imprinting there is none.
    assert not np.any(before["batch_stats"]["stage1_block1"]["patches4"])
    np.testing.assert_allclose(features(model, after).max(axis=0), 1.0, atol=1e-4)


def test_only_the_read_out_has_parameters_and_training_leaves_patches_be(small):
    model, before, after = small
    assert models.layer_groups(model, (32, 32, 1)) == ("head",)
    apply = functools.partial(model.apply, train=True, mutable=["batch_stats"])
    _, updated = jax.jit(apply)(after, IMAGES)
    stored = [v["batch_stats"]["stage1_block1"] for v in (updated, after)]
    for new, old in stored, (after["params"], before["params"]):
        assert all(jax.tree.leaves(jax.tree.map(np.array_equal, new, old)))


def test_the_read_out_sees_standardised_features(small):
    model, _, variables = small
    model = model.clone(num_classes=0)
    apply = functools.partial(model.apply, train=True, mutable=["batch_stats"])
    found, _ = jax.jit(apply)(variables, IMAGES)
    c2 = features(model, variables)
    expected = (c2 - c2.mean(axis=0)) / np.sqrt(c2.var(axis=0) + 1e-5)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_the_network_of_the_paper_has_a_thousand_patches():
    # Four sizes of patches, 250 of each; and images of 140 pixels.
    model = models.create_model("hmax", 102)
    variables = models.abstract_variables(model, (140, 140, 3))
    assert variables["params"]["head"]["kernel"].shape == (1000, 102)
    patches = variables["batch_stats"]["stage1_block1"]
    assert patches["patches16"].shape == (16, 16, 4, 250)


def test_responses_do_not_depend_on_contrast_and_survive_blank_images():
    np.testing.assert_allclose(c1(IMAGES)[0], c1(-5 * IMAGES)[0], rtol=1e-4)
    value, slope = jax.jit(jax.value_and_grad(lambda x: c1(x)[0].sum()))(0 * IMAGES)
    assert value == 0
    assert np.isfinite(slope).all()


def test_patches_that_fit_nowhere_are_refused(small):
    model = models.create_model("hmax", 4, num_bands=2, patch_sizes=(8,))
    with pytest.raises(ValueError, match="No patch of 8x8 fits C1 maps of .*7, 7"):
        models.abstract_variables(model, (32, 32, 1))
    model, before, _ = small
    large = model.clone(patch_sizes=(6,))
    with pytest.raises(ValueError, match="6x6 cannot be cut from a C1 map of"):
        large.imprint(before, IMAGES, jax.random.key(0))
    with pytest.raises(ValueError, match="There are 1 to 8 bands; num_bands=9"):
        models.create_model("hmax", 4, num_bands=9)


@pytest.mark.slow
def test_a_network_that_is_given_as_an_object_is_imprinted_as_one_by_its_name():
    images = np.random.default_rng(1).integers(0, 256, (8, 32, 32), np.uint8)
    config = Config(
        model="hmax",
        model_fields=tuple(FIELDS.items()),
        data=DataConfig(image_size=32, batch_size=4),
        num_devices=1,
    )
    dataset = Dataset.from_arrays(images, np.arange(8) % 2, config=config.data)
    by_name = prepare.prepare(config, dataset=dataset)
    model = models.create_model("hmax", 2, **FIELDS)
    for network in model, adapter.Adapted(model):
        given = dataclasses.replace(by_name, model=network)
        stored = begin.init_state(given).batch_stats["stage1_block1"]
        assert np.any(stored["patches4"])
        expected = begin.init_state(by_name).batch_stats["stage1_block1"]
        jax.tree.map(np.testing.assert_array_equal, stored, expected)
