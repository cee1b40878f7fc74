"""Mixup and cutmix: what they promise, and the distributions of their papers."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxcnn import augment
from jaxcnn.config import AugmentConfig, Config
from jaxcnn.errors import UserError
from jaxcnn.training import parallel, prepare

BATCH = 2000


def mixed(mixup=0.0, cutmix=0.0, number=BATCH, size=(6, 9)):
    """The weight of the example itself at each pixel [B, H, W], and the batch.

    Half of the examples are white, and are mixed with the other half, black.
    """
    white = np.arange(number) < number // 2
    batch = {
        "image": np.broadcast_to(white[:, None, None, None], (number, *size, 1)),
        "label": np.arange(number, dtype=np.int32),
    }
    keys = augment.example_keys(jax.random.key(0), 3, jnp.arange(number))
    mix = functools.partial(augment.mix, mixup=mixup, cutmix=cutmix)
    found = jax.tree.map(np.asarray, jax.jit(mix)(batch, keys))
    own = np.where(
        white[:, None, None], found["image"][..., 0], 1 - found["image"][..., 0]
    )
    return own, found


@pytest.mark.slow
@pytest.mark.parametrize(
    "alphas", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}], ids=str
)
def test_labels_and_shares_are_those_of_the_pixels(alphas):
    own, found = mixed(**alphas)
    example = np.arange(BATCH)
    partner = (example + BATCH // 2) % BATCH
    part = own.mean(axis=(1, 2))
    larger = np.abs(part - 0.5) > 1e-6  # of halves, either is right
    mostly_own = part > 0.5
    expected = np.where(mostly_own, example, partner)
    np.testing.assert_array_equal(found["label"][larger], expected[larger])
    np.testing.assert_array_equal(
        found["label"] + found["other"]["label"], example + partner
    )
    np.testing.assert_allclose(
        found["other_share"], np.minimum(part, 1 - part), atol=1e-6
    )


@pytest.mark.slow
def test_every_target_is_that_of_the_larger_part_and_has_a_partner():
    rng = np.random.default_rng(0)
    batch = {
        "image": np.zeros((8, 2, 2, 1)),
        "label": np.arange(8),
        "mask": rng.integers(0, 9, (8, 2, 2)),
        "boxes": rng.uniform(0, 1, (8, 3, 4)),
        "boxes_mask": rng.uniform(0, 1, (8, 3)) > 0.5,
    }
    keys = augment.example_keys(jax.random.key(0), 3, jnp.arange(8))
    found = augment.mix(batch, keys, mixup=1.0, cutmix=0.0)
    partner = (np.arange(8) + 4) % 8
    np.testing.assert_array_equal(found["label"] % 4, np.arange(8) % 4)
    np.testing.assert_array_equal(
        found["other"]["label"], np.arange(8) + partner - found["label"]
    )
    assert set(found["other"]) == {"label", "mask", "boxes", "boxes_mask"}
    for part in (found, found["other"]):
        for name in ("mask", "boxes", "boxes_mask"):
            expected = jnp.array(batch[name])[part["label"]]
            np.testing.assert_array_equal(part[name], expected)
    assert len(set(np.asarray(found["label"] == np.arange(8)).tolist())) == 2


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_mixup_weighs_all_pixels_by_one_draw_of_beta(alpha):
    own, _ = mixed(mixup=alpha)
    np.testing.assert_allclose(own, np.broadcast_to(own[:, :1, :1], own.shape))
    # Zhang et al. 2018, eq. 2: lambda from Beta(alpha, alpha).
    assert stats.kstest(own[:, 0, 0], stats.beta(alpha, alpha).cdf).pvalue > 0.01


@pytest.mark.slow
def test_cutmix_cuts_the_rectangles_of_its_algorithm():
    size = (20, 30)
    own, _ = mixed(cutmix=1.0, size=size)
    assert set(np.unique(own)) == {0.0, 1.0}
    for mask in own == 0:
        rows, columns = mask.any(axis=1), mask.any(axis=0)
        np.testing.assert_array_equal(mask, np.outer(rows, columns))
    # Yun et al. 2019, Algorithm 1, in NumPy: sides sqrt(1 - lambda), cut at the border.
    rng = np.random.default_rng(0)
    expected = []
    for _ in range(4 * BATCH):
        half = 0.5 * np.sqrt(1 - rng.beta(1.0, 1.0))
        area = 1.0
        for side in size:
            centre = rng.integers(side)
            start, stop = centre - int(half * side), centre + int(half * side)
            area *= min(stop, side) - max(start, 0)
        expected.append(area)
    assert stats.ks_2samp((own == 0).sum(axis=(1, 2)), expected).pvalue > 0.01


@pytest.mark.slow
def test_of_both_each_has_half_of_the_examples():
    own, _ = mixed(mixup=1.0, cutmix=1.0)
    by_mixup = ((own > 0) & (own < 1)).all(axis=(1, 2)).sum()
    assert abs(by_mixup - BATCH / 2) < 4 * np.sqrt(BATCH / 4)


@pytest.mark.slow
def test_eight_devices_mix_as_one_does():
    config = AugmentConfig(flip=0.5, erasing=0.5, mixup=0.2, cutmix=1.0)

    def mix(batch):
        number = batch["label"].shape[0]
        keys = augment.example_keys(jax.random.key(0), 3, jnp.arange(number))
        return augment.augment_batch(batch, keys, config, (0.5,), (0.25,), {})

    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (16, 8, 8, 1), np.uint8),
        "label": np.arange(16, dtype=np.int32),
    }
    found = [
        jax.jit(mix)(parallel.put_batch(batch, parallel.data_mesh(devices)))
        for devices in (1, 8)
    ]
    close = functools.partial(np.testing.assert_allclose, atol=1e-6)
    jax.tree.map(close, *found)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixing_is_refused_under_pmap(name):
    config = Config(augment=dataclasses.replace(AugmentConfig(), **{name: 0.2}))
    prepare.prepare(config)
    config.parallel = "pmap"
    text = f"augment.{name} must be 0 with parallel='pmap', .* whole batch, not 0.2."
    with pytest.raises(UserError, match=text):
        prepare.prepare(config)
