"""Changes of colour, and erasing, against Pillow, colorsys and NumPy."""

import colorsys
import functools

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageEnhance
import pytest
from scipy import stats

from jaxcnn import augment
from jaxcnn.augment import pixels


def images(count=16, height=10, width=12):
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (count, height, width, 3), np.uint8)


def keys(count):
    return augment.example_keys(jax.random.key(0), 3, jnp.arange(count))


def grey(image):
    return np.asarray(Image.fromarray(image).convert("L"))[..., None]


ENHANCE = {
    pixels.change_brightness: ImageEnhance.Brightness,
    pixels.change_contrast: ImageEnhance.Contrast,
    pixels.change_saturation: ImageEnhance.Color,
}


@pytest.mark.parametrize("change", ENHANCE, ids=lambda change: change.__name__)
@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0, 1.7])
def test_a_change_is_that_of_pillow(change, factor):
    for image in images(4):
        found = change(jnp.array(image, float), factor)
        expected = ENHANCE[change](Image.fromarray(image)).enhance(factor)
        # Pillow rounds grey and blend to whole levels.
        np.testing.assert_allclose(found, np.asarray(expected, float), atol=1.75)


@pytest.mark.parametrize("turns", [-0.5, -0.1, 0.0, 0.25])
def test_a_shift_of_the_hue_is_that_of_colorsys(turns):
    image = images(1)[0]
    image[0] = image[0, :, :1]  # greys
    image[1, :, 1] = image[1, :, 0]  # two channels are the largest, or the smallest
    found = pixels.shift_hue(jnp.array(image, float), turns)
    for colour, shifted in zip(image.reshape(-1, 3), found.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(colour / 255.0))
        expected = colorsys.hsv_to_rgb((hue + turns) % 1.0, saturation, value)
        np.testing.assert_allclose(shifted / 255, expected, atol=1e-5)


def colour_jitter(batch, **limits):
    jitter = functools.partial(augment.colour_jitter, **limits)
    return jax.jit(jitter)(batch, keys(len(batch)))


def test_colour_jitter_is_that_of_pillow_for_what_it_draws():
    batch = images()
    found = colour_jitter(batch, brightness=0.4, contrast=1.5, saturation=0.3, hue=0.0)
    orders = set()
    for image, key, jittered in zip(batch, keys(16), found, strict=True):
        order_key, factor_key = jax.random.split(key)
        u = np.asarray(jax.random.uniform(factor_key, (3,)))
        # torchvision: a factor is in [max(0, 1 - x), 1 + x].
        factors = 0.6 + 0.8 * u[0], 2.5 * u[1], 0.7 + 0.6 * u[2]
        order = tuple(np.asarray(jax.random.permutation(order_key, 3)).tolist())
        expected = Image.fromarray(image)
        for i in order:
            expected = list(ENHANCE.values())[i](expected).enhance(factors[i])
        # Contrast makes the roundings before it up to 2.5 times as large.
        np.testing.assert_allclose(jittered, np.asarray(expected, float), atol=6.0)
        orders.add(order)
    assert len(orders) == 6


@pytest.mark.slow
def test_the_hue_is_between_its_limits():
    red = np.zeros((2000, 1, 1, 3), np.uint8)
    red[..., 0] = 255
    found = colour_jitter(red, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.1)
    turns = np.array([colorsys.rgb_to_hsv(*c)[0] for c in found[:, 0, 0] / 255])
    turns = (turns + 0.5) % 1.0 - 0.5
    np.testing.assert_allclose(
        np.quantile(turns, [0.0, 0.25, 0.5, 0.75, 1.0]),
        [-0.1, -0.05, 0.0, 0.05, 0.1],
        atol=0.01,
    )


def test_greyscale_is_that_of_pillow_for_the_asked_for_part():
    batch = images(count=1000, height=3, width=4)
    found = np.asarray(augment.greyscale(batch, keys(1000), 0.3))
    changed = (found != batch).any(axis=(1, 2, 3))
    assert abs(changed.sum() - 300) < 4 * np.sqrt(1000 * 0.3 * 0.7)
    for image, result in zip(batch[changed], found[changed], strict=True):
        np.testing.assert_allclose(
            result, np.broadcast_to(grey(image), image.shape), atol=0.51
        )


def test_lighting_adds_colours_with_the_covariance_of_its_paper():
    # Krizhevsky et al. 2012, sec. 4.1: [p1, p2, p3] [a1 l1, a2 l2, a3 l3]^T with the
    # standard deviation 0.1 of each a, of one colour for all of the image.
    black = np.zeros((20000, 2, 1, 3), np.uint8)
    found = np.asarray(augment.lighting(black, keys(20000), 0.1)) / 255
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
    axes, values = np.array(pixels.EIGENVECTORS), np.array(pixels.EIGENVALUES)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=2e-4)
    covariance = 0.1**2 * axes @ np.diag(values**2) @ axes.T
    measured = np.cov(found[:, 0, 0].T)
    np.testing.assert_allclose(measured, covariance, rtol=0.05)
    np.testing.assert_allclose(found.mean(axis=(0, 1, 2)), 0, atol=5e-4)


def erased(number, size, probability):
    """bool [number, H, W]: what is erased."""
    ones = np.ones((number, *size, 2), np.float32)
    erase = jax.jit(augment.erase, static_argnums=2)
    found = np.asarray(erase(ones, keys(number), probability))
    assert set(np.unique(found)) <= {0.0, 1.0}
    np.testing.assert_array_equal(found[..., 0], found[..., 1])
    return found[..., 0] == 0


def sides(mask):
    """Height and width of a mask, if it is one rectangle."""
    rows, columns = mask.any(axis=1), mask.any(axis=0)
    np.testing.assert_array_equal(mask, np.outer(rows, columns))
    for line in rows, columns:
        assert (np.diff(np.flatnonzero(line)) == 1).all()
    return rows.sum(), columns.sum()


def drawn_by_numpy(number, size):
    """Heights and widths by Algorithm 1 of Zhong et al., with ten tries."""
    rng = np.random.default_rng(0)
    for _ in range(number):
        for _ in range(10):
            area = rng.uniform(0.02, 0.33) * size[0] * size[1]
            aspect = np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
            height, width = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
            if height < size[0] and width < size[1]:
                yield height, width
                break


def test_a_rectangle_of_random_size_and_place_is_erased():
    size, number = (20, 30), 2000
    masks = erased(number, size, 1.0)
    found = np.array([sides(mask) for mask in masks])
    expected = np.array(list(drawn_by_numpy(4 * number, size)))
    for measure in (np.prod, lambda pairs, axis: pairs[:, 0] / pairs[:, 1]):
        ours, theirs = measure(found, axis=1), measure(expected, axis=1)
        assert stats.ks_2samp(ours, theirs).pvalue > 0.01
    # Every pixel is erased at times, in the middle more often.
    often = masks.mean(axis=0)
    assert often.min() > 0
    assert often[10, 15] > often[0, 0]


def test_the_asked_for_part_is_erased_and_the_rest_is_left():
    masks = erased(1000, (8, 8), 0.25)
    count = masks.any(axis=(1, 2)).sum()
    assert abs(count - 250) < 4 * np.sqrt(1000 * 0.25 * 0.75)


def test_where_no_rectangle_fits_nothing_is_erased():
    # 33% of three pixels in a line is one pixel, as high as the image.
    assert not erased(100, (1, 3), 1.0).any()
