"""Generated pictures of shapes, for tasks that have no class for each image.

Grey, 32 x 32 pixels, drawn at four times the size and averaged; noise of 8 grey levels.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from jaxcnn.config import DataConfig
from jaxcnn.data import arrays
from jaxcnn.data.examples import Dataset
from jaxcnn.targets import Target

SIZE = 32  # pixels
_FINE = 4  # drawn larger by this factor, then averaged
_NOISE = 8.0  # standard deviation, grey levels of 255
NUM_TRAIN, NUM_TEST = 2000, 500

Draw = Callable[[ImageDraw.ImageDraw, np.ndarray, float], None]


def _polygon(angles_degrees: tuple[float, ...]) -> Draw:
    """Draws the polygon whose corners are seen from its centre at these angles."""

    def draw(canvas: ImageDraw.ImageDraw, centre: np.ndarray, radius: float) -> None:
        angles = np.deg2rad(angles_degrees)
        corners = centre + radius * np.stack([np.sin(angles), -np.cos(angles)], axis=1)
        canvas.polygon([tuple(corner) for corner in corners], fill=255)

    return draw


def _disc(canvas: ImageDraw.ImageDraw, centre: np.ndarray, radius: float) -> None:
    canvas.ellipse((*(centre - radius), *(centre + radius)), fill=255)


def _ring(canvas: ImageDraw.ImageDraw, centre: np.ndarray, radius: float) -> None:
    box = (*(centre - radius), *(centre + radius))
    canvas.ellipse(box, outline=255, width=round(radius / 3))


SHAPES: dict[str, Draw] = {
    "disc": _disc,
    "ring": _ring,
    "square": _polygon((45, 135, 225, 315)),
    "triangle": _polygon((0, 120, 240)),
    "diamond": _polygon((0, 90, 180, 270)),
}


def _picture(
    rng: np.random.Generator, parts: list[tuple[Draw, np.ndarray, float]]
) -> np.ndarray:
    """uint8 [SIZE, SIZE, 1], of shapes at (x, y) and with a radius, pixels."""
    image = Image.new("L", (SIZE * _FINE, SIZE * _FINE))
    canvas = ImageDraw.Draw(image)
    for draw, centre, radius in parts:
        draw(canvas, centre * _FINE, radius * _FINE)
    small = np.asarray(image.reduce(_FINE), np.float64)
    noisy = small + rng.normal(0, _NOISE, small.shape)
    return np.clip(np.round(noisy), 0, 255).astype(np.uint8)[..., None]


def multi_label(config: DataConfig) -> Dataset:
    """Which of five shapes are in the picture: each with probability 0.4, in places of
    a grid of 3 x 3 that differ."""

    def part(rng: np.random.Generator, number: int) -> arrays.Arrays:
        labels = (rng.random((number, len(SHAPES))) < 0.4).astype(np.uint8)
        images = np.stack([_several(rng, has) for has in labels])
        return images, {"labels": labels}

    target = Target("labels", "uint8", (len(SHAPES),), names=tuple(SHAPES))
    return _dataset("shapes", {"labels": target}, part, config)


def _several(rng: np.random.Generator, has: np.ndarray) -> np.ndarray:
    cells = rng.permutation(9)[: len(has)]
    centres = np.stack([cells % 3, cells // 3], axis=1) * 10.0 + 6.0
    centres += rng.uniform(-1, 1, centres.shape)
    radii = rng.uniform(3, 4.5, len(has))
    shapes = list(zip(SHAPES.values(), centres, radii, strict=True))
    return _picture(rng, [shapes[i] for i in np.flatnonzero(has)])


def disc(config: DataConfig) -> Dataset:
    """Where a disc is and how large: x and y of its centre, and its radius, pixels."""

    def part(rng: np.random.Generator, number: int) -> arrays.Arrays:
        radii = rng.uniform(2, 8, number)
        centres = rng.uniform(radii[:, None], SIZE - radii[:, None], (number, 2))
        images = np.stack(
            [
                _picture(rng, [(_disc, centre, radius)])
                for centre, radius in zip(centres, radii, strict=True)
            ]
        )
        return images, {"value": np.column_stack([centres, radii])}

    names = ("x", "y", "radius")
    target = Target("value", "float32", (len(names),), names=names)
    return _dataset("disc", {"value": target}, part, config)


def _dataset(
    name: str,
    targets: dict[str, Target],
    part: Callable[[np.random.Generator, int], arrays.Arrays],
    config: DataConfig,
) -> Dataset:
    rng = np.random.default_rng(0)
    parts = {"train": part(rng, NUM_TRAIN), "test": part(rng, NUM_TEST)}
    return arrays.dataset(name, targets, parts, config)
