"""Scenes of letters: what is drawn is what the targets say."""

import math
import pickle

import numpy as np
from PIL import Image
import pytest
from scipy import ndimage

from jaxcnn.config import DataConfig
from jaxcnn.data import (
    batches,
    datasets,
    drawn_letters,
    glyph_scenes,
    glyphs,
    memory,
    transforms,
)
from jaxcnn.data.bad_images import BadImages
from jaxcnn.errors import UserError


@pytest.fixture(scope="module")
def dataset():
    return datasets.load(DataConfig(name="glyph_scenes", image_size=64))


@pytest.fixture(scope="module")
def some(dataset):
    return [dataset.splits["train"][i] for i in range(60)]


def test_what_it_says_of_itself(dataset):
    assert dataset.info.num_examples == {"train": 4000, "validation": 500, "test": 500}
    kinds = {name: target.kind for name, target in dataset.info.targets.items()}
    assert kinds == {
        "mask": "mask",
        "boxes": "boxes",
        "labels": "label",
        "text": "text",
    }
    mask = dataset.info.targets["mask"]
    assert (mask.fill, mask.names) == (255, ("background", *"AEHKMORSTX"))
    assert not any("Warning" in remark for remark in dataset.remarks)


def test_a_scene_is_a_function_of_its_split_and_number(dataset):
    train = dataset.splits["train"]
    again = pickle.loads(pickle.dumps(train))
    other = glyph_scenes.load(DataConfig(image_size=64))
    for i in (7, 0, 7):
        for name, value in train[i].items():
            np.testing.assert_array_equal(again[i][name], value)
            np.testing.assert_array_equal(other.splits["train"][i][name], value)
    assert other.info.fingerprint == dataset.info.fingerprint
    pixels = {
        dataset.splits[split][i]["image"].tobytes()
        for split in dataset.splits
        for i in range(3)
    }
    assert len(pixels) == 9
    with pytest.raises(IndexError, match="There are 500 scenes, none with index 500"):
        dataset.splits["test"][500]


def test_boxes_are_the_smallest_around_the_pixels_of_their_letters(some):
    for example in some:
        mask, outside = example["mask"], example["mask"].copy()
        for box, label in zip(
            example["boxes"].astype(int), example["labels"], strict=True
        ):
            y1, x1, y2, x2 = box
            window = mask[y1:y2, x1:x2] == 1 + label
            # SciPy's bounding box of the letter's pixels is the whole window.
            assert ndimage.find_objects(window.astype(int))[0] == (
                slice(0, y2 - y1),
                slice(0, x2 - x1),
            )
            outside[y1:y2, x1:x2] = np.where(window, 0, outside[y1:y2, x1:x2])
        assert not outside.any()


def test_letters_are_read_from_left_to_right_and_all_occur(some):
    lengths = set()
    for example in some:
        centres = example["boxes"][:, [1, 3]].mean(axis=1)
        assert (np.diff(centres) >= 0).all()
        np.testing.assert_array_equal(example["text"], example["labels"])
        lengths.add(len(example["text"]))
    assert lengths == {1, 2, 3, 4, 5, 6}
    shown = np.concatenate([example["labels"] for example in some])
    assert set(shown) == set(range(10))


def test_the_mask_is_where_the_background_is_covered():
    fonts = glyphs.matplotlib_files("train")
    for seed in range(20):
        example = glyph_scenes.scene(np.random.default_rng(seed), fonts, (64, 64))
        below = glyph_scenes.background(np.random.default_rng(seed), (64, 64))
        change = np.linalg.norm(example["image"] - below, axis=-1)
        letters = example["mask"] > 0
        near = ndimage.binary_dilation(letters, iterations=2)
        # Noise has a standard deviation of 12 at most, the same in three channels.
        assert change[~near].mean() < 12 * math.sqrt(3)
        assert change[letters].mean() > 0.5 * glyph_scenes.CONTRAST
        assert change[letters].mean() > 2 * change[~near].mean()


def test_a_letter_is_turned_as_scipy_turns_it():
    ink = np.zeros((40, 30), np.uint8)
    ink[4:36, 4:12] = ink[28:36, 4:26] = 255  # an L
    upright = drawn_letters.Letter((ink,), 40, 0.0)
    assert upright.size == (40, 30)
    np.testing.assert_array_equal(upright.coverage(), ink)
    turned = drawn_letters.Letter((ink,), 40, math.radians(20)).coverage()
    expected = ndimage.rotate(ink.astype(float), 20, order=1)  # anticlockwise
    # Of sizes that may differ by a pixel: compared around the centre.
    high, wide = (
        min(sides) for sides in zip(turned.shape, expected.shape, strict=True)
    )

    def middle(x):
        top, left = (x.shape[0] - high) // 2, (x.shape[1] - wide) // 2
        return x[top : top + high, left : left + wide].astype(float) / 255

    assert np.abs(middle(turned) - middle(expected)).mean() < 0.02
    half = drawn_letters.Letter((ink,), 20, 0.0).coverage()
    small = np.asarray(Image.fromarray(ink).reduce(2))
    assert np.abs(half.astype(float) - small).mean() < 4


def test_a_letter_is_stretched_and_slanted():
    ink = np.zeros((40, 30), np.uint8)
    ink[:, 11:19] = 255  # an I
    shape = drawn_letters.Shape(stretch=1.5, slant=0.25)
    letter = drawn_letters.Letter((ink,), 40, 0.0, shape)
    assert letter.size == (40, 55)  # 1.5 * 30 + 0.25 * 40
    levels = letter.coverage() / 255
    x = np.arange(55) + 0.5
    assert levels[1:-1].sum(axis=1) == pytest.approx(1.5 * 8, abs=0.1)
    centres = (levels @ x) / levels.sum(axis=1)
    # Each row is a quarter of a column to the right of the one below it.
    expected = 55 / 2 - 0.25 * (np.arange(40) - 19.5)
    np.testing.assert_allclose(centres[1:-1], expected[1:-1], atol=0.1)


def test_strokes_become_thinner_and_thicker():
    # The H of a font with serifs: its bar in the middle, and its two stems above it.
    font = glyphs.matplotlib_files("train")[4]
    inks = {
        w: drawn_letters.inks(font, "H", w)[0]
        for w in ((0, 0), (-4, 0), (0, 4), (2, 2))
    }
    for ink in inks.values():
        assert abs(ink.shape[0] - 64) <= 1

    def thickness(weight, axis):
        ink = inks[weight] / 255
        return (ink[:, ink.shape[1] // 2] if axis == 0 else ink[16]).sum()

    bar, stems = thickness((0, 0), 0), thickness((0, 0), 1)
    assert bar - thickness((-4, 0), 0) == pytest.approx(2.56, abs=0.6)
    assert thickness((0, 4), 1) - stems == pytest.approx(2 * 2.56, abs=0.6)
    assert thickness((2, 2), 0) - bar == pytest.approx(1.28, abs=0.6)


def test_only_letters_of_training_differ_from_their_fonts(dataset, monkeypatch):
    asked = []
    monkeypatch.setattr(
        glyph_scenes, "inks", lambda *args: asked.append(args[2]) or (INK,)
    )
    for split in dataset.splits:
        asked.clear()
        for i in range(20):
            dataset.splits[split][i]
        assert (len(set(asked)) == 1) == (split != "train")


def test_each_split_is_drawn_with_its_fonts(dataset, monkeypatch):
    asked = []
    monkeypatch.setattr(
        glyph_scenes, "inks", lambda font, *_: asked.append(font) or (INK,)
    )
    for split in dataset.splits:
        asked.clear()
        for i in range(20):
            dataset.splits[split][i]
        assert len(set(asked)) > 1
        assert set(asked) <= set(glyphs.matplotlib_files(split))


INK = np.full((20, 15), 255, np.uint8)


def test_splits_differ_in_more_than_their_fonts(dataset, monkeypatch):
    fonts = glyphs.matplotlib_files("train")
    monkeypatch.setattr(glyphs, "matplotlib_files", lambda split: fonts)
    first = {dataset.splits[s][0]["image"].tobytes() for s in dataset.splits}
    assert len(first) == 3


def test_batches_hold_masks_and_padded_boxes(dataset):
    config = DataConfig(name="glyph_scenes", image_size=64, eval_batch_size=4)
    part = dataset.with_splits({"test": Few(dataset.splits["test"], 6)}).splits["test"]
    resize = transforms.TRANSFORMS["resize"]
    policy = BadImages("error", "test", 6)
    targets = dataset.info.targets
    kept = memory.in_memory(part, resize, config, targets, policy, 3)
    assert isinstance(kept, memory.DecodedExamples)
    for examples in (part, kept):
        found = list(
            batches.eval_batches(examples, config, targets, channels=3, split="test")
        )
        assert [batch["weight"].sum() for batch in found] == [4, 2]
        for i in range(6):
            batch, example = found[i // 4], part[i]
            number = len(example["boxes"])
            np.testing.assert_array_equal(batch["image"][i % 4], example["image"])
            np.testing.assert_array_equal(batch["mask"][i % 4], example["mask"])
            np.testing.assert_array_equal(
                batch["boxes"][i % 4, :number], example["boxes"]
            )
            assert batch["boxes_mask"][i % 4].sum() == number
            assert batch["text_mask"][i % 4].sum() == number


class Few:
    """The first of some examples."""

    def __init__(self, examples, number):
        self.examples, self.number = examples, number

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        return self.examples[index]


def test_the_size_is_that_of_the_config():
    dataset = glyph_scenes.load(DataConfig(image_size=(48, 96)))
    assert dataset.splits["test"][0]["mask"].shape == (48, 96)
    assert dataset.made_with["image_size"] == (48, 96)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"image_size": 31}, "data.image_size must be at least 32 x 32, not 31"),
        ({"groups": "(a)"}, "data.groups must be None for glyph_scenes"),
        ({"channels": 1}, "data.channels must be 3 or None for glyph_scenes, not 1"),
    ],
)
def test_what_it_cannot_do_is_refused(changes, text):
    with pytest.raises(UserError, match=text):
        datasets.load(DataConfig(name="glyph_scenes", **changes))


@pytest.mark.parametrize("size", [32, (41, 36)])
def test_a_crop_is_the_middle_of_a_scene_with_its_letter_there(size):
    dataset = datasets.load(DataConfig(name="glyph_crops", image_size=size))
    assert dataset.info.num_examples == {
        "train": 8000,
        "validation": 1000,
        "test": 1000,
    }
    assert dataset.info.targets["label"].names == tuple(glyph_scenes.LETTERS)
    height, width = transforms.height_and_width(size)
    for number, split in enumerate(("train", "validation", "test")):
        part, fonts = dataset.splits[split], glyphs.matplotlib_files(split)
        # The first letter that is drawn for the training one 262 is too wide.
        for index in (*range(12), 262):
            example, label = part[index], index % 10
            assert example["label"] == part.column("label")[index] == label
            rng = np.random.default_rng((number, index, 1))
            scene = glyph_scenes.scene(
                rng, fonts, (2 * height, 2 * width), split == "train", label
            )
            rows = slice(height // 2, height // 2 + height)
            columns = slice(width // 2, width // 2 + width)
            np.testing.assert_array_equal(
                example["image"], scene["image"][rows, columns]
            )
            # The letter whose box has the middle of the scene in its own middle.
            middles = (scene["boxes"][:, :2] + scene["boxes"][:, 2:]) / 2
            near = np.abs(middles - (height, width)).max(axis=1) <= 0.15 * height
            assert label in scene["labels"][near]
