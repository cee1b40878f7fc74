"""Letters of several fonts on textured clutter, made on the fly from a seed.

A scene is RGB, as large as data.image_size, and has 1 to 6 capital letters of LETTERS
that do not overlap. Each has a font, size, angle and colour of its own. The fonts are
those of glyphs.MATPLOTLIB_FONTS, split by family, so that a network is tested on fonts
it has not seen. In training, what tells fonts apart varies, too: a letter is stretched
and slanted, and its strokes are thicker or thinner, see
drawn_letters.Shape. Background: a gradient
of two colours, soft blobs, lines, ellipses and arcs; grey noise over everything.

Each scene has four targets:
  mask    the class of each pixel: 0 background, 1 + number of the letter where it
          covers at least half of the pixel
  boxes   (y1, x1, y2, x2) of each letter, the smallest that holds its pixels of the
          mask, from left to right by their centres
  labels  number of the letter in each box
  text    the same numbers: what is read from left to right

Ten letters are enough to make pairs that look alike (E and S, K and X, H and M, O and
R), and few enough that a small network learns them in minutes on a CPU.

A scene is a function of its split and number alone. It is drawn when it is asked for.
Drawing takes about as long as decoding a small photograph, and data/memory.py keeps
what was drawn where it fits.
"""

import dataclasses
import functools
import math
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from jaxcnn.config import DataConfig
from jaxcnn.data import glyphs, rendered
from jaxcnn.data.drawn_letters import Letter, Shape, inks
from jaxcnn.data.examples import Dataset, Unread
from jaxcnn.targets import Target, masks

LETTERS = "AEHKMORSTX"
MOST_LETTERS = 6  # of one scene
NUM_EXAMPLES = {"train": 4000, "validation": 500, "test": 500}
HEIGHT = (0.22, 0.5)  # of a letter before it is turned, of the image's shorter side
CROWDED = 0.85  # the largest height of n letters is this over the root of n
ANGLE_DEGREES = 25.0  # largest, in each direction
CONTRAST = 90.0  # least distance in RGB of a letter from the mean of what is below it
SMALLEST_SIDE = 32  # pixels of an image, in which the smallest letters have 7
_TRIES = 4  # letters that are tried for each that is wanted; colours of a letter
_PLACES = 40  # that are tried for a letter

TARGETS = {
    **masks(("background", *LETTERS)),
    "boxes": Target("boxes", "float32", (MOST_LETTERS, 4), ragged=True),
    "labels": Target(
        "label", "int32", (MOST_LETTERS,), ragged=True, names=tuple(LETTERS), of="boxes"
    ),
    "text": Target("text", "int32", (MOST_LETTERS,), ragged=True, names=tuple(LETTERS)),
}


@dataclasses.dataclass(eq=False)
class GlyphScenes:
    """The scenes of one split.

    Attributes:
        split: A key of NUM_EXAMPLES.
        size: Height and width of every scene, pixels.
    """

    split: str
    size: tuple[int, int]

    def __len__(self) -> int:
        return NUM_EXAMPLES[self.split]

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"There are {len(self)} scenes, none with index {index}.")
        number = list(NUM_EXAMPLES).index(self.split)
        fonts = glyphs.matplotlib_files(self.split)
        rng = np.random.default_rng((number, index))
        return scene(rng, fonts, self.size, varied=self.split == "train")

    def column(self, target: str) -> np.ndarray | Unread:
        if target == "mask":
            return Unread(lambda i: self[i]["mask"], np.arange(len(self)))
        return self._columns[target]

    @functools.cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        """Targets of all scenes but masks; the scenes are drawn for it."""
        number = len(self)
        columns = {name: np.empty(number, object) for name in TARGETS if name != "mask"}
        for index in range(number):
            example = self[index]
            for name, column in columns.items():
                column[index] = example[name]
        return columns


def load(config: DataConfig) -> Dataset:
    """The data set glyph_scenes, 4,000 scenes to train on and 500 and 500 others.

    Raises:
        UserError: See rendered.size_of_images.
    """
    size = rendered.size_of_images(config, SMALLEST_SIDE)
    parts = {split: GlyphScenes(split, size) for split in NUM_EXAMPLES}
    return rendered.dataset(parts, TARGETS, config)


def scene(
    rng: np.random.Generator,
    fonts: tuple[str, ...],
    size: tuple[int, int],
    varied: bool = False,
    first: int | None = None,
) -> dict[str, Any]:
    """One scene: image uint8 [H, W, 3], mask uint8 [H, W], boxes float32 [n, 4] and
    labels and text int32 [n].

    Args:
        rng: Generator of everything at random.
        fonts: Files of the fonts.
        size: Height and width, pixels.
        varied: Whether letters differ from those of the fonts, see Shape.
        first: Number of a letter that stands in the middle. None: all are anywhere.
    """
    pixels = background(rng, size)
    mask = np.zeros(size, np.uint8)
    taken: list[tuple[int, int, int, int]] = []  # top, left, bottom, right
    found: list[tuple[int, int, int, int, int]] = []  # box and number of each letter
    wanted = int(rng.integers(1, MOST_LETTERS + 1))
    least, most = HEIGHT[0], min(HEIGHT[1], CROWDED / math.sqrt(wanted))
    tries = wanted * _TRIES
    while len(found) < wanted and (tries > 0 or not found):
        tries -= 1
        number, in_middle = int(rng.integers(len(LETTERS))), False
        if first is not None and not found:
            number, in_middle = first, True
        font = fonts[int(rng.integers(len(fonts)))]
        shape = Shape.draw(rng) if varied else Shape()
        letter = Letter(
            inks(font, LETTERS[number], shape.weight),
            height=least * (most / least) ** rng.random() * min(size),
            angle=math.radians(rng.uniform(-ANGLE_DEGREES, ANGLE_DEGREES)),
            shape=shape,
        )
        high, wide = letter.size
        if high > size[0] or wide > size[1]:
            continue
        if in_middle:
            place = (size[0] - high) // 2, (size[1] - wide) // 2
        else:
            place = _free_place(rng, letter.size, size, taken)
        if place is None:
            continue
        top, left = place
        window = slice(top, top + high), slice(left, left + wide)
        alpha, below = letter.coverage(), pixels[window]
        covered = alpha >= 128
        if not covered.any():  # of a thin font in a tiny image
            continue
        taken.append((top, left, top + high, left + wide))
        colour = _colour(rng, below.mean(axis=(0, 1)))
        below += (colour - below) * (alpha[..., None] * np.float32(1 / 255))
        mask[window][covered] = 1 + number
        rows, columns = (covered.any(axis=axis).nonzero()[0] for axis in (1, 0))
        box = (
            top + rows[0],
            left + columns[0],
            top + rows[-1] + 1,
            left + columns[-1] + 1,
        )
        found.append((*box, number))
    noise = rng.uniform(0, 12) * rng.standard_normal((*size, 1), np.float32)
    found.sort(key=lambda letter: letter[1] + letter[3])
    numbers = np.array([letter[4] for letter in found], np.int32)
    return {
        "image": np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8),
        "mask": mask,
        "boxes": np.array([letter[:4] for letter in found], np.float32),
        "labels": numbers,
        "text": numbers,
    }


def _free_place(
    rng: np.random.Generator,
    letter: tuple[int, int],
    size: tuple[int, int],
    taken: list[tuple[int, int, int, int]],
) -> tuple[int, int] | None:
    """A random (top, left) at which a letter touches no other; None: none was found."""
    (high, wide), (height, width) = letter, size
    for top, left in zip(
        rng.integers(height - high + 1, size=_PLACES).tolist(),
        rng.integers(width - wide + 1, size=_PLACES).tolist(),
        strict=True,
    ):
        if all(
            top + high <= above
            or left + wide <= before
            or top >= below
            or left >= after
            for above, before, below, after in taken
        ):
            return top, left
    return None


def _colour(rng: np.random.Generator, below: np.ndarray) -> np.ndarray:
    """A random colour that differs from what is below it, float32 [3]."""
    for _ in range(3 * _TRIES):
        colour = rng.uniform(0, 255, 3).astype(np.float32)
        if np.sum((colour - below) ** 2) >= CONTRAST**2:
            return colour
    return np.full(3, 0 if below.mean() > 127.5 else 255, np.float32)


def background(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Clutter without letters, float32 [H, W, 3] in [0, 255]."""
    height, width = size
    first, last = rng.uniform(20, 235, (2, 3))
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    share = 0.5 + 0.35 * (math.cos(angle) * x + math.sin(angle) * y)  # [H, W]
    pixels = first + share[..., None] * (last - first)
    side = int(rng.integers(3, 9))
    blobs = rng.normal(0, rng.uniform(5, 40), (side, side, 3)).clip(-127, 127) + 128
    blobs = Image.fromarray(blobs.astype(np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    pixels += np.asarray(blobs, np.float32) - 128
    drawn = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    draw, scale = ImageDraw.Draw(drawn), min(size)
    for _ in range(int(rng.integers(0, 7))):
        ends = rng.uniform(-0.2, 1.2, (2, 2)) * (width, height)
        thickness = 1 + int(rng.integers(0, max(1, scale // 24) + 1))
        draw.line([*map(tuple, ends)], _fill(rng), thickness)
    for _ in range(int(rng.integers(0, 4))):
        radii = rng.uniform(0.04, 0.2, 2) * scale
        centre = rng.uniform(0, 1, 2) * (width, height)
        box = (*(centre - radii), *(centre + radii))
        if rng.random() < 0.5:
            draw.ellipse(box, _fill(rng))
        else:
            start = rng.uniform(0, 360)  # open, or it would be the letter O
            draw.arc(box, start, start + rng.uniform(60, 200), _fill(rng))
    return np.asarray(drawn).astype(np.float32)


def _fill(rng: np.random.Generator) -> tuple[int, int, int]:
    return tuple(rng.integers(0, 256, 3).tolist())
