"""Lines of text: rendered, listed in a CSV file, trained on and read."""

import json
import pathlib

from flax import traverse_util
import jax
import numpy as np
from PIL import Image, ImageDraw, ImageFont
import pytest

from jaxcnn import __main__, config_fields, data, fit, models
from jaxcnn.config import Config, DataConfig, OptimConfig, TaskConfig
from jaxcnn.data import glyphs, text_lines, transforms
from jaxcnn.errors import UserError
from jaxcnn.pretrained import description, weights
from jaxcnn.serving import export
from jaxcnn.tasks import Text
from jaxcnn.training import network, parallel, prepare, transfer
from jaxcnn.training import workdir as workdir_lib
from tests.interrupted import assert_same_bits, last_state, records, signalled

FONTS = {
    split: [pathlib.Path(file) for file in glyphs.matplotlib_files(split)]
    for split in glyphs.MATPLOTLIB_FONTS
}
SENTENCE = "the rat the cat the dog chased killed ate the malt"


@pytest.fixture
def few_lines(monkeypatch):
    numbers = {"train": 24, "validation": 10, "test": 7}
    monkeypatch.setattr(text_lines, "NUM_LINES", numbers)


@pytest.fixture
def short_lines(few_lines, monkeypatch):
    monkeypatch.setattr(text_lines, "LONGEST", 10)
    monkeypatch.setattr(text_lines, "WIDEST", 128)


# Rendered lines.


def test_the_words_are_the_850_of_basic_english():
    words = text_lines.words()
    assert len(words) == len(set(words)) == 850  # Ogden's own title
    assert all(word.isalpha() and word.islower() for word in words)
    # The first and last operation, thing and quality of his list.
    assert {"come", "yes", "account", "worm", "able", "wrong"} <= set(words)


def test_a_line_is_a_function_of_its_split_and_number(few_lines):
    a, b = (data.load(DataConfig(name="text_lines")) for _ in range(2))
    assert a.info == b.info
    for split, number in {"train": 24, "validation": 10, "test": 7}.items():
        assert len(a.splits[split]) == number
        for i in (3, 5):
            one, other = a.splits[split][i], b.splits[split][i]
            np.testing.assert_array_equal(one["image"], other["image"])
            column = a.splits[split].column("text")
            np.testing.assert_array_equal(one["text"], column[i])
    texts = [tuple(x) for part in a.splits.values() for x in part.column("text")]
    assert len(set(texts)) == 41


def test_texts_fit_the_target_and_have_single_spaces(few_lines):
    target = data.load(DataConfig(name="text_lines")).info.targets["text"]
    rng = np.random.default_rng(0)
    texts = [text_lines.draw_text(rng) for _ in range(500)]
    codes = [text_lines.codes(text) for text in texts]
    assert not [*target.problems(codes)]
    assert "".join(target.names[code] for code in codes[0]) == texts[0]
    assert max(map(len, texts)) <= target.shape[0] == text_lines.LONGEST
    assert min(map(len, texts)) >= 2  # 3, or a space at the end that is dropped
    assert all("  " not in text and text == text.strip() for text in texts)
    assert {*"".join(texts)} == {*target.names}
    known = {w for text in texts for w in text.split()[:-1]} & set(text_lines.words())
    assert len(known) > 400


def test_families_of_test_fonts_are_unseen(few_lines):
    splits = data.load(DataConfig(name="text_lines")).splits
    families = {
        split: {ImageFont.truetype(font, 16).getname()[0] for font in part.fonts}
        for split, part in splits.items()
    }
    assert not families["test"] & (families["train"] | families["validation"])
    assert not families["validation"] & families["train"]


def test_the_shapes_of_fonts_vary_in_training_alone(few_lines, monkeypatch):
    splits = data.load(DataConfig(name="text_lines")).splits
    styles = []

    def render(text, path, style, rng):
        styles.append(style)
        return np.zeros((32, 8, 1), np.uint8)

    monkeypatch.setattr(text_lines, "render", render)
    for split in ("train", "validation", "test"):
        styles.clear()
        for i in range(7):
            splits[split][i]
        assert len({style.height for style in styles}) == 7
        for name in ("stretch", "slant", "x_height", "weight"):
            own = {getattr(style, name) for style in styles}
            if split == "train":
                assert len(own) > 1
            else:
                assert own == {getattr(text_lines.Style(), name)}


@pytest.mark.parametrize("font", [FONTS["train"][0], FONTS["test"][4]])
def test_a_clean_line_is_what_pillow_draws(font):
    # Letter by letter, at twice the size and averaged, is nearly the whole text at
    # once: no kerning in these fonts, and other rounding.
    style = text_lines.Style(height=22.0)
    text = "hamburg"
    line = text_lines.render(text, font, style, np.random.default_rng(0))
    reference = ImageFont.truetype(font, 256)
    box = reference.getbbox(text_lines.CHARACTERS.strip(), anchor="ls")
    size = 256 * 22.0 / (box[3] - box[1])
    drawn = Image.new("L", (line.shape[1], 32))
    baseline = round((32 - 22.0) / 2 - box[1] * size / 256)
    ImageDraw.Draw(drawn).text(
        (4, baseline),
        text,
        fill=255,
        font=reference.font_variant(size=size),
        anchor="ls",
    )
    a = line[..., 0].astype(float)
    b = np.asarray(drawn).astype(float)
    best = max(
        np.corrcoef(a.ravel(), np.roll(b, (y, x), (0, 1)).ravel())[0, 1]
        for y in (-1, 0, 1)
        for x in (-1, 0, 1)
    )
    assert best > 0.8
    other = np.roll(b, 8, 1)
    assert np.corrcoef(a.ravel(), other.ravel())[0, 1] < 0.5


def test_a_style_moves_a_line_as_it_says():
    font = FONTS["train"][0]
    rng = np.random.default_rng(0)

    def render(**style):
        return text_lines.render("lll", font, text_lines.Style(**style), rng)[..., 0]

    def ink(line):
        rows, columns = np.nonzero(line > 100)
        return rows.min(), rows.max(), columns.min(), columns.max()

    plain = render()
    assert render(margins=(9, 2)).shape[1] == plain.shape[1] + 3
    assert ink(render(margins=(9, 2)))[2] == ink(plain)[2] + 5
    assert render(stretch=2.0).shape[1] - 8 == pytest.approx(
        2 * (plain.shape[1] - 8), abs=1
    )
    assert render(spacing=3.0).shape[1] == pytest.approx(plain.shape[1] + 9, abs=1)
    assert ink(render(centre=1.0))[0] > ink(render(centre=0.0))[0] + 5
    for kind in ((1, 0), (0, 1)):
        thin = tuple(-side for side in kind)
        assert render(weight=kind).mean() > plain.mean() > render(weight=thin).mean()
    # Upright stems stay as wide where horizontal strokes are thickened.
    stems = [(line[16] > 100).sum() for line in (plain, render(weight=(1, 0)))]
    assert stems[0] == stems[1]

    def top(character, x_height):  # first row of its ink
        style = text_lines.Style(x_height=x_height)
        return ink(text_lines.render(character, font, style, rng)[..., 0])[0]

    assert top("x", 0.7) > top("x", 1.0) + 2
    assert top("l", 0.7) == top("l", 1.0)

    def lean(line):  # columns from the foot of a line to its head
        top, bottom, _, _ = ink(line)
        head, foot = (
            np.nonzero(line[y] > 100)[0].mean() for y in (top + 2, bottom - 2)
        )
        return head - foot

    # By hand: half a column for each of the rows between, of which there are 12.
    top, bottom, _, _ = ink(plain)
    expected = 0.5 * (bottom - top - 4)
    assert lean(render(slant=0.5)) - lean(plain) == pytest.approx(expected, abs=0.7)
    # By hand: six rows over the whole line, so four from the first third to the last.
    first, _, last = np.array_split(render(height=20.0, rise=6.0), 3, axis=1)
    assert ink(first)[0] - ink(last)[0] == pytest.approx(4, abs=1)
    assert render(background=50.0, ink=200.0).min() == 50
    assert render(noise=10.0).std() > 0
    assert render(blur=1.0).max() < 255


def test_long_lines_are_narrowed_and_none_is_clipped():
    for font in FONTS["test"]:
        clean = text_lines.Style(height=28.0, margins=(3, 3))
        rng = np.random.default_rng(0)
        line = text_lines.render(SENTENCE, font, clean, rng, widest=512)
        assert line.shape == (32, 512, 1)
        assert line[:, :2].max() < 100
        assert line[:, -2:].max() < 100
        assert line[0].max() < 100
        assert line[-1].max() < 100


def test_rgb_lines_are_grey_ones_three_times(few_lines):
    grey = data.load(DataConfig(name="text_lines"))
    rgb = data.load(DataConfig(name="text_lines", channels=3))
    assert (grey.info.channels, rgb.info.channels) == (1, 3)
    assert rgb.info.mean == grey.info.mean * 3
    np.testing.assert_array_equal(
        rgb.splits["train"][0]["image"], grey.splits["train"][0]["image"].repeat(3, 2)
    )


def test_a_line_is_as_high_as_its_canvas_and_stands_at_the_left():
    row = transforms.find("line")
    assert row.place((16, 40), (32, 200), None) == transforms.Placement(
        (0, 0, 16, 40), (32, 80), (0, 0), (32, 200)
    )
    assert row.place((16, 400), (32, 200), None).resized == (32, 200)
    assert not row.random


# Lines of a user's own.


def listed(folder, lines, header="image,text"):
    """A CSV file of images that are drawn for the texts of its lines."""
    font = ImageFont.truetype(FONTS["train"][0], 20)
    (folder / "lines").mkdir()
    for number, (text, *_) in enumerate(lines):
        image = Image.new("L", (max(12 * len(text), 1) + 8, 24), 255)
        ImageDraw.Draw(image).text((4, 0), text, fill=0, font=font)
        image.save(folder / f"lines/{number}.png")
    rows = [f"lines/{i}.png,{','.join(line)}" for i, line in enumerate(lines)]
    path = folder / "list.csv"
    path.write_text("\n".join([header, *rows]), encoding="utf-8")
    return path


def test_a_csv_file_lists_lines_and_their_texts(tmp_path):
    lines = [("Cat", "train"), ("cafe\u0301", "validation"), (" be ", "test")]
    path = listed(tmp_path, lines, "image,text,split")
    config = DataConfig(name=f"csv:{path}", target_kind="text", channels=1)
    dataset = data.load(config)
    target = dataset.info.targets["text"]
    assert target.names == (*"Cabceft", "\u00e9")
    assert (target.shape, target.ragged) == ((4,), True)
    texts = {
        split: "".join(target.names[code] for code in part.column("text")[0])
        for split, part in dataset.splits.items()
    }
    assert texts == {"train": "Cat", "validation": "caf\u00e9", "test": "be"}
    assert dataset.splits["train"][0]["image"].shape == (24, 44, 1)
    assert dataset.remarks == (
        "Warning: no text of the train split has 'b', 'c', 'e', 'f', '\u00e9'.",
    )


@pytest.mark.parametrize(
    ("lines", "header", "text"),
    [
        ([("a",), (" ",)], "image,text", "line 3: column 'text' is empty"),
        ([("a", "b")], "image,text,more", "needs one column of texts, not text, more"),
    ],
)
def test_a_list_of_texts_that_is_wrong_is_refused(tmp_path, lines, header, text):
    path = listed(tmp_path, lines, header)
    with pytest.raises(UserError, match=text):
        data.load(DataConfig(name=f"csv:{path}", target_kind="text"))


FLAGS = [
    "--config.task.name=text",
    "--config.model=crnn",
    "--config.model_fields=(('filters', (2, 2, 2, 2, 3, 3, 4)), ('hidden', 4))",
    "--config.data.target_kind=text",
    "--config.data.image_size=(32, 64)",
    "--config.data.train_transform=line",
    "--config.data.eval_transform=line",
    "--config.data.channels=1",
    "--config.data.batch_size=4",
    "--config.data.eval_batch_size=8",
    "--config.num_devices=1",
    "--config.num_epochs=2",
]


def test_a_text_that_is_too_long_for_its_image_is_refused_by_its_file(tmp_path, capsys):
    # 64 columns give 15 frames; "aa" needs three.
    lines = [("abcdefgh", "train")] * 11 + [("aaaaaaaab", "test")]
    lines += [("ab", "validation")]
    path = listed(tmp_path, lines, "image,text,split")
    command = ["train", *FLAGS, f"--config.data.name=csv:{path}"]
    assert __main__.main([*command, f"--workdir={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Example 0 of the test split" in error
    assert "lines/11.png" in error
    assert "for images of 32x64 pixels: its text 'aaaaaaaab' needs 16 frames" in error
    assert "the network gives 15" in error
    assert not (tmp_path / "run").exists()


def test_a_network_that_reads_no_frames_is_refused(tmp_path, capsys):
    path = listed(tmp_path, [("ab",)] * 12)
    flags = [x for x in FLAGS if "model" not in x] + ["--config.model=lenet5"]
    command = ["train", *flags, f"--config.data.name=csv:{path}"]
    assert __main__.main([*command, f"--workdir={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert "Text needs a network that gives [any, 3] numbers for each image" in error
    assert "this one gives [3]" in error


@pytest.mark.slow
def test_every_verb_takes_lines_of_text(tmp_path, capsys):
    words = ["cat", "dog", "rat", "malt", "ate"]
    path = listed(tmp_path, [(words[i % 5],) for i in range(40)])
    workdir = f"--workdir={tmp_path / 'run'}"
    flags = [*FLAGS, f"--config.data.name=csv:{path}"]
    assert __main__.main(["train", *flags, workdir]) == 0
    tested = next(
        record
        for line in (tmp_path / "run/metrics.jsonl").open()
        if (record := json.loads(line))["split"] == "test"
    )
    capsys.readouterr()
    assert __main__.main(["evaluate", workdir, "--format=json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    for name in "character_error_rate", "word_error_rate", "line_accuracy", "loss":
        assert measured[name] == pytest.approx(tested[name], rel=1e-5)
    image = str(tmp_path / "lines/0.png")
    assert __main__.main(["predict", workdir, image, "--format=json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert {*row} == {"image", "text", "confidence"}
    assert __main__.main(["predict", workdir, image, "--format=csv"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "image,text,confidence"
    assert __main__.main(["predict", workdir, image]) == 0
    capsys.readouterr()
    assert __main__.main(["check_data", *flags]) == 0
    # The decoder may change when a run is resumed: it changes no parameter.
    (tmp_path / "words.txt").write_text("\n".join(words))
    beam = ["--config.task.beam_width=5", f"--config.task.lexicon={tmp_path}/words.txt"]
    assert __main__.main(["train", *flags, *beam, workdir]) == 0
    capsys.readouterr()
    assert __main__.main(["predict", workdir, image, "--format=json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["text"] in ("", *words)
    # The run has the words, so their file may be elsewhere.
    (tmp_path / "words.txt").unlink()
    assert __main__.main(["evaluate", workdir, "--format=json"]) == 0
    assert __main__.main(["train", *flags, *beam, workdir]) == 0
    capsys.readouterr()
    assert __main__.main(["predict", workdir, image, "--format=json"]) == 0
    assert json.loads(capsys.readouterr().out) == [row]
    # So does the description of its weights, from which other programs can read, too.
    config, info = workdir_lib.read(tmp_path / "run")
    task = network.open_task(config, info)
    about = description.parse(path, export._describe(config, info, task).to_json())
    assert about.names == (*sorted(set("".join(words))), "(blank)")
    mesh = parallel.data_mesh(1)
    _, variables = network.load_variables(tmp_path / "run", config, info, "best", mesh)
    weights.save(
        weights.Weights(
            model="crnn",
            fields=about.fields,
            num_classes=task.num_classes,
            class_names=about.names,
            channels=info.channels,
            preprocessing=about.preprocessing,
            library="jaxcnn",
            file="crnn",
            sha256="",
            variables=jax.tree.map(np.asarray, variables),
            task=about.task,
        ),
        tmp_path / "weights",
    )
    imported = f"--workdir={tmp_path / 'weights'}"
    assert __main__.main(["predict", imported, image, "--format=json"]) == 0
    (same,) = json.loads(capsys.readouterr().out)
    assert same == row | {"confidence": pytest.approx(row["confidence"], rel=1e-5)}


def test_the_head_of_a_network_for_other_characters_starts_at_random():
    fields, shape = dict(tiny_config().model_fields), (32, 32, 1)
    model = models.create_model("crnn", 3, **fields)
    variables = model.init(jax.random.key(0), np.zeros((1, *shape)), train=False)
    arrays = traverse_util.flatten_dict(jax.tree.map(np.asarray, variables), sep="/")
    names = Text(("a", "b"), 7).output_names
    source = transfer.Source("ab", arrays, (0.5,), (0.25,), names=names)
    same = transfer.make_start(source, model, shape, names=names)
    assert {*same.arrays} == {*arrays}
    names = Text(("a", "c"), 7).output_names
    other = transfer.make_start(source, model, shape, names=names)
    assert {*arrays} - {*other.arrays} == {"params/head/bias", "params/head/kernel"}


def test_each_column_of_targets_is_read_once(short_lines, monkeypatch):
    read, column = [], text_lines.Lines.column
    monkeypatch.setattr(
        text_lines.Lines,
        "column",
        lambda self, target: read.append(self.seed) or column(self, target),
    )
    config = tiny_config()
    stages = ((32, 64), 0.0), ((32, 128), 1.0)
    prepare.prepare(config_fields.replace(config, {"data.image_size_stages": stages}))
    assert sorted(read) == [0, 1, 2]


# Training.


def tiny_config(**fields):
    return Config(
        model="crnn",
        model_fields=(("filters", (2, 2, 2, 2, 3, 3, 4)), ("hidden", 4)),
        data=DataConfig(
            name="text_lines",
            image_size=(32, 128),
            train_transform="line",
            eval_transform="line",
            batch_size=8,
            eval_batch_size=8,
        ),
        task=TaskConfig(name="text"),
        # Not Adam, which makes much of gradients that are rounding alone.
        optim=OptimConfig(name="nesterov", peak_lr=1e-3),
        num_epochs=2.0,
        log_every_steps=1,
        **fields,
    )


@pytest.mark.slow
def test_a_run_that_was_stopped_is_the_run_that_was_not(short_lines, tmp_path):
    config = tiny_config(num_devices=1)
    fit(config, tmp_path / "whole")
    with signalled(4):
        assert fit(config, tmp_path / "stopped").stopped_by is not None
    fit(config, tmp_path / "stopped")
    assert_same_bits(
        last_state(tmp_path / "stopped", 6), last_state(tmp_path / "whole", 6)
    )
    assert records(tmp_path / "stopped") == records(tmp_path / "whole")


@pytest.mark.slow
def test_several_devices_train_and_measure_as_one_does(short_lines, tmp_path):
    one = fit(tiny_config(num_devices=1), tmp_path / "one")
    four = fit(tiny_config(num_devices=4), tmp_path / "four")
    for name, value in one.test.items():
        assert four.test[name] == pytest.approx(value, rel=1e-5), name
    a, b = (last_state(tmp_path / name, 6) for name in ("one", "four"))
    assert a.keys() == b.keys()
    for path in a:
        if "params" in path:
            np.testing.assert_allclose(a[path], b[path], atol=1e-5, err_msg=path)
