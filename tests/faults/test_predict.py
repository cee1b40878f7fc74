"""predict with images that cannot be read, and with names of every kind."""

import csv
import dataclasses
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

import jaxcnn
from jaxcnn import __main__
from jaxcnn.config import Config, DataConfig
from jaxcnn.errors import UserError
from jaxcnn.serving import predictor as predictor_lib
from jaxcnn.training import fit as fit_lib
from tests.interrupted import NoWriter

NAMES = (
    b"a.png",
    b"not utf-8 \xff\xfe.png",
    b"[bold red]markup[on blue] :smile:.png",
    b"escape \x1b[31m and \x1b]0;title\x07.png",
    b"line\nbreak and\ttab.png",
    b"carriage\rreturn.png",
    b'"quoted", with comma.png',
    "\N{RIGHT-TO-LEFT OVERRIDE}gnp 犬.png".encode(),
    b"x" * 251 + b".png",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of one step."""
    folder = tmp_path_factory.mktemp("run")
    config = Config(
        model="softmax_regression",
        data=DataConfig(name="digits", image_size=8, batch_size=64),
        num_epochs=0.01,
        num_devices=1,
    )
    fit_lib.fit(config, folder, make_writer=lambda *args: NoWriter())
    return folder


@pytest.fixture
def images(tmp_path):
    """A folder of images with every name."""
    path = tmp_path / "images"
    path.mkdir()
    for number, name in enumerate(NAMES):
        file = os.path.join(os.fsencode(path), name)
        Image.new("L", (8, 8), number * 20).save(os.fsdecode(file), "PNG")
    return path


def call(run, *arguments):
    command = ["predict", f"--workdir={run}", "--checkpoint=latest", "--top_k=2"]
    return __main__.main([*command, *map(str, arguments)])


def paths_of(images):
    return sorted(os.fsdecode(os.path.join(os.fsencode(images), n)) for n in NAMES)


def test_names_are_whole_and_unchanged_in_every_format(run, images, capfdbinary):
    expected = paths_of(images)
    output = images.parent / "pictures"
    assert call(run, images, "--format=table", f"--output={output}") == 0
    table = capfdbinary.readouterr().out
    for path in expected:
        assert os.fsencode(path) in table
    assert len(list(output.iterdir())) == len(NAMES)

    assert call(run, images, "--format=json") == 0
    found = json.loads(capfdbinary.readouterr().out)
    assert [row["image"] for row in found] == expected
    assert all(len(row["classes"]) == 2 for row in found)

    assert call(run, images, "--format=csv") == 0
    text = capfdbinary.readouterr().out.decode("utf-8", "surrogateescape")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["image"] for row in rows] == [path for path in expected for _ in "12"]


def test_what_cannot_be_read_is_listed_last_and_the_rest_is_predicted(
    run, images, capfdbinary
):
    (images / "broken.png").write_bytes(b"no image")
    (images / os.fsdecode(b"half \xff.jpg")).write_bytes(b"\xff\xd8\xff")
    (images / "notes.txt").write_text("text")
    os.mkfifo(images / "pipe.jpg")
    for form in ("table", "json", "csv"):
        assert call(run, images, f"--format={form}") == 1
        done = capfdbinary.readouterr()
        if form == "json":
            assert [row["image"] for row in json.loads(done.out)] == paths_of(images)
        assert b"broken" not in done.out
        lines = done.err.splitlines()
        assert lines[-6:-3] == [
            f"Could not be read: 2 of {len(NAMES) + 2} images:".encode(),
            os.fsencode(images) + b"/broken.png: no JPEG, PNG, WebP, BMP, GIF or TIFF "
            b"image",
            lines[-4],
        ]
        assert lines[-4].startswith(os.fsencode(images) + b"/half \xff.jpg: ")
        assert lines[-3:] == [
            b"Of other types, and not read: 2 files:",
            os.fsencode(images) + b"/notes.txt",
            os.fsencode(images) + b"/pipe.jpg",
        ]
    # Files of other types are no failure, and a file that is named alone is a mistake.
    (images / "broken.png").unlink()
    (images / os.fsdecode(b"half \xff.jpg")).unlink()
    assert call(run, images) == 0
    assert b"notes.txt" in capfdbinary.readouterr().err
    assert call(run, images / "notes.txt") == 2
    assert call(run, images / "pipe.jpg") == 2
    error = capfdbinary.readouterr().err.splitlines()[-1]
    assert error.endswith(b"pipe.jpg: not a regular file.")


def test_results_are_printed_before_the_last_image_is_read(run, tmp_path, monkeypatch):
    printed, number = [], 3 * predictor_lib._BATCH_SIZE
    whole = tmp_path / "0.png"
    Image.new("L", (8, 8)).save(whole)
    for i in range(1, number):
        shutil.copy(whole, tmp_path / f"{i:03}.png")
    decode = predictor_lib.images_lib.decode
    out = io.TextIOWrapper(io.BytesIO(), "utf-8")
    monkeypatch.setattr(sys, "stdout", out)

    def noted(*arguments):
        printed.append(out.buffer.getvalue().count(b"\n"))
        return decode(*arguments)

    monkeypatch.setattr(predictor_lib.images_lib, "decode", noted)
    assert call(run, tmp_path, "--format=csv") == 0
    assert printed[0] == 0
    assert printed[-1] >= number  # two lines for each image but the last 32


def test_a_terminal_obeys_no_name():
    primary, secondary = os.openpty()
    code = (
        "import sys; from jaxcnn.cli import predict; "
        r"predict._print('a \x1b[31m b\n', sys.stdout)"
    )
    root = pathlib.Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], stdout=secondary, cwd=root, check=True)
    os.close(secondary)
    assert os.read(primary, 1000).strip() == rb"a \x1b[31m b\n"
    os.close(primary)


# Arrays, images of Pillow and files follow one rule, in prediction as in training.

GREYS = np.array([[0, 51, 102], [153, 204, 255]], np.uint8)


@pytest.fixture(scope="module")
def read(run):
    """Image -> its pixels, before they get the size of the network's input."""
    loaded = predictor_lib.load(run, "latest")
    return dataclasses.replace(loaded, transform=lambda image: image).read


def tiff(image):
    file = io.BytesIO()
    image.save(file, "TIFF")
    return file.getvalue()


TAKEN = [
    *(GREYS.astype(dtype) for dtype in ("uint8", "int16", "int32", "int64", "uint64")),
    GREYS.astype("uint16") * 257,
    GREYS.astype(">u2") * 257,
    GREYS[..., None].astype("int32"),
]


@pytest.mark.parametrize("image", TAKEN, ids=lambda x: f"{x.dtype}{x.ndim}")
def test_arrays_that_are_clear_are_the_same_greys_everywhere(read, image):
    np.testing.assert_array_equal(read(image)[..., 0], GREYS)
    whole = np.repeat(image[None], 12, axis=0)
    trained = jaxcnn.Dataset.from_arrays(
        whole, np.arange(12) % 2, validation=(whole, np.arange(12) % 2)
    )
    for part in trained.splits.values():
        np.testing.assert_array_equal(part.images[0, ..., 0], GREYS)
    if image.ndim == 2 and image.dtype in (np.uint8, np.int32, np.uint16):
        picture = Image.fromarray(image.astype(image.dtype.newbyteorder("=")))
        np.testing.assert_array_equal(read(picture)[..., 0], GREYS)
        np.testing.assert_array_equal(read(tiff(picture))[..., 0], GREYS)


def test_bools_and_colours_are_clear(read):
    black_and_white = np.array([[False, True]])
    for image in (black_and_white, Image.fromarray(black_and_white)):
        assert read(image)[..., 0].tolist() == [[0, 255]]
    colours = np.random.default_rng(0).integers(0, 256, (4, 5, 3))  # int64
    luma = np.rint(colours @ [0.299, 0.587, 0.114])  # ITU-R 601
    np.testing.assert_allclose(read(colours)[..., 0], luma, atol=1)


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (GREYS / 255, "it is float64 with values from 0 to 1; bool, uint8 .*round.255"),
        (np.stack([GREYS / np.float32(255)] * 3, -1), "it is float32 with values fr"),
        (GREYS.astype("float16"), "it is float16 with values from 0 to 255"),
        (GREYS * np.nan, "it is float64 with values from nan to nan"),
        (GREYS.astype("int32") * 16, "it is int32 with values from 0 to 4080; bool"),
        (GREYS.astype("int64") - 1, "it is int64 with values from -1 to 254"),
        (GREYS.astype("complex64"), "its dtype is complex64; bool, uint8"),
        (GREYS.astype(str), "its dtype is <U3"),
        (np.zeros((2, 2, 4), np.uint8), "shape of the image must be .*H, W., .* not"),
        (np.zeros((0, 4), np.uint8), "has no pixels"),
        (Image.fromarray(GREYS / np.float32(255)), "it is float32 with values from 0"),
        (Image.fromarray(GREYS.astype("int32") * 16), "it is int32 with values from"),
        (tiff(Image.fromarray(GREYS / np.float32(255))), "image: it is float32 with"),
        (
            tiff(Image.fromarray(GREYS.astype("int32") - 5)),
            "image: it is int32 with va",
        ),
    ],
    ids=range(14),
)
def test_arrays_that_are_not_clear_are_refused_by_dtype_and_range(read, image, text):
    with pytest.raises(UserError, match=text) as caught:
        read(image)
    assert "\n" not in str(caught.value)
    if isinstance(image, np.ndarray) and image.size:
        whole = np.repeat(image[None], 12, axis=0)
        with pytest.raises(
            UserError,
            match=text.partition("; bool")[0].replace(
                "of the image", "of the train images"
            ),
        ):
            jaxcnn.Dataset.from_arrays(whole, np.arange(12) % 2)


def test_arrays_of_other_libraries_are_taken_and_what_is_no_image_is_refused(read):
    np.testing.assert_array_equal(read(jnp.asarray(GREYS))[..., 0], GREYS)
    predictor = read.__self__
    for images in ([[[0, 1], [2, 3]]], [None], [{"image": GREYS}]):
        with pytest.raises(UserError, match="must be a path, .* or an array, not a"):
            predictor(images)
    for image in (GREYS, jnp.asarray(GREYS), "a.png", Image.fromarray(GREYS)):
        with pytest.raises(UserError, match="takes a list of images; write .image"):
            predictor(image)


def test_float_images_need_the_range_that_the_run_was_trained_with(read):
    predictor = dataclasses.replace(read.__self__, value_range=(0.0, 1.0))
    np.testing.assert_array_equal(predictor.read(GREYS / 255)[..., 0], GREYS)
    with pytest.raises(UserError, match="must be float, with a value_range, not uint8"):
        predictor.read(GREYS)
