"""A data set with every fault: each is found, and nothing else."""

import dataclasses
import json

import numpy as np
from PIL import Image
import pytest
from sklearn import datasets

from jaxcnn import __main__, data
from jaxcnn.config import Config, DataConfig, TaskConfig
from jaxcnn.data import glyph_scenes, rendered
from jaxcnn.data.examples import ArrayExamples
from jaxcnn.data.examples import make_dataset as of_splits
from jaxcnn.errors import UserError
from jaxcnn.report import data_check
from jaxcnn.studies import check_data
from jaxcnn.targets import Target, classes
from jaxcnn.tasks import Task
from tests import test_tfds_source

# Windows of scikit-learn's two photographs that are not of sky or shade alone.
BUSY = [*range(55, 62), 63, *range(65, 74), 78, 79, *range(81, 87), 92, *range(95, 100)]


def window(photo, i, side=48):
    """One of the windows of a photograph that do not overlap."""
    row, column = divmod(i, 640 // side)
    top, left = row * side, column * side
    return Image.fromarray(photo[top : top + side, left : left + side])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Train and test images of two classes, with one fault of each kind."""
    path = tmp_path_factory.mktemp("photos")
    temple, flower = datasets.load_sample_images().images
    for split, numbers in (("train", BUSY[:25]), ("test", BUSY[25:])):
        for name, photo in (("temple", temple), ("flower", flower)):
            (path / split / name).mkdir(parents=True)
            kept = numbers[:9] if (split, name) == ("train", "flower") else numbers
            for i in kept:
                window(photo, i).save(path / split / name / f"{i}.png")
    train, test = path / "train", path / "test"
    window(temple, 60).resize((36, 36)).save(test / "temple" / "small.jpg")
    window(temple, 61).save(test / "flower" / "wrong.bmp")
    (train / "temple" / "copy.png").write_bytes(
        (train / "temple" / "70.png").read_bytes()
    )
    Image.new("RGB", (48, 48), (10, 200, 30)).save(train / "temple" / "green.png")
    page = np.full((48, 48), 250, np.uint8)
    page[5:8, 10:16] = 0
    Image.fromarray(page).save(train / "temple" / "page.png")
    Image.fromarray(temple[180:190, :60]).save(train / "temple" / "strip.png")
    (test / "temple" / "broken.jpg").write_bytes(b"no image")
    (train / "temple" / "moving.mp4").write_bytes(b"ftyp")
    (train / "notes.txt").write_text("mine")
    (path / ".hidden").mkdir()
    (path / ".hidden" / "x.txt").write_text("not counted")
    return path


def config_of(folder, **changes):
    changes = {"image_size": 48, "validation_fraction": 0.1, **changes}
    return Config(data=DataConfig(name=f"folder:{folder}", **changes))


def names(finding):
    return [
        {image.path.rpartition("/")[2] for image in case.images}
        for case in finding.cases
    ]


def test_each_fault_is_found_once(folder):
    config = config_of(folder)
    report = check_data.check(data.load(config.data), config, 0.98)
    found = {finding.kind: finding for finding in report.findings}
    assert len(found) == len(report.findings)
    expected = {
        "unreadable": [{"broken.jpg"}],
        "test_in_train": [{"60.png", "small.jpg"}, {"61.png", "wrong.bmp"}],
        "targets_differ": [{"61.png", "wrong.bmp"}],
        "duplicates": [{"70.png", "copy.png"}],
        "constant": [{"green.png"}],
        "nearly_empty": [{"page.png"}],
        "extreme_aspect": [{"strip.png"}],
        "tiny": [{"strip.png"}],
        "few_images": [],
        "imbalance": [],
        "ignored_files": [],
    }
    assert {kind: names(finding) for kind, finding in found.items()} == expected
    assert "2 images of 15 in test" in found["test_in_train"].text
    assert found["duplicates"].cases[0].note == "the same pixels"
    assert found["targets_differ"].cases[0].note == "the same pixels"
    assert "1 .mp4, 1 .txt" in found["ignored_files"].text
    assert "'flower'" in found["few_images"].text
    # 29 images of temple in train/, of which 3 validate, and 9 of flower less 1.
    assert report.counts == {"train": 34, "validation": 4, "test": 15}
    assert report.group_counts("flower") == {"train": 8, "validation": 1, "test": 7}
    assert report.group_counts("temple") == {"train": 26, "validation": 3, "test": 8}
    assert "3.2 times" in found["imbalance"].text
    assert sum(map(len, report.readable.values())) == 53
    assert len(report.sizes) == 52


def test_a_sound_data_set_has_no_findings():
    temple = datasets.load_sample_images().images[0]
    windows = np.stack([np.asarray(window(temple, i)) for i in BUSY])
    labels = np.arange(len(BUSY), dtype=np.int32) % 2
    dataset = make_dataset(windows, labels)
    assert (
        check_data.check(dataset, Config(data=DataConfig(image_size=48)), 0.98).findings
        == ()
    )


def test_records_of_tfds_are_named_by_split_and_number(tmp_path):
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.ClassLabel(num_classes=2),
    }
    pixels = [test_tfds_source.picture(i) for i in range(12)]
    records = [
        {"image": test_tfds_source.png(image), "label": i % 2}
        for i, image in enumerate(pixels)
    ]
    test = [records[5], {"image": b"no image", "label": 1}]
    splits = {"train": records[:10], "validation": records[10:], "test": test}
    test_tfds_source.Builder("twice", features, splits, tmp_path).download_and_prepare()
    config = DataConfig(name="tfds:twice", dir=str(tmp_path), image_size=8)
    config = Config(data=config)
    dataset = data.load(config.data)
    report = check_data.check(dataset, config, 0.98)
    found = {finding.kind: finding.cases for finding in report.findings}
    (case,) = found["test_in_train"]
    first, second = case.images
    assert (first.split, second.split) == ("train", "test")
    assert first.path is None
    image = dataset.splits["train"][first.index]["image"]
    np.testing.assert_array_equal(image, pixels[5])
    (case,) = found["unreadable"]
    assert case.images[0].split == "test"
    assert "no JPEG, PNG, WebP, BMP, GIF or TIFF image" in case.note
    assert [report.group_counts(name)["test"] for name in report.groups] == [0, 2]


def make_dataset(images, labels, class_names=("a", "b")):
    """The first two thirds train, the others test."""
    cut = 2 * len(images) // 3
    return of_splits(
        {
            "test": ArrayExamples(images[cut:], {"label": labels[cut:]}),
            "train": ArrayExamples(images[:cut], {"label": labels[:cut]}),
        },
        targets=classes(class_names),
        channels=images.shape[-1],
        mean=(0.5,),
        std=(0.2,),
        fingerprint="",
    )


def test_labels_and_classes_that_are_wrong():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (90, 16, 16, 1), np.uint8)
    labels = np.arange(90, dtype=np.int32) % 2
    labels[3], labels[80] = 7, -1
    dataset = make_dataset(images, labels, ("Big cat", "big_cat", "other"))
    config = Config(data=DataConfig(image_size=16))
    report = check_data.check(dataset, config, 0.98)
    found = {finding.kind: finding for finding in report.findings}
    assert set(found) == {"wrong_label", "missing_class", "class_names_alike"}
    places = [case.images[0] for case in found["wrong_label"].cases]
    assert [(p.split, p.index, p.caption) for p in places] == [
        ("train", 3, "7"),
        ("test", 20, "-1"),
    ]
    assert "'other'" in found["missing_class"].text
    assert "'Big cat', 'big_cat'" in found["class_names_alike"].text
    with pytest.raises(UserError, match="similarity must be over 0 and at most 1"):
        check_data.check(dataset, config, 1.5)


def test_a_task_without_classes_has_its_targets_checked_and_no_groups():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 16, 16, 1), np.uint8)
    images[7] = images[2]
    heights = np.arange(30, dtype=np.float32)[:, None]
    heights[4] = np.nan
    splits = {"train": ArrayExamples(images, {"height": heights})}
    dataset = of_splits(
        splits,
        targets={"height": Target("value", "float32", (1,), names=("height",))},
        channels=1,
        mean=(0.5,),
        std=(0.2,),
        fingerprint="",
    )
    config = Config(data=DataConfig(image_size=16), task=TaskConfig(name="regression"))
    report = check_data.check(dataset, config, 0.98)
    found = {
        finding.kind: [[image.index for image in case.images] for case in finding.cases]
        for finding in report.findings
    }
    assert found == {"wrong_height": [[4]], "targets_differ": [[2, 7]]}
    assert report.findings[0].cases[0].note == "its value is nan"
    assert report.groups == {}
    lines = data_check.as_text(report).splitlines()
    assert lines[1].split() == ["images", "30:", "train", "30"]
    shown = [s.place.index for s in check_data.samples(dataset, report, None, 6)]
    assert set(shown) > {2, 4, 7}
    assert len(shown) == 6


@pytest.mark.parametrize(
    ("levels", "share"),
    [([[0, 15, 16, 40]], 0.5), ([[0, 15]], 1.0), ([[255, 250, 240, 3]], 0.75)],
)
def test_the_dominant_share_of_pixels(levels, share):
    # By hand: the most pixels whose levels are among 16 neighbouring ones.
    assert check_data._dominant_share(np.array(levels, np.uint8)[..., None]) == share


def test_a_contact_sheet_shows_what_was_found_and_a_spread_of_the_rest(folder):
    config = config_of(folder)
    dataset = data.load(config.data)
    report = check_data.check(dataset, config, 0.98)
    shown = list(check_data.samples(dataset, report, "temple", 20))
    assert len(shown) == 20
    kinds = [sample.finding for sample in shown]
    assert 6 <= sum(map(bool, kinds)) <= 10  # at most half
    assert not any(kinds[10:])
    assert {"test_in_train", "duplicates", "constant"} <= set(kinds)
    assert {s.place.split for s in shown} == {"train", "validation", "test"}
    assert len({(s.place.split, s.place.index) for s in shown}) == 20
    for place, image, _, mask in shown:
        assert mask is None
        assert place.caption == "temple"
        assert "/temple/" in place.path
        np.testing.assert_array_equal(image, Image.open(place.path).convert("RGB"))
    shown = list(check_data.samples(dataset, report, "temple", 6))
    assert [bool(s.finding) for s in shown] == 3 * [True] + 3 * [False]
    every = list(check_data.samples(dataset, report, "flower", 100))
    assert len(every) == 16


CONFIG = """
from jaxcnn.config import Config, DataConfig, TaskConfig

def get_config():
    return Config(data=DataConfig(name={name!r}, image_size=48))
"""


def call(path, name, *flags):
    file = path / "experiment.py"
    file.write_text(CONFIG.format(name=name))
    return __main__.main(["check_data", f"--config={file}", *flags])


def test_the_command_prints_and_writes_everything(folder, tmp_path, capsys):
    output = tmp_path / "checked"
    assert call(tmp_path, f"folder:{folder}", f"--output={output}") == 0
    out = capsys.readouterr().out
    assert "53 in 2 groups: train 34, validation 4, test 15" in out
    assert "48x10" not in out
    assert "60x10 to 48x48" in out
    assert "test/temple/broken.jpg: no JPEG, PNG, WebP, BMP, GIF or TIFF image" in out
    assert "1. 1 image cannot be read" in out
    written = json.loads((output / "check_data.json").read_text())
    assert written["counts"]["train"] == 34
    assert written["groups"]["flower"] == {"train": 8, "validation": 1, "test": 7}
    assert written["sizes"]["height"] == {"min": 10, "median": 48.0, "max": 48}
    found = {finding["kind"]: finding for finding in written["findings"]}
    image = found["constant"]["cases"][0]["images"][0]
    assert image["path"].endswith("train/temple/green.png")
    names = sorted(path.name for path in output.glob("*.png"))
    assert names == ["000_flower.png", "001_temple.png"]
    with Image.open(output / "001_temple.png") as sheet:
        assert sheet.width > 900
        pixels = np.asarray(sheet)
    # The green image is on it, with the red of its frame beside.
    assert (pixels == (10, 200, 30)).all(axis=2).sum() > 2000
    assert (pixels == (0xC6, 0x28, 0x28)).all(axis=2).sum() > 2000

    assert call(tmp_path, f"folder:{folder}", "--format=json") == 0
    assert json.loads(capsys.readouterr().out) == written


def test_the_command_takes_images_in_memory_and_refuses_in_one_line(tmp_path, capsys):
    assert call(tmp_path, "digits") == 0
    out = capsys.readouterr().out
    assert "1,797 in 10 groups" in out
    assert "all 8x8; network input 48x48" in out
    for name, flags, expected in (
        ("digits", ["--similarity=0"], "similarity must be over 0"),
        ("digits", [f"--output={__file__}"], "is a file"),
        ("digits", ["more"], "This command takes only flags"),
        ("digit", [], "Unknown dataset 'digit'"),
        ("digits", ["--config.data.image_size=big"], "data.image_size"),
    ):
        assert call(tmp_path, name, *flags) == 2
        line = capsys.readouterr().err
        assert expected in line
        assert line.count("\n") == 1


def test_many_classes_are_a_short_table(capsys):
    labels = np.repeat(np.arange(60), np.arange(10, 70)).astype(np.int32)
    dataset = make_dataset(
        np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8, 1), np.uint8),
        labels[np.random.default_rng(0).permutation(len(labels))],
        tuple(f"class{i}" for i in range(60)),
    )
    config = Config(data=DataConfig(image_size=8))
    report = check_data.check(dataset, config, 0.98)
    report = dataclasses.replace(report, findings=())
    lines = data_check.as_text(report).splitlines()
    assert "(20 others)" in "\n".join(lines)
    assert sum("class" in line for line in lines) == 40
    assert lines[-1] == "No problems found."


class Pixels(Task):
    """A task of masks, as far as a check of its data asks for it."""

    def __init__(self, targets):
        self._targets = targets

    @classmethod
    def create(cls, config, targets, statistics):
        return cls({"mask": targets["mask"]})

    @property
    def targets(self):
        return self._targets

    @property
    def outputs(self):
        return {}

    def loss(self, output, batch):
        raise NotImplementedError

    eval_sums = metrics = predict = loss


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    """Windows of a photograph with masks, with one fault of each kind."""
    root = tmp_path_factory.mktemp("masked")
    (root / "classes.txt").write_text("wall\nroof\nsky\nlamp\n")
    temple = datasets.load_sample_images().images[0]
    for split, numbers in (("train", BUSY[:12]), ("val", BUSY[12:18])):
        for i in numbers:
            mask = np.zeros((48, 48), np.uint8)
            mask[:12] = 1
            mask[12:24] = 255
            if (split, i) == ("train", BUSY[0]):
                mask[-1, :10] = 2  # 10 of 27,648 - 6,912 pixels
            save(root / split / "images" / f"{i}.png", np.asarray(window(temple, i)))
            save(root / split / "masks" / f"{i}.png", mask)
    train = root / "train"
    copy = np.asarray(window(temple, BUSY[3]))
    save(train / "images" / "copy.png", copy)
    save(train / "masks" / "copy.png", np.zeros((48, 48), np.uint8))
    save(root / "val" / "masks" / f"{BUSY[12]}.png", np.zeros((48, 40), np.uint8))
    save(train / "masks" / f"{BUSY[5]}.png", np.full((48, 48), 9, np.uint8))
    (train / "notes.txt").write_text("mine")
    return root


def test_masks_are_checked_pixel_by_pixel(masked):
    config = config_of(masked)
    config.task.name = f"{__name__}:Pixels"
    report = check_data.check(data.load(config.data), config, 0.98)
    found = {finding.kind: finding for finding in report.findings}
    assert set(found) == {
        "wrong_mask",
        "targets_differ",
        "missing_class",
        "few_images",
        "rare_class",
        "ignored_files",
    }
    assert names(found["wrong_mask"]) == [{f"{BUSY[5]}.png"}, {f"{BUSY[12]}.png"}]
    wrong = [case.note for case in found["wrong_mask"].cases]
    assert "its mask is 9 at row 0, column 0; with 4 classes it must be" in wrong[0]
    assert "this mask has 40 x 48 pixels and its image 48 x 48" in wrong[1]
    assert names(found["targets_differ"]) == [{f"{BUSY[3]}.png", "copy.png"}]
    assert "'lamp'" in found["missing_class"].text
    assert "'sky'" in found["rare_class"].text
    assert "1 file in the folder" in found["ignored_files"].text
    # By hand: 11 masks of 12 rows each and 24 of wall, one of 48 rows of wall.
    assert report.pixels["roof"]["train"] == 11 * 12 * 48
    assert report.pixels["(void)"]["train"] == 11 * 12 * 48
    assert report.pixels["wall"]["train"] == 11 * 24 * 48 - 10 + 48 * 48
    assert report.pixels["sky"] == {"train": 10, "validation": 0}
    assert report.group_counts("sky") == {"train": 1, "validation": 0}
    assert report.group_counts("wall") == {"train": 12, "validation": 5}
    lines = data_check.as_text(report).splitlines()
    images, row = (line for line in lines if line.split()[:1] == ["roof"])
    assert images.split()[1:3] == ["11", "5"]
    share = 100 * 11 * 12 * 48 / (12 * 48 * 48)
    assert row.split() == ["roof", f"{share:.2f}%", "25.00%"]
    written = json.loads(data_check.as_json(report))
    assert written["pixels"]["sky"] == {"train": 10, "validation": 0}


def test_scenes_of_letters_are_checked(monkeypatch):
    monkeypatch.setattr(
        glyph_scenes, "NUM_EXAMPLES", {"train": 40, "validation": 5, "test": 5}
    )
    monkeypatch.setattr(rendered, "_MEASURED", 4)
    config = Config(data=DataConfig(name="glyph_scenes", image_size=64))
    config.task.name = f"{__name__}:Pixels"
    report = check_data.check(data.load(config.data), config, 0.98)
    assert {finding.kind for finding in report.findings} <= {
        "missing_class",
        "few_images",
    }
    assert list(report.pixels)[:3] == ["background", "A", "E"]
    total = sum(pixels["train"] for pixels in report.pixels.values())
    assert total == 40 * 64 * 64
    assert report.pixels["(void)"]["train"] == 0
    assert 0.8 < report.pixels["background"]["train"] / total < 0.95
    loaded = data.load(config.data)
    shown = list(check_data.samples(loaded, report, None, 6))
    assert len(shown) == 6
    for sample in shown:
        scene = loaded.splits[sample.place.split][sample.place.index]
        np.testing.assert_array_equal(sample.mask, scene["mask"])
    assert report.mask_names[0] == "background"
    assert report.mask_names[-1] == "(void)"
