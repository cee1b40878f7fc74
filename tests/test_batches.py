"""Batches: the same on any number of hosts and threads."""

import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest

from jaxcnn import targets
from jaxcnn.data import batches, images, memory, order
from jaxcnn.data.bad_images import BadImages
from jaxcnn.data.examples import (
    ArrayExamples,
    BadImageError,
    Joined,
    Subset,
    encoded,
    path_of,
)
from jaxcnn.data.transforms import TRANSFORMS
from jaxcnn.errors import UserError
from tests.stream import (
    TARGETS,
    Broken,
    N,
    assert_equal,
    broken,
    config_of,
    eval_batches,
    make_arrays,
    make_files,
    skipping,
    through_grain,
    train_batches,
)


@pytest.fixture
def arrays() -> ArrayExamples:
    return make_arrays()


@pytest.fixture
def files(tmp_path: pathlib.Path) -> Subset:
    return make_files(tmp_path / "images")


@pytest.mark.parametrize("wrap", [lambda x: x, through_grain])
def test_batches_run_on_across_epochs_so_that_each_example_is_seen_once(arrays, wrap):
    # 25 steps of 12 are 6 epochs of 50.
    read = train_batches(wrap(arrays), config_of(), seed=3, num_steps=25)
    seen = np.concatenate([batch["label"] for batch in read])
    expected = [order.order(3, epoch, N) for epoch in range(6)]
    np.testing.assert_array_equal(seen, np.concatenate(expected))


@pytest.mark.parametrize("wrap", [lambda x: x, through_grain])
def test_repeated_examples_stand_in_a_row_and_an_epoch_stays_as_long(arrays, wrap):
    # torchvision's RASampler: of the repeated indices the first len(dataset).
    config = config_of(repeats=3)
    read = train_batches(wrap(arrays), config, seed=3, num_steps=25)
    seen = np.concatenate([batch["label"] for batch in read])
    expected = [
        [index for index in order.order(3, epoch, N) for _ in range(3)][:N]
        for epoch in range(6)
    ]
    np.testing.assert_array_equal(seen, np.concatenate(expected))
    resumed = train_batches(wrap(arrays), config, seed=3, num_steps=25, start_step=7)
    assert_equal(
        resumed, list(train_batches(wrap(arrays), config, seed=3, num_steps=25))[7:]
    )


def test_each_repeat_is_transformed_anew(arrays):
    config = config_of(repeats=4, train_transform="random_resized_crop")
    (batch,) = train_batches(arrays, config, seed=0, num_steps=1)
    assert len(set(batch["label"].tolist())) == 3
    assert len({image.tobytes() for image in batch["image"]}) == 12


@pytest.mark.parametrize("transform", ["resize", "random_resized_crop"])
@pytest.mark.parametrize("process_count", [1, 2, 4])
@pytest.mark.parametrize("wrap", [lambda x: x, through_grain])
def test_the_shares_of_all_hosts_are_the_global_batch(
    arrays, wrap, process_count, transform
):
    config = config_of(train_transform=transform)
    whole = list(train_batches(arrays, config, seed=0, num_steps=9))
    shares = [
        list(
            train_batches(
                wrap(arrays),
                config,
                seed=0,
                num_steps=9,
                process_index=i,
                process_count=process_count,
            )
        )
        for i in range(process_count)
    ]
    joined = [
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for parts in zip(*shares, strict=True)
    ]
    assert_equal(joined, whole)


@pytest.mark.parametrize("num_threads", [0, 8])
def test_the_number_of_threads_changes_nothing(arrays, num_threads):
    one, other = (
        train_batches(
            through_grain(arrays),
            config_of(num_threads=n, train_transform="random_resized_crop"),
            seed=0,
            num_steps=20,
        )
        for n in (1, num_threads)
    )
    assert_equal(one, other)


WORKERS = """
import sys
from absl import app
import numpy as np
from jaxcnn.config import DataConfig
from jaxcnn.data import batches, folder

def main(argv):
    result = []
    for workers in (0, 2):
        config = DataConfig(
            image_size=8, batch_size=12, num_workers=workers,
            train_transform="random_resized_crop", test_fraction=0.2)
        dataset = folder.load(argv[1], config)
        train, targets = dataset.splits["train"], dataset.info.targets
        options = {"channels": 3, "seed": 0, "num_steps": 9}
        read = batches.train_batches(train, config, targets, **options)
        result.append([{k: v.copy() for k, v in b.items()} for b in read])
    assert len(result[0]) == len(result[1]) == 9
    for one, two in zip(*result):
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])
    for path in train.examples.paths:
        open(path, "w").write("broken")
    try:
        next(batches.train_batches(train, config, targets, **options))
    except Exception as error:
        print(type(error).__name__, error)

if __name__ == "__main__":
    app.run(main)
"""


@pytest.mark.slow
def test_worker_processes_give_the_same_batches_and_errors(files, tmp_path):
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    root = pathlib.Path(batches.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "images")],
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "UserError Unreadable image in the train split: " in done.stdout


@pytest.mark.parametrize("transform", ["resize", "random_resized_crop"])
@pytest.mark.parametrize("start", [1, 4, 8])  # before, at and after an epoch's end
@pytest.mark.parametrize("wrap", [lambda x: x, through_grain])
def test_a_resumed_stream_is_the_tail_of_the_whole(arrays, wrap, start, transform):
    config = config_of(train_transform=transform)
    options = {"seed": 0, "num_steps": 10}
    whole = list(train_batches(wrap(arrays), config, **options))
    tail = train_batches(wrap(arrays), config, start_step=start, **options)
    assert_equal(tail, whole[start:])
    # The length of the run does not change what its steps see.
    longer = train_batches(wrap(arrays), config, seed=0, num_steps=100)
    assert_equal([next(longer) for _ in range(10)], whole)
    longer.close()


def test_random_crops_differ_by_position_and_by_seed(arrays):
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 1), np.uint8)
    same = ArrayExamples(np.repeat(image, N, axis=0), arrays.targets)
    config = config_of(train_transform="random_resized_crop", batch_size=N)
    first, second = train_batches(same, config, seed=0, num_steps=2)
    other = next(train_batches(same, config, seed=1, num_steps=1))
    crops = {crop.tobytes() for b in (first, second, other) for crop in b["image"]}
    assert len(crops) > 0.98 * 3 * N


def test_no_steps_give_no_batches(arrays):
    for examples in (arrays, through_grain(arrays)):
        assert not list(train_batches(examples, config_of(), seed=0, num_steps=0))
        resumed = train_batches(
            examples, config_of(), seed=0, num_steps=3, start_step=3
        )
        assert not list(resumed)


@pytest.mark.parametrize("wrap", [lambda x: x, through_grain])
@pytest.mark.parametrize("process_count", [1, 2, 4])
@pytest.mark.parametrize("size", [4, 16, 64])
def test_evaluation_counts_each_example_once(arrays, wrap, process_count, size):
    config = config_of(eval_batch_size=size)
    hosts = [
        list(
            eval_batches(
                wrap(arrays), config, process_index=i, process_count=process_count
            )
        )
        for i in range(process_count)
    ]
    assert {len(host) for host in hosts} == {-(-N // size)}
    joined = {
        name: np.concatenate(
            [batch[name] for parts in zip(*hosts, strict=True) for batch in parts]
        )
        for name in hosts[0][0]
    }
    np.testing.assert_array_equal(joined["image"][:N], arrays.images)
    np.testing.assert_array_equal(joined["label"][:N], arrays.column("label"))
    np.testing.assert_array_equal(joined["weight"][:N], 1)
    for name in joined:
        assert not joined[name][N:].any()
        assert len(joined[name]) == -(-N // size) * size
    assert joined["weight"].dtype == np.float32


def test_each_bad_image_is_listed_once_also_after_a_resume(arrays, tmp_path):
    path = tmp_path / "bad_images.txt"
    path.write_text("test\told.jpg: broken\n")
    config = config_of(num_threads=8)
    for start in (0, 5):  # as two processes would
        bad_images = pickle.loads(pickle.dumps(skipping(path)))
        list(
            train_batches(
                broken(arrays),
                config,
                seed=0,
                num_steps=20,
                start_step=start,
                bad_images=bad_images,
            )
        )
    expected = ["test\told.jpg: broken"]
    expected += [f"train\t{i}.jpg: broken" for i in Broken.bad]
    assert sorted(path.read_text().splitlines()) == sorted(expected)


def test_above_one_in_a_hundred_bad_images_stop(tmp_path):
    path = tmp_path / "bad_images.txt"
    path.write_text("train\ta.jpg: broken\ntrain\tb.jpg: broken\n")
    bad_images = BadImages("skip", "validation", 200, path)
    bad_images.handle(BadImageError("a.jpg: broken"))  # known in another split
    bad_images.handle(BadImageError("b.jpg: broken"))  # 1% is not above 1%
    bad_images.handle(BadImageError("b.jpg: broken"))
    with pytest.raises(UserError, match="3 of 200 in the data set; .* 1%, or one; .*t"):
        bad_images.handle(BadImageError("c.jpg: broken"))


def test_a_name_of_several_lines_is_one_line_of_the_list(tmp_path):
    path = tmp_path / "bad_images.txt"
    for _ in range(2):
        bad_images = BadImages("skip", "train", 50, path)
        bad_images.handle(BadImageError("a\nb\x1b[31m é.jpg: broken"))
    expected = b"train\ta\\nb\\x1b[31m \xc3\xa9.jpg: broken\n"
    assert path.read_bytes() == expected


@pytest.mark.parametrize("path", [None, "bad_images.txt"])
def test_one_bad_image_is_allowed_in_a_data_set_of_any_size(tmp_path, path):
    path = path and tmp_path / path
    for split in ("train", "validation"):  # of two folds, in which it is each in turn
        BadImages("skip", split, 82, path).handle(BadImageError("a.jpg: broken"))
    bad_images = BadImages("skip", "train", 82, path)
    bad_images.handle(BadImageError("a.jpg: broken"))
    with pytest.raises(UserError, match="2 of 82 in the data set"):
        bad_images.handle(BadImageError("b.jpg: broken"))


@pytest.mark.parametrize(
    "transform", [name for name, row in TRANSFORMS.items() if row.random]
)
def test_scaled_decoding_leaves_order_windows_and_replacements_alone(files, transform):
    # Files of at most 16 x 20 pixels have no window that could be shrunk to 12, so the
    # batches are the same bits, also where truncated files are replaced.
    paths = [pathlib.Path(path_of(files, i)) for i in range(len(files))]
    for path in [path for path in paths if path.suffix == ".jpg"][::3]:
        path.write_bytes(path.read_bytes()[:-60])
    whole, scaled = (
        train_batches(
            files,
            config_of(
                image_size=12, train_transform=transform, scaled_decoding=decoding
            ),
            seed=0,
            num_steps=8,
            bad_images=skipping(limit=0.5),
        )
        for decoding in (False, True)
    )
    assert_equal(scaled, whole)


@pytest.mark.parametrize("decoding", [False, True])
def test_scaled_decoding_reaches_files_below_subsets_and_joins(
    files, decoding, monkeypatch
):
    asked, window = [], images.Encoded.window

    def watched(self, *args):
        asked.append(self.shape)
        return window(self, *args)

    monkeypatch.setattr(images.Encoded, "window", watched)
    joined = Joined([Subset(files, np.arange(10)), files])
    assert path_of(joined, 12) == path_of(files, 2)
    config = config_of(train_transform="random_crop", scaled_decoding=decoding)
    next(train_batches(joined, config, seed=0, num_steps=1))
    assert len(asked) == (config.batch_size if decoding else 0)


def test_arrays_stay_arrays_where_files_are_asked_for(arrays, files):
    assert isinstance(encoded(files, 3)["image"], images.Encoded)
    assert encoded(files, 3)["label"] == files[3]["label"]
    np.testing.assert_array_equal(
        encoded(through_grain(arrays), 3)["image"], arrays.images[3]
    )


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"batch_size": 52}, "batch_size is 52, more than the 50 training examples"),
        ({"batch_size": 9}, "batch_size is 9; it must be a multiple of .* hosts, 2"),
        ({"batch_size": 0}, "batch_size is 0; it must be"),
        ({"train_transform": "resise"}, "Unknown transform 'resise'; nearest: resize"),
        (
            {"train_transform": "resize", "scaled_decoding": True},
            "data.train_transform is 'resize'; with .* must be one of .*random_crop, ",
        ),
        ({"repeats": 0}, "data.repeats must be at least 1, not 0."),
        ({"sampling": "ballanced"}, "Unknown sampling 'ballanced'; nearest: balanced"),
        ({"bad_images": "ignore"}, "Unknown bad_images 'ignore'; known: error, skip"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_reading(arrays, fields, text):
    with pytest.raises(UserError, match=text):
        train_batches(arrays, config_of(**fields), seed=0, num_steps=1, process_count=2)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"eval_batch_size": 9}, "eval_batch_size is 9; it must be a multiple of"),
        ({"eval_transform": "random_resized_crop"}, "which is random; allowed: resize"),
        ({"eval_transform": "x"}, "Unknown transform 'x'; known: center_crop"),
    ],
)
def test_evaluation_settings_that_cannot_work_are_refused(arrays, fields, text):
    with pytest.raises(UserError, match=text):
        eval_batches(arrays, config_of(**fields), process_count=2)


def test_an_empty_split_is_refused(arrays):
    empty = Subset(arrays, np.arange(0))
    with pytest.raises(UserError, match="The train split is empty"):
        train_batches(empty, config_of(), seed=0, num_steps=1)
    with pytest.raises(UserError, match="The test split is empty"):
        eval_batches(empty, config_of(), split="test")


def test_a_negative_seed_is_refused(arrays):
    with pytest.raises(UserError, match="The seed is -1; it must be 0 or more"):
        train_batches(arrays, config_of(), seed=-1, num_steps=1)


def test_balanced_sampling_without_classes_is_refused(arrays):
    with pytest.raises(UserError, match="'balanced' needs .* distinct classes"):
        train_batches(arrays, config_of(sampling="balanced"), num_steps=1)


@pytest.mark.parametrize("label", [-1, 10])
def test_a_label_that_is_no_class_is_refused(arrays, label):
    of_ten = targets.classes([str(i) for i in range(10)])
    labels = np.arange(N, dtype=np.int32) % 10
    of_ten["label"].check(labels, "train")
    labels[7] = label
    bad = ArrayExamples(arrays.images, {"label": labels})
    text = f"Example 7 of the train split: label {label} .* 10 classes .* 0 to 9"
    for examples in (bad, through_grain(bad)):
        with pytest.raises(UserError, match=text):
            list(train_batches(examples, config_of(), targets=of_ten, num_steps=5))
        with pytest.raises(UserError, match=text.replace("train", "validation")):
            list(eval_batches(examples, config_of(), targets=of_ten))


GOOD = {"image": np.zeros((9, 9, 1), np.uint8), "label": 1}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"image": np.full((9, 9, 1), 0.7, np.float32)}, "must be uint8 .H, W, 1., no"),
        ({"image": np.zeros((9, 9), np.uint8)}, r"W, 1\], not uint8 \[9, 9\]"),
        ({"image": np.zeros((9, 9, 5), np.uint8)}, r"not uint8 \[9, 9, 5\]"),
        ({"image": "1.jpg"}, "its image must be .*, not str"),
        ({"label": "a"}, "its label is of dtype <U1, which does not cast to int32"),
        ({"label": 0.7}, "its label is of dtype float64, which does not cast to int32"),
        ({"label": [[1], [1, 2]]}, "its target 'label' is no array"),
        ({"label": None}, "it has no target 'label'; it has image"),
    ],
)
def test_an_example_that_is_not_as_described_is_refused_where_it_is_read(changes, text):
    bad = {name: x for name, x in (GOOD | changes).items() if x is not None}
    examples = [GOOD, GOOD, bad, GOOD]
    options = {"targets": TARGETS, "channels": 1}
    ways = {
        "train": lambda config: batches.train_batches(
            examples, config, seed=0, num_steps=1, **options
        ),
        "validation": lambda config: batches.eval_batches(examples, config, **options),
        "test": lambda config: memory.in_memory(
            examples,
            TRANSFORMS["resize"],
            config,
            TARGETS,
            BadImages("error", "test", N),
            channels=1,
        ),
    }
    for split, read in ways.items():
        with pytest.raises(
            UserError, match=f"Example 2 of the {split} split: .*{text}"
        ):
            list(read(config_of(batch_size=4)))


def test_arrays_of_floats_are_refused_and_not_gathered(arrays):
    scaled = ArrayExamples(arrays.images / np.float32(255), arrays.targets)
    with pytest.raises(UserError, match="Example 0 of the train split: its image must"):
        next(train_batches(scaled, config_of(), num_steps=1))
    halves = ArrayExamples(arrays.images, {"label": np.arange(N) / 2})
    with pytest.raises(
        UserError, match="its label is of dtype float64, which does not"
    ):
        next(eval_batches(halves, config_of()))
