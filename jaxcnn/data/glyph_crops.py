"""One capital letter in clutter, and which it is: the scenes of glyph_scenes, cut up.

An image has 32x32 pixels, whatever data.image_size says, and one letter of a scene of
64x64 in its middle, which is 14 to 32 pixels high before it is turned; others may reach
in. Beyond the border of a scene it is mirrored. A label for an image takes a person a
second, a mask a minute: a classifier that is trained here starts a segmenter that has
few masks.
"""

from collections.abc import Sequence

import numpy as np

from jaxcnn.config import DataConfig
from jaxcnn.data import arrays, glyph_scenes, glyphs
from jaxcnn.data.examples import Dataset

SIZE = 32  # pixels
_SCENE = 64  # pixels
NUM_SCENES = {"train": 2000, "validation": 300, "test": 300}


def load(config: DataConfig) -> Dataset:
    """The data set glyph_crops, about 6,400 letters to train on and 950 and 950."""
    parts = {split: _crops(split, number) for split, number in NUM_SCENES.items()}
    return arrays.of_classes("glyph_crops", glyph_scenes.LETTERS, parts, config)


def _crops(split: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [N, SIZE, SIZE, 3] and int [N], of scenes that glyph_scenes has not."""
    fonts = glyphs.matplotlib_files(split)
    images: list[np.ndarray] = []
    labels: list[int] = []
    for index in range(number):
        rng = np.random.default_rng((list(NUM_SCENES).index(split), index, 1))
        size, varied = (_SCENE, _SCENE), split == "train"
        scene = glyph_scenes.scene(rng, fonts, size, varied)
        images += [_around(scene["image"], box) for box in scene["boxes"]]
        labels += scene["labels"].tolist()
    return np.stack(images), np.array(labels)


def _around(image: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """uint8 [SIZE, SIZE, 3] with the middle of a box (y1, x1, y2, x2) in its middle."""
    margin = SIZE // 2
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), "reflect")
    top, left = (
        int(low + high) // 2 for low, high in zip(box[:2], box[2:], strict=True)
    )
    return padded[top : top + SIZE, left : left + SIZE]
