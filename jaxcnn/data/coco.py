"""Masks of classes from COCO's JSON: `coco:PATH`.

    PATH/annotations/instances_train2017.json, instances_val2017.json
    PATH/train2017/NAME.jpg, PATH/val2017/...     or PATH/images/train2017/..., or
                                                  PATH/images/...
    coco:FILE.json        one file of your own, whose images are beside it or in images/
                          beside it or above; split by data.split_seed

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014,
https://arxiv.org/abs/1405.0312; the format: https://cocodataset.org/#format-data.
Class 0 is the background; the categories follow in the order of their ids. A pixel that
objects of two classes share is void, since the file does not say which is in front.
(torchvision's reference script for COCO makes those of two objects of one class void,
too.) Objects of "iscrowd" count as others.

Polygons and runs (RLE, compressed or not) become the same pixels as in COCO's API,
pycocotools, which is not needed: maskApi.c is followed step by step. Pillow's polygons
are larger, by the pixels that their outlines touch: among 57 polygons of 10,859 pixels
1,834 pixels differed.

Results are reported on val, so that tests and selects nothing; validation is cut off
train.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
import dataclasses
import json
import os
from typing import Any

import numpy as np

from jaxcnn.config import DataConfig
from jaxcnn.data import mask_coding, masks
from jaxcnn.data.examples import Dataset
from jaxcnn.data.files import size_of
from jaxcnn.data.folder import split_of
from jaxcnn.data.images import Encoded
from jaxcnn.errors import UserError

BACKGROUND = "background"
_PREFIX = "instances_"
_FINE = 5  # polygons are followed on a grid finer by this factor

Polygons = list[np.ndarray]  # (x, y) in pixels, float64 [n, 2] of each
Runs = np.ndarray  # lengths of runs of 0 and 1 in turn, column by column


@dataclasses.dataclass(frozen=True)
class CocoMasks:
    """The masks of the images in a JSON file.

    Attributes:
        sizes: Height and width of each image.
        objects: (class, its pixels) of each object of each image.
        coding: The classes.
        where: Path of the file.
    """

    sizes: Sequence[tuple[int, int]]
    objects: Sequence[Sequence[tuple[int, Polygons | Runs]]]
    coding: mask_coding.Coding
    where: str

    def __call__(self, index: int, image: Encoded) -> mask_coding.Mask:
        target = self.coding.target
        size = self.sizes[index]
        turn = masks.turn_of(size, image, f"{self.where}, image {index}")
        mask = np.zeros(size, target.dtype)
        for number, pixels in self.objects[index]:
            inside = drawn(pixels, *size)
            shared = inside & (mask != 0) & (mask != number)
            mask[inside] = number
            mask[shared] = target.fill
        return turn(mask)


def load(path: str, config: DataConfig) -> Dataset:
    """The images that COCO's JSON files list, see the module docstring.

    Raises:
        UserError: There is no such file, it is not as COCO's are, an image is missing,
            or two files have different categories.
    """
    files = _files(path)
    whole, names, about = {}, None, []
    for split, file in files.items():
        content = _read(file)
        found = _categories(content, file)
        names = found if names is None else names
        if found != names:
            raise UserError(
                f"{file} has the categories {', '.join(found.values())}, and "
                f"{next(iter(files.values()))} {', '.join(names.values())}; they must "
                "be the same."
            )
        coding = mask_coding.Coding((BACKGROUND, *names.values()), source=file)
        whole[split] = _examples(file, content, coding, list(names), config)
        about.append(f"{split} {size_of(file)} {_digest_of(content)}")
    is_cut = "all" in whole
    return masks.dataset(
        {"train": whole["all"]} if is_cut else whole,
        (BACKGROUND, *names.values()),
        config,
        missing=("test", "validation") if is_cut else ("validation",),
        about="\n".join([*names.values(), *about]),
    )


def _digest_of(content: Mapping[str, Any]) -> str:
    """Numbers of images and objects, and of the pixels of the objects."""
    objects = content["annotations"]
    area = sum(float(thing.get("area") or 0) for thing in objects)
    return f"{len(content['images'])} {len(objects)} {area:.2f}"


def _files(path: str) -> dict[str, str]:
    """Split -> its JSON file; {"all": ...} for a single one."""
    if os.path.isfile(path):
        return {"all": path}
    folder = os.path.join(path, "annotations")
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    found: dict[str, str] = {}
    for name in names:
        stem, suffix = os.path.splitext(name)
        split = split_of(stem.removeprefix(_PREFIX)) if suffix == ".json" else None
        if not stem.startswith(_PREFIX) or split is None:
            continue
        split = "test" if split == "validation" else split
        if split in found:
            raise UserError(
                f"{folder!r} has {os.path.basename(found[split])} and {name}; one file "
                "to train on and one to test on are allowed."
            )
        found[split] = os.path.join(folder, name)
    if "train" not in found:
        raise UserError(
            f"coco:{path} must be a JSON file, or a folder with "
            f"annotations/{_PREFIX}train2017.json (any name with train in it)."
        )
    return dict(sorted(found.items(), reverse=True))  # train before test


def _read(file: str) -> dict[str, Any]:
    try:
        with open(file, encoding="utf-8") as opened:
            content = json.load(opened)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as JSON: {error}.") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise UserError(
                f"{file} is no COCO file of objects: it has no list {key!r}."
            )
    return content


def _categories(content: Mapping[str, Any], file: str) -> dict[int, str]:
    """Id -> name of each category, in the order of the ids."""
    try:
        found = {c["id"]: str(c["name"]) for c in content["categories"]}
        found = dict(sorted(found.items()))
    except (KeyError, TypeError) as error:
        raise UserError(f"{file}: a category has no id or name ({error}).") from error
    names = Counter([BACKGROUND, *found.values()])
    for name, number in names.items():
        if number > 1:
            raise UserError(f"{file}: {number} classes are called {name!r}.")
    return found


def _examples(
    file: str,
    content: Mapping[str, Any],
    coding: mask_coding.Coding,
    categories: Sequence[int],
    config: DataConfig,
) -> masks.MaskedImages:
    """The images of a JSON file, with their masks."""
    number_of = {category: k for k, category in enumerate(categories, start=1)}
    try:
        rows = sorted(content["images"], key=lambda row: str(row["file_name"]))
        names = [str(row["file_name"]) for row in rows]
        sizes = [(int(row["height"]), int(row["width"])) for row in rows]
        place = {row["id"]: index for index, row in enumerate(rows)}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{file}: an image has no id, file_name, height or width ({error})."
        ) from error
    objects: list[list[tuple[int, Polygons | Runs]]] = [[] for _ in rows]
    for row in content["annotations"]:
        if not isinstance(row, dict):
            raise UserError(f"{file}: an annotation is {row!r}, which is no object.")
        where = f"{file}, annotation {row.get('id')}"
        image, category = row.get("image_id"), row.get("category_id")
        known = isinstance(image, int | str) and isinstance(category, int | str)
        if not known or image not in place or category not in number_of:
            raise UserError(
                f"{where}: its image_id {image} or its category_id {category} is not "
                "in the file."
            )
        index = place[image]
        try:
            pixels = parsed(row["segmentation"], sizes[index])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where}: no segmentation is read: {error}.") from error
        objects[index].append((number_of[category], pixels))
    root = _image_folder(file, names)
    files = [os.path.join(root, name) for name in names]
    masks.check_files(files, (), file)
    return masks.listed(files, names, CocoMasks(sizes, objects, coding, file), config)


def _image_folder(file: str, names: Sequence[str]) -> str:
    """The folder that has the images of a JSON file."""
    folder = os.path.dirname(file)
    above = os.path.dirname(os.path.abspath(folder))
    split = os.path.splitext(os.path.basename(file))[0].removeprefix(_PREFIX)
    places = [
        *(os.path.join(above, split), os.path.join(above, "images", split)),
        *(folder, os.path.join(folder, "images"), os.path.join(above, "images")),
    ]
    for place in places:
        if names and os.path.isfile(os.path.join(place, names[0])):
            return place
    first = names[0] if names else "no image"
    raise UserError(f"{file} lists {first!r}, which is in none of {', '.join(places)}.")


# Pixels of an object.


def parsed(segmentation: Any, size: tuple[int, int]) -> Polygons | Runs:
    """The "segmentation" of an object, checked.

    Raises:
        KeyError, TypeError, ValueError: It is neither polygons nor runs of that height
            and width.
    """
    if isinstance(segmentation, dict):
        if tuple(segmentation["size"]) != tuple(size):
            raise ValueError(
                f"its runs are of {segmentation['size']} pixels and its image of "
                f"{[*size]}"
            )
        counts = segmentation["counts"]
        counts = decompressed(counts) if isinstance(counts, str) else counts
        runs = np.array(counts, np.int64)
        if runs.ndim != 1 or (runs < 0).any() or runs.sum() != size[0] * size[1]:
            raise ValueError("its runs are not as long as the image has pixels")
        return runs
    polygons = [np.array(polygon, np.float64) for polygon in segmentation]
    for polygon in polygons:
        if polygon.ndim != 1 or len(polygon) % 2 or len(polygon) < 6:
            raise ValueError("a polygon must be x, y of three points or more")
        if not np.isfinite(polygon).all():
            raise ValueError("a polygon has a number that is not finite")
    return [polygon.reshape(-1, 2) for polygon in polygons]


def decompressed(text: str) -> list[int]:
    """The lengths of runs that a text stands for, rleFrString of maskApi.c.

    Each number has groups of 5 bits, the lowest first, in characters from "0" on; bit 5
    says that another follows. From the fourth on, it is the difference from the length
    of two runs before.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:  # negative
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("its text of runs ends in the middle of a number")
    return counts


def drawn(pixels: Polygons | Runs, height: int, width: int) -> np.ndarray:
    """The pixels of an object, bool [H, W]."""
    if isinstance(pixels, np.ndarray):
        values = np.arange(len(pixels)) % 2 == 1
        return np.repeat(values, pixels).reshape(width, height).T
    inside = np.zeros((height, width), bool)
    for polygon in pixels:
        inside |= polygon_pixels(polygon, height, width)
    return inside


def polygon_pixels(polygon: np.ndarray, height: int, width: int) -> np.ndarray:
    """The pixels of a polygon, bool [H, W], as rleFrPoly of maskApi.c finds them.

    Its outline is followed on a grid that is five times as fine. Where it passes the
    middle of a column of pixels, the pixels below, in this column, change from outside
    to inside or back.

    Args:
        polygon: (x, y) of its corners in pixels, float64 [n, 2].
        height: Number of rows.
        width: Number of columns.
    """
    corners = np.trunc(_FINE * polygon + 0.5).astype(np.int64)
    outline = [
        _edge(*ends)
        for ends in zip(
            corners.tolist(), np.roll(corners, -1, axis=0).tolist(), strict=True
        )
    ]
    u, v = np.concatenate(outline).T  # of the fine grid
    is_step = u[1:] != u[:-1]
    before, after = slice(None, -1), slice(1, None)
    left = np.where(u[after] < u[before], u[after], u[after] - 1)[is_step]
    column = (left + 0.5) / _FINE - 0.5
    row = (np.minimum(v[before], v[after])[is_step] + 0.5) / _FINE - 0.5
    row = np.ceil(np.clip(row, 0, height))
    kept = (column == np.floor(column)) & (column >= 0) & (column <= width - 1)
    starts = (column[kept] * height + row[kept]).astype(np.int64)
    changes = np.bincount(starts, minlength=height * width)[: height * width]
    return (np.cumsum(changes) % 2 == 1).reshape(width, height).T


def _edge(first: Sequence[int], last: Sequence[int]) -> np.ndarray:
    """The points of the fine grid from one corner to the next, int64 [n, 2]."""
    (xs, ys), (xe, ye) = first, last
    dx, dy = abs(xe - xs), abs(ye - ys)
    if dx == dy == 0:
        return np.array([first], np.int64)
    flip = (dx >= dy and xs > xe) or (dx < dy and ys > ye)
    if flip:
        xs, xe, ys, ye = xe, xs, ye, ys
    t = np.arange(max(dx, dy) + 1)
    if flip:
        t = t[::-1]
    if dx >= dy:
        points = t + xs, np.trunc(ys + (ye - ys) / dx * t + 0.5)
    else:
        points = np.trunc(xs + (xe - xs) / dy * t + 0.5), t + ys
    return np.stack(points, axis=1).astype(np.int64)
