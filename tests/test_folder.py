"""Folders of images, laid out by hand."""

import os
import pathlib
import pickle
import socket

import numpy as np
from PIL import Image
import pytest

from jaxcnn.config import DataConfig
from jaxcnn.data import files, folder, images
from jaxcnn.data.bad_images import BadImages
from jaxcnn.data.batches import eval_batches
from jaxcnn.data.examples import BadImageError, names_of
from jaxcnn.errors import UserError


def write(root: pathlib.Path, *names: str) -> None:
    """Images whose red value is their number in names."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (number, 0, 0)).save(path)


def numbered(split: str, label: str, count: int) -> list[str]:
    return [f"{split}/{label}/{i}.png" for i in range(count)]


def relative_paths(dataset, root) -> dict[str, list[str]]:
    def paths(examples):
        if isinstance(examples, files.FileExamples):
            return list(examples.paths)
        whole = paths(examples.examples)
        return [whole[i] for i in examples.indices]

    return {
        split: [os.path.relpath(path, root) for path in paths(examples)]
        for split, examples in dataset.splits.items()
    }


def test_split_folders_are_read_in_lexicographic_order(tmp_path):
    write(
        tmp_path,
        "train/dog/b.png",
        "train/dog/a.JPG",
        "train/dog/10.webp",
        "train/dog/deep/er/c.bmp",
        "train/cat/2.jpeg",
        "val/cat/1.png",
        "val/dog/1.png",
        "test/cat/1.png",
        "test/dog/1.png",
        "train/dog/.hidden.png",
        "train/.cache/1.png",
    )
    (tmp_path / "train/dog/notes.txt").write_text("no image")
    dataset = folder.load(str(tmp_path), DataConfig())
    assert dataset.info.targets["label"].names == ("cat", "dog")
    assert relative_paths(dataset, tmp_path) == {
        "train": [
            "train/cat/2.jpeg",
            "train/dog/10.webp",
            "train/dog/a.JPG",
            "train/dog/b.png",
            "train/dog/deep/er/c.bmp",
        ],
        "validation": ["val/cat/1.png", "val/dog/1.png"],
        "test": ["test/cat/1.png", "test/dog/1.png"],
    }
    train = dataset.splits["train"]
    np.testing.assert_array_equal(train.column("label"), [0, 1, 1, 1, 1])
    assert train.column("label").dtype == np.int32
    assert train[3]["image"][0, 0, 0] == 0  # b.png was written first
    assert train[3]["label"] == 1
    assert dataset.info.decoder == images.decoder()
    # Of ImageNet, as in https://pytorch.org/vision/stable/models.html
    assert (dataset.info.channels, dataset.info.mean) == (3, (0.485, 0.456, 0.406))
    assert dataset.info.std == (0.229, 0.224, 0.225)


def test_one_channel_gives_grey_images_and_the_luma_of_the_mean(tmp_path):
    write(tmp_path, *numbered(".", "a", 9), *numbered(".", "b", 9))
    dataset = folder.load(str(tmp_path), DataConfig(channels=1))
    assert dataset.splits["train"][0]["image"].shape == (4, 4, 1)
    luma = [0.299, 0.587, 0.114]  # ITU-R 601
    np.testing.assert_allclose(
        dataset.info.mean, np.dot(luma, [0.485, 0.456, 0.406]), 1e-3
    )
    np.testing.assert_allclose(
        dataset.info.std, np.dot(luma, [0.229, 0.224, 0.225]), 2e-3
    )


def test_a_folder_without_splits_is_cut_in_three_by_its_seed(tmp_path):
    write(tmp_path, *numbered(".", "a", 50), *numbered(".", "b", 25))
    config = DataConfig(test_fraction=0.2, validation_fraction=0.25)
    dataset = folder.load(str(tmp_path), config)
    counts = {
        s: list(np.bincount(e.column("label"))) for s, e in dataset.splits.items()
    }
    # 0.2 and 0.25 of the rest, by chance: (10, 5) with standard deviations (2.8, 2).
    for split in ("test", "validation"):
        assert np.abs(np.array(counts[split]) - (10, 5)).max() < 10
    paths = relative_paths(dataset, tmp_path)
    assert len(set(sum(paths.values(), []))) == 75
    again = folder.load(str(tmp_path), config)
    assert relative_paths(again, tmp_path) == paths
    config.split_seed = 1
    assert relative_paths(folder.load(str(tmp_path), config), tmp_path) != paths


@pytest.mark.parametrize("name", ["val", "valid", "validation", None])
def test_validation_is_cut_off_train_only_where_it_is_missing(tmp_path, name):
    write(tmp_path, *numbered("train", "a", 10), *numbered("train", "b", 10))
    if name:
        write(tmp_path, f"{name}/a/1.png", f"{name}/b/1.png")
    splits = folder.load(str(tmp_path), DataConfig()).splits
    assert list(splits) == ["train", "validation"]
    assert (len(splits["train"]) == 20) == bool(name)
    for part in splits.values():
        assert set(part.column("label")) == {0, 1}


def test_a_class_may_be_called_train(tmp_path):
    write(tmp_path, *numbered(".", "train", 5), *numbered(".", "boat", 5))
    info = folder.load(str(tmp_path), DataConfig()).info
    assert info.targets["label"].names == ("boat", "train")


def test_a_photo_that_is_added_moves_no_other_whatever_the_path(tmp_path, monkeypatch):
    names = numbered("photos", "a", 300) + numbered("photos", "b", 300)
    for name in names:  # the content does not matter
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"image")

    def found(path) -> dict[str, str]:
        splits = folder.load(str(path), DataConfig()).splits
        return {n: split for split, part in splits.items() for n in names_of(part)}

    before = found(tmp_path / "photos")
    assert len(before) == 600
    for name in ("a/00.png", "b/x.jpg"):
        (tmp_path / "photos" / name).write_bytes(b"more")
        after = found(tmp_path / "photos")
        assert before.items() < after.items()
        before = after
    monkeypatch.chdir(tmp_path / "photos")
    assert found(".") == found("../photos/") == before


def test_the_examples_can_be_pickled(tmp_path):
    write(tmp_path, *numbered("train", "a", 9), *numbered("train", "b", 9))
    train = folder.load(str(tmp_path), DataConfig()).splits["train"]
    copy = pickle.loads(pickle.dumps(train))
    np.testing.assert_array_equal(copy[3]["image"], train[3]["image"])


def test_the_fingerprint_knows_names_sizes_labels_and_splits(tmp_path):
    def fingerprint() -> str:
        return folder.load(str(tmp_path), DataConfig()).info.fingerprint

    write(tmp_path, *numbered("train", "a", 9), *numbered("train", "b", 9))
    first = fingerprint()
    os.utime(tmp_path / "train/a/1.png")
    assert fingerprint() == first
    seen = {first}
    (tmp_path / "train/a/1.png").rename(tmp_path / "train/b/x.png")
    seen.add(fingerprint())
    with open(tmp_path / "train/b/x.png", "ab") as file:
        file.write(b"\0")
    seen.add(fingerprint())
    write(tmp_path, "val/a/1.png", "val/b/1.png")
    seen.add(fingerprint())
    (tmp_path / "val").rename(tmp_path / "test")
    seen.add(fingerprint())
    assert len(seen) == 5


def test_other_groups_are_another_data_set(tmp_path):
    names = numbered("photos", "a", 20) + numbered("photos", "b", 20)
    write(tmp_path, *names)
    table = tmp_path / "groups.csv"

    def fingerprint(size: int) -> str:
        lines = [
            f"{name.removeprefix('photos/')},{name[7]}{i // size}"
            for i, name in enumerate(names)
        ]
        table.write_text("\n".join(lines))
        config = DataConfig(groups=str(table))
        return folder.load(str(tmp_path / "photos"), config).info.fingerprint

    assert fingerprint(2) == fingerprint(2) != fingerprint(4)


def refused(path: pathlib.Path, text: str, **fields) -> None:
    with pytest.raises(UserError, match=text) as caught:
        folder.load(str(path), DataConfig(**fields))
    assert "\n" not in str(caught.value)


def test_what_is_no_folder_is_refused(tmp_path):
    refused(tmp_path / "none", "There is no folder '.*none' of images")


def test_a_folder_without_classes_is_refused(tmp_path):
    write(tmp_path, "1.png")
    refused(tmp_path, "has no sub-folders; one for each class is needed")


@pytest.mark.parametrize("files", [("test/a/1.png", "val/a/1.png"), ("train/1.png",)])
def test_split_folders_without_training_classes_are_refused(tmp_path, files):
    write(tmp_path, *files)
    refused(tmp_path, "no training classes: train/ with one sub-folder per class")


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("Training", None, "Testing"),
        ("TRAIN", "Val", "TEST"),
        ("train_set", "valid-set", "test_set"),
        ("trainset", "dev", "testset"),
        ("train2017", "val2017", None),
        ("Train images", "Validation images", "Holdout"),
    ],
)
def test_split_folders_in_other_spellings(tmp_path, train, validation, test):
    write(tmp_path, *numbered(train, "a", 9), *numbered(train, "b", 9))
    for name in filter(None, (validation, test)):
        write(tmp_path, f"{name}/a/1.png", f"{name}/b/1.png")
    dataset = folder.load(str(tmp_path), DataConfig())
    assert dataset.info.targets["label"].names == ("a", "b")
    expected = {"train", "validation"} | ({"test"} if test else set())
    assert dataset.splits.keys() == expected
    if validation:
        assert len(dataset.splits["train"]) == 18


@pytest.mark.parametrize("names", [("Testing", "Val"), ("base", "test"), ("x", "EVAL")])
def test_folders_that_may_be_splits_are_no_classes(tmp_path, names):
    for name in names:
        write(tmp_path, *numbered(name, "a", 9), *numbered(name, "b", 9))
    refused(tmp_path, "but no training classes: train/ with one sub-folder per")


@pytest.mark.parametrize(
    "names",
    [
        ("seg_train", "seg_test", "seg_pred"),
        ("x_val", "x_train"),
        ("mnist_png_training", "mnist_png_testing"),
    ],
)
def test_splits_that_are_called_like_a_data_set_are_no_classes(tmp_path, names):
    for name in names:
        write(tmp_path, *numbered(name, "a", 9), *numbered(name, "b", 9))
    refused(tmp_path, "which are called like splits rather than classes; call them t")


def test_classes_may_be_called_by_the_words_of_splits(tmp_path):
    names = ("express_train", "steam_train", "test_tube")
    write(tmp_path, *[path for name in names for path in numbered(".", name, 9)])
    dataset = folder.load(str(tmp_path), DataConfig())
    assert dataset.info.targets["label"].names == names


def test_a_link_to_a_folder_above_is_not_followed(tmp_path):
    write(tmp_path / "p", *numbered(".", "a", 9), *numbered(".", "b", 9))
    write(tmp_path / "outside", "x.png")
    (tmp_path / "p/a/up").symlink_to(tmp_path)
    dataset = folder.load(str(tmp_path / "p"), DataConfig())
    assert sum(dataset.info.num_examples.values()) == 18
    assert len(folder.find_images([str(tmp_path / "p")])[0]) == 18
    (tmp_path / "p/c").symlink_to("/")
    refused(tmp_path / "p", "p/c' and '/' are the same folder")


def test_splits_below_or_beside_classes_are_refused(tmp_path):
    write(tmp_path / "p", *numbered("cat", "train", 5), *numbered("cat", "test", 5))
    write(tmp_path / "p", *numbered("dog", "train", 5), *numbered("dog", "test", 5))
    refused(tmp_path / "p", "p/cat' has test, train; splits must be above the classes")
    write(tmp_path / "q", *numbered(".", "Training", 5), *numbered(".", "Testing", 5))
    write(tmp_path / "q", *numbered(".", "more", 5))
    refused(tmp_path / "q", "has Training, Testing but no training classes")


def test_folders_are_read_once_whatever_links_there_are(tmp_path):
    write(tmp_path / "p", *numbered(".", "a", 10), *numbered(".", "b", 10))
    write(tmp_path / "outside", "x.png", "deep/y.png")
    (tmp_path / "p/a/up").symlink_to(tmp_path / "p")
    (tmp_path / "p/a/self").symlink_to(tmp_path / "p/a")
    (tmp_path / "p/b/sister").symlink_to("../a")
    (tmp_path / "p/b/out").symlink_to(tmp_path / "outside")
    (tmp_path / "p/b/again").symlink_to(tmp_path / "outside")
    (tmp_path / "p/b/10.png").symlink_to(tmp_path / "outside/x.png")
    splits = folder.load(str(tmp_path / "p"), DataConfig()).splits
    names = sorted(sum((names_of(part) for part in splits.values()), []))
    expected = [f"{label}/{i}.png" for label in "ab" for i in range(10)]
    expected += ["b/10.png", "b/again/deep/y.png", "b/again/x.png"]
    assert [n.replace("/out/", "/again/") for n in names] == sorted(expected)
    (tmp_path / "p/c").symlink_to("a")
    refused(tmp_path / "p", "p/c' and '.*p/a' are the same folder; each class and spl")


def test_what_is_no_regular_file_is_never_opened(tmp_path):
    write(tmp_path, *numbered(".", "a", 9), *numbered(".", "b", 9))
    os.mkfifo(tmp_path / "a/pipe.jpg")
    (tmp_path / "a/null.png").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "b/s.png"))
    (tmp_path / "b/gone.png").symlink_to("nowhere.png")
    (tmp_path / "b/loop.png").symlink_to("loop.png")
    splits = folder.load(str(tmp_path), DataConfig()).splits
    names = set(sum((names_of(part) for part in splits.values()), []))
    # Links to nothing are images that cannot be read.
    assert len(names) == 20
    assert {"b/gone.png", "b/loop.png"} < names
    with pytest.raises(BadImageError, match="pipe.jpg: not a regular file"):
        images.decode(tmp_path / "a/pipe.jpg", 3)
    with pytest.raises(BadImageError, match="gone.png: No such file or directory"):
        images.decode(tmp_path / "b/gone.png", 3)
    found, others = folder.find_images([str(tmp_path)])
    assert len(found) == 20
    assert [os.path.basename(path) for path in others] == [
        "null.png",
        "pipe.jpg",
        "s.png",
    ]


def test_two_validation_folders_are_refused(tmp_path):
    write(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/1.png", "valid/a/1.png")
    refused(tmp_path, "has val and valid; one folder for the validation split")


def test_images_beside_the_splits_are_refused(tmp_path):
    write(tmp_path, *numbered("train", "a", 9), *numbered("train", "b", 9))
    (tmp_path / "annotations").mkdir()
    folder.load(str(tmp_path), DataConfig())  # a folder without images is none
    write(tmp_path, "more/1.png")
    refused(tmp_path, "train/ and images in more/, which is no split; allowed: train")


def test_an_empty_class_is_refused_by_name(tmp_path):
    write(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/1.png")
    (tmp_path / "val/b").mkdir()
    refused(tmp_path, "Class 'b' of the validation split has no images")


def test_other_classes_than_in_training_are_refused_both_ways(tmp_path):
    write(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/1.png", "val/c/1.png")
    refused(tmp_path, r"validation split differ .* missing \['b'\], not in .* \['c'\]")


def test_one_class_is_refused(tmp_path):
    write(tmp_path, *numbered(".", "a", 9))
    refused(tmp_path, "There is one class, 'a'; at least two")


def test_a_class_too_small_to_be_cut_is_refused_by_name_and_count(tmp_path):
    write(tmp_path, *numbered(".", "a", 9), *numbered(".", "b", 2))
    refused(tmp_path, "Class 'b' has 2 examples; at least 3 are needed to split off")
    write(tmp_path, *numbered("t/train", "a", 9), *numbered("t/train", "b", 1))
    refused(
        tmp_path / "t", "Class 'b' has 1 example; at least 2 are needed to split off"
    )


def test_four_channels_are_refused(tmp_path):
    refused(tmp_path, "data.channels is 4; .* 1 .grey., 3 .RGB. or None", channels=4)


def test_a_broken_file_is_named_with_its_path(tmp_path):
    write(tmp_path, *numbered("train", "a", 9), *numbered("train", "b", 9))
    write(tmp_path, "val/a/1.png", "val/b/1.png")
    (tmp_path / "val/b/1.png").write_bytes(b"broken")
    config = DataConfig(image_size=4)
    dataset = folder.load(str(tmp_path), config)
    validation, targets = dataset.splits["validation"], dataset.info.targets
    with pytest.raises(UserError, match=r"val/b/1\.png: no JPEG, PNG"):
        list(eval_batches(validation, config, targets, channels=3))
    skip = BadImages("skip", "validation", 20, tmp_path / "bad_images.txt")
    options = {"channels": 3, "bad_images": skip}
    (batch,) = eval_batches(validation, config, targets, **options)
    np.testing.assert_array_equal(batch["weight"][:3], [1, 0, 0])
    assert "validation\t" in (tmp_path / "bad_images.txt").read_text()
