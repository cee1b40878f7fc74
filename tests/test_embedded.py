"""Digits against scikit-learn's own classification example."""

import numpy as np
from sklearn import datasets, svm

from jaxcnn.config import DataConfig
from jaxcnn.data import embedded


def test_an_svc_has_the_accuracy_that_scikit_learn_publishes_for_these_halves():
    # 0.97 and its confusion matrix, whose diagonal sums to 871 of 899:
    # https://scikit-learn.org/stable/auto_examples/classification/plot_digits_classification.html
    dataset = embedded.digits(DataConfig())
    rest, cut = dataset.splits["train"], dataset.splits["validation"]
    images = np.concatenate([rest.images, cut.images])
    labels = np.concatenate([rest.column("label"), cut.column("label")])
    svc = svm.SVC(gamma=0.001).fit(as_in_sklearn(images), labels)
    test = dataset.splits["test"]
    correct = svc.predict(as_in_sklearn(test.images)) == test.column("label")
    assert len(labels) == 898
    assert (correct.sum(), len(test)) == (871, 899)


def as_in_sklearn(images):
    return np.round(images.reshape(len(images), 64) * (16 / 255))


def test_the_second_half_in_the_order_of_the_file_tests():
    raw = datasets.load_digits()
    test = embedded.digits(DataConfig()).splits["test"]
    np.testing.assert_array_equal(test.column("label"), raw.target[898:])
    np.testing.assert_array_equal(as_in_sklearn(test.images), raw.data[898:])


def test_ink_of_0_8_and_16_is_0_128_and_255():
    # round(8 * 255 / 16) = round(127.5) = 128
    raw = datasets.load_digits().images[898:]
    images = embedded.digits(DataConfig()).splits["test"].images[..., 0]
    assert images.shape[1:] == (8, 8)
    for ink, grey in ((0, 0), (8, 128), (16, 255)):
        assert set(images[raw == ink]) == {grey}


def test_another_split_seed_cuts_other_validation_images_and_the_same_test_images():
    first, second = (embedded.digits(DataConfig(split_seed=s)) for s in (0, 1))
    assert not np.array_equal(
        first.splits["validation"].images, second.splits["validation"].images
    )
    np.testing.assert_array_equal(
        first.splits["test"].images, second.splits["test"].images
    )
    assert first.info.fingerprint == second.info.fingerprint
