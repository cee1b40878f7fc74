"""The weight of gaps between objects against SciPy's labels and distances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, special

from jaxcnn.tasks import Segmentation, gaps


def blobs(number=3, shape=(24, 30)):
    """Labels of three classes, 0 the background, with regions of many shapes; the last
    image has one object, and a corner of the first is void."""
    noise = np.random.default_rng(0).normal(size=(number, *shape))
    labels = np.digitize(ndimage.gaussian_filter(noise, (0, 2, 2)), [0.1, 0.2])
    labels[-1] = 0
    labels[-1, 5:9, 5:9] = 1
    labels[0, :6, :6] = -1
    return labels


def scipys_objects(labels):
    """The pixels of each object of an image, bool [H, W] each."""
    for k in range(1, labels.max() + 1):
        numbers, count = ndimage.label(labels == k)
        yield from (numbers == i for i in range(1, count + 1))


def scipys_weights(labels, weight, sigma):
    """Eq. 2 of U-Net's paper without the weights of classes, for one image."""
    distances = [ndimage.distance_transform_edt(~x) for x in scipys_objects(labels)]
    if len(distances) < 2:
        return np.zeros(labels.shape)
    both = np.sort(distances, axis=0)[:2].sum(axis=0)
    return np.where(labels == 0, weight * np.exp(-(both**2) / (2 * sigma**2)), 0)


def test_objects_are_those_of_scipy():
    labels = blobs()
    spiral = np.zeros(labels.shape[1:], int)  # one object that is long and bent
    spiral[1, 1:28] = spiral[1:22, 27] = spiral[21, 3:28] = spiral[4:22, 3] = 1
    spiral[4, 3:24] = 1
    spiral[12, 10:12] = spiral[13, 12:14] = 1  # two that touch at a corner
    labels[1] = spiral
    found = np.asarray(jax.jit(gaps.objects)(jnp.asarray(labels)))
    for image, numbers in zip(labels, found, strict=True):
        expected = [*scipys_objects(image)]
        assert len(np.unique(numbers[numbers > 0])) == len(expected)
        for pixels in expected:
            assert len(np.unique(numbers[pixels])) == 1
        np.testing.assert_array_equal(numbers > 0, image > 0)


@pytest.mark.parametrize(("weight", "sigma"), [(10.0, 5.0), (3.0, 2.0)])
def test_weights_of_gaps_are_those_of_scipys_distances(weight, sigma):
    labels = blobs()
    found = gaps.gap_weights(jnp.asarray(labels), weight, sigma)
    expected = [scipys_weights(image, weight, sigma) for image in labels]
    assert np.max(expected) > weight / 2
    # What is below a ten-thousandth of the weight is left out.
    np.testing.assert_allclose(found, expected, atol=weight * 1e-4, rtol=1e-5)
    assert not np.any(found[-1])


def test_the_loss_of_a_gap_counts_its_weight_times_more():
    labels = blobs()
    logits = np.random.default_rng(1).normal(size=(*labels.shape, 3)).astype(np.float32)
    mask = np.where(labels < 0, 255, labels).astype(np.uint8)
    task = Segmentation(("ground", "cell", "core"), void=255, gap_weight=10.0)
    losses = jax.jit(task.loss)(logits, {"mask": mask})
    log_p = special.log_softmax(logits.astype(float), axis=-1)
    pixels = -np.take_along_axis(log_p, np.maximum(labels, 0)[..., None], -1)[..., 0]
    weights = 1 + np.stack([scipys_weights(image, 10.0, 5.0) for image in labels])
    is_labelled = labels >= 0
    expected = (weights * pixels)[is_labelled].sum() / is_labelled.sum()
    assert np.mean(losses) == pytest.approx(expected, rel=1e-4)
    assert expected > 1.5 * pixels[is_labelled].mean()
