"""A folder of images with fixations: `folder:PATH` that has images/ and fixations/.

    PATH/images/1.jpg, PATH/fixations/1.csv, ...      a point for each fixation
    PATH/images/1.jpg, PATH/maps/1.png, ...           how much each place is looked at

with or without split folders, see paired_folder.py. There may be both kinds. With maps/
alone, data.target_kind=fixations must say so.

A file of points is a CSV, or a TSV with tabs. Each line has x and y, in pixels of the
image from its upper left corner, so that 0 <= x < width and 0 <= y < height: the first
pixel is 0 to 1. If there is a header, it names the columns x and y, and others are left
out. Several fixations at one place are several lines. An image that its EXIF
orientation turns has the points of the turned image.

A map is an image file, grey or read as grey, of the size of its image. Its levels are
proportional to the density of fixations.
"""

from collections.abc import Sequence
import csv
import dataclasses
import math
from typing import Any

import numpy as np

from jaxcnn.config import DataConfig
from jaxcnn.data import files as files_lib
from jaxcnn.data import images, masks, paired_folder
from jaxcnn.data.examples import Dataset, Examples, Unread
from jaxcnn.data.files import FileExamples, size_of
from jaxcnn.data.folder import other_files
from jaxcnn.errors import UserError
from jaxcnn.targets import Target

KINDS = ("images", "fixations")
SUFFIXES = (".csv", ".tsv")
TARGETS = {
    "fixations": Target("counts", "uint16"),
    "maps": Target("image", "uint8", (1,)),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FixationImages(FileExamples):
    """Image files with the fixations of each, or a map, or both.

    Attributes:
        points: Fixations of each image, float [N, 2], (y, x) in pixels; (): none known.
        point_paths: The files that they are from.
        map_paths: Path of the map of each image; (): there are none.
    """

    points: Sequence[np.ndarray] = ()
    point_paths: Sequence[str] = ()
    map_paths: Sequence[str] = ()

    def column(self, target: str) -> Unread:
        return Unread(lambda i: self.encoded(i)[target], np.arange(len(self)))

    def encoded(self, index: int) -> dict[str, Any]:
        example = super().encoded(index)
        size = example["image"].shape[:2]
        if self.points:
            example["fixations"] = self._counts(index, size)
        if self.map_paths:
            example["maps"] = read_map(self.map_paths[index], size, self.max_pixels)
        return example

    def _counts(self, index: int, size: tuple[int, int]) -> np.ndarray:
        """Fixations at each pixel, uint16 [*size]; UserError for one outside of it."""
        points = self.points[index]
        outside = np.any((points < 0) | (points >= size), axis=1)
        if outside.any():
            path = self.point_paths[index]
            line = read_points(path)[0][np.argmax(outside)]
            y, x = points[np.argmax(outside)]
            raise UserError(
                f"{path}, line {line}: the point x={x:g}, y={y:g} is outside of the "
                f"image, which has {size[1]} x {size[0]} pixels."
            )
        counts = np.zeros(size, np.uint16)
        np.add.at(counts, tuple(np.floor(points).astype(np.int64).T), 1)
        return counts

    @property
    def other_paths(self) -> Sequence[str]:
        """A file that is read besides each image."""
        return self.map_paths or self.point_paths


def read_map(path: str, size: tuple[int, int], max_pixels: int) -> np.ndarray:
    """The map of an image of that height and width, uint8 [*size, 1].

    Raises:
        BadImageError: It cannot be decoded.
        UserError: It has another size, or nothing in it.
    """
    levels = images.decode(path, 1, None, max_pixels)
    if levels.shape[:2] != size:
        raise UserError(
            f"{path}: this map has {levels.shape[1]} x {levels.shape[0]} pixels and "
            f"its image {size[1]} x {size[0]}; they must be equal."
        )
    if not levels.any():
        raise UserError(f"{path}: this map is black everywhere.")
    return levels


def load(path: str, config: DataConfig) -> Dataset:
    """Loads the images below a folder and their fixations, and splits them.

    Raises:
        UserError: The folder does not have a layout of the module docstring, an image
            has no fixations or no map or the other way round, or a line is no point.
    """
    found = tuple(k for k in TARGETS if paired_folder.has(path, ("images", k)))
    kinds = found or ("fixations",)  # whose error says what is needed
    whole = {
        split: _examples(path, folders, kinds, config)
        for split, folders in paired_folder.splits(path, ("images", *kinds)).items()
    }
    is_whole = "all" in whole
    parts: dict[str, Examples] = {"train": whole["all"]} if is_whole else {**whole}
    return files_lib.dataset(
        parts,
        {kind: TARGETS[kind] for kind in kinds},
        masks.channels_of(config),
        config,
        missing=("test", "validation") if is_whole else ("validation",),
        about="\n".join(_about(split, part) for split, part in whole.items()),
    )


def _examples(
    root: str, folders: Sequence[str], kinds: Sequence[str], config: DataConfig
) -> FixationImages:
    """The images of a split; folders are that of the images and of each kind."""
    files = paired_folder.images_by_stem(folders[0], "images")
    stems = sorted(files)
    beside = {kind: {} for kind in TARGETS}
    for kind, folder in zip(kinds, folders[1:], strict=True):
        if kind == "maps":
            found = paired_folder.images_by_stem(folder, kind)
            what, suffix = "map", ".png (or another suffix)"
        else:
            tables = [f for f in other_files(folder, set()) if _is_table(f)]
            found = paired_folder.by_stem(folder, tables, "files of fixations")
            what, suffix = "file of fixations", ".csv"
        paired_folder.check(files, found, (folders[0], folder), what, suffix)
        beside[kind] = found
    paths = [files[stem] for stem in stems]
    point_paths = [beside["fixations"][s] for s in stems if beside["fixations"]]
    return FixationImages(
        paths,
        {},
        masks.channels_of(config),
        paired_folder.names(root, paths),
        np.array([size_of(file) for file in paths], np.int64),
        config.max_pixels,
        points=[read_points(file)[1] for file in point_paths],
        point_paths=point_paths,
        map_paths=[beside["maps"][s] for s in stems if beside["maps"]],
    )


def _is_table(path: str) -> bool:
    return path.lower().endswith(SUFFIXES)


def _about(split: str, examples: FixationImages) -> str:
    """For every file of a split its name and size, for a fingerprint."""
    beside = [*examples.point_paths, *examples.map_paths]
    files = zip(examples.example_names, examples.file_sizes.tolist(), strict=True)
    lines = [f"{split}\t{name}\t{size}" for name, size in files]
    return "\n".join([*lines, *(f"{size_of(path)}" for path in beside)])


def read_points(path: str) -> tuple[list[int], np.ndarray]:
    """(number of the line of each point, the points (y, x), float64 [N, 2]) of a file.

    Raises:
        UserError: It is no table of two numbers a line, or has no line.
    """
    delimiter = "\t" if path.lower().endswith(".tsv") else ","
    columns, lines, points = (0, 1), [], []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            rows = [(reader.line_num, row) for row in reader if any(row)]
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a table: {error}.") from error
    for index, (line, row) in enumerate(rows):
        numbers = [_number(row[i]) if i < len(row) else math.nan for i in columns]
        if index == 0 and all(map(math.isnan, numbers)):
            names = [name.strip().lower() for name in row]
            if "x" not in names or "y" not in names:
                raise UserError(
                    f"{path}, line {line}: the header names {', '.join(row)}; columns "
                    "x and y are needed."
                )
            columns = names.index("x"), names.index("y")
            continue
        if not all(map(math.isfinite, numbers)):
            raise UserError(
                f"{path}, line {line}: x and y must be two numbers, not "
                f"{delimiter.join(row)!r}."
            )
        lines.append(line)
        points.append(numbers[::-1])
    if not points:
        raise UserError(
            f"{path} has no fixation; an image that nobody looked at must be left out."
        )
    return lines, np.array(points)


def _number(text: str) -> float:
    """The number of a cell; NaN where it is none."""
    try:
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan
