"""Draws the README's picture of masks: python docs/draw_scenes.py WORKDIR FILE.png.

Above are test scenes of a run of experiments/unet_glyph_scenes.py, below what it says.
"""

import sys

import numpy as np
from PIL import Image

import jaxcnn
from jaxcnn.config import DataConfig
from jaxcnn.data import datasets
from jaxcnn.report import palette

NUMBER, SIDE = 8, 128  # scenes; pixels


def main(workdir: str, file: str) -> None:
    config = DataConfig(name="glyph_scenes", image_size=64)
    scenes = datasets.load(config).splits["test"]
    images = [scenes[index]["image"] for index in range(NUMBER)]
    masks = jaxcnn.load(workdir)(images)["mask"]
    colours = palette.colours(int(np.max(masks)) + 1)
    rows = (images, [colours[mask] for mask in masks])
    page = Image.new("RGB", (NUMBER * SIDE, 2 * SIDE))
    for y, row in enumerate(rows):
        for x, pixels in enumerate(row):
            tile = Image.fromarray(pixels).resize(
                (SIDE, SIDE), Image.Resampling.NEAREST
            )
            page.paste(tile, (x * SIDE, y * SIDE))
    page.save(file)


if __name__ == "__main__":
    main(*sys.argv[1:])
