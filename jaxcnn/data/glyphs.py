"""Printed letters rendered from TrueType fonts, tested on unseen font families.

The letters a to z of each font, white on black, anti-aliased, 32x32 grey, are rendered
by Pillow (FreeType). Vertically they are placed as in a line of text: all letters of a
font share a baseline, so that "p" extends below it and "b" does not. Horizontally the
ink of each letter is centred. Each font has 13 sizes. The size is that of the box that
contains every letter of the font, from the highest ascender to the lowest descender and
as wide as the widest letter: its longer side has 16, 17, ... 28 pixels, to within 2
pixels because of hinting, and it is centred vertically. No letter is therefore clipped,
and families have similar sizes although their em squares differ.

Training, validation and test split by family: letters in another style or size of a
known family say little about a family that the network has not seen.
"""

from collections.abc import Sequence
import dataclasses
import os
import pathlib
import string

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxcnn.config import DataConfig
from jaxcnn.data import arrays, splits
from jaxcnn.data.examples import Dataset, fields_used
from jaxcnn.errors import UserError

LETTERS = string.ascii_lowercase
CANVAS_PIXELS = 32
BOX_PIXELS = range(16, 29)  # the sizes, which leave a margin of 2 pixels

# The text fonts that come with matplotlib. Left out: cmmi10, Computer Modern's math
# italic for formulas (cmti10 is its text italic); symbol fonts; the two Display fonts
# of DejaVu, which do not contain a to z; Last Resort, which draws boxes.
MATPLOTLIB_FONTS = {
    "train": (
        *("DejaVuSansMono", "DejaVuSansMono-Bold"),
        *("DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique"),
        *("DejaVuSerif", "DejaVuSerif-Bold"),
        *("DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    ),
    "validation": (
        *("DejaVuSans", "DejaVuSans-Bold"),
        *("DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    ),
    "test": (
        *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
        *("cmr10", "cmb10", "cmti10", "cmss10", "cmtt10"),
    ),
}


def matplotlib_fonts(config: DataConfig) -> Dataset:
    """Letters of the 21 text fonts that come with matplotlib, MATPLOTLIB_FONTS.

    Training uses DejaVu Sans Mono and DejaVu Serif (8 fonts, 2,704 images), validation
    DejaVu Sans (4 fonts, 1,352 images), and testing STIX and Computer Modern (9 fonts,
    3,042 images). DejaVu Sans resembles Sans Mono, so the validation accuracy is close
    to 1.0. With the two swapped, it was closer to the test accuracy (both 0.93), but a
    small network lost 0.02 on the test fonts.
    """
    return _dataset("glyphs", matplotlib_paths(), config)


def matplotlib_paths() -> dict[str, list[pathlib.Path]]:
    """Split -> the files of its fonts in MATPLOTLIB_FONTS."""
    return {
        part: [pathlib.Path(file) for file in matplotlib_files(part)]
        for part in MATPLOTLIB_FONTS
    }


def matplotlib_files(part: str) -> tuple[str, ...]:
    """Paths of the fonts of a split of MATPLOTLIB_FONTS."""
    # Imported only when needed, since other datasets do not use it.
    import matplotlib

    folder = os.path.join(matplotlib.get_data_path(), "fonts", "ttf")
    return tuple(os.path.join(folder, f"{name}.ttf") for name in MATPLOTLIB_FONTS[part])


def folder_of_fonts(path: str, config: DataConfig) -> Dataset:
    """Letters of the .ttf and .otf fonts below a folder, split by family.

    The family name is that in the font's name table. Its hash says in which split it
    is, as data/splits.py does for images, so a family that is added moves no other.
    Each split has at least one. Fonts without all of a to z are
    left out. Symbol fonts that draw something else for a to z cannot be detected, so
    remove them from the folder.

    Raises:
        UserError: There is no such folder, a font cannot be read, or fewer than three
            families have all letters.
    """
    name = f"glyphs:{path}"
    if not pathlib.Path(path).is_dir():
        raise UserError(f"Dataset {name!r}: there is no folder {path!r}.")
    fonts = sorted(
        font
        for font in pathlib.Path(path).rglob("*")
        if font.suffix.lower() in (".ttf", ".otf")
    )
    families: dict[str, list[pathlib.Path]] = {}
    for font in fonts:
        try:
            if _has_all_letters(font):
                family, _ = open_font(font, 16).getname()
                families.setdefault(family or font.stem, []).append(font)
        except (OSError, RuntimeError) as error:  # from Pillow, from matplotlib
            raise UserError(f"{font}: not a readable font ({error}).") from None
    if len(families) < 3:
        listed = f": {', '.join(sorted(families))}" if families else ""
        raise UserError(
            f"Dataset {name!r} has {len(families)} families with all of a to z, in "
            f"{len(fonts)} .ttf and .otf files{listed}; at least 3 are needed, one "
            "each to train, validate and test."
        )
    fractions = {"test": config.test_fraction, "validation": config.validation_fraction}
    names = sorted(families)
    cuts = splits.by_hash(splits.hashes(names, config.split_seed), fractions)
    chosen = {part: [names[i] for i in indices] for part, indices in cuts.items()}
    paths = {
        part: [font for family in chosen_names for font in families[family]]
        for part, chosen_names in chosen.items()
    }
    made_with = fields_used(config, validation=True, test=True)
    return dataclasses.replace(_dataset(name, paths, config), made_with=made_with)


def _dataset(
    name: str, paths: dict[str, list[pathlib.Path]], config: DataConfig
) -> Dataset:
    """Makes the dataset of these font files, given for each split."""
    labels = np.tile(np.arange(len(LETTERS)), len(BOX_PIXELS))
    parts = {
        part: (np.concatenate([render(f) for f in fonts]), np.tile(labels, len(fonts)))
        for part, fonts in paths.items()
    }
    return arrays.of_classes(name, LETTERS, parts, config)


def open_font(path: str | pathlib.Path, size: float) -> ImageFont.FreeTypeFont:
    """A font of some size, pixels, that measures and draws the same on each machine.

    Pillow's other layout, Raqm, is there only where libfribidi is installed and has
    other widths of letters.
    """
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def render(path: pathlib.Path) -> np.ndarray:
    """Renders a to z at each size in ascending order: uint8 [13 * 26, 32, 32, 1]."""
    # The box is proportional to the font size, except for rounding by the hinter.
    reference = open_font(path, 256)
    longer_side = max(_line_box(reference)[2:])
    images = []
    for pixels in BOX_PIXELS:
        font = reference.font_variant(size=256 * pixels / longer_side)
        top, bottom, _, _ = _line_box(font)
        baseline = round((CANVAS_PIXELS - (top + bottom)) / 2)
        for letter in LETTERS:
            left, _, right, _ = font.getbbox(letter, anchor="ls")
            image = Image.new("L", (CANVAS_PIXELS, CANVAS_PIXELS))
            x = round((CANVAS_PIXELS - (left + right)) / 2)
            draw = ImageDraw.Draw(image)
            draw.text((x, baseline), letter, fill=255, font=font, anchor="ls")
            images.append(np.asarray(image))
    return np.stack(images)[..., None]  # [13 * 26, 32, 32, 1]


def _line_box(font: ImageFont.FreeTypeFont) -> Sequence[int]:
    """Returns (top, bottom, height, width) of the box of all letters.

    Top and bottom are relative to the baseline.
    """
    boxes = np.array([font.getbbox(letter, anchor="ls") for letter in LETTERS])
    top, bottom = boxes[:, 1].min(), boxes[:, 3].max()
    return top, bottom, bottom - top, (boxes[:, 2] - boxes[:, 0]).max()


def _has_all_letters(path: pathlib.Path) -> bool:
    """Whether the font has a distinct, non-empty glyph for each of a to z.

    A placeholder font, such as Last Resort, maps all letters to the same box.
    """
    # Pillow does not say which characters a font has; matplotlib's FreeType does.
    from matplotlib import ft2font

    shapes = ft2font.FT2Font(str(path)).get_charmap()
    if len({shapes.get(ord(letter), 0) for letter in LETTERS} - {0}) < len(LETTERS):
        return False
    font = open_font(path, 64)
    return all(font.getmask(letter).getbbox() for letter in LETTERS)
