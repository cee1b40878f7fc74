"""Data sets of arrays, of a CSV file, and of a user's own examples."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
from PIL import Image
import pytest

import jaxcnn
from jaxcnn import data
from jaxcnn.config import Config, DataConfig
from jaxcnn.data import batches
from jaxcnn.data.examples import Joined, Subset, names_of
from jaxcnn.errors import UserError
from jaxcnn.serving.predictor import Predictor
from jaxcnn.targets import Target, classes
from jaxcnn.training import prepare

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
        (np.arange(12) % 2 == 0, "label", ("False", "True"), None),
        (np.array(["cat", "dog"] * 6, object), "label", ("cat", "dog"), None),
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
            r"images: it is float64 with values from 0 to .*, as in value_range=.0, 1.",
        ),
        (GREY / 255, np.arange(12), {"value_range": (0, 0.1)}, "There is a value of"),
        (
            GREY,
            np.arange(12),
            {"value_range": (0, 1)},
            "must be float, with a value_range",
        ),
        (
            GREY.astype(np.int64) - 300,
            np.arange(12),
            {},
            r"it is int64 with values from -300 to -253; bool, uint8 .* are taken",
        ),
        (
            GREY[0],
            np.arange(2),
            {},
            r"The shape of the train images must be \[N, H, W\]",
        ),
        (GREY, np.arange(11), {}, "12 images and 11 targets 'label'"),
        (
            GREY,
            np.arange(12),
            {"validation": (GREY[:3], [0.9, 1.7, 0.2])},
            r"validation targets are float64 \[3\] and the training targets int64 \[12",
        ),
        (
            GREY,
            np.ones((12, 3)),
            {"test": (GREY[:3], np.ones((3, 2)))},
            r"The test targets are float64 \[3, 2\] and the .* float64 \[12, 3\]; th",
        ),
        (
            np.stack([GREY] * 3, axis=-1),
            np.arange(12) % 2,
            {"test": (GREY, np.arange(12) % 2)},
            "the test images have 1 channels and the training images 3; data.channels",
        ),
        (GREY, np.arange(12) % 2, {"names": "ab"}, "names must be a sequence of texts"),
        (GREY, np.arange(12) % 2 * 2**62, {}, "No training image has label 1: .*61168"),
        (GREY, np.ones(12, bool), {}, "All training labels are True; a classification"),
        (GREY, [[1], [1, 2]] * 6, {}, "The targets are no array"),
        (GREY, np.full(12, 1e300), {}, "Example 0 of the train split: its value is 1e"),
        (GREY, np.arange(12) % 2, {"names": 5}, "names must be a sequence of texts"),
        (GREY, np.arange(12) % 2, {"names": ("a", "a")}, "all different"),
        (GREY, np.arange(12) % 2, {"test": (GREY,)}, "test must be .images, targets."),
        (
            GREY,
            np.arange(12) % 2,
            {"validation": GREY},
            "validation must be .images, t",
        ),
        (
            GREY / 255,
            np.arange(12),
            {"value_range": "01"},
            "value_range must be .black",
        ),
        (
            GREY * 1.0,
            np.arange(12),
            {"value_range": (0, np.inf)},
            "of a size over 1e-3",
        ),
        (
            GREY * 0.0,
            np.arange(12),
            {"value_range": (0, 1e-320)},
            "of a size over 1e-3",
        ),
        (GREY, {"mask": GREY}, {}, "are not understood; .* targets= says what others"),
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


def small_config(**fields):
    data_config = DataConfig(image_size=2, batch_size=4, **fields)
    return Config(model="softmax_regression", data=data_config, num_devices=1)


def squares(config=None, **splits):
    return jaxcnn.Dataset.from_examples(
        Squares(),
        classes(["even", "odd"]),
        mean=(0.2,),
        std=(0.1,),
        name="squares",
        config=config,
        **splits,
    )


SOURCES = {
    "arrays": lambda path, config: jaxcnn.Dataset.from_arrays(
        GREY, np.arange(12) % 2, config=config
    ),
    "examples": lambda path, config: squares(config),
    "csv": lambda path, config: jaxcnn.Dataset.from_csv(f"{path}/list.csv", config),
    "folder": lambda path, config: jaxcnn.Dataset.from_folder(f"{path}/all", config),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of images, and as a CSV file; both also in splits."""
    folder, rows = tmp_path_factory.mktemp("photos"), []
    for i, split in enumerate(["train"] * 8 + ["validation"] * 2 + ["test"] * 2):
        label = "ab"[i % 2]
        for place in (f"all/{label}", f"split/{split}/{label}"):
            (folder / place).mkdir(parents=True, exist_ok=True)
            Image.fromarray(GREY[i]).save(folder / place / f"{i}.png")
        rows.append((f"all/{label}/{i}.png", label, split))
    for file, width in (("list.csv", 2), ("split.csv", 3)):
        lines = [("file", "label", "split"), *rows]
        text = "\n".join(",".join(line[:width]) for line in lines)
        (folder / file).write_text(text)
    return folder


VALUES = {"validation_fraction": 0.4, "split_seed": 7, "test_fraction": 0.5}


@pytest.mark.parametrize("source", SOURCES)
def test_a_choice_that_a_data_set_was_not_made_with_is_refused(source, photos):
    make = functools.partial(SOURCES[source], photos)
    has_test = source in ("csv", "folder")
    for field, value in list(VALUES.items())[: 3 if has_test else 2]:
        config = small_config(**{field: value})
        text = f"data.{field} is {value}, but the data set was made with 0"
        dataset = make(None)
        changed = dataset.with_info(mean=dataset.info.std).with_splits(dataset.splits)
        for other in dataset, changed:
            with pytest.raises(UserError, match=text):
                prepare.prepare(config, dataset=other)
        prepare.prepare(config, dataset=make(config.data))
    config = small_config(channels=1 if has_test else 3)
    with pytest.raises(UserError, match="data.channels is ., but .* made with [13]:"):
        prepare.prepare(config, dataset=make(None))


def test_a_choice_that_does_not_matter_to_a_data_set_may_be_any(photos):
    targets = np.arange(12) % 2
    whole = (GREY, targets)
    for dataset in (
        jaxcnn.Dataset.from_arrays(GREY, targets, validation=whole),
        squares(validation=Squares()),
        jaxcnn.Dataset.from_csv(f"{photos}/split.csv"),
        jaxcnn.Dataset.from_folder(f"{photos}/split"),
    ):
        prepare.prepare(small_config(**VALUES), dataset=dataset)


def test_columns_of_a_csv_file_are_those_of_the_config(photos):
    dataset = jaxcnn.Dataset.from_csv(f"{photos}/list.csv")
    config = small_config(target_columns=("label",))
    with pytest.raises(UserError, match="data.target_columns is .'label',., but the"):
        prepare.prepare(config, dataset=dataset)
    made = DataConfig(target_columns=["label"])  # as a notebook may have it
    dataset = jaxcnn.Dataset.from_csv(f"{photos}/list.csv", made)
    prepare.prepare(config, dataset=dataset)


def test_a_function_of_ones_own_that_ignores_the_config_is_refused(monkeypatch):
    config = small_config(name=f"{__name__}:pictures", validation_fraction=0.4)
    monkeypatch.setitem(globals(), "pictures", lambda _: SOURCES["arrays"]("", None))
    with pytest.raises(UserError, match="data.validation_fraction is 0.4, but the da"):
        prepare.prepare(config)
    monkeypatch.setitem(globals(), "pictures", lambda c: SOURCES["arrays"]("", c))
    made = SOURCES["arrays"]("", config.data)
    assert prepare.prepare(config).info.num_examples == made.info.num_examples


def test_a_run_is_measured_on_other_examples_however_they_are_cut(tmp_path):
    targets = np.arange(12) % 2
    test = (GREY, targets)
    config = small_config(validation_fraction=0.4)
    config.num_epochs = 1.0
    make = jaxcnn.Dataset.from_arrays
    dataset = make(GREY, targets, test=test, config=config.data)
    result = jaxcnn.fit(config, tmp_path, dataset=dataset, writers=())
    other = make(GREY[::-1], targets[::-1], test=test)
    measured = jaxcnn.evaluate(tmp_path, dataset=other).measured
    assert measured.metrics["accuracy"] == result.test["accuracy"]
    # Of the same examples, some that were trained on would validate.
    with pytest.raises(UserError, match="data.validation_fraction is 0.4, but the"):
        jaxcnn.evaluate(tmp_path, dataset=make(GREY, targets, test=test))


def test_groups_need_names_which_arrays_lack_and_examples_may_have():
    with pytest.raises(UserError, match="no names; it must be None for arrays. Data"):
        jaxcnn.Dataset.from_arrays(
            GREY, np.arange(12) % 2, config=DataConfig(groups="(.)")
        )

    class Named(Squares):
        example_names = [f"subject{i // 2}_{i}" for i in range(10)]

    config = DataConfig(groups="(subject[0-9])_")
    dataset = from_squares(Named(), config=config)
    assert dataset.made_with["groups"] == config.groups
    inside = [{name[:8] for name in names_of(p)} for p in dataset.splits.values()]
    assert sum(map(len, inside)) == 5
    with pytest.raises(UserError, match="data.groups is None, but the data set was ma"):
        prepare.prepare(small_config(), dataset=dataset)
    Named.example_names = Named.example_names[1:]
    with pytest.raises(
        UserError, match="example_names of the train split must be 10 texts"
    ):
        from_squares(Named())


def test_names_may_be_an_array_as_in_scikit_learn():
    names = np.array(["cat", "dog"])
    dataset = jaxcnn.Dataset.from_arrays(GREY, np.arange(12) % 2, names=names)
    assert dataset.info.targets["label"].names == ("cat", "dog")


MASK = {"mask": Target("mask", "uint8")}
BOXES = {
    "boxes": Target("boxes", "float32", (3, 4), ragged=True),
    "label": Target("label", "int32", names=("a", "b")),
}


def test_targets_of_any_kind_are_given_as_arrays():
    boxes = [np.tile([0, 0, 1, 1 + i % 2], (i % 4, 1)) for i in range(12)]
    values = {"boxes": boxes, "label": np.arange(12) % 2}
    test = (GREY, values)
    dataset = jaxcnn.Dataset.from_arrays(GREY, values, targets=BOXES, test=test)
    config = DataConfig(image_size=2, eval_batch_size=12)
    (batch,) = batches.eval_batches(
        dataset.splits["test"], config, BOXES, split="test", channels=1
    )
    assert batch["boxes_mask"].sum(axis=1).tolist() == [i % 4 for i in range(12)]
    assert batch["boxes"][7].tolist() == [[0, 0, 1, 2]] * 3
    assert sorted(dataset.splits["validation"].column("label")) == [0, 1]
    boxes[3][0, 0] += 1
    other = jaxcnn.Dataset.from_arrays(GREY, values, targets=BOXES, test=test)
    assert other.info.fingerprint != dataset.info.fingerprint


def test_a_mask_lies_beside_its_image():
    dataset = jaxcnn.Dataset.from_arrays(GREY, {"mask": GREY}, targets=MASK)
    for part in dataset.splits.values():
        np.testing.assert_array_equal(part.column("mask"), part.images[..., 0])


@pytest.mark.parametrize(
    ("values", "targets", "text"),
    [
        ({"masks": GREY}, MASK, r"must be a dict .* \['mask'\], not \['masks'\]"),
        (GREY, MASK, "must be a dict of arrays with the names .'mask'., not ndarray"),
        (
            {"mask": GREY[:, :1]},
            MASK,
            r"'mask' of the train split must be \(12, 2, 2\) for 12 images of 2 x 2",
        ),
        ({"mask": [GREY[0], GREY[0, :1]]}, MASK, "must be an array of numbers, of one"),
        (
            {"mask": GREY.astype(str)},
            MASK,
            "must be an array of numbers, .*, not '<U3'",
        ),
        ({"mask": GREY[:5]}, MASK, "12 images and 5 targets 'mask'"),
        (
            {"mask": GREY * 2.0},
            MASK,
            "its mask is of dtype float64, which does not cast",
        ),
        (
            {"weight": GREY},
            {"weight": MASK["mask"]},
            "The name of a target must be other",
        ),
    ],
)
def test_targets_that_are_not_as_they_are_said_to_be_are_refused(values, targets, text):
    with pytest.raises(UserError, match=text):
        jaxcnn.Dataset.from_arrays(GREY, values, targets=targets)


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


class Counted:
    """One image of no items, one of one, and so on."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        image = np.zeros((4 + index, 4, 1), np.uint8)
        return {
            "image": image,
            "mask": image[..., 0],
            "points": np.full((index, 2), index, np.float32),
        }


def test_a_column_of_targets_that_differ_in_shape_holds_arrays():
    targets = {"points": Target("points", "float32", (6, 2), ragged=True)} | MASK
    dataset = jaxcnn.Dataset.from_examples(
        Counted(), targets, mean=(0.2,), std=(0.1,), name="counted"
    )
    part = Joined([dataset.splits["train"], dataset.splits["validation"]])
    for name, target in targets.items():
        column = part.column(name)
        target.check(column, "train")
        assert len(column) == 6
        for i in range(6):
            np.testing.assert_array_equal(column[i], part[i][name])


def from_squares(examples, **changes):
    options = {"mean": (0.2,), "std": (0.1,), "name": "squares"}
    targets = classes(["even", "odd"])
    return jaxcnn.Dataset.from_examples(examples, targets, **options | changes)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"image": np.zeros((4, 4, 1), np.float32)},
            "must be uint8 .H, W, 1., not flo",
        ),
        ({"image": np.zeros((4, 4, 3), np.uint8)}, r"not uint8 \[4, 4, 3\]"),
        ({"image": np.zeros((0, 4, 1), np.uint8)}, r"not uint8 \[0, 4, 1\]"),
        ({"label": 0.5}, "its label is of dtype float64"),
    ],
)
def test_the_first_example_of_each_split_is_looked_at(change, text):
    bad = [Squares()[0] | change, Squares()[1]]
    with pytest.raises(UserError, match=f"Example 0 of the train split: .*{text}"):
        from_squares(bad)
    with pytest.raises(UserError, match=f"Example 0 of the validation split: .*{text}"):
        from_squares(Squares(), validation=bad)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"mean": 0.5}, r"mean must be \(grey,\) or \(red, green, blue\), not 0.5"),
        ({"std": (0.1, 0.1, 0.1)}, "std must be of 1 numbers, as mean is"),
        ({"mean": [0.1] * 4, "std": [0.1] * 4}, r"mean must be \(grey,\) or"),
        ({"mean": ("a",)}, r"mean must be \(grey,\) or"),
        ({"std": (1e-320,)}, "std must be in .1e-6, 1"),
    ],
)
def test_a_scale_that_is_not_one_of_grey_or_rgb_is_refused(changes, text):
    with pytest.raises(UserError, match=text):
        from_squares(Squares(), **changes)


def test_the_validation_examples_of_a_users_own_keep_the_classes():
    examples = [Squares()[i] for i in [*range(10)] * 2]
    for i, example in enumerate(examples):
        example["label"] = np.uint64(i >= 16)
    column = from_squares(examples).splits["validation"].column("label")
    assert set(column) == {0, 1}
    more = examples + [Squares()[9] | {"label": np.uint64(1)}]
    assert (
        from_squares(more).splits["validation"].column("label").tolist()[: len(column)]
        == column.tolist()
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda d: d.with_splits({"train": d.splits["train"]}), "has no split 'valida"),
        (
            lambda d: d.with_splits({"test": d.splits["train"]}),
            "no split 'train'; it ha",
        ),
        (
            lambda d: d.with_splits(
                {**d.splits, "validation": Subset(d.splits["train"], np.arange(0))}
            ),
            "dataset: the validation split is empty",
        ),
        (
            lambda d: d.with_info(num_examples={"train": 8, "validation": 3}),
            "info.num_examples must be the lengths .* 'validation': 2}, not {",
        ),
    ],
)
def test_a_data_set_that_no_run_can_train_on_is_refused(change, text):
    with pytest.raises(UserError, match=text):
        data.checked(change(from_squares(Squares())), "dataset", DataConfig())


def test_a_function_of_the_data_config_is_a_data_set():
    def made(config):
        return jaxcnn.Dataset.from_arrays(GREY, np.arange(12) % 2, config=config)

    config = Config(
        model="softmax_regression",
        data=DataConfig(image_size=2, batch_size=4, validation_fraction=0.5),
    )
    run = prepare.prepare(config, dataset=made)
    assert run.info.num_examples == made(config.data).info.num_examples
    assert run.info.num_examples != made(DataConfig()).info.num_examples


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
        UserError, match="task must be an object; a name goes into config.task.name"
    ):
        jaxcnn.fit(config, workdir, dataset=dataset, task="regression")

    class Unfinished(jaxcnn.Task):
        def loss(self, output, batch):
            return output

    with pytest.raises(
        UserError, match="Unfinished must have eval_sums, metrics, outputs, predict, t"
    ):
        jaxcnn.fit(config, workdir, dataset=dataset, task=Unfinished)
    assert not workdir.exists()


@pytest.fixture
def predictor():
    """A predictor that says the mean of an image."""
    return Predictor(
        name="mean",
        task=None,
        channels=1,
        image_size=(2, 2),
        transform=lambda image: image,
        predict_batch=lambda images: {"mean": images.mean(axis=(1, 2, 3))},
        step=None,
    )


@pytest.mark.parametrize(
    "one",
    [
        "photo.jpg",
        b"photo",
        Path("photo.jpg"),
        GREY[0],
        GREY[0, 0, 0],
        Image.fromarray(GREY[0]),
        None,
    ],
    ids=lambda one: type(one).__name__,
)
def test_one_image_in_place_of_a_list_is_refused(predictor, one):
    with pytest.raises(UserError, match=r"takes a list of images; write \[image\]\."):
        predictor(one)


def test_an_array_of_images_is_a_list_of_images(predictor):
    expected = GREY.mean(axis=(1, 2))
    for images in (GREY, list(GREY), GREY[..., None], map(Image.fromarray, GREY)):
        np.testing.assert_allclose(predictor(images)["mean"], expected)


@pytest.mark.parametrize(("side", "size"), [(2, 32), (512, 32), (1024, 8), (4096, 1)])
def test_fewer_large_images_are_in_a_batch(predictor, side, size):
    predictor = dataclasses.replace(predictor, image_size=(side, side))
    assert predictor._batch_size == size


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, None])
def test_a_limit_that_is_no_number_over_0_is_refused(predictor, limit):
    for ask in (predictor.answers, lambda *given: list(predictor.stream(*given))):
        with pytest.raises(UserError, match=f"limit must be at least 1, not {limit}"):
            ask([GREY[0]], limit)


def test_an_image_of_pillow_without_pixels_is_refused(predictor):
    with pytest.raises(UserError, match="0 x 5 pixels: it has none"):
        predictor([Image.new("L", (0, 5))])


def test_an_image_that_is_refused_has_its_own_shape_in_the_message(predictor):
    rule = r"must be \[H, W\], \[H, W, 1\] or \[H, W, 3\], not \(8, 8, 4\)"
    with pytest.raises(UserError, match=f"The shape of the image {rule}"):
        predictor([np.zeros((8, 8, 4), np.uint8)])


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
    assert set(dataset.splits) == {"train", "validation", "test"}


def test_a_csv_file_of_classes_keeps_their_proportions(listed):
    name = listed("file,kind", lambda i: "ab"[i % 2])
    dataset = data.load(DataConfig(name=name, channels=1))
    assert dataset.info.targets["label"].names == ("a", "b")
    assert columns(dataset, "label") == [i % 2 for i in range(12)]
    for part in dataset.splits.values():
        assert set(part.column("label")) == {0, 1}


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


@pytest.mark.parametrize(
    ("lines", "kind", "text"),
    [
        (
            ["images/0.png,a", "images/1.png,b"],
            "label",
            "has no header: .* 'images/0.pn",
        ),
        (["file,x,x", "images/0.png,1,2"], "value", "has 2 columns 'x'"),
        (["file,k", "images/0.png,a", "images/1.png,a"], "label", "is one class, 'a'"),
        (
            ["file,k", "images/0.png,a", "images/1.png, "],
            "label",
            "line 3: column 'k' is",
        ),
        (
            ["file,x", "", "images/0.png,1", "", "images/1.png,b"],
            "value",
            "line 5: x mu",
        ),
        (
            ["file,k", "images/0.png,a", "images/./0.png,b"],
            "label",
            "line 3: 'images/./0.png' is the image 'images/0.png' of line 2",
        ),
        (
            ["file,k,split"]
            + [f"images/{i}.png,{'ab'[i % 2]},train" for i in range(8)]
            + ["images/8.png,c,test"],
            "label",
            "class 'c' has no image in the train split",
        ),
        (["file,x", "images/0.png,1e39"], "value", "'1e39' .float32 holds up to 3.4e"),
        (["file,x", "images/0.png,1_0"], "value", "x must be a number, not '1_0'"),
        (['file,"x', 'y"', "images/0.png,b"], "value", "line 3: x\ny must be a number"),
    ],
)
def test_a_csv_file_that_would_be_misread_is_refused(listed, lines, kind, text):
    name = listed("file,x", str)
    with open(name.removeprefix("csv:"), "w") as file:
        file.write("\n".join(lines))
    with pytest.raises(UserError, match=text):
        data.load(DataConfig(name=name, target_kind=kind, channels=1))


@pytest.mark.parametrize(
    ("others", "splits"),
    [
        ([], {"train", "validation", "test"}),
        (["test"], {"train", "validation", "test"}),
        (["validation"], {"train", "validation"}),
    ],
)
def test_a_csv_file_is_cut_as_its_docstring_says(listed, others, splits):
    named = ["train"] * 10 + (others * 2 or ["train"] * 2)
    name = listed("file,x,split", lambda i: f"{i},{named[i]}")
    dataset = data.load(DataConfig(name=name, target_kind="value", channels=1))
    assert dataset.splits.keys() == splits


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
