"""Folders of fixations, and counts that move with their image."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

from jaxcnn import augment, data
from jaxcnn.augment import geometry
from jaxcnn.config import AugmentConfig, DataConfig
from jaxcnn.data import fixation_folder, transforms
from jaxcnn.data.placement import Placement, move_points, place_counts
from jaxcnn.errors import UserError
from jaxcnn.targets import Target

TARGETS = {"fixations": Target("counts", "uint16")}
SIZE = (11, 14)


def counts(seed=0, size=SIZE):
    return np.random.default_rng(seed).poisson(0.4, size).astype(np.uint16)


# Transforms.


@pytest.mark.parametrize("name", transforms.TRANSFORMS)
def test_counts_move_as_the_points_at_the_centres_of_their_pixels(name):
    row, before = transforms.TRANSFORMS[name], counts()
    image = np.zeros((*SIZE, 3), np.uint8)
    for size in ((5, 6), (11, 14), (23, 40)):
        placement = row.place(SIZE, size, np.random.default_rng(1))
        rng = np.random.default_rng(1)
        example = {"image": image, "fixations": before}
        moved = transforms.for_batch(row, example, TARGETS, size, rng)["fixations"]
        expected = np.zeros(size, int)
        centres = np.argwhere(before) + 0.5
        inside = move_points(centres, placement)
        start, window = np.split(np.array(placement.window), 2)
        for point, old in zip(inside, centres, strict=True):
            y, x = np.floor(point + 1e-9).astype(int)
            shown = np.all((old > start) & (old < start + window))
            if shown and 0 <= y < size[0] and 0 <= x < size[1]:
                expected[y, x] += before[tuple(old.astype(int))]
        np.testing.assert_array_equal(moved, expected)
        assert moved.dtype == np.uint16
        if name in ("resize", "pad", "line"):  # which show the whole image
            assert moved.sum() == before.sum()


def test_counts_outside_the_window_are_gone():
    before = np.zeros(SIZE, np.uint8)
    before[1, 5], before[2, 4], before[8, 11], before[9, 5] = 1, 2, 3, 4
    moved = place_counts(before, Placement((2, 3, 7, 9), (14, 18), (1, -4), (14, 12)))
    # By hand, twice as large: the centre of (8, 11) is in row 14, column 13.
    assert moved.sum() == 0
    moved = place_counts(before, Placement((2, 3, 7, 9), (14, 18), (1, 4), (20, 24)))
    assert {tuple(p): moved[tuple(p)] for p in np.argwhere(moved)} == {
        (2, 7): 2,
        (14, 21): 3,
    }


def test_a_pixel_holds_as_many_as_its_dtype():
    full = np.full((4, 4), 200, np.uint8)
    placement = Placement((0, 0, 4, 4), (2, 2), (0, 0), (2, 2))
    assert (place_counts(full, placement) == 255).all()
    assert (place_counts(full.astype(np.uint16), placement) == 800).all()


def test_counts_move_on_the_device_as_points_do():
    before = counts()
    number = 6
    keys = augment.example_keys(jax.random.key(0), 3, jnp.arange(number))
    targets = TARGETS | {"points": Target("points", "float32", (SIZE[0] * SIZE[1], 2))}
    centres = np.indices(SIZE).reshape(2, -1).T + 0.5
    batch = {
        "image": np.zeros((number, *SIZE, 3), np.uint8),
        "fixations": np.stack([before] * number),
        "points": np.stack([centres.astype(np.float32)] * number),
    }

    def changed_by(**choices):
        change = functools.partial(
            augment.augment_batch,
            config=AugmentConfig(flip=0.5, **choices),
            mean=(0.5,),
            std=(0.5,),
            targets=targets,
        )
        return np.asarray(jax.jit(change)(batch, keys)["fixations"])

    # One operation after the other rounds each time; the warp alone does once.
    maps = geometry.affine_map(
        keys,
        size=SIZE,
        shift_pixels=2.0,
        rotation_degrees=30.0,
        scale=0.3,
        shear_degrees=5.0,
    )
    move = functools.partial(augment.move_targets, targets=targets)
    moved = jax.jit(move)(batch, maps=maps)
    for found, points in zip(moved["fixations"], moved["points"], strict=True):
        expected = np.zeros(SIZE, int)
        for (y, x), count in zip(np.floor(points), before.ravel(), strict=True):
            if 0 <= y < SIZE[0] and 0 <= x < SIZE[1]:
                expected[int(y), int(x)] += count
        np.testing.assert_array_equal(found, expected)
        assert 0 < expected.sum() < before.sum()
    changed = changed_by(crop_padding_pixels=2)
    assert changed.dtype == np.uint16
    assert (changed.sum((1, 2)) <= before.sum()).all()
    flipped = changed_by()
    known = {before.tobytes(), before[:, ::-1].tobytes()}
    assert {x.tobytes() for x in flipped} == known


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"dtype": "float32"}, "uint8 or uint16 of kind 'counts', not 'float32'"),
        ({"dtype": "uint16", "fill": 3}, "0 of kind 'counts'"),
    ],
)
def test_what_cannot_be_counted_is_refused(fields, text):
    with pytest.raises(UserError, match=text):
        Target("counts", **fields)


# Folders.

POINTS = {
    "a": "x,y\n0.2,0\n4.9,2.9\n4.9,2.9\n",
    "b": "2,1\n",
    "c": "\ufefftime, Y ,X\n7,2.5,3\n\n8,0,0\n",
    "d": "1,1\n",
    "e": "3,2\n",
}


@pytest.fixture
def folder(tmp_path):
    """Images of 5 x 3 pixels, with points and maps."""
    for kind in ("images", "fixations", "maps"):
        (tmp_path / kind).mkdir()
    for index, (name, text) in enumerate(POINTS.items()):
        pixels = np.full((3, 5, 3), index, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"images/{name}.png")
        Image.fromarray(pixels[..., 0] + 1).save(tmp_path / f"maps/{name}.png")
        (tmp_path / f"fixations/{name}.csv").write_text(text, encoding="utf-8")
    return tmp_path


def examples_of(path, **options):
    config = DataConfig(name=f"folder:{path}", **options)
    dataset = data.load(config)
    found = {}
    for examples in dataset.splits.values():
        for index in range(len(examples)):
            example = examples[index]
            found[int(example["image"][0, 0, 0])] = example
    return dataset, found


def test_a_folder_has_points_and_maps(folder):
    dataset, found = examples_of(folder)
    assert dict(dataset.info.targets) == fixation_folder.TARGETS
    assert {s: len(x) for s, x in dataset.splits.items()} == {
        "train": 3,
        "validation": 1,
        "test": 1,
    }
    expected = np.zeros((3, 5), int)
    expected[0, 0], expected[2, 4] = 1, 2
    np.testing.assert_array_equal(found[0]["fixations"], expected)
    expected = np.zeros((3, 5), int)
    expected[2, 3] = expected[0, 0] = 1
    np.testing.assert_array_equal(found[2]["fixations"], expected)
    assert (found[2]["maps"] == 3).all()
    assert found[2]["maps"].shape == (3, 5, 1)
    train = dataset.splits["train"]
    for name in ("fixations", "maps"):
        column = train.column(name)
        for index in range(len(train)):
            np.testing.assert_array_equal(
                np.asarray(column[index]), np.asarray(train[index][name])
            )


def test_one_kind_alone_will_do(folder):
    for file in (folder / "maps").iterdir():
        file.unlink()
    (folder / "maps").rmdir()
    dataset, _ = examples_of(folder)
    assert [*dataset.info.targets] == ["fixations"]
    (folder / "fixations").rename(folder / "maps")
    for name in POINTS:
        (folder / f"maps/{name}.csv").unlink()
        Image.fromarray(np.ones((3, 5), np.uint8)).save(folder / f"maps/{name}.png")
    dataset, _ = examples_of(folder, target_kind="fixations")
    assert [*dataset.info.targets] == ["maps"]


def test_splits_and_tabs(folder):
    for split in ("train", "val"):
        (folder / split).mkdir()
        for kind, suffix in (("images", "png"), ("fixations", "csv")):
            (folder / split / kind).mkdir()
            name = {"train": "a", "val": "c"}[split]
            (folder / kind / f"{name}.{suffix}").rename(
                folder / split / kind / f"{name}.{suffix}"
            )
    for kind in ("images", "fixations", "maps"):
        for file in (folder / kind).iterdir():
            file.unlink()
        (folder / kind).rmdir()
    points = folder / "train/fixations/a.csv"
    points.write_text("y\tx\n2\t4\n")
    points.rename(points.with_suffix(".tsv"))
    dataset, found = examples_of(folder)
    assert {s: len(x) for s, x in dataset.splits.items()} == {
        "train": 1,
        "validation": 1,
    }
    assert np.argwhere(np.asarray(found[0]["fixations"])).tolist() == [[2, 4]]


@pytest.mark.parametrize(
    ("file", "content", "text"),
    [
        ("fixations/a.csv", "x,y\n1,1\n5,1\n", "a.csv, line 3: the point x=5, y=1 is "),
        ("fixations/a.csv", "1,-0.1\n", "line 1: the point x=1, y=-0.1 .* 5 x 3 pix"),
        ("fixations/a.csv", "x,y\n1,one\n", "a.csv, line 2: x and y must be two numb"),
        ("fixations/a.csv", "1\n", "a.csv, line 1: x and y must be two numbers, not"),
        ("fixations/a.csv", "1,nan\n", "line 1: x and y must be two numbers, not '1"),
        ("fixations/a.csv", "left,top\n1,1\n", "line 1: the header names left, top; c"),
        ("fixations/a.csv", "x,y\n", "a.csv has no fixation; an image that nobody"),
        ("fixations/a.csv", None, "1 image has no file of fixations: .*a.csv'?"),
        ("fixations/z.csv", "1,1\n", "1 file of fixations has no image in .*z.csv'"),
        ("maps/a.png", np.ones((3, 4)), "this map has 4 x 3 pixels and its image 5 x"),
        ("maps/a.png", np.zeros((3, 5)), "a.png: this map is black everywhere"),
        ("maps/a.png", None, "1 image has no map: for .*a.png' there is no"),
    ],
)
def test_what_is_wrong_is_named(folder, file, content, text):
    if content is None:
        (folder / file).unlink()
    elif isinstance(content, str):
        (folder / file).write_text(content)
    else:
        Image.fromarray(content.astype(np.uint8)).save(folder / file)
    with pytest.raises(UserError, match=text):
        examples_of(folder)


def test_a_folder_without_fixations_is_told_what_it_needs(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(UserError, match=r"images/ and fixations/, or the same in"):
        examples_of(tmp_path, target_kind="fixations")


def test_what_a_run_goes_on_with_is_known_by_its_files(folder):
    before, _ = examples_of(folder)
    points = folder / "fixations/a.csv"
    points.write_text(points.read_text() + "1,1\n")
    after, _ = examples_of(folder)
    assert after.info.fingerprint != before.info.fingerprint
