"""Draws the picture of docs/steering.md: draw_drive.py WORKDIR SEED FILE.png.

It has four frames of the film of a lap, see jaxcnn/report/film.py.
"""

import sys

import numpy as np
from PIL import Image

from jaxcnn.data import road
from jaxcnn.report import film
from jaxcnn.serving import driving

SHARES = (0.05, 0.35, 0.65, 0.99)  # of the film


def main(workdir: str, seed: str, file: str) -> None:
    scene, number = road.scene_to_drive(int(seed)), int(seed)
    steer = driving.driver(driving.load(workdir), scene, number)
    lap = driving.drive(scene.track, steer)

    def view(step: int) -> np.ndarray:
        return scene.view(lap.poses[step], film.VIEW, None)

    pages = list(film.frames(lap, scene.track.points, view))
    chosen = [pages[int(share * len(pages))] for share in SHARES]
    width, height = chosen[0].size
    page = Image.new("RGB", (2 * width, 2 * height))
    for i, frame in enumerate(chosen):
        page.paste(frame, (i % 2 * width, i // 2 * height))
    page.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(file)


if __name__ == "__main__":
    main(*sys.argv[1:])
