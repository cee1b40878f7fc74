"""The order of examples: pinned, shuffled, balanced, in one stream."""

import collections

import numpy as np
import pytest

from jaxcnn.data import order

# (seed, epoch) -> order of 10 examples.
PINNED = {
    (0, 0): [6, 5, 1, 7, 3, 0, 4, 8, 2, 9],
    (0, 1): [8, 0, 5, 7, 4, 6, 9, 2, 1, 3],
    (1, 0): [6, 1, 8, 2, 9, 0, 3, 4, 5, 7],
}


def test_the_shuffle_order_is_pinned():
    # Made by this code: a run that is resumed by a later version needs the same.
    np.testing.assert_array_equal(order.order(0, 0, 10), PINNED[0, 0])
    np.testing.assert_array_equal(order.order(0, 1, 10), PINNED[0, 1])
    np.testing.assert_array_equal(order.order(1, 0, 10), PINNED[1, 0])


def test_each_epoch_is_a_permutation_that_differs_from_the_next():
    orders = [order.order(seed, epoch, 50) for seed in (0, 1) for epoch in (0, 1)]
    for i, drawn in enumerate(orders):
        assert sorted(drawn) == list(range(50))
        assert not any(np.array_equal(drawn, other) for other in orders[:i])


def test_balanced_sampling_draws_every_class_equally_often():
    labels = np.repeat([0, 1, 4], [80, 15, 6])
    drawn = order.balanced_order(0, 0, labels)
    counts = collections.Counter(labels[drawn].tolist())
    assert sorted(counts.values()) == [33, 34, 34]
    assert len(set(drawn[labels[drawn] == 0])) > 20  # any of the class, not one
    assert not np.array_equal(drawn, order.balanced_order(0, 1, labels))
    # Shuffled: no class is in one piece.
    assert (np.diff(labels[drawn]) != 0).sum() > 40


@pytest.mark.parametrize("sampling", order.SAMPLING)
def test_a_stream_is_the_epochs_one_after_another(sampling):
    strata = np.arange(10) % 3
    draw = order.SAMPLING[sampling].order
    epochs = np.concatenate([draw(7, epoch, 10, strata) for epoch in range(3)])
    stream = order.Stream(10, sampling, 7, strata=strata)
    # 5 to 15 lies in two epochs; backwards, since threads ask in any order.
    for start, stop in ((18, 28), (5, 15), (0, 10)):
        expected = epochs[start:stop].tolist()
        assert stream.slice(start, stop).tolist() == expected
        assert [stream[position] for position in range(start, stop)] == expected
