"""Examples kept in memory give the batches of those that are read each time."""

import pathlib

import numpy as np
from PIL import Image
import pytest

from jaxcnn.data import memory, order, transforms
from jaxcnn.data.bad_images import BadImages
from jaxcnn.data.examples import ArrayExamples, Subset
from jaxcnn.data.transforms import TRANSFORMS
from jaxcnn.errors import UserError
from jaxcnn.targets import Target
from tests.stream import (
    Broken,
    N,
    assert_equal,
    broken,
    config_of,
    eval_batches,
    in_memory,
    make_arrays,
    make_files,
    skipping,
    through_grain,
    train_batches,
)


@pytest.fixture
def arrays() -> ArrayExamples:
    return make_arrays()


@pytest.fixture
def files(tmp_path: pathlib.Path) -> Subset:
    return make_files(tmp_path / "images")


def test_arrays_in_memory_give_the_batches_of_grain(arrays):
    assert_equal(
        train_batches(arrays, config_of(), seed=0, num_steps=20),
        train_batches(through_grain(arrays), config_of(), seed=0, num_steps=20),
    )
    assert_equal(
        eval_batches(arrays, config_of(eval_batch_size=16)),
        eval_batches(through_grain(arrays), config_of(eval_batch_size=16)),
    )


@pytest.mark.parametrize("transform", ["resize", "center_crop", "pad"])
def test_files_in_memory_give_the_batches_of_grain(files, transform):
    config = config_of(train_transform=transform, eval_transform=transform)
    kept = in_memory(files, transform, config, BadImages("error", "train", N))
    assert isinstance(kept, ArrayExamples)
    assert_equal(
        train_batches(kept, config, seed=0, num_steps=9),
        train_batches(files, config, seed=0, num_steps=9),
    )
    assert_equal(eval_batches(kept, config), eval_batches(files, config))
    first = next(eval_batches(kept, config))
    expected = TRANSFORMS[transform].apply(files[5]["image"], 8, None)
    np.testing.assert_array_equal(first["image"][5], expected)


def test_what_is_random_or_too_large_stays_where_it_is(files):
    bad_images = BadImages("error", "train", N)
    random = in_memory(files, "random_resized_crop", config_of(), bad_images)
    large = in_memory(files, "resize", config_of(in_memory_mib=0), bad_images)
    assert random is files
    assert large is files


def test_balanced_batches_are_the_same_from_memory_and_from_files(files):
    config = config_of(sampling="balanced")
    kept = in_memory(files, "resize", config, BadImages("error", "train", N))
    strata = files.column("label")
    assert_equal(
        train_batches(kept, config, num_steps=9, strata=strata),
        train_batches(files, config, num_steps=9, strata=strata),
    )


@pytest.mark.parametrize("sampling", ["uniform", "balanced"])
def test_a_bad_image_is_replaced_by_the_next_readable_one(arrays, sampling):
    config = config_of(sampling=sampling)
    examples = broken(arrays)
    kept = in_memory(examples, "resize", config, skipping())
    strata = arrays.column("label") % 3
    slow, fast = (
        list(
            train_batches(e, config, num_steps=25, strata=strata, bad_images=skipping())
        )
        for e in (examples, kept)
    )
    assert_equal(fast, slow)
    if sampling == "uniform":
        seen = np.concatenate([batch["label"] for batch in fast])
        instead = {0: 1, 7: 9, 8: 9, N - 1: 1}
        drawn = np.concatenate([order.order(0, epoch, N) for epoch in range(6)])
        np.testing.assert_array_equal(seen, [instead.get(i, i) for i in drawn.tolist()])


def test_a_bad_image_weighs_nothing_in_evaluation(arrays):
    config = config_of(eval_batch_size=N)
    examples = broken(arrays)
    kept = in_memory(examples, "resize", config, skipping())
    slow, fast = (
        list(eval_batches(e, config, bad_images=skipping())) for e in (examples, kept)
    )
    assert_equal(fast, slow)
    (batch,) = fast
    bad = list(Broken.bad)
    assert batch["weight"].sum() == N - len(bad)
    assert not batch["weight"][bad].any()
    assert not batch["image"][bad].any()


def test_a_bad_image_is_an_error_at_once_by_default(arrays):
    text = "Unreadable image in the train split: 7.jpg: broken"
    examples = broken(arrays, (7,))
    with pytest.raises(UserError, match=text):
        list(train_batches(examples, config_of(), seed=0, num_steps=5))
    with pytest.raises(UserError, match=text):
        in_memory(examples, "resize", config_of(), BadImages("error", "train", N))


def test_a_split_without_one_readable_image_stops(arrays):
    everything = broken(arrays, tuple(range(N)))
    config = config_of(bad_images="skip")
    with pytest.raises(UserError, match="2 of 50 in the data set; .*skip allows 1%"):
        next(train_batches(everything, config, seed=0, num_steps=1))
    some = skipping(limit=1.0)  # few of a whole data set, and yet all of a split
    with pytest.raises(UserError, match="No image of the train split is readable"):
        next(train_batches(everything, config, seed=0, num_steps=1, bad_images=some))
    with pytest.raises(UserError, match="No image of the train split is readable"):
        in_memory(everything, "resize", config, skipping(limit=1.0))


def test_some_of_the_kept_examples_keep_their_errors(arrays):
    kept = in_memory(broken(arrays), "resize", config_of(), skipping())
    some = kept.take(np.array([9, 8, 3, 0]))
    assert some.errors == {1: "8.jpg: broken", 3: "0.jpg: broken"}
    assert some.column("label").tolist()[::2] == [9, 3]
    np.testing.assert_array_equal(some.images[[0, 2]], arrays.images[[9, 3]])
    assert memory.readable(some).tolist() == [0, 2]


def test_columns_of_another_dtype_are_cast_as_grain_casts_them(arrays):
    wide = ArrayExamples(arrays.images, {"label": np.arange(N)})  # int64
    config = config_of()
    assert_equal(
        train_batches(wide, config, num_steps=2),
        train_batches(arrays, config, num_steps=2),
    )
    assert_equal(eval_batches(wide, config), eval_batches(through_grain(wide), config))


def test_ragged_targets_are_filled_up_in_memory_as_by_grain(arrays):
    rng = np.random.default_rng(0)
    column = np.empty(N, object)
    for i in range(N):
        column[i] = rng.normal(size=(i % 4, 2)).astype(np.float32)
    examples = ArrayExamples(arrays.images, {"points": column})
    targets = {"points": Target("points", "float32", (3, 2), ragged=True)}
    config, bad_images = config_of(eval_batch_size=64), BadImages("error", "train", N)
    kept = in_memory(examples, "resize", config, bad_images, targets)
    assert isinstance(kept, memory.DecodedExamples)
    options = {"targets": targets, "num_steps": 5}
    assert_equal(
        train_batches(kept, config, **options),
        train_batches(examples, config, **options),
    )
    (slow,), (fast,) = (
        list(eval_batches(e, config, targets=targets)) for e in (examples, kept)
    )
    assert_equal([fast], [slow])
    counts = fast["points_mask"].sum(axis=1).tolist()
    assert counts == [i % 4 for i in range(N)] + [0] * (64 - N)
    for i in range(N):
        np.testing.assert_array_equal(fast["points"][i, : i % 4], column[i])
        assert not fast["points"][i, i % 4 :].any()


def zoomed(shape, size, rng):
    """The middle half of the image, enlarged."""
    height, width = shape
    window = (height // 4, width // 4, height // 2, width // 2)
    return transforms.Placement(window, size, (0, 0), size)


def test_a_transform_that_changes_images_of_the_right_size_is_not_left_out(
    arrays, monkeypatch
):
    monkeypatch.setitem(TRANSFORMS, "zoom", transforms.Transform(zoomed))
    config = config_of(train_transform="zoom", eval_transform="zoom")
    kept = in_memory(arrays, "zoom", config, BadImages("error", "train", N))
    for examples in (arrays, kept, through_grain(arrays)):
        first = next(eval_batches(examples, config))["image"][0]
        middle = Image.fromarray(arrays.images[0, 2:6, 2:6, 0])
        expected = np.asarray(middle.resize((8, 8), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(first[..., 0], expected)
    assert_equal(
        train_batches(kept, config, num_steps=3),
        train_batches(through_grain(arrays), config, num_steps=3),
    )
