"""Data sets of arrays, of a CSV file, and of a user's own examples."""

import numpy as np
from PIL import Image
import pytest

import jaxcnn
from jaxcnn import data
from jaxcnn.config import Config, DataConfig
from jaxcnn.errors import UserError
from jaxcnn.targets import classes

GREY = np.arange(4 * 12).reshape(12, 2, 2).astype(np.uint8)


def test_float_images_are_kept_as_grey_levels_of_their_range():
    images = np.linspace(-1, 1, 12 * 4).reshape(12, 2, 2)
    dataset = jaxcnn.Dataset.from_arrays(images, np.arange(12) % 2, value_range=(-1, 1))
    pixels = np.concatenate([part.images for part in dataset.splits.values()])
    expected = np.round((images + 1) / 2 * 255).astype(np.uint8)[..., None]
    np.testing.assert_array_equal(
        np.sort(pixels, axis=None), np.sort(expected, axis=None)
    )
    assert dataset.info.value_range == (-1, 1)


@pytest.mark.parametrize(
    ("targets", "kind", "names", "first"),
    [
        (np.arange(12) % 3, "label", ("0", "1", "2"), None),
        (np.array(["cat", "dog"] * 6), "label", ("cat", "dog"), None),
        (np.eye(3, dtype=int)[np.arange(12) % 3], "labels", ("0", "1", "2"), None),
        (np.linspace(0, 1, 12), "value", ("value",), None),
        (np.ones((12, 2)), "value", ("value0", "value1"), None),
    ],
)
def test_the_kind_of_a_target_is_that_of_its_array(targets, kind, names, first):
    dataset = jaxcnn.Dataset.from_arrays(GREY, targets)
    (target,) = dataset.info.targets.values()
    assert (target.kind, target.names) == (kind, names)
    assert (
        dataset.info.num_examples["train"] + dataset.info.num_examples["validation"]
        == 12
    )


@pytest.mark.parametrize(
    ("images", "targets", "options", "text"),
    [
        (
            GREY / 255,
            np.arange(12),
            {},
            r"dtype of the train images is float64: pass the values",
        ),
        (GREY / 255, np.arange(12), {"value_range": (0, 0.1)}, "There is a value of"),
        (
            GREY,
            np.arange(12),
            {"value_range": (0, 1)},
            "must be float, with a value_range",
        ),
        (
            GREY.astype(np.int64),
            np.arange(12),
            {},
            r"must be uint8 \(0 to 255\), not int64",
        ),
        (
            GREY[0],
            np.arange(2),
            {},
            r"The shape of the train images must be \[N, H, W\]",
        ),
        (GREY, np.arange(11), {}, "12 images and 11 targets"),
        (GREY, np.array([b"a"] * 12), {}, "of shape .12,. and dtype .S1 are not under"),
        (
            GREY,
            np.ones(12),
            {"names": ("a", "b")},
            "names must be 1 names, one for each",
        ),
    ],
)
def test_arrays_that_are_not_clear_are_refused(images, targets, options, text):
    with pytest.raises(UserError, match=text):
        jaxcnn.Dataset.from_arrays(images, targets, **options)


class Squares:
    """Examples with a length and an index alone."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return {"image": np.full((4, 4, 1), 10 * index, np.uint8), "label": index % 2}


def test_anything_with_a_length_and_an_index_is_a_data_set():
    dataset = jaxcnn.Dataset.from_examples(
        Squares(), classes(["even", "odd"]), mean=(0.2,), std=(0.1,), name="squares"
    )
    train = dataset.splits["train"]
    assert dataset.info.num_examples == {"train": 8, "validation": 2}
    assert train.column("label").tolist() == [train[i]["label"] for i in range(8)]


def test_what_can_only_be_iterated_is_refused_with_the_way_out():
    with pytest.raises(UserError, match="which an iterator cannot. Make them arrays"):
        jaxcnn.Dataset.from_examples(
            iter(Squares()),
            classes(["even", "odd"]),
            mean=(0.2,),
            std=(0.1,),
            name="squares",
        )


def test_what_is_no_data_set_or_task_is_refused_before_anything_is_made(tmp_path):
    config = Config(data=DataConfig(image_size=2, batch_size=8))
    workdir = tmp_path / "run"
    with pytest.raises(UserError, match="dataset gives a list_iterator; it must be a"):
        jaxcnn.fit(config, workdir, dataset=iter([1]))
    dataset = jaxcnn.Dataset.from_arrays(GREY, np.arange(12) % 2)
    with pytest.raises(
        UserError, match="must be a jaxcnn.Task or its class, not a str"
    ):
        jaxcnn.fit(config, workdir, dataset=dataset, task="regression")

    class Unfinished(jaxcnn.Task):
        def loss(self, output, batch):
            return output

    with pytest.raises(
        UserError, match="Unfinished must have create, targets, outputs"
    ):
        jaxcnn.fit(config, workdir, dataset=dataset, task=Unfinished)
    assert not workdir.exists()


@pytest.fixture
def listed(tmp_path):
    """A function that writes a CSV file beside 12 images, and gives its name in a
    config."""
    (tmp_path / "images").mkdir()
    for i in range(12):
        Image.fromarray(np.full((3, 5), 20 * i, np.uint8)).save(
            tmp_path / f"images/{i}.png"
        )

    def write(header, row, lines=range(12)):
        text = [header, *(f"images/{i}.png,{row(i)}" for i in lines)]
        (tmp_path / "list.csv").write_text("\n".join(text))
        return f"csv:{tmp_path / 'list.csv'}"

    return write


def columns(dataset, target):
    """The target of all examples, by the grey level of their image."""
    found = {}
    for examples in dataset.splits.values():
        for i in range(len(examples)):
            level = int(examples[i]["image"][0, 0, 0]) // 20
            found[level] = np.asarray(examples.column(target)[i]).tolist()
    return [found[level] for level in sorted(found)]


def test_a_csv_file_of_numbers(listed):
    name = listed("file,x,y", lambda i: f"{i},{-i / 2}")
    dataset = data.load(DataConfig(name=name, target_kind="value", channels=1))
    assert columns(dataset, "value") == [[i, -i / 2] for i in range(12)]
    assert dataset.info.num_examples == {"train": 9, "validation": 1, "test": 2}


def test_a_csv_file_of_classes_keeps_their_proportions(listed):
    name = listed("file,kind", lambda i: "ab"[i % 2])
    dataset = data.load(DataConfig(name=name, channels=1))
    assert dataset.info.targets["label"].names == ("a", "b")
    assert columns(dataset, "label") == [i % 2 for i in range(12)]
    assert sorted(dataset.splits["test"].column("label")) == [0, 1]


def test_labels_are_names_in_one_column_or_numbers_in_many(listed):
    names = ["", "cat", "dog; cat"]
    as_names = listed("file,has", lambda i: names[i % 3])
    config = DataConfig(name=as_names, target_kind="labels", channels=1)
    by_name = data.load(config)
    as_numbers = listed("file,cat,dog", lambda i: ["0,0", "1,0", "1,1"][i % 3])
    by_number = data.load(DataConfig(name=as_numbers, target_kind="labels", channels=1))
    assert by_name.info.targets == by_number.info.targets
    assert columns(by_name, "labels") == columns(by_number, "labels")
    assert columns(by_name, "labels")[:3] == [[0, 0], [1, 0], [1, 1]]


def test_a_column_says_the_split(listed):
    splits = ["train"] * 8 + ["validation"] * 2 + ["test"] * 2
    name = listed("file,x,split", lambda i: f"{i},{splits[i]}")
    dataset = data.load(DataConfig(name=name, target_kind="value", channels=1))
    assert dataset.info.num_examples == {"train": 8, "validation": 2, "test": 2}
    assert dataset.splits["test"].column("value").tolist() == [[10], [11]]


@pytest.mark.parametrize(
    ("header", "row", "kind", "text"),
    [
        ("file,x", lambda i: "one", "value", "line 2: x must be a number, not 'one'"),
        ("file,x,split", lambda i: f"{i},dev", "value", "line 2: split must be one of"),
        ("file,a,b", lambda i: "0,2", "labels", "line 2: b must be 0 or 1, not '2'"),
        (
            "file,a,b",
            lambda i: "0,2",
            "label",
            "needs one column of class names, not a, b",
        ),
        (
            "file,a",
            lambda i: "0,2",
            "value",
            "line 2: not as many values as the header",
        ),
        (
            "file,a",
            lambda i: "0",
            "values",
            "data.target_kind 'values'; nearest: value",
        ),
    ],
)
def test_mistakes_in_a_csv_file_name_the_line(listed, header, row, kind, text):
    name = listed(header, row)
    with pytest.raises(UserError, match=text):
        data.load(DataConfig(name=name, target_kind=kind, channels=1))


def test_a_missing_image_or_file_is_named(listed, tmp_path):
    name = listed("file,x", str, range(13))
    with pytest.raises(UserError, match="line 14: there is no image .*12.png"):
        data.load(DataConfig(name=name, target_kind="value"))
    with pytest.raises(UserError, match="There is no CSV file 'none.csv'"):
        data.load(DataConfig(name="csv:none.csv"))


@pytest.mark.parametrize("name", ["shapes", "disc"])
def test_generated_pictures_are_the_same_each_time(name):
    first, again = (data.load(DataConfig(name=name)) for _ in range(2))
    assert first.info == again.info
    assert first.info.num_examples == {"train": 1800, "validation": 200, "test": 500}


def test_the_disc_is_where_its_target_says():
    examples = data.load(DataConfig(name="disc")).splits["test"]
    for index in range(20):
        image = examples[index]["image"][..., 0].astype(float)
        x, y, radius = examples[index]["value"]
        rows, column = np.nonzero(image > 128)
        np.testing.assert_allclose(column.mean() + 0.5, x, atol=0.4)
        np.testing.assert_allclose(rows.mean() + 0.5, y, atol=0.4)
        np.testing.assert_allclose(np.sqrt(len(rows) / np.pi), radius, atol=0.4)
