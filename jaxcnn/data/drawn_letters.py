"""Letters of fonts, drawn in any height, shape and direction."""

import dataclasses
import functools
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from jaxcnn.data import glyphs

INK_HEIGHTS = (64, 32, 16)  # pixels of the glyphs that letters are scaled from


@dataclasses.dataclass(frozen=True)
class Shape:
    """How a letter differs from that of its font. The defaults are the font's.

    Attributes:
        stretch: Factor of the width.
        slant: Columns by which a row is moved to the right for each row above the
            lowest.
        weight: Change of the thickness of strokes that are horizontal, and of vertical
            ones, in hundredths of the height.
    """

    stretch: float = 1.0
    slant: float = 0.0
    weight: tuple[int, int] = (0, 0)

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Shape":
        """One at random, for training."""
        return cls(
            stretch=math.exp(rng.uniform(-0.25, 0.25)),
            slant=rng.uniform(-0.1, 0.25),
            weight=(
                int(rng.choice([-4, -2, 0, 2])),
                int(rng.choice([-4, -2, 0, 2, 4])),
            ),
        )


@functools.cache
def inks(
    font: str, letter: str, weight: tuple[int, int] = (0, 0)
) -> tuple[np.ndarray, ...]:
    """The coverage of a letter, uint8 [h, w] cut to its ink, in three sizes.

    Their heights are INK_HEIGHTS or a pixel more.

    Args:
        font: File of the font.
        letter: The letter.
        weight: See Shape.
    """
    reference = glyphs.open_font(font, 256)
    _, top, _, bottom = reference.getbbox(letter, anchor="ls")
    if weight != (0, 0):
        return _reweighted(_ink(reference, letter), weight)
    sizes = (256 * height / (bottom - top) for height in INK_HEIGHTS)
    return tuple(_ink(reference.font_variant(size=size), letter) for size in sizes)


def _ink(font: ImageFont.FreeTypeFont, letter: str) -> np.ndarray:
    """The coverage of a letter, uint8 [h, w] cut to its ink."""
    box = font.getbbox(letter, anchor="ls")
    image = Image.new("L", (box[2] - box[0], box[3] - box[1]))
    ImageDraw.Draw(image).text((-box[0], -box[1]), letter, 255, font, anchor="ls")
    return np.asarray(image.crop(image.getbbox()))


def _reweighted(ink: np.ndarray, weight: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """A large ink with other strokes in the sizes of INK_HEIGHTS; see Shape."""
    height = len(ink)
    ink = np.pad(ink, round(0.05 * height))
    for axis, change in enumerate(weight):
        if change:
            change_ink = (
                ndimage.maximum_filter1d if change > 0 else ndimage.minimum_filter1d
            )
            ink = change_ink(ink, 1 + round(abs(change) / 100 * height), axis=axis)
    image = Image.fromarray(ink)
    image = image.crop(image.getbbox())
    scales = (target / image.height for target in INK_HEIGHTS)
    return tuple(
        np.asarray(
            image.resize(
                (max(1, round(image.width * scale)), round(image.height * scale)),
                Image.Resampling.BOX,
            )
        )
        for scale in scales
    )


class Letter:
    """A letter of some height, turned anticlockwise.

    It is sampled linearly from the smallest ink that is at least as high, or from the
    largest, so that no pixel of it is skipped.

    Attributes:
        size: Height and width of the smallest window that holds it, pixels.
    """

    def __init__(
        self,
        inks: tuple[np.ndarray, ...],
        height: float,
        angle: float,
        shape: Shape = Shape(),
    ):
        """Measures the letter.

        Args:
            inks: Its coverage in several sizes, the largest first; see inks.
            height: Its height before it is turned, pixels.
            angle: Angle in radians.
            shape: Its stretch and slant.
        """
        self._ink = next((x for x in reversed(inks) if x.shape[0] >= height), inks[0])
        scale = height / self._ink.shape[0]
        cosine, sine = math.cos(angle), math.sin(angle)
        # From a place (x, y) in the ink to one in the window, from centre to centre.
        lean = np.array([[shape.stretch, -shape.slant], [0, 1]])
        self._matrix = scale * np.array([[cosine, sine], [-sine, cosine]]) @ lean
        h, w = self._ink.shape
        wide, high = np.abs(self._matrix) @ (w, h)
        self.size = math.ceil(high), math.ceil(wide)

    def coverage(self) -> np.ndarray:
        """Coverage of each pixel of the window, uint8 [h, w]."""
        (high, wide), (h, w) = self.size, self._ink.shape
        back = np.linalg.inv(self._matrix)
        shift = (np.array([w, h]) - back @ (wide, high)) / 2
        image = Image.fromarray(self._ink).transform(
            (wide, high),
            Image.Transform.AFFINE,
            (*back[0], shift[0], *back[1], shift[1]),
            Image.Resampling.BILINEAR,
        )
        return np.asarray(image)
