"""Lines of text rendered on the fly, tested on unseen font families.

Line i of a split is a function of the split and of i alone: a text of a to z and single
spaces, one of the split's fonts, and what tells one line from another: size, slope,
letter spacing, contrast, blur and noise. In training, what tells one font from another
varies, too: stretch, slant, height of small letters, weight of horizontal and of
vertical strokes. The text is lighter than its background, as in data/glyphs.py; the
image is grey, HEIGHT pixels high and up to WIDEST wide.

Of four words, three are of C. K. Ogden's Basic English (1930), 850 words, see
basic_english.txt; the fourth is the first half of one of them and the second half of
another, so that a network cannot learn the words alone. Texts have 3 to LONGEST
characters, more often many, and may end within a word. On a canvas of WIDEST columns,
on average 14% are empty.

Fonts are those of data/glyphs.py, of other families in each split.
"""

from collections.abc import Sequence
import dataclasses
import functools
import hashlib
import pathlib
import string
from typing import Any

import numpy as np
import PIL
from PIL import Image, ImageDraw, ImageFilter, ImageFont, features
from scipy import ndimage

from jaxcnn.config import DataConfig
from jaxcnn.data import arrays, glyphs
from jaxcnn.data.examples import Dataset, make_dataset
from jaxcnn.targets import Target

HEIGHT = 32  # pixels
WIDEST = 256  # pixels
LONGEST = 25  # characters
SHORTEST = 3
CHARACTERS = " " + string.ascii_lowercase
NUM_LINES = {"train": 20_000, "validation": 1000, "test": 1000}
WORDS = pathlib.Path(__file__).with_name("basic_english.txt")

# Fields of Style that tell fonts apart. They vary in training alone: lines of other
# splits are as their own fonts have them.
OF_FONTS = ("stretch", "slant", "x_height", "weight")

_SEEDS = {"train": 0, "validation": 1, "test": 2}
_FINE = 2  # drawn larger by this factor, then averaged
_SAMPLE = 200  # training lines of which mean and standard deviation are taken


@functools.cache
def words() -> tuple[str, ...]:
    """The 850 words of Basic English."""
    return tuple(WORDS.read_text().split())


def draw_text(rng: np.random.Generator) -> str:
    """A text of words and of pseudo-words, 3 to 50 characters long."""
    # The larger of two, so that less of a batch is padding.
    length = rng.integers(SHORTEST, LONGEST, 2, endpoint=True).max()
    known, count = words(), LONGEST // 2 + 1  # each word has a letter and a space
    first, second = rng.integers(len(known), size=(2, count)).tolist()
    is_pseudo = (rng.random(count) < 0.25).tolist()
    chosen = (
        known[i][: (len(known[i]) + 1) // 2] + known[j][len(known[j]) // 2 :]
        if pseudo
        else known[i]
        for i, j, pseudo in zip(first, second, is_pseudo, strict=True)
    )
    return " ".join(chosen)[:length].strip()


@functools.lru_cache(maxsize=1024)
def _font(path: pathlib.Path, size: int) -> ImageFont.FreeTypeFont:
    return glyphs.open_font(path, size)


@functools.lru_cache(maxsize=2**16)
def _advance(font: ImageFont.FreeTypeFont, character: str) -> float:
    """From one character to the next, pixels."""
    return font.getlength(character)


@functools.cache
def _line_height(path: pathlib.Path) -> float:
    """From the highest ascender to the lowest descender of a to z, in em."""
    top, bottom = _extent(_font(path, 256))
    return (bottom - top) / 256


def _extent(font: ImageFont.FreeTypeFont) -> tuple[int, int]:
    """Rows of the highest and the lowest ink of a to z, from the baseline."""
    _, top, _, bottom = font.getbbox(string.ascii_lowercase, anchor="ls")
    return top, bottom


@dataclasses.dataclass(frozen=True)
class Style:
    """How a line is written and scanned. The defaults are a clean line.

    Attributes:
        height: Rows from the highest ascender to the lowest descender.
        centre: Middle of that height, as a share of the free space above and below.
        stretch: Factor of the width.
        slant: Columns by which a row is moved to the right for each row above the
            baseline.
        rise: Rows by which the end of the line is above its beginning.
        spacing: Additional pixels between two characters.
        space: Width of a space, relative to the font's.
        x_height: Factor of the height of letters without an ascender, while that of
            the others stays.
        weight: Strokes that are horizontal, and vertical ones: -1 half a pixel
            thinner, 0 as in the font, 1 half a pixel thicker.
        margins: Empty columns to the left and to the right.
        background: Grey level behind the line, 0 to 255.
        ink: Grey level of the line.
        blur: Standard deviation of a Gaussian blur, pixels.
        noise: Standard deviation of Gaussian noise, grey levels.
    """

    height: float = 24.0
    centre: float = 0.5
    stretch: float = 1.0
    slant: float = 0.0
    rise: float = 0.0
    spacing: float = 0.0
    space: float = 1.0
    x_height: float = 1.0
    weight: tuple[int, int] = (0, 0)
    margins: tuple[int, int] = (4, 4)
    background: float = 0.0
    ink: float = 255.0
    blur: float = 0.0
    noise: float = 0.0


def draw_style(rng: np.random.Generator) -> Style:
    """A style at random, for training: what tells fonts apart varies, too."""
    return Style(
        height=rng.uniform(18, 28),
        centre=rng.random(),
        stretch=rng.uniform(0.75, 1.2),
        slant=rng.uniform(-0.1, 0.3),
        rise=rng.uniform(-2, 2),
        spacing=max(0.0, rng.normal(0, 0.7)),
        space=rng.uniform(0.8, 1.4),
        x_height=rng.uniform(0.8, 1.1),
        weight=(
            int(rng.choice([-1, 0, 1], p=[0.4, 0.5, 0.1])),
            int(rng.choice([-1, 0, 1], p=[0.2, 0.6, 0.2])),
        ),
        margins=tuple(rng.integers(0, 12, 2, endpoint=True).tolist()),
        background=rng.uniform(0, 60),
        ink=rng.uniform(160, 255),
        blur=max(0.0, rng.uniform(-0.4, 0.8)),
        noise=rng.uniform(0, 12),
    )


def render(
    text: str,
    path: pathlib.Path,
    style: Style,
    rng: np.random.Generator,
    widest: int = WIDEST,
) -> np.ndarray:
    """Renders a line: uint8 [HEIGHT, W, 1] with W up to widest.

    Args:
        text: The text.
        path: The font.
        style: Size, position and flaws.
        rng: Generator of the noise.
        widest: Most columns; a longer line is narrowed.
    """
    font = _font(path, round(_FINE * style.height / _line_height(path)))
    top, bottom = _extent(font)
    pad = font.size  # for what leans out of the line
    widths = [
        _advance(font, c) * (style.space if c == " " else 1) + _FINE * style.spacing
        for c in text
    ]
    starts = pad + np.concatenate([[0], np.cumsum(widths)])
    canvas = Image.new("L", (round(starts[-1]) + pad, bottom - top + 2 * pad))
    draw = ImageDraw.Draw(canvas)
    for character, start in zip(text, starts, strict=False):
        draw.text((start, pad - top), character, fill=255, font=font, anchor="ls")
    pixels = np.asarray(canvas)
    for axis, change in enumerate(style.weight):
        if change:
            grow = ndimage.maximum_filter1d if change > 0 else ndimage.minimum_filter1d
            pixels = grow(pixels, 2, axis=axis)
    if style.x_height != 1:
        small = -font.getbbox("x", anchor="ls")[1]  # rows of letters such as x
        pixels = _with_x_height(pixels, pad - top, small, -top, style.x_height)
    canvas = Image.fromarray(pixels)

    length = starts[-1] - pad  # columns of the fine canvas
    left, right = style.margins
    stretch = min(style.stretch, (widest - left - right) * _FINE / length)
    width = min(widest, round(length * stretch / _FINE) + left + right)
    free = HEIGHT - (bottom - top) / _FINE - abs(style.rise)
    baseline = max(free, 0) * style.centre - top / _FINE + abs(style.rise) / 2
    # Where a row and column of the result comes from: (column, row, 1) times these.
    a, slope = 1 / stretch, style.rise / max(width, 1)
    x0, y0 = left * _FINE, baseline * _FINE
    middle = width * _FINE / 2
    down = (slope, 1.0, -y0 - slope * middle)  # rows below the baseline
    across = (
        a + style.slant * down[0],
        style.slant * down[1],
        pad - a * x0 + style.slant * down[2],
    )
    matrix = (*across, down[0], down[1], down[2] + pad - top)
    size = (width * _FINE, HEIGHT * _FINE)
    line = canvas.transform(
        size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    ).reduce(_FINE)
    if style.blur:
        line = line.filter(ImageFilter.GaussianBlur(style.blur))
    levels = np.asarray(line, np.float32) / 255  # [HEIGHT, W]
    levels = style.background + (style.ink - style.background) * levels
    if style.noise:
        noise = rng.standard_normal(levels.shape, np.float32)
        levels = levels + style.noise * noise
    return np.clip(np.round(levels), 0, 255).astype(np.uint8)[..., None]


def _with_x_height(
    pixels: np.ndarray, baseline: int, small: int, tall: int, factor: float
) -> np.ndarray:
    """Moves the rows above a baseline: those up to `small` fill `factor` times as many,
    those from there up to `tall` the rest."""
    above = baseline - np.arange(len(pixels))
    ends = [-len(pixels), 0, factor * small, tall, len(pixels)]
    rows = baseline - np.interp(above, ends, [ends[0], 0, small, tall, ends[-1]])
    first = np.clip(np.floor(rows).astype(int), 0, len(pixels) - 2)
    share = np.clip(rows - first, 0, 1).astype(np.float32)[:, None]
    mixed = (1 - share) * pixels[first] + share * pixels[first + 1]
    return np.round(mixed).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Lines:
    """The lines of a split, rendered when they are asked for.

    Attributes:
        seed: Number of the split.
        fonts: Its fonts.
        length: Number of its lines.
        varied: Whether the shapes of the fonts vary, too, see OF_FONTS.
        channels: Channels of the images: 1 grey, 3 RGB.
    """

    seed: int
    fonts: Sequence[pathlib.Path]
    length: int
    varied: bool = False
    channels: int = 1

    def _text(self, index: int) -> str:
        return draw_text(np.random.default_rng((self.seed, index, 0)))

    @functools.cached_property
    def _column(self) -> np.ndarray:
        column = np.empty(self.length, object)
        for index in range(self.length):
            column[index] = codes(self._text(index))
        return column

    def column(self, target: str) -> np.ndarray:
        return {"text": self._column}[target]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        text = self._text(index)
        rng = np.random.default_rng((self.seed, index, 1))
        font = self.fonts[rng.integers(len(self.fonts))]
        style = draw_style(rng)
        if not self.varied:
            own = {name: getattr(Style(), name) for name in OF_FONTS}
            style = dataclasses.replace(style, **own)
        image = render(text, font, style, rng)[None]
        image = arrays.with_channels(image, self.channels)[0]
        return {"image": image, "text": codes(text)}


def codes(text: str) -> np.ndarray:
    """A text as numbers of CHARACTERS, int32 [N]."""
    letters = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int32)
    return np.where(letters == ord(" "), 0, letters - ord("a") + 1)


def matplotlib_fonts(config: DataConfig) -> Dataset:
    """Lines in the text fonts that come with matplotlib, see glyphs.MATPLOTLIB_FONTS.

    20,000 lines train, in DejaVu Sans Mono and DejaVu Serif, 1,000 validate, in DejaVu
    Sans, and 1,000 test, in STIX and Computer Modern. data.train_transform and
    data.eval_transform "line" put them onto a canvas of one size.
    """
    paths = {
        split: [pathlib.Path(file) for file in glyphs.matplotlib_files(split)]
        for split in glyphs.MATPLOTLIB_FONTS
    }
    channels = 1 if config.channels is None else config.channels
    splits = {
        split: Lines(_SEEDS[split], fonts, NUM_LINES[split], split == "train", channels)
        for split, fonts in paths.items()
    }
    digest = hashlib.sha256(repr(NUM_LINES).encode())
    for fonts in paths.values():
        for font in fonts:
            digest.update(font.read_bytes())
    sample = [splits["train"][i]["image"] for i in range(_SAMPLE)]
    pixels = np.concatenate(sample, axis=1)
    digest.update(pixels)
    mean, std = arrays.channel_statistics(pixels)
    characters = tuple(CHARACTERS)
    target = Target("text", "int32", (LONGEST,), ragged=True, names=characters)
    return make_dataset(
        splits,
        targets={"text": target},
        channels=channels,
        mean=mean,
        std=std,
        fingerprint=digest.hexdigest(),
        decoder=f"Pillow {PIL.__version__}, FreeType {features.version('freetype2')}",
    )
