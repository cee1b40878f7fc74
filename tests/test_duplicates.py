"""Copies and near-duplicates among images."""

import io
import json
import pathlib

import numpy as np
from PIL import Image
import pytest
from scipy import fft
from sklearn import datasets

from jaxcnn.data import duplicates
from tests.reference.generated_image import CASES, generated

REFERENCE = pathlib.Path(__file__).parent / "reference" / "phash.json"


def reduced(images):
    return np.stack([duplicates.reduce(image) for image in images])


def bits(hashes):
    return np.unpackbits(hashes.astype(">u8").view(np.uint8).reshape(-1, 8), axis=1)


def test_the_hash_is_that_of_imagehash():
    # Hexadecimal, the bits of the lowest frequencies first; see the file's maker.
    expected = json.loads(REFERENCE.read_text())
    for name, (shape, *_) in CASES.items():
        image = generated(shape)
        found = duplicates.perceptual_hash(reduced([np.atleast_3d(image)]))
        assert f"{found[0]:016x}" == expected[name], name


def test_the_hash_is_of_the_lowest_frequencies_of_scipys_transform():
    pictures = np.random.default_rng(0).integers(0, 256, (20, 32, 32), np.uint8)
    low = fft.dctn(pictures.astype(float), axes=(1, 2))[:, :8, :8].reshape(20, 64)
    expected = low > np.median(low, axis=1, keepdims=True)
    np.testing.assert_array_equal(bits(duplicates.perceptual_hash(pictures)), expected)


def digests(count):
    return np.arange(count, dtype=np.uint64)


def groups_of(images):
    found = duplicates.find_groups(digests(len(images)), reduced(images), 0.98)
    return [group.tolist() for group in found]


@pytest.fixture(scope="module")
def crops():
    """100 windows, of 100 to 299 pixels, of scikit-learn's two photographs."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(100):
        photo = datasets.load_sample_images().images[i % 2]
        side = rng.integers(100, 300)
        top, left = (rng.integers(length - side) for length in photo.shape[:2])
        found.append(photo[top : top + side, left : left + side])
    return found


def jpeg(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=30)
    return np.asarray(Image.open(file))


def half(image):
    height, width = image.shape[:2]
    return np.asarray(Image.fromarray(image).resize((width // 2, height // 2)))


def scaled(image, factor=1.0, added=0.0):
    return np.clip(image * factor + added, 0, 255).astype(np.uint8)


def noisy(image):
    noise = np.random.default_rng(1).normal(0, 15, image.shape)
    return scaled(image, added=noise)


def framed(image):
    cut = round(0.02 * len(image))
    return image[cut:-cut, cut:-cut]


@pytest.mark.parametrize(
    ("change", "share"),
    [
        (jpeg, 0.98),
        (half, 0.98),
        (noisy, 0.98),
        (lambda image: scaled(image, added=20), 0.98),
        (lambda image: scaled(image, added=40), 0.9),
        (lambda image: scaled(image - 128.0, 1.3, 128), 0.93),
        (framed, 0.6),
        # Not claimed to be found, so that the test is seen to tell.
        (lambda image: image[:, ::-1], None),
    ],
)
def test_changed_copies_are_found(crops, change, share):
    found = groups_of([*crops, *map(change, crops)])
    together = {(i, j) for group in found for i in group for j in group}
    hits = np.mean([(i, i + 100) in together for i in range(100)])
    assert hits < 0.2 if share is None else hits >= share


def test_other_windows_of_a_photograph_are_not_copies(crops):
    # Of 4950 pairs; windows may happen to be of the same place.
    assert sum(map(len, groups_of(crops))) <= 6


def test_groups_are_those_of_all_pairs():
    # The definition, pair by pair, on images and copies that are less and less alike.
    rng = np.random.default_rng(0)
    images = [np.kron(rng.normal(128, 50, (8, 8)), np.ones((4, 4))) for _ in range(300)]
    images += [
        image + np.kron(rng.normal(0, i / 15, (8, 8)), np.ones((4, 4)))
        for i, image in enumerate(images)
    ]
    pictures = reduced([scaled(image)[..., None] for image in images])
    hashes = bits(duplicates.perceptual_hash(pictures)).astype(int)
    distance = (hashes[:, None] != hashes).sum(axis=2)
    small = pictures.reshape(600, 16, 2, 16, 2).mean(axis=(2, 4)).reshape(600, 256)
    similarity = np.corrcoef(small)
    one, other = np.nonzero(np.triu((distance <= 8) & (similarity >= 0.95), k=1))
    # Each rule decides somewhere.
    of_copies = np.diagonal(distance, 300), np.diagonal(similarity, 300)
    assert ((of_copies[0] == 8) & (of_copies[1] >= 0.95)).any()
    assert ((of_copies[0] == 10) & (of_copies[1] >= 0.95)).any()
    assert ((of_copies[0] <= 8) & (of_copies[1] < 0.95)).any()
    found = duplicates.find_groups(digests(600), pictures, 0.95)
    assert [group.tolist() for group in found] == np.stack([one, other], 1).tolist()


def test_equal_digests_make_a_group_and_flat_images_are_like_nothing():
    images = [np.full((9, 9, 1), level, np.uint8) for level in (0, 50, 50, 200)]
    found = duplicates.find_groups(
        np.array([7, 5, 5, 2], np.uint64), reduced(images), 0.5
    )
    assert [group.tolist() for group in found] == [[1, 2]]


def test_many_pairs_are_kept_as_few_edges(monkeypatch):
    monkeypatch.setattr(duplicates, "_PAIRS", 4)
    wave = np.sin(np.arange(32) / 3)[:, None] * np.cos(np.arange(32) / 5)
    images = [scaled(wave, 100, 120 + i)[..., None] for i in range(12)]
    other = np.random.default_rng(0).integers(0, 256, (32, 32, 1), np.uint8)
    assert groups_of([*images, other]) == [list(range(12))]
