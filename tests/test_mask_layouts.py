"""Layouts of PASCAL VOC, Cityscapes and COCO, written by hand."""

import json
import pathlib

import numpy as np
from PIL import Image
import pytest

from jaxcnn.config import DataConfig
from jaxcnn.data import cityscapes, coco, datasets, voc
from jaxcnn.data.examples import names_of
from jaxcnn.errors import UserError
from tests.test_masks import photo, write

REFERENCE = pathlib.Path(__file__).parent / "reference"


def load(prefix, path, **fields):
    return datasets.load(DataConfig(name=f"{prefix}:{path}", **fields))


# PASCAL VOC.


def voc_colour(index):
    """The colour of an index in VOClabelcolormap.m: the bits of it, dealt out to red,
    green and blue in turn, the highest bits first."""
    colour = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            colour[channel] |= (index >> channel & 1) << (7 - bit)
        index >>= 3
    return tuple(colour)


LEVELS = np.array([[0, 15, 20, 255], [3, 0, 0, 0], [0, 0, 0, 1]], np.uint8)


@pytest.fixture
def vocdevkit(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for i in range(6):
        write(root / "JPEGImages" / f"2007_{i}.jpg", photo(i))
        image = Image.fromarray(LEVELS, mode="P")
        colours = [voc_colour(level) for level in range(256)]
        image.putpalette(np.array(colours, np.uint8).tobytes())
        write(root / "SegmentationClass" / f"2007_{i}.png", image)
    write(root / "JPEGImages" / "only_boxes.jpg", photo(0))
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_3\n2007_0\n2007_1\n")
    (lists / "val.txt").write_text("2007_2\n2007_4\n")
    return tmp_path


def test_the_colours_of_voc_are_those_of_its_development_kit():
    assert list(voc.CLASSES.values()) == [voc_colour(k) for k in range(21)]


@pytest.mark.parametrize("below", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_voc(vocdevkit, below):
    dataset = load("voc", vocdevkit / below)
    assert dataset.info.num_examples == {"train": 2, "validation": 1, "test": 2}
    assert names_of(dataset.splits["test"]) == ["2007_2", "2007_4"]
    names = dataset.info.targets["mask"].names
    assert (names[15], names[20], len(names)) == ("person", "tvmonitor", 21)
    np.testing.assert_array_equal(dataset.splits["test"][1]["mask"], LEVELS)


def test_voc_masks_converted_to_rgb_are_the_same(vocdevkit):
    file = vocdevkit / "VOCdevkit/VOC2012/SegmentationClass/2007_4.png"
    Image.open(file).convert("RGB").save(file)
    dataset = load("voc", vocdevkit)
    np.testing.assert_array_equal(dataset.splits["test"][1]["mask"], LEVELS)


def test_voc_that_is_not_complete_is_refused(vocdevkit):
    root = vocdevkit / "VOCdevkit/VOC2012"
    (root / "SegmentationClass/2007_4.png").unlink()
    with pytest.raises(
        UserError, match="val.txt: 1 of 2 masks are missing, such as .*4"
    ):
        load("voc", vocdevkit)
    (root / "ImageSets/Segmentation/val.txt").unlink()
    with pytest.raises(UserError, match="no list of images '.*val.txt'"):
        load("voc", vocdevkit)
    with pytest.raises(
        UserError, match="one folder with JPEGImages and Segm.*has none"
    ):
        load("voc", root / "ImageSets")


# Cityscapes.


def test_the_classes_of_cityscapes_are_those_of_its_scripts():
    rows = json.loads((REFERENCE / "cityscapes_labels.json").read_text())
    expected = {name: i for name, i, train in rows if train not in (-1, 255)}
    assert expected == cityscapes.CLASSES
    order = [name for name, _, train in sorted(rows, key=lambda row: row[2])]
    assert order[1:20] == [*cityscapes.CLASSES]  # the first is the license plate, -1


@pytest.fixture
def cities(tmp_path):
    for split, city, number in (
        ("train", "aachen", 5),
        ("train", "bad-honnef", 4),
        ("val", "ulm", 2),
    ):
        for i in range(number):
            stem = f"{split}/{city}/{city}_{i}"
            write(tmp_path / "leftImg8bit" / f"{stem}_leftImg8bit.png", photo(i))
            mask = LABEL_IDS
            write(tmp_path / "gtFine" / f"{stem}_gtFine_labelIds.png", mask)
            write(tmp_path / "gtFine" / f"{stem}_gtFine_color.png", photo(i))
    return tmp_path


LABEL_IDS = np.array([[7, 33, 0, 26], [4, 8, 29, 11], [7, 7, 31, 30]], np.uint8)


def test_cityscapes(cities):
    rows = json.loads((REFERENCE / "cityscapes_labels.json").read_text())
    train_id = {i: train for _, i, train in rows}
    dataset = load("cityscapes", cities)
    assert dataset.info.num_examples["test"] == 2
    assert dataset.info.num_examples["train"] < 9
    example = dataset.splits["test"][0]
    expected = [[train_id[i] for i in row] for row in LABEL_IDS.tolist()]
    np.testing.assert_array_equal(example["mask"], expected)
    np.testing.assert_array_equal(example["image"], photo(0))
    by_city = load("cityscapes", cities, groups="([a-z-]+)/", validation_fraction=0.5)
    for split in ("train", "validation"):
        names = names_of(by_city.splits[split])
        assert len({name.split("/")[0] for name in names}) == 1
    mask = cities / "gtFine/val/ulm/ulm_1_gtFine_labelIds.png"
    write(mask, np.full((3, 4), 34, np.uint8))
    with pytest.raises(
        UserError, match="ulm_1.*: its mask is 34 at row 0, column 0, wh"
    ):
        dataset.splits["test"][1]
    mask.unlink()
    with pytest.raises(
        UserError, match="1 of 2 masks are missing, such as '.*ulm_1_gtF"
    ):
        load("cityscapes", cities)
    with pytest.raises(UserError, match="There are no images .*leftImg8bit/train/CITY"):
        load("cityscapes", cities / "gtFine")


# COCO.


def coco_cases():
    return json.loads((REFERENCE / "coco_masks.json").read_text())


def test_the_pixels_of_objects_are_those_of_pycocotools():
    kinds = set()
    for case in coco_cases():
        size = case["height"], case["width"]
        bits = np.frombuffer(bytes.fromhex(case["mask"]), np.uint8)
        expected = np.unpackbits(bits)[: size[0] * size[1]].reshape(size)
        given = case["segmentation"]
        found = coco.drawn(coco.parsed(given, size), *size)
        np.testing.assert_array_equal(found, expected)
        kinds.add(type(given if isinstance(given, list) else given["counts"]))
    assert kinds == {list, str}


CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}]
SQUARE = [[0, 0, 2, 0, 2, 2, 0, 2]]


def annotation(image, category, segmentation, **fields):
    return {
        "id": 7,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        **fields,
    }


def content(annotations, number=6, categories=CATEGORIES, suffix="jpg"):
    images = [
        {"id": 100 - i, "file_name": f"{i}.{suffix}", "height": 3, "width": 4}
        for i in range(number)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_coco(root, annotations=(), **fields):
    for split in ("train2017", "val2017"):
        for i in range(6):
            write(root / split / f"{i}.jpg", photo(i))
        file = root / "annotations" / f"instances_{split}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content(list(annotations), **fields)))


def test_coco(tmp_path):
    runs = {"size": [3, 4], "counts": [3, 3, 6]}  # the second of four columns
    write_coco(
        tmp_path,
        [
            annotation(100, 18, SQUARE),
            annotation(100, 3, runs, iscrowd=1),
            annotation(99, 3, [[1, 1, 4, 1, 4, 3, 1, 3]]),
            annotation(99, 3, SQUARE),
        ],
    )
    dataset = load("coco", tmp_path)
    assert dataset.info.targets["mask"].names == ("background", "car", "dog")
    assert dataset.info.num_examples == {"train": 5, "validation": 1, "test": 6}
    test = dataset.splits["test"]
    assert names_of(test) == [f"{i}.jpg" for i in range(6)]
    # Category 3 is class 1, 18 is 2; what they share has none.
    expected = [[2, 255, 0, 0], [2, 255, 0, 0], [0, 1, 0, 0]]
    np.testing.assert_array_equal(test[0]["mask"], expected)
    expected = [[1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 1, 1]]
    np.testing.assert_array_equal(test[1]["mask"], expected)
    assert not test[2]["mask"].any()
    assert test[2]["image"].shape == (3, 4, 3)


@pytest.mark.parametrize("folder", [".", "images", "../images"])
def test_a_single_file_of_coco_is_split(tmp_path, folder):
    file = tmp_path / "labels" / "mine.json"
    file.parent.mkdir()
    for i in range(12):
        write(file.parent / folder / f"{i}.jpg", photo(i))
    file.write_text(json.dumps(content([annotation(100, 3, SQUARE)], 12)))
    dataset = load("coco", file)
    assert sum(dataset.info.num_examples.values()) == 12
    assert set(dataset.splits) == {"train", "validation", "test"}


@pytest.mark.parametrize(
    ("annotations", "fields", "text"),
    [
        ([annotation(5, 3, SQUARE)], {}, "annotation 7: its image_id 5 or its"),
        ([annotation(100, 4, SQUARE)], {}, "or its category_id 4 is not in the f"),
        ([annotation(100, 3, [[1, 2, 3, 4]])], {}, "a polygon must be x, y of three"),
        (
            [annotation(100, 3, {"size": [4, 3], "counts": [12]})],
            {},
            r"its runs are of \[4, 3\] pixels and its image of \[3, 4\]",
        ),
        (
            [annotation(100, 3, {"size": [3, 4], "counts": [5, 6]})],
            {},
            "its runs are not as long as the image has pixels",
        ),
        (
            [annotation(100, 3, {"size": [3, 4], "counts": "P"})],
            {},
            "ends in the middle of a number",
        ),
        ([], {"categories": [{"id": 1}]}, "a category has no id or name"),
        ([], {"categories": 2 * CATEGORIES[:1] + [{"id": 1, "name": "dog"}]}, "2 cla"),
        ([], {"number": 7}, "1 of 7 images are missing, such as '.*6.jpg'"),
        ([], {"suffix": "gif"}, "lists '0.gif', which is in none of .*train2017"),
    ],
)
def test_coco_that_cannot_be_is_refused(tmp_path, annotations, fields, text):
    write_coco(tmp_path, annotations, **fields)
    with pytest.raises(UserError, match=text):
        load("coco", tmp_path)


def test_coco_that_is_not_there_or_has_other_categories_is_refused(tmp_path):
    with pytest.raises(UserError, match="must be a JSON file, or a folder with annota"):
        load("coco", tmp_path)
    write_coco(tmp_path)
    file = tmp_path / "annotations" / "instances_val2017.json"
    file.write_text(json.dumps(content([], categories=CATEGORIES[:1])))
    with pytest.raises(
        UserError, match="has the categories dog, and .* car, dog; they"
    ):
        load("coco", tmp_path)
    file.write_text("{}")
    with pytest.raises(
        UserError, match="no COCO file of objects: it has no list 'imag"
    ):
        load("coco", tmp_path)
    write(tmp_path / "train2017" / "3.jpg", photo(0, (4, 3)))
    write_coco(tmp_path)
    write(tmp_path / "val2017" / "3.jpg", photo(0, (4, 3)))
    test = load("coco", tmp_path).splits["test"]
    with pytest.raises(
        UserError, match="image 3: this mask has 4 x 3 pixels and its im"
    ):
        test[3]
