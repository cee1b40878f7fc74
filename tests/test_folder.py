"""Folders of images, laid out by hand."""

import os
import pathlib
import pickle

import numpy as np
from PIL import Image
import pytest

from jaxcnn.config import DataConfig
from jaxcnn.data import files, folder, images
from jaxcnn.data.bad_images import BadImages
from jaxcnn.data.batches import eval_batches
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
    # 0.2 of (50, 25) is (10, 5); 0.25 of the other (40, 20) is (10, 5).
    assert counts == {"train": [30, 15], "validation": [10, 5], "test": [10, 5]}
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
    assert len(splits["train"]) == (20 if name else 18)
    assert len(splits["validation"]) == 2


def test_a_class_may_be_called_train(tmp_path):
    write(tmp_path, *numbered(".", "train", 5), *numbered(".", "boat", 5))
    info = folder.load(str(tmp_path), DataConfig()).info
    assert info.targets["label"].names == ("boat", "train")


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
    refused(tmp_path, "Class 'b' is too small .*: it has 2, three are needed. Add")
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
    skip = BadImages("skip", "validation", tmp_path / "bad_images.txt", limit=0.5)
    options = {"channels": 3, "bad_images": skip}
    (batch,) = eval_batches(validation, config, targets, **options)
    np.testing.assert_array_equal(batch["weight"][:3], [1, 0, 0])
    assert "validation\t" in (tmp_path / "bad_images.txt").read_text()
