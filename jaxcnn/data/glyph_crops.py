"""One capital letter in clutter, and which it is.

An image is the middle of a scene, see glyph_scenes.py, that is twice as high and wide,
and a letter of the scene stands in its middle. It is 0.44 to 1 of the image high before
it is turned; others may reach in. A label for an image takes a person a second, a mask
a minute: a classifier that is trained here starts a segmenter that has few masks.

An image is a function of its split and number alone, drawn when it is asked for. The
letters follow one another: A, E, H, ..., X, A, ...
"""

import dataclasses
from typing import Any

import numpy as np

from jaxcnn.config import DataConfig
from jaxcnn.data import glyph_scenes, glyphs, rendered
from jaxcnn.data.examples import Dataset
from jaxcnn.targets import classes

NUM_EXAMPLES = {"train": 8000, "validation": 1000, "test": 1000}
SMALLEST_SIDE = 16  # pixels


@dataclasses.dataclass(frozen=True)
class GlyphCrops:
    """The letters of one split.

    Attributes:
        split: A key of NUM_EXAMPLES.
        size: Height and width of every image, pixels.
    """

    split: str
    size: tuple[int, int]

    def __len__(self) -> int:
        return NUM_EXAMPLES[self.split]

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"There are {len(self)} letters, none with index {index}.")
        number, label = list(NUM_EXAMPLES).index(self.split), self._labels[index]
        (height, width), is_varied = self.size, self.split == "train"
        scene = glyph_scenes.scene(
            np.random.default_rng((number, index, 1)),  # of no scene of glyph_scenes
            glyphs.matplotlib_files(self.split),
            (2 * height, 2 * width),
            is_varied,
            first=int(label),
        )
        top, left = height // 2, width // 2
        image = scene["image"][top : top + height, left : left + width]
        return {"image": image, "label": label}

    @property
    def _labels(self) -> np.ndarray:
        return np.arange(len(self), dtype=np.int32) % len(glyph_scenes.LETTERS)

    def column(self, target: str) -> np.ndarray:
        return {"label": self._labels}[target]


def load(config: DataConfig) -> Dataset:
    """The data set glyph_crops, 8,000 letters to train on and 1,000 and 1,000 others.

    Raises:
        UserError: See rendered.size_of_images.
    """
    size = rendered.size_of_images(config, SMALLEST_SIDE)
    parts = {split: GlyphCrops(split, size) for split in NUM_EXAMPLES}
    return rendered.dataset(parts, classes(glyph_scenes.LETTERS), config)
