"""Names with any letters: whole in every format, and never a failure after the work."""

import csv
import io
import json
import warnings

from matplotlib import font_manager, ft2font
from matplotlib import text as matplotlib_text
import numpy as np
from PIL import Image
import pytest

from jaxcnn import errors
from jaxcnn.report import (
    confusion,
    contact_sheet,
    letters,
    parts,
    pictures,
    text,
)
from jaxcnn.tasks import Classification
from jaxcnn.tasks.parts import Caption, Matrix, Scatter, Table

NAMES = (
    "$",
    "$x^2$",
    "$\\frac{1$",
    "a$b$c^_{",
    "a_b",
    "\\alpha",
    "100%",
    "[red]rich[/red]",
    "[/]",
    ":smile:",
    "two\nlines",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "tab\there",
    "\x00",
    "\u202egnp.exe",
    "\u2066\u200f",
    "\u05e9\u05dc\u05d5\u05dd",
    "\u65e5\u672c\u8a9e",
    "\uac00",
    "\U0001f600",
    "caf\udce9",
    "\ud800",
    "x" * 300,
    "\u65e5" * 2_000,
    " ",
    "a,b;\"c'",
    "\u2028",
)


@pytest.fixture(autouse=True)
def no_warnings():
    """A letter without a glyph, or a layout that fails, is a warning of matplotlib."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("names", [NAMES[:3], NAMES], ids=["few", "all"])
def test_a_confusion_matrix_has_every_name_whole(names, tmp_path):
    counts = np.eye(len(names)) * 3
    files = confusion.write(tmp_path / "confusion", counts, names)
    with files[0].open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.reader(file))
    # A surrogate that stands for no byte has no UTF-8.
    expected = [name if name != "\ud800" else "\\ud800" for name in names]
    assert rows[0][1:] == [row[0] for row in rows[1:]] == expected
    with Image.open(files[1]) as picture:
        assert picture.width > 100


def test_the_labels_of_a_picture_are_the_names_or_numbers_with_a_key():
    shown = letters.labels(NAMES)
    assert shown[:7] == [
        "$",
        "$x^2$",
        "$\\frac{1$",
        "a$b$c^_{",
        "a_b",
        "\\alpha",
        "100%",
    ]
    assert shown[10] == "two\\nlines"
    assert shown[11] == "\\x1b[31mred\\x1b[0m"
    assert shown[15] == "\\u202egnp.exe"
    assert shown[17] == NAMES[17]
    assert shown[23] == "#24"
    key = letters.key(NAMES)
    assert f"#24 {NAMES[23]}" in key
    assert letters.key(("cat", "dog")) == ""
    figure = confusion.figure(np.eye(2), ("cat", "x" * 50))
    texts = [t.get_text() for t in figure.findobj(matplotlib_text.Text)]
    assert "#2" in texts
    assert any("#1 is the first class of the CSV file" in t for t in texts)


def test_letters_without_a_font_are_numbered_or_escaped(monkeypatch):
    only = {"DejaVu Sans": letters._fonts()["DejaVu Sans"]}
    monkeypatch.setattr(letters, "_fonts", lambda: only)
    assert letters.labels(("a", "\u65e5\u672c")) == ["a", "#2"]
    assert letters.key(("a", "\u65e5\u672c")) == "In the picture: #2 \u65e5\u672c"
    assert letters.drawable("\u65e5b") == "\\u65e5b"


def test_a_font_is_chosen_that_has_the_letters():
    # Of the fonts that come with matplotlib, this one has letters that DejaVu lacks.
    stix = font_manager.findfont("STIXGeneral")
    lacking = set(ft2font.FT2Font(stix).get_charmap()) - letters._letters("DejaVu Sans")
    name = "".join(map(chr, sorted(lacking)[:3]))
    assert letters.labels([name]) == [name]
    default = letters._fonts()["DejaVu Sans"]
    assert letters.font(14, name).path != default
    assert letters.font(14, "caf\u00e9").path == default


def test_tables_have_every_name_in_one_line():
    rows = [(name, "1") for name in NAMES]
    lines = text.table(rows, ("class", "images")).splitlines()
    assert len(lines) == len(NAMES) + 2
    for name, line in zip(NAMES, lines[2:], strict=True):
        assert line.strip().startswith(errors.printable(name).strip())
        assert line.endswith("1")
        assert line.isprintable()
    assert text.pairs({"run": "a\nb"}) == "run  a\\nb"


def test_a_printable_text_is_itself():
    for name in (
        "caf\u00e9",
        "$x_1^2$",
        "[red]",
        "\u65e5\u672c\u8a9e",
        "\\n",
        "a\u0301",
    ):
        assert errors.printable(name) == name


def test_predictions_have_every_name_in_every_format(tmp_path):
    task = Classification(NAMES)
    likely = 0.9 * np.eye(len(NAMES)) + 0.1 / len(NAMES)
    answers = [task.answer({"probabilities": row}, 2) for row in likely]
    given = [(f"{i}.png", answer) for i, answer in enumerate(answers)]
    images = [image for image, _ in given]

    def predicted(form):
        return "\n".join(text.PREDICTIONS[form](task, images, iter(given)))

    found = json.loads(predicted("json"))
    assert [row["classes"][0]["class"] for row in found] == [*NAMES]
    rows = csv.DictReader(io.StringIO(predicted("csv")))
    assert [row["class"] for row in rows if row["rank"] == "1"] == [*NAMES]
    table = predicted("table")
    assert all(errors.printable(name).strip() in table for name in NAMES)
    assert len(table.splitlines()) == len(NAMES) + 1
    pixels = np.zeros((8, 8, 3), np.uint8)
    for number, (_, answer) in enumerate(given):
        picture = pictures.draw(pixels, task.marks(answer))
        assert picture.width <= 512
        picture.save(tmp_path / f"{number}.png")


def test_a_long_caption_is_whole_in_several_lines():
    font = letters.font(14)
    lines = pictures._lines("word " * 100, font, 300)
    assert "".join(lines) == "word " * 100
    assert len(lines) > 5
    assert max(map(font.getlength, lines)) <= 300
    picture = pictures.draw(np.zeros((8, 8, 1), np.uint8), [Caption("word " * 100)])
    assert picture.height > 512 + 5 * 20


def test_names_of_pictures_fit_into_a_folder(tmp_path):
    names = pictures.file_names(["\u65e5" * 80 + ".jpg", "a/" + "\u65e5" * 80 + ".png"])
    assert len(set(names)) == 2
    for name in names:
        (tmp_path / name).touch()


def test_reports_and_contact_sheets_take_every_name(tmp_path):
    counts = np.eye(len(NAMES)).tolist()
    report = [
        Table("classes", "", ("class",), [(name,) for name in NAMES]),
        Matrix("confusion", "Confusion $matrix$", NAMES, counts),
        Scatter("scatter", "$\\frac{", "$x", "\x1b\n\u65e5", (0.0, 1.0), (1.0, 0.0)),
    ]
    shown = "\n".join(map(parts.as_text, report))
    assert "\x1b" not in shown
    assert "In the picture: " in shown
    assert len(parts.write(tmp_path, report)) == 4
    cells = [contact_sheet.Cell(np.zeros((4, 4, 1), np.uint8), n, n) for n in NAMES]
    contact_sheet.write(tmp_path / "sheet.png", NAMES[2] + NAMES[10], cells, {})
