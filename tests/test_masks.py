"""Images with masks: folders written by hand."""

import pathlib
import pickle

import numpy as np
from PIL import Image, ImageOps
import pytest

from jaxcnn.config import DataConfig
from jaxcnn.data import batches, datasets, mask_coding, transforms
from jaxcnn.data.bad_images import BadImages
from jaxcnn.data.examples import BadImageError, path_of
from jaxcnn.errors import UserError

TABLE = "background 0 0 0\nperson 192 128 128\n# of VOC\ncar 128 128 128\n"
MASK = np.array([[0, 1, 2, 0], [255, 1, 1, 2], [0, 0, 2, 2]], np.uint8)  # [3, 4]
COLOURS = {0: (0, 0, 0), 1: (192, 128, 128), 2: (128, 128, 128), 255: (224, 224, 192)}


def palette_image(mask, colours=COLOURS):
    image = Image.fromarray(mask, mode="P")
    palette = np.zeros((256, 3), np.uint8)
    for level, colour in colours.items():
        palette[level] = colour
    image.putpalette(palette.tobytes())
    return image


def rgb_image(mask):
    pixels = np.zeros((*mask.shape, 3), np.uint8)
    for level, colour in COLOURS.items():
        pixels[mask == level] = colour
    return Image.fromarray(pixels)


def write(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(path, **options)


def photo(i, shape=(3, 4)):
    return np.random.default_rng(i).integers(0, 256, (*shape, 3), np.uint8)


def write_pairs(root: pathlib.Path, number: int, mask=MASK, first: int = 0) -> None:
    """Images 0.png, 1.png, ... whose masks are all the same, as palette PNG."""
    for i in range(first, first + number):
        write(root / "images" / f"{i}.png", photo(i))
        write(root / "masks" / f"{i}.png", palette_image(mask))


def load(root, **fields):
    return datasets.load(DataConfig(name=f"folder:{root}", **fields))


def only(root, **fields):
    """The mask of image "0" of a folder, as an example has it."""
    for examples in load(root, **fields).splits.values():
        for i in range(len(examples)):
            if pathlib.Path(path_of(examples, i)).stem == "0":
                return examples[i]["mask"]
    raise AssertionError("There is no image 0.")


def test_a_folder_of_images_and_masks_without_names_of_classes(tmp_path):
    write_pairs(tmp_path, 10)
    dataset = load(tmp_path)
    target = dataset.info.targets["mask"]
    assert (target.kind, target.dtype, target.fill) == ("mask", "uint8", 255)
    assert target.names == ("class 0", "class 1", "class 2")
    assert sum(dataset.info.num_examples.values()) == 10
    assert set(dataset.splits) == {"train", "validation", "test"}
    example = dataset.splits["train"][0]
    number = int(pathlib.Path(path_of(dataset.splits["train"], 0)).stem)
    np.testing.assert_array_equal(example["image"], photo(number))
    np.testing.assert_array_equal(example["mask"], MASK)
    assert example["mask"].dtype == np.uint8
    again = pickle.loads(pickle.dumps(dataset.splits["train"]))  # for processes
    np.testing.assert_array_equal(again[0]["mask"], MASK)
    column = dataset.splits["train"].column("mask")
    assert len(column) == len(dataset.splits["train"])
    np.testing.assert_array_equal(column[0], MASK)
    assert any("10 masks were read to find 3 classes" in r for r in dataset.remarks)


@pytest.mark.parametrize(
    "folders",
    [("train/{}", "val/{}", "test/{}"), ("{}/train", "{}/val", "{}/test")],
)
def test_split_folders_are_above_or_below_images_and_masks(tmp_path, folders):
    (tmp_path / "classes.txt").write_text("background\nperson\ncar\n")
    for number, folder in enumerate(folders):
        for i in range(number + 2):
            name = f"a/{i}"
            write(tmp_path / folder.format("images") / f"{name}.jpg", photo(i))
            write(tmp_path / folder.format("masks") / f"{name}.png", MASK)
    dataset = load(tmp_path)
    assert dataset.info.num_examples == {"train": 2, "validation": 3, "test": 4}
    assert dataset.info.targets["mask"].names == ("background", "person", "car")
    assert not any("masks were read" in remark for remark in dataset.remarks)


KINDS = {
    "grey": (Image.fromarray(MASK), "background\nperson\ncar"),
    "palette": (palette_image(MASK), "background\nperson\ncar"),
    "palette of its table": (palette_image(MASK), TABLE),
    "RGB": (rgb_image(MASK), TABLE),
    "opaque RGBA": (rgb_image(MASK).convert("RGBA"), TABLE),
    "16 bits": (
        Image.fromarray(MASK.astype(np.uint16)),
        "background\nperson\ncar",
    ),
    "levels": (
        Image.fromarray(np.choose(MASK % 4, [7, 11, 200, 3]).astype(np.uint8)),
        "background = 7\nperson = 11\ncar = 200\nvoid = 3",
    ),
    "a void colour": (
        rgb_image(np.where(MASK == 255, 0, MASK + 1).astype(np.uint8)),
        "void 0 0 0\nbackground 192 128 128\nperson 128 128 128\ncar 9 9 9",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_mask_file_gives_the_same_classes(tmp_path, kind):
    mask, classes = KINDS[kind]
    expected = MASK
    if kind == "a void colour":  # of 2 + 1, which is colour number 3: it has none
        mask = rgb_image(np.choose(MASK % 4, [1, 2, 1, 0]).astype(np.uint8))
        expected = np.choose(MASK % 4, [0, 1, 0, 255])
    write_pairs(tmp_path, 6)
    write(tmp_path / "masks" / "0.png", mask)
    (tmp_path / "classes.txt").write_text(classes)
    found = only(tmp_path)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.uint8


def test_black_and_white_are_two_classes_if_a_table_says_so(tmp_path):
    mask = np.where(MASK == 1, 255, 0).astype(np.uint8)
    write_pairs(tmp_path, 6, (MASK == 1).astype(np.uint8))
    write(tmp_path / "masks" / "0.png", mask)
    for text in ("background 0 0 0\nobject 255 255 255", "background=0\nobject = 255"):
        (tmp_path / "classes.txt").write_text(text)
        for image in (Image.fromarray(mask), Image.fromarray(mask).convert("1")):
            write(tmp_path / "masks" / "0.png", image)
            np.testing.assert_array_equal(only(tmp_path), MASK == 1)
    write(tmp_path / "masks" / "0.png", mask)
    (tmp_path / "classes.txt").write_text("background\nobject")  # 255 is void
    np.testing.assert_array_equal(only(tmp_path), mask)
    write(tmp_path / "masks" / "0.png", Image.fromarray(mask).convert("1"))
    np.testing.assert_array_equal(only(tmp_path), MASK == 1)


def test_more_than_255_classes_are_of_16_bits(tmp_path):
    levels = np.arange(301, dtype=np.uint16).reshape(7, 43)
    for i in range(4):
        write(tmp_path / "images" / f"{i}.png", photo(i, (7, 43)))
        write(tmp_path / "masks" / f"{i}.png", levels)
    target = load(tmp_path).info.targets["mask"]
    assert (target.dtype, target.fill, len(target.names)) == ("uint16", 65535, 301)
    np.testing.assert_array_equal(only(tmp_path), levels)


@pytest.mark.parametrize(
    ("name", "mask", "text"),
    [
        (
            "masks/0.png",
            MASK[:2],
            "0.png: this mask has 4 x 2 pixels and its image 4 x",
        ),
        (
            "masks/0.png",
            np.where(MASK == 1, 77, MASK).astype(np.uint8),
            "0.png: its mask is 77 at row 0, column 1; with 3 classes it must be 0 to 2"
            ", or 255 where",
        ),
        (
            "masks/0.png",
            palette_image(MASK, COLOURS | {1: COLOURS[2]}),
            r"0.png: index 1 of its palette has the colour \(128, 128, 128\), which .* "
            "gives to 'car'",
        ),
        (
            "masks/0.png",
            Image.new("RGB", (4, 3), (1, 2, 3)),
            r"0.png: the colour of the mask is \(1, 2, 3\) at row 0, column 0, which",
        ),
        (
            "masks/0.png",
            Image.new("RGBA", (4, 3)),
            "mask is of kind 'RGBA'; it must be",
        ),
        ("masks/new.png", MASK, "1 mask has no image in .*/images': '.*new.png'."),
        ("masks/0.bmp", MASK, "0.*' and '.*' are two masks of one name"),
        ("images/0.jpg", MASK, "0.*' and '.*' are two images of one name"),
        (
            "images/new.jpg",
            MASK,
            "1 image has no mask: for '.*images/new.jpg' there is",
        ),
        ("masks/train/9.png", MASK, "has the splits none, and '.*masks' train; they"),
    ],
)
def test_a_folder_that_cannot_be_is_refused(tmp_path, name, mask, text):
    write_pairs(tmp_path, 6)
    (tmp_path / "classes.txt").write_text(TABLE)
    write(tmp_path / name, mask)
    with pytest.raises(UserError, match=text):
        only(tmp_path)


def test_a_mask_whose_pixels_are_not_exact_is_refused(tmp_path):
    write_pairs(tmp_path, 6)
    (tmp_path / "classes.txt").write_text(TABLE)
    (tmp_path / "masks" / "0.png").unlink()
    write(tmp_path / "masks" / "0.jpg", MASK)
    with pytest.raises(
        UserError, match="0.jpg: this mask is a JPEG file, whose pixels"
    ):
        only(tmp_path)


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (rgb_image(MASK), "0.png: this mask is RGB, and classes.txt does not"),
        (
            np.where(MASK == 1, 255, 0).astype(np.uint8),
            "hold the levels 0 and 255, as .*0.png does. .* such as: background = 0 and"
            ": object = 255",
        ),
        (MASK * 0, "All pixels of all masks are 0. Without .*, that is one class; at "),
        (
            MASK * 0 + 255,
            "All pixels of all masks are 255. .*, 255 stands for no class",
        ),
        (
            np.where(MASK == 1, 128, 0).astype(np.uint8),
            "0.png holds the level 128, and the masks hold 0, 128. .* object = 128",
        ),
        (
            np.choose(MASK % 4, [0, 1, 3, 255]).astype(np.uint8),
            "0.png holds the level 3, and the masks hold 0, 1, 3, 255. Without",
        ),
        (
            np.choose(MASK % 4, [1, 2, 2, 255]).astype(np.uint8),
            "0.png holds the level 1, and the masks hold 1, 2, 255. Without",
        ),
    ],
)
def test_masks_that_do_not_say_their_classes_need_a_file(tmp_path, mask, text):
    for i in range(4):
        write(tmp_path / "images" / f"{i}.png", photo(i))
        write(tmp_path / "masks" / f"{i}.png", mask)
    with pytest.raises(UserError, match=text):
        load(tmp_path)


def test_the_mask_with_a_level_that_is_no_class_is_named(tmp_path):
    write_pairs(tmp_path, 6)
    write(tmp_path / "masks" / "4.png", np.where(MASK == 2, 9, MASK).astype(np.uint8))
    with pytest.raises(
        UserError, match="4.png holds the level 9, and the masks hold 0"
    ):
        load(tmp_path)
    smooth = np.arange(0, 200, 5, dtype=np.uint8).reshape(5, 8)
    write(tmp_path / "masks" / "2.png", smooth)
    text = "2.png holds the level 5, .*, 10, .* a mask that was resized with smoothing"
    with pytest.raises(UserError, match=text):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("cat", "has one class, 'cat'; at least two"),
        ("", "has no class; at least two"),
        ("cat\ncat", "line 2: there are two classes 'cat'"),
        ("cat 0 0 0\ndog", "all classes must be given alike"),
        ("cat 0 0 0\ndog 0 0 0", "line 2: 'dog 0 0 0' has the colour of another line"),
        ("cat = 1\ndog = 1", "line 2: 'dog = 1' has the level of another line"),
        (
            "cat 0 0 300\ndog 0 0 0",
            "line 1 must be .* each from 0 to 255, not 'cat 0 0",
        ),
        ("cat = x\ndog = 1", "line 1 must be NAME = LEVEL, a whole"),
    ],
)
def test_a_file_of_classes_that_cannot_be_is_refused(tmp_path, text, error):
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(UserError, match=error):
        mask_coding.read_coding(str(tmp_path / "classes.txt"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("drawn_on", ["seen", "stored"])
def test_a_mask_is_turned_with_its_image(tmp_path, orientation, drawn_on):
    # The red of each pixel says its class, so image and mask can be compared; JPEG of
    # quality 95 without subsampling changes it by less than half a step.
    levels = np.repeat(np.repeat(MASK % 255, 8, axis=0), 8, axis=1)  # [24, 32]
    image = Image.fromarray(np.stack([levels * 100] * 3, axis=-1))
    exif = Image.Exif()
    exif[0x0112] = orientation
    write_pairs(tmp_path, 6)
    options = {"exif": exif, "quality": 95, "subsampling": 0}
    (tmp_path / "images" / "0.png").unlink()
    write(tmp_path / "images" / "0.jpg", image, **options)
    stored = Image.open(tmp_path / "images" / "0.jpg")
    seen = ImageOps.exif_transpose(stored)  # Pillow's own
    expected = np.round(np.asarray(seen)[..., 0] / 100)
    if drawn_on == "seen" or orientation < 5:
        # Of equal sizes, the mask belongs to the image as it is seen.
        mask = expected.astype(np.uint8)
    else:
        mask = levels
    write(tmp_path / "masks" / "0.png", mask)
    np.testing.assert_array_equal(only(tmp_path), expected)


def test_a_mask_with_an_orientation_of_its_own_is_turned_by_it(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    write_pairs(tmp_path, 6)
    write(tmp_path / "images" / "0.png", photo(0), exif=exif)
    write(tmp_path / "masks" / "0.png", MASK, exif=exif)
    np.testing.assert_array_equal(only(tmp_path), MASK[::-1, ::-1])


def test_an_unreadable_mask_is_an_unreadable_image(tmp_path):
    write_pairs(tmp_path, 6)
    (tmp_path / "classes.txt").write_text(TABLE)
    (tmp_path / "masks" / "0.png").write_bytes(b"no image")
    with pytest.raises(BadImageError, match="masks/0.png: no JPEG, PNG"):
        only(tmp_path)


def test_resizing_moves_the_mask_as_its_image(tmp_path):
    # A crop of four colours that are the classes: the same window for both.
    levels = np.repeat(np.repeat(MASK % 4 % 3, 20, axis=0), 20, axis=1)  # [60, 80]
    for i in range(6):
        image = np.stack([levels * 100] * 3, axis=-1).astype(np.uint8)
        write(tmp_path / "images" / f"{i}.png", image)
        write(tmp_path / "masks" / f"{i}.png", levels)
    dataset = load(tmp_path)
    for name, size in (("random_resized_crop", 32), ("center_crop", 24), ("pad", 90)):
        row = transforms.TRANSFORMS[name]
        moved = transforms.for_batch(
            row,
            dataset.splits["train"][0],
            dataset.info.targets,
            size,
            np.random.default_rng(3),
        )
        red, mask = moved["image"][..., 0].astype(int), moved["mask"]
        inside = mask != 255
        assert (name == "pad") == bool((~inside).any())  # void beside the image
        assert (red[~inside] == 0).all()
        # Bilinear at the borders of two colours, nearest in the mask.
        assert (np.abs(red - 100 * mask.astype(int)) <= 100)[inside].all()
        assert (red == 100 * mask.astype(int))[inside].mean() > 0.7
    config = DataConfig(image_size=30, batch_size=2, train_transform="resize")
    batch = next(
        batches.train_batches(
            dataset.splits["train"],
            config,
            dataset.info.targets,
            seed=0,
            channels=3,
            num_steps=1,
        )
    )
    assert batch["mask"].shape == (2, 30, 30)
    assert batch["mask"].dtype == np.uint8


def test_scaled_decoding_of_the_image_leaves_its_mask_whole(tmp_path):
    levels = np.zeros((64, 96), np.uint8)
    levels[:, 48:] = 1
    for i in range(6):
        image = np.stack([levels * 200] * 3, axis=-1)
        write(tmp_path / "images" / f"{i}.jpg", image)
        write(tmp_path / "masks" / f"{i}.png", levels)
    dataset = load(tmp_path)
    config = DataConfig(
        image_size=8,
        batch_size=2,
        train_transform="random_resized_crop",
        scaled_decoding=True,
    )
    stream = batches.train_batches(
        dataset.splits["train"],
        config,
        dataset.info.targets,
        seed=0,
        channels=3,
        num_steps=4,
        bad_images=BadImages("error", "train", 6),
    )
    for batch in stream:
        agree = (batch["image"][..., 0] > 100) == (batch["mask"] == 1)
        assert agree.mean() > 0.9


def test_the_fingerprint_is_of_images_masks_and_classes(tmp_path):
    write_pairs(tmp_path, 4)
    first = load(tmp_path).info.fingerprint
    assert load(tmp_path).info.fingerprint == first
    write(tmp_path / "masks" / "0.png", palette_image(MASK), compress_level=0)
    second = load(tmp_path).info.fingerprint
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    assert len({first, second, load(tmp_path).info.fingerprint}) == 3


def test_a_folder_without_masks_is_refused_where_masks_are_wanted(tmp_path):
    write(tmp_path / "cat" / "1.png", photo(0))
    with pytest.raises(
        UserError, match="no images with masks to train on: images/ and"
    ):
        load(tmp_path, target_kind="mask")


# CSV files.


def write_table(root, lines):
    write_pairs(root, 8)
    (root / "list.csv").write_text("\n".join(["photo,mask,split,kind", *lines]) + "\n")


def of_csv(root, **fields):
    fields = {"target_kind": "mask", "target_columns": ("mask",), **fields}
    return datasets.load(DataConfig(name=f"csv:{root / 'list.csv'}", **fields))


def test_a_csv_file_lists_images_with_their_masks(tmp_path):
    (tmp_path / "classes.txt").write_text(TABLE)
    lines = [f"images/{i}.png,masks/{(i + 1) % 8}.png,train,x" for i in range(6)]
    lines += [f"images/{i}.png,masks/0.png,test,x" for i in (6, 7)]
    write_table(tmp_path, lines)
    other = np.roll(MASK, 1, axis=0)
    write(tmp_path / "masks" / "1.png", other)
    dataset = of_csv(tmp_path)
    assert dataset.info.targets["mask"].names == ("background", "person", "car")
    assert sum(dataset.info.num_examples.values()) == 8
    assert dataset.info.num_examples["test"] == 2
    for split in ("train", "validation"):
        examples = dataset.splits[split]
        for i in range(len(examples)):
            expected = other if path_of(examples, i).endswith("0.png") else MASK
            np.testing.assert_array_equal(examples[i]["mask"], expected)
    assert dataset.made_with["target_kind"] == "mask"
    assert dataset.made_with["target_columns"] == ("mask",)
    first = dataset.info.fingerprint
    write(tmp_path / "masks" / "5.png", MASK, compress_level=0)
    assert of_csv(tmp_path).info.fingerprint != first


@pytest.mark.parametrize(
    ("line", "fields", "text"),
    [
        ("images/6.png,masks/9.png,train,x", {}, "line 8: there is no mask '.*9.png'"),
        ("images/9.png,masks/6.png,train,x", {}, "line 8: there is no image '.*9.png'"),
        (
            "images/6.png,masks/6.png,train,x",
            {"target_columns": ()},
            "not mask, kind; ",
        ),
        ("images/6.png,masks/6.png,x,x", {}, "line 8: split must be one of train, val"),
    ],
)
def test_a_csv_file_that_cannot_be_is_refused(tmp_path, line, fields, text):
    lines = [f"images/{i}.png,masks/{i}.png,train,x" for i in range(6)]
    write_table(tmp_path, [*lines, line])
    with pytest.raises(UserError, match=text):
        of_csv(tmp_path, **fields)
