"""Data that TFDS itself prepares, without TensorFlow, in the test."""

import io
import json
import pathlib
import pickle
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest
import tensorflow_datasets as tfds

from jaxcnn.config import DataConfig
from jaxcnn.data import datasets, tfds_source
from jaxcnn.data.examples import BadImageError, encoded

NAMES = ["cat", "dog", "owl"]


def picture(i, channels=3):
    shape = (6, 5, channels) if channels == 3 else (6, 5)
    return np.random.default_rng(i).integers(0, 256, shape, np.uint8)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A data set whose name, features and splits (name -> records) are given."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, name, features, records, data_dir, supervised_keys=None):
        self.name = name
        self.given = features, records, supervised_keys
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self):
        features, _, keys = self.given
        features = tfds.features.FeaturesDict(features)
        return tfds.core.DatasetInfo(
            builder=self, features=features, supervised_keys=keys
        )

    def _split_generators(self, dl_manager):
        return {split: enumerate(items) for split, items in self.given[1].items()}

    def _generate_examples(self):
        raise NotImplementedError  # the splits above are all there is


def prepare(data_dir, name="toy", splits=("train", "test"), num=12, **fields):
    """Image files of three classes; fields: other features and their values."""
    features = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.ClassLabel(names=NAMES),
    }
    features |= {key: feature for key, (feature, _) in fields.items()}
    records = {
        split: [
            {"image": png(picture(100 * s + i)), "label": i % 3}
            | {key: value for key, (_, value) in fields.items()}
            for i in range(num)
        ]
        for s, split in enumerate(splits)
    }
    keys = ("image", "label") if fields else None
    Builder(name, features, records, data_dir, keys).download_and_prepare()
    return str(data_dir)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("tfds"))


def load(data_dir, name="tfds:toy", **fields):
    return datasets.load(DataConfig(name=name, dir=str(data_dir), **fields))


def test_images_and_labels_are_those_that_were_prepared(toy):
    test = load(toy).splits["test"]  # TFDS shuffles the records
    found = {test[i]["image"].tobytes(): test[i]["label"] for i in range(len(test))}
    expected = {picture(100 + i).tobytes(): i % 3 for i in range(12)}
    assert found == expected


def test_labels_read_alone_are_those_of_the_examples(toy):
    test = load(toy).splits["test"]
    assert test.column("label").dtype == np.int32
    assert test.column("label").tolist() == [test[i]["label"] for i in range(12)]


def test_what_it_says_of_itself(toy):
    dataset = load(toy)
    assert dataset.info.targets["label"].names == tuple(NAMES)
    assert {part: len(s) for part, s in dataset.splits.items()} == {
        "train": 9,
        "validation": 3,
        "test": 12,
    }
    # https://pytorch.org/vision/stable/models: mean of ImageNet
    assert dataset.info.mean == (0.485, 0.456, 0.406)
    assert dataset.info.decoder.startswith("Pillow")


def test_one_channel_is_luma(toy):
    test, grey = (load(toy, channels=c).splits["test"] for c in (3, 1))
    luma = test[0]["image"] @ np.array([0.299, 0.587, 0.114])  # ITU-R 601
    np.testing.assert_allclose(grey[0]["image"][..., 0], luma, atol=0.51)


def test_worker_processes_can_take_them(toy):
    train = load(toy).splits["train"]
    again = pickle.loads(pickle.dumps(train))
    np.testing.assert_array_equal(again[2]["image"], train[2]["image"])
    np.testing.assert_array_equal(again.column("label"), train.column("label"))


def test_tensorflow_is_not_imported(toy):
    program = f"""
import sys
from jaxcnn.config import DataConfig
from jaxcnn.data import datasets
train = datasets.load(DataConfig(name="tfds:toy", dir={toy!r})).splits["train"]
train[0], train.column("label")
assert "tensorflow" not in sys.modules and "torch" not in sys.modules
"""
    root = pathlib.Path(tfds_source.__file__).parents[2]
    subprocess.run([sys.executable, "-c", program], check=True, cwd=root)


def test_image_files_are_decoded_as_everywhere_and_not_by_tfds(tmp_path):
    # EXIF orientation 6: the first row is the right side. TFDS ignores it.
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(0)).save(file, "PNG", exif=exif)
    features = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.ClassLabel(num_classes=2),
    }
    items = [{"image": file.getvalue(), "label": 1}] * 4
    Builder("turned", features, {"train": items}, tmp_path).download_and_prepare()
    image = load(tmp_path, "tfds:turned").splits["train"][0]["image"]
    np.testing.assert_array_equal(image, np.rot90(picture(0), -1))


def test_a_jpeg_record_is_decoded_at_a_smaller_scale(tmp_path):
    y, x = np.mgrid[:80, :120]
    pixels = np.stack([x, y, x + y], axis=-1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    features = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.ClassLabel(num_classes=2),
    }
    items = [{"image": file.getvalue(), "label": 1}] * 4
    Builder("jpeg", features, {"train": items}, tmp_path).download_and_prepare()
    example = encoded(load(tmp_path, "tfds:jpeg").splits["train"], 0)
    draft = Image.open(file)
    draft.draft("RGB", (30, 20))
    found, _ = example["image"].window(0, 0, 80, 120, (20, 20))
    np.testing.assert_array_equal(found, np.asarray(draft))
    assert example["label"] == 1


def test_a_broken_image_file_is_named_by_its_split_and_number(tmp_path):
    features = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.ClassLabel(num_classes=2),
    }
    items = [{"image": png(picture(0))[:60], "label": 1}] * 4
    Builder("broken", features, {"train": items}, tmp_path).download_and_prepare()
    train = load(tmp_path, "tfds:broken").splits["train"]
    with pytest.raises(BadImageError, match=r"broken/1.0.0:train\[\d\]: "):
        train[0]


def test_tensors_of_uint8_pixels_are_images(tmp_path):
    features = {
        "pixels": tfds.features.Tensor(shape=(6, 5, 3), dtype=np.uint8),
        "class": tfds.features.ClassLabel(num_classes=3),
    }
    items = [{"pixels": picture(i), "class": i % 3} for i in range(6)]
    records = {"train": items, "val": items}
    Builder("raw", features, records, tmp_path).download_and_prepare()
    validation = load(tmp_path, "tfds:raw").splits["validation"]
    assert len(validation) == 6
    found = {validation[i]["image"].tobytes() for i in range(6)}
    assert found == {picture(i).tobytes() for i in range(6)}


def test_supervised_keys_tell_the_image_from_the_mask(tmp_path):
    # As Oxford-IIIT Pet has them.
    mask = tfds.features.Image(shape=(None, None, 1)), png(picture(0, channels=1))
    species = tfds.features.ClassLabel(names=["cat", "dog"]), 1
    prepare(tmp_path, "oxford_iiit_pet", mask=mask, species=species)
    dataset = load(tmp_path, "oxford_iiit_pet")
    assert dataset.info.targets["label"].names == tuple(NAMES)
    assert set(dataset.splits) == {"train", "validation", "test"}
    assert dataset.splits["test"][0]["image"].shape == (6, 5, 3)


def test_two_labels_without_supervised_keys_are_refused(tmp_path):
    features = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "a": tfds.features.ClassLabel(num_classes=3),
        "b": tfds.features.ClassLabel(num_classes=3),
    }
    records = {"train": [{"image": png(picture(0)), "a": 0, "b": 1}]}
    Builder("two", features, records, tmp_path).download_and_prepare()
    with pytest.raises(ValueError, match="'two/1.0.0' must have one class .* a, b"):
        load(tmp_path, "tfds:two")
    del features["a"], features["b"]
    records = {"train": [{"image": png(picture(0))}]}
    Builder("none", features, records, tmp_path).download_and_prepare()
    with pytest.raises(ValueError, match="class label a record, has none among image"):
        load(tmp_path, "tfds:none")


def test_imagenets_validation_images_test_and_select_nothing(tmp_path):
    prepare(tmp_path, "imagenet2012", splits=("train", "validation"), num=20)
    dataset = load(tmp_path, "imagenet2012")
    sizes = {part: len(examples) for part, examples in dataset.splits.items()}
    assert sizes == {"train": 18, "validation": 2, "test": 20}
    test = dataset.splits["test"]
    expected = {picture(100 + i).tobytes() for i in range(20)}
    assert {test[i]["image"].tobytes() for i in range(20)} == expected
    assert "_labels" not in vars(dataset.splits["train"].examples)  # not read


def test_a_config_is_named_where_there_are_two(tmp_path):
    for size in ("160px-v2", "320px-v2"):
        prepare(tmp_path / size, "imagenette", splits=("train", "validation"))
        (tmp_path / "all" / "imagenette").mkdir(parents=True, exist_ok=True)
        source = tmp_path / size / "imagenette"
        source.rename(tmp_path / "all" / "imagenette" / size)
        if size == "160px-v2":
            assert len(load(tmp_path / "all", "imagenette").splits["test"]) == 12
    with pytest.raises(ValueError, match="name one: tfds:imagenette/160px-v2, tfds:im"):
        load(tmp_path / "all", "imagenette")
    dataset = load(tmp_path / "all", "tfds:imagenette/320px-v2")
    assert len(dataset.splits["test"]) == 12  # by the row of imagenette


def test_the_newest_version_is_read(toy, tmp_path):
    root = tmp_path / "toy"
    for version in ("1.9.0", "1.10.0"):
        (root / version).mkdir(parents=True)
        (root / version / "dataset_info.json").write_text("{}")
    (root / "1.11.0").mkdir()  # an unfinished one has no dataset_info.json
    found = tfds_source.prepared_folder("toy", str(tmp_path))
    assert found == root / "1.10.0"


def test_the_four_with_archives_are_read_from_tfds_where_those_are_not(tmp_path):
    prepare(tmp_path, "cifar10")
    assert len(load(tmp_path, "cifar10").splits["test"]) == 12


def test_other_sizes_of_splits_are_another_fingerprint(toy, tmp_path):
    prepare(tmp_path / "a")
    prepare(tmp_path / "b", num=13)
    folders = (toy, tmp_path / "a", tmp_path / "b")
    first, same, other = (load(folder).info.fingerprint for folder in folders)
    assert first == same != other


def test_data_prepared_as_tfrecord_gets_the_command_that_converts_it(toy, tmp_path):
    folder = tmp_path / "toy" / "1.0.0"
    folder.mkdir(parents=True)
    source = pathlib.Path(toy, "toy", "1.0.0")
    about = json.loads((source / "dataset_info.json").read_text())
    about["fileFormat"] = "tfrecord"
    (folder / "dataset_info.json").write_text(json.dumps(about))
    (folder / "features.json").write_bytes((source / "features.json").read_bytes())
    with pytest.raises(ValueError, match="holds tfrecord files") as error:
        load(tmp_path)
    # Flags as in tensorflow_datasets/scripts/cli/convert_format.py.
    assert (
        f"`tfds convert_format --dataset_version_dir={folder} "
        "--out_file_format=array_record --num_workers=1`"
    ) in str(error.value)

    # What the command leaves, in the same folder: both formats.
    about["alternativeFileFormats"] = ["array_record"]
    (folder / "dataset_info.json").write_text(json.dumps(about))
    for file in source.glob("*.array_record*"):
        (folder / file.name).write_bytes(file.read_bytes())
    assert len(load(tmp_path).splits["test"]) == 12


def test_unprepared_data_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match="no 'food101' in data.dir") as error:
        load(tmp_path, "tfds:food101")
    assert f"--file_format=array_record --data_dir={tmp_path}" in str(error.value)


def test_missing_files_and_splits_are_refused(tmp_path):
    prepare(tmp_path / "a", splits=("learn", "test"))
    with pytest.raises(ValueError, match="has no split 'train'; it has learn, test"):
        load(tmp_path / "a")
    prepare(tmp_path / "b")
    for file in (tmp_path / "b" / "toy" / "1.0.0").glob("*test.array_record*"):
        file.unlink()
    with pytest.raises(ValueError, match="'toy' lacks .*toy-test.array_record-00000"):
        load(tmp_path / "b")


# Masks.

TRIMAP = np.array([[1, 1, 2, 2, 3]] * 6, np.uint8)


def prepare_pets(data_dir, name="oxford_iiit_pet", mask=TRIMAP, feature=None):
    """As Oxford-IIIT Pet has it: a file of grey levels 1, 2 and 3 for each image."""
    feature = feature or tfds.features.Image(shape=(None, None, 1))
    value = png(mask) if isinstance(feature, tfds.features.Image) else mask
    prepare(data_dir, name, segmentation_mask=(feature, value))


def test_a_mask_of_pets_has_its_levels_and_what_is_not_classified_is_void(tmp_path):
    prepare_pets(tmp_path)
    dataset = load(tmp_path, "oxford_iiit_pet", target_kind="mask")
    target = dataset.info.targets["mask"]
    assert (target.names, target.fill) == (("background", "pet"), 255)
    assert set(dataset.info.targets) == {"mask"}
    test = dataset.splits["test"]
    expected = np.select([TRIMAP == 1, TRIMAP == 2], [1, 0], 255)
    for i in range(len(test)):
        np.testing.assert_array_equal(test[i]["mask"], expected)
    found = {test[i]["image"].tobytes() for i in range(12)}
    assert found == {picture(100 + i).tobytes() for i in range(12)}
    np.testing.assert_array_equal(test.column("mask")[3], expected)
    labels = load(tmp_path, "oxford_iiit_pet")  # with its label, nothing has changed
    assert set(labels.info.targets) == {"label"}
    assert labels.info.fingerprint != dataset.info.fingerprint
    again = pickle.loads(pickle.dumps(test))
    np.testing.assert_array_equal(again[0]["mask"], expected)


def test_a_file_of_classes_says_what_the_levels_of_a_record_are(tmp_path):
    prepare_pets(tmp_path, "animals")
    text = "pet = 1\nother = 2\nborder = 3\n"
    (tmp_path / "animals" / "classes.txt").write_text(text)
    dataset = load(tmp_path, "tfds:animals", target_kind="mask")
    assert dataset.info.targets["mask"].names == ("pet", "other", "border")
    np.testing.assert_array_equal(dataset.splits["test"][0]["mask"], TRIMAP - 1)


def test_tensors_and_labelled_images_are_masks(tmp_path):
    tensor = tfds.features.Tensor(shape=(6, 5, 1), dtype=np.int32)
    mask = (TRIMAP - 1).astype(np.int32)[..., None]
    prepare_pets(tmp_path, "tensors", mask, tensor)
    dataset = load(tmp_path, "tfds:tensors", target_kind="mask")
    names = dataset.info.targets["mask"].names
    assert names == ("class 0", "class 1", "class 2")
    assert "24 masks were read" in dataset.remarks[0]
    np.testing.assert_array_equal(dataset.splits["test"][0]["mask"], TRIMAP - 1)
    labelled = tfds.features.LabeledImage(
        labels=["void", "a", "b", "c"], shape=(None, None, 1)
    )
    prepare_pets(tmp_path, "labelled", feature=labelled)
    dataset = load(tmp_path, "tfds:labelled", target_kind="mask")
    assert dataset.info.targets["mask"].names == ("void", "a", "b", "c")
    np.testing.assert_array_equal(dataset.splits["test"][0]["mask"], TRIMAP)


def test_masks_that_are_missing_or_wrong_are_refused(toy, tmp_path):
    with pytest.raises(
        ValueError, match="one mask a record for .*, has none among ima"
    ):
        load(toy, target_kind="mask")
    with pytest.raises(ValueError, match="target_kind must be 'label' or 'mask' for a"):
        load(toy, target_kind="value")
    prepare_pets(tmp_path, mask=TRIMAP + 1)
    test = load(tmp_path, "oxford_iiit_pet", target_kind="mask").splits["test"]
    with pytest.raises(
        ValueError, match=r"test\[\d+\] \(mask\): its mask is 4 at row 0"
    ):
        test[0]
    prepare_pets(tmp_path / "gap", "gap")
    with pytest.raises(
        ValueError,
        match=r"train\[0\] \(mask\) holds the level 1, and the masks hold 1, 2, 3.",
    ):
        load(tmp_path / "gap", "tfds:gap", target_kind="mask")
