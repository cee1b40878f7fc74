"""Letters against matplotlib's own reading of the fonts."""

import pathlib
import shutil
import string

import matplotlib
from matplotlib import ft2font
import numpy as np
from PIL import Image, ImageFont
import pytest

from jaxcnn.config import DataConfig
from jaxcnn.data import glyphs

FONTS = pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf")


@pytest.fixture(scope="module")
def dataset():
    return glyphs.matplotlib_fonts(DataConfig())


def font_files(part):
    return [FONTS / f"{name}.ttf" for name in glyphs.MATPLOTLIB_FONTS[part]]


def test_families_of_test_fonts_are_unseen():
    # The families, as the fonts' name tables have them.
    families = {
        part: {ImageFont.truetype(f, 16).getname()[0] for f in font_files(part)}
        for part in ("train", "validation", "test")
    }
    assert families["train"] == {"DejaVu Sans Mono", "DejaVu Serif"}
    assert families["validation"] == {"DejaVu Sans"}
    cm = {"cmr10", "cmb10", "cmti10", "cmss10", "cmtt10"}
    assert families["test"] == {"STIXGeneral"} | cm


def test_there_are_as_many_images_as_the_docstring_says(dataset):
    sizes = {part: len(examples) for part, examples in dataset.splits.items()}
    assert sizes == {"train": 2704, "validation": 1352, "test": 3042}
    for examples in dataset.splits.values():
        assert len(set(np.bincount(examples.column("label"), minlength=26))) == 1


def test_every_font_has_a_glyph_of_its_own_for_each_letter():
    for part in glyphs.MATPLOTLIB_FONTS:
        for file in font_files(part):
            shapes = ft2font.FT2Font(str(file)).get_charmap()
            assert len({shapes[ord(c)] for c in string.ascii_lowercase}) == 26, file


@pytest.mark.slow
def test_no_letter_is_clipped_or_empty(dataset):
    # Ink that were cut off would touch the border.
    for examples in dataset.splits.values():
        images = examples.images[..., 0]
        border = np.concatenate(
            [images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1
        )
        assert border.max() == 0
        assert images.max((1, 2)).min() > 100


@pytest.mark.parametrize("name", ["STIXGeneralItalic", "cmr10", "cmtt10"])
def test_each_image_shows_the_letter_of_its_label(dataset, name):
    # matplotlib's own rendering of the letter, large, brought to the ink's box: of all
    # letters it is the one most like the image.
    examples = dataset.splits["test"]
    last = 338 * (glyphs.MATPLOTLIB_FONTS["test"].index(name) + 1)
    largest = slice(last - 26, last)
    image = examples.images[largest, ..., 0]
    font = ft2font.FT2Font(str(FONTS / f"{name}.ttf"))
    font.set_size(200, 72)
    drawn = []
    for letter in string.ascii_lowercase:
        font.set_text(letter, 0.0)
        font.draw_glyphs_to_bitmap(antialiased=True)
        drawn.append(standardised(np.asarray(font.get_image())))
    likeness = np.array([standardised(x) for x in image]) @ np.array(drawn).T
    np.testing.assert_array_equal(likeness.argmax(1), examples.column("label")[largest])


def standardised(image):
    """Its ink at 16x16 from -0.5 to 0.5, scaled to unit length."""
    rows, columns = (np.flatnonzero(image.max(axis) > 64) for axis in (1, 0))
    ink = Image.fromarray(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    pixels = np.asarray(ink.resize((16, 16), Image.Resampling.BOX)).reshape(-1) / 255
    pixels = pixels - 0.5
    return pixels / np.linalg.norm(pixels)


def test_letters_of_a_font_stand_on_one_baseline():
    images = glyphs.render(FONTS / "DejaVuSans.ttf").reshape(13, 26, 32, 32)
    for size in images:
        last_row = {
            c: np.flatnonzero(size[i].max(1) > 64)[-1]
            for i, c in enumerate(string.ascii_lowercase)
        }
        assert len({last_row[c] for c in "hiklmnrxz"}) == 1
        assert min(last_row[c] for c in "gjpqy") > last_row["x"]


def test_sizes_are_16_to_28_pixels_within_the_rounding_of_the_hinter():
    for name in ("DejaVuSansMono-Bold", "STIXGeneral", "cmtt10"):
        images = glyphs.render(FONTS / f"{name}.ttf").reshape(13, 26, 32, 32)
        for pixels, size in zip(range(16, 29), images, strict=True):
            rows = np.flatnonzero(size.max((0, 2)))
            columns = [np.flatnonzero(image.max(0)) for image in size]
            widest = max(c[-1] - c[0] + 1 for c in columns)
            assert abs(max(rows[-1] - rows[0] + 1, widest) - pixels) <= 2


def fonts_folder(tmp_path, *names):
    for i, name in enumerate(names):
        folder = tmp_path / str(i % 2)  # at any depth
        folder.mkdir(exist_ok=True)
        shutil.copy(FONTS / f"{name}.ttf", folder)
    return str(tmp_path)


FAMILIES = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "STIXGeneral", "cmr10")


@pytest.mark.slow
def test_a_folder_of_fonts_is_split_by_family(tmp_path):
    path = fonts_folder(tmp_path, *FAMILIES)
    seen = set()
    for seed in range(3):
        config = DataConfig(split_seed=seed)
        dataset = glyphs.folder_of_fonts(path, config)
        splits = dataset.splits
        assert sum(map(len, splits.values())) == 5 * 338
        sets = [{image.tobytes() for image in s.images} for s in splits.values()]
        sans = [glyphs.render(FONTS / f"{n}.ttf")[0].tobytes() for n in FAMILIES[:2]]
        assert [sans[0] in s for s in sets] == [sans[1] in s for s in sets]
        seen.add(splits["test"].images.tobytes())
    assert len(seen) > 1
    assert (
        glyphs.folder_of_fonts(path, config).info.fingerprint
        == dataset.info.fingerprint
    )


def test_fonts_without_all_letters_are_left_out(tmp_path):
    names = (*FAMILIES, "DejaVuSansDisplay", "STIXSizOneSymReg", "LastResortHE-Regular")
    dataset = glyphs.folder_of_fonts(fonts_folder(tmp_path, *names), DataConfig())
    assert sum(map(len, dataset.splits.values())) == 5 * 338


def test_too_few_families_are_refused(tmp_path):
    path = fonts_folder(tmp_path, "DejaVuSans", "DejaVuSans-Bold", "STIXSizOneSymReg")
    with pytest.raises(ValueError, match="has 1 families .* in 3 .*: DejaVu Sans; at"):
        glyphs.folder_of_fonts(path, DataConfig())
    with pytest.raises(ValueError, match="there is no folder '/nowhere'"):
        glyphs.folder_of_fonts("/nowhere", DataConfig())


def test_each_split_has_a_family_whatever_the_fractions(tmp_path):
    path = fonts_folder(tmp_path, *FAMILIES)
    splits = glyphs.folder_of_fonts(path, DataConfig(test_fraction=0.99)).splits
    assert sum(map(len, splits.values())) == 5 * 338
    assert all(len(part) >= 338 for part in splits.values())
    with pytest.raises(ValueError, match="the test split is 1.5; it must be over 0"):
        glyphs.folder_of_fonts(path, DataConfig(test_fraction=1.5))


def test_a_broken_font_is_refused_by_its_path(tmp_path):
    path = fonts_folder(tmp_path, *FAMILIES)
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    with pytest.raises(ValueError, match=r"broken.ttf: not a readable font"):
        glyphs.folder_of_fonts(path, DataConfig())
