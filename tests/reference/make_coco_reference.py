"""Makes coco_masks.json, with pycocotools 2.0.11: the masks of polygons and of RLE.

python tests/reference/make_coco_reference.py

Each case has the height and width of an image, a "segmentation" as COCO's JSON has it,
and "mask", the bits of its mask row by row in hexadecimal. It also prints how many
pixels Pillow's ImageDraw.polygon draws differently, which is why it is not used.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as coco


def decoded(segmentation, height, width):
    """What pycocotools' COCO.annToMask gives."""
    if isinstance(segmentation, list):
        rle = coco.merge(coco.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        rle = coco.frPyObjects(segmentation, height, width)
    else:
        rle = segmentation
    return coco.decode(rle)


def by_pillow(segmentation, height, width):
    image = Image.new("L", (width, height))
    for polygon in segmentation:
        ImageDraw.Draw(image).polygon(polygon, fill=1)
    return np.asarray(image)


def polygons():
    rng = np.random.default_rng(0)
    yield [[2, 3, 9, 3, 9, 8, 2, 8]], 12, 14  # whole pixels
    yield [[2.5, 3.5, 9.5, 3.5, 9.5, 8.5, 2.5, 8.5]], 12, 14  # their centres
    yield [[3, 3, 3, 3, 8, 3, 8, 8]], 10, 10  # a point twice
    yield [[1, 1, 8, 8, 8, 1, 1, 8]], 10, 10  # crosses itself
    yield [[4.2, 4.3, 4.4, 4.3, 4.3, 4.5]], 9, 9  # smaller than a pixel
    yield [[-5, -4, 30, 2, 12, 40]], 20, 16  # beyond the image
    yield [[2, 2, 6, 2, 6, 6], [4, 4, 12, 4, 12, 9, 5, 12]], 15, 15  # two parts
    for _ in range(40):
        height, width = rng.integers(4, 40, 2).tolist()
        number = int(rng.integers(3, 12))
        points = rng.uniform(-0.2, 1.2, (number, 2)) * (width, height)
        yield [np.round(points, 2).ravel().tolist()], height, width
    for _ in range(10):  # as drawn by people: round a centre
        height, width = rng.integers(20, 60, 2).tolist()
        angles = np.sort(rng.uniform(0, 2 * np.pi, 20))
        radii = rng.uniform(0.2, 0.5, 20)
        x = width * (0.5 + radii * np.cos(angles))
        y = height * (0.5 + radii * np.sin(angles))
        points = np.round(np.stack([x, y], axis=1), 2)
        yield [points.ravel().tolist()], height, width


def runs():
    rng = np.random.default_rng(1)
    for density in (0.0, 0.02, 0.3, 1.0):
        mask = (rng.random((23, 31)) < density).astype(np.uint8)
        yield mask
    mask = np.zeros((200, 150), np.uint8)  # long runs
    mask[20:150, 30:120] = 1
    mask[::17] = 0
    yield mask


def counts_of(mask):
    """Lengths of runs of 0 and 1 in turn, column by column."""
    flat = np.concatenate([[0], mask.ravel(order="F"), [2]])
    ends = np.flatnonzero(np.diff(flat))
    return np.diff([0, *ends.tolist()]).tolist()


def case(segmentation, height, width):
    mask = decoded(segmentation, height, width)
    return {
        "height": height,
        "width": width,
        "segmentation": segmentation,
        "mask": np.packbits(mask).tobytes().hex(),
    }


if __name__ == "__main__":
    cases, differing, shapes = [], 0, list(polygons())
    pixels = 0
    for segmentation, height, width in shapes:
        cases.append(case(segmentation, height, width))
        expected = decoded(segmentation, height, width)
        found = by_pillow(segmentation, height, width)
        differing += int((expected != found).sum())
        pixels += int(expected.sum())
    print(f"Pillow: {differing} pixels differ, of {pixels} inside of polygons.")
    for mask in runs():
        height, width = mask.shape
        compressed = coco.encode(np.asfortranarray(mask))["counts"].decode()
        for counts in (compressed, counts_of(mask)):
            segmentation = {"size": [height, width], "counts": counts}
            cases.append(case(segmentation, height, width))
            assert (decoded(segmentation, height, width) == mask).all()
    path = Path(__file__).parent / "coco_masks.json"
    path.write_text(json.dumps(cases) + "\n")
