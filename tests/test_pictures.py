"""Images with what was predicted of them."""

import numpy as np
from PIL import Image
import pytest

from jaxcnn.report import contact_sheet, palette, pictures
from jaxcnn.tasks import Classification
from jaxcnn.tasks.parts import Caption, Picture, Regions


@pytest.mark.parametrize("channels", [1, 3])
def test_a_caption_stands_below_an_image_that_is_enlarged_by_an_integer(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, channels), np.uint8)
    one = np.asarray(pictures.draw(pixels, [Caption("5 0.9876")]))
    height, width = 8 * 64, 6 * 64  # 512 = 8 * 64
    expected = np.broadcast_to(pixels, (8, 6, 3)).repeat(64, axis=0).repeat(64, axis=1)
    np.testing.assert_array_equal(one[:height, :width], expected)
    below = one[height:]
    assert below.shape == (20, width, 3)
    assert below.min() < 80  # ink
    assert (below == 255).mean() > 0.8  # paper
    two = np.asarray(pictures.draw(pixels, [Caption("5 0.9876"), Caption("3 0.0124")]))
    np.testing.assert_array_equal(two[: len(one)], one)
    assert len(two) == height + 40


def test_a_caption_that_is_longer_than_the_image_is_wide_is_not_cut():
    pixels = np.zeros((100, 10, 3), np.uint8)
    wide = pictures.draw(pixels, [Caption("a long name " * 10)])
    assert wide.width > 500
    assert np.asarray(wide)[500:, -100:].min() < 80


def test_a_classification_marks_its_most_likely_classes():
    answer = {"classes": [{"class": "cat", "probability": 0.75}]}
    assert Classification(("cat", "dog")).marks(answer) == [Caption("cat 0.7500")]


def test_no_two_images_have_a_picture_of_the_same_name():
    images = ["a/1.png", "b/1.jpg", "1_2.png", "A/1.PNG", "two.words.png"]
    expected = ["1.png", "1_2.png", "1_2_2.png", "1_3.png", "two.words.png"]
    assert pictures.file_names(images) == expected


def test_a_picture_is_as_large_as_a_screen_shows():
    picture = pictures.draw(np.zeros((3000, 1500, 3), np.uint8), [])
    assert isinstance(picture, Image.Image)
    assert picture.size == (256, 512)


def halves():
    """An image of four greys, and a mask whose right half is class 2: a class between
    the two is in no part of it."""
    pixels = np.array([[[0], [80]], [[160], [255]]], np.uint8)
    return pixels, np.array([[0, 2], [0, 2]])


def test_regions_lie_over_the_image_with_an_outline_and_a_key_below():
    pixels, mask = halves()
    picture = np.asarray(pictures.draw(pixels, [Regions(mask, {0: "sky", 2: "sea"})]))
    assert picture.shape == (512 + 20, 512, 3)
    black, _, blue = np.array(palette.OKABE_ITO[:3])
    # The left half is class 0, which is not painted.
    for y, x in np.ndindex(2, 2):
        found = picture[y * 256 + 100, x * 256 + 100]
        expected = 0.45 * pixels[y, x] + 0.55 * blue if x else pixels[y, x]
        np.testing.assert_allclose(found, np.broadcast_to(expected, 3), atol=0.5)
    # But its last pixels are next to another class.
    assert (picture[:512, 255] == black).all()
    for x, share, colour in ((200, 0, black), (300, 0.55, blue)):
        of_image = (1 - share) * pixels[[0] * 256 + [1] * 256, x // 256]
        np.testing.assert_allclose(
            picture[:512, x], of_image + share * np.stack([colour] * 512), atol=0.5
        )
    key = picture[512:]
    assert (key == blue).all(axis=-1).sum() >= 100  # a square of 12 x 12
    assert not (key == black).all(axis=-1).any()  # that of class 0 is empty


def test_pixels_without_a_class_are_painted_white():
    pixels, mask = halves()
    mask = np.where(mask == 2, -1, mask)
    picture = np.asarray(pictures.draw(pixels, [Regions(mask, {0: "sky", -1: "?"})]))
    assert picture[100, 400].tolist() == [round(0.45 * 80 + 0.55 * 255)] * 3
    assert picture[100, 100].tolist() == [0] * 3


def test_a_contact_sheet_shows_masks_over_their_images_and_a_key(tmp_path):
    pixels, mask = halves()
    names = {0: "sky", 1: "land", 2: "sea", -1: "(void)"}
    plain = contact_sheet.Cell(pixels, "a")
    masked = contact_sheet.Cell(pixels, "a", mask=mask)
    sheets = []
    for cell in plain, masked:
        contact_sheet.write(tmp_path / "sheet.png", "a sheet", [cell], names)
        with Image.open(tmp_path / "sheet.png") as file:
            sheets.append(np.asarray(file))
    without, with_mask = sheets
    assert len(with_mask) == len(without) + 20  # a key of one row
    differs = (with_mask[: len(without)] != without).any(axis=-1)
    rows, columns = np.nonzero(differs)
    # The image is a square of 112 pixels at (12, 42), of which the right half and the
    # outline before it are painted.
    assert {*rows} == {*range(42, 154)}
    assert {*columns} == {*range(12 + 55, 12 + 112)}
    blue = np.array(palette.OKABE_ITO[2])
    found = with_mask[42 + 10, 12 + 100]
    np.testing.assert_allclose(found, 0.45 * 80 + 0.55 * blue, atol=0.5)
    seen = {*map(tuple, with_mask[len(without) :].reshape(-1, 3).tolist())}
    assert palette.OKABE_ITO[2] in seen
    assert palette.OKABE_ITO[1] not in seen  # no pixel is land


def test_a_key_has_as_many_rows_as_it_needs_and_is_as_wide_as_its_widest_entry():
    pixels, mask = halves()
    # Each takes about 200 of the 512 pixels, a little more or less in each edition of
    # the font: two stand in a row.
    key = {k: f"the {k}th one of the classes" for k in range(1, 11)}
    heights = [
        pictures.draw(pixels, [Regions(mask, dict([*key.items()][:n]))]).height - 512
        for n in (1, 2, 3, 4, 10)
    ]
    assert heights == [20, 20, 40, 40, 100]
    wide = pictures.draw(pixels, [Regions(mask, {0: "w" * 100})])
    assert wide.width > 512


def test_a_gallery_has_a_row_for_each_example(tmp_path):
    greys = [np.full((4, 6, 1), level, np.uint8) for level in (0, 90, 180)]
    rows = [[(g, []), (255 - g, [Picture(g), Caption("x")])] for g in greys]
    pictures.write_gallery(tmp_path / "page.png", rows)
    with Image.open(tmp_path / "page.png") as page:
        found = np.asarray(page)[..., 0]
    high, wide, gap = 4 * 32, 6 * 32, 6  # 192 = 6 * 32
    assert found.shape == (gap + 3 * (high + 20 + gap), gap + 3 * (wide + gap))
    for i, grey in enumerate(greys):
        top = gap + i * (high + 20 + gap)
        for k, level in enumerate((grey[0, 0, 0], 255 - grey[0, 0, 0], grey[0, 0, 0])):
            left = gap + k * (wide + gap)
            assert (found[top : top + high, left : left + wide] == level).all()


def test_a_mask_is_written_beside_its_picture_as_it_is(tmp_path):
    pixels, mask = halves()
    for factor, mode in ((1, "P"), (300, "I;16")):
        marks = [Regions(factor * mask, {0: "a", 2 * factor: "b"})]
        paths = pictures.write(tmp_path, "x.png", pixels, marks)
        assert paths == [tmp_path / "x.png", tmp_path / "masks/x.png"]
        with Image.open(paths[1]) as file:
            assert file.mode == mode
            np.testing.assert_array_equal(np.asarray(file), factor * mask)
    assert pictures.are_per_pixel(marks)
    assert not pictures.are_per_pixel([Caption("5")])
    assert pictures.write(tmp_path, "y.png", pixels, [Caption("5")]) == [
        tmp_path / "y.png"
    ]


def test_the_colours_of_classes_all_differ_and_stay_when_there_are_more():
    many = palette.colours(256)
    assert len({*map(tuple, many.tolist())}) == 256
    np.testing.assert_array_equal(palette.colours(8), palette.OKABE_ITO)
    np.testing.assert_array_equal(palette.colours(30), many[:30])
