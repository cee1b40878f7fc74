"""PASCAL VOC's segmentation: `voc:PATH`.

    PATH/JPEGImages/NAME.jpg
    PATH/SegmentationClass/NAME.png
    PATH/ImageSets/Segmentation/{train,val}.txt     a NAME a line

PATH is VOC2012 or a folder above it, such as VOCdevkit. Everingham et al., "The Pascal
Visual Object Classes Challenge: A Retrospective", IJCV 2015,
https://doi.org/10.1007/s11263-014-0733-5: 20 classes and the background; void is the
border around objects and difficult ones.

The labels of its test images are not published. Results are reported on val.txt, so
that tests and selects nothing; validation is cut off train.txt.
"""

from collections.abc import Sequence
import glob
import os

from jaxcnn.config import DataConfig
from jaxcnn.data import mask_coding, masks
from jaxcnn.data.examples import Dataset
from jaxcnn.errors import UserError

# Class -> its colour, as VOClabelcolormap.m of VOC's development kit makes it.
CLASSES: dict[str, mask_coding.Colour] = {
    "background": (0, 0, 0),
    "aeroplane": (128, 0, 0),
    "bicycle": (0, 128, 0),
    "bird": (128, 128, 0),
    "boat": (0, 0, 128),
    "bottle": (128, 0, 128),
    "bus": (0, 128, 128),
    "car": (128, 128, 128),
    "cat": (64, 0, 0),
    "chair": (192, 0, 0),
    "cow": (64, 128, 0),
    "diningtable": (192, 128, 0),
    "dog": (64, 0, 128),
    "horse": (192, 0, 128),
    "motorbike": (64, 128, 128),
    "person": (192, 128, 128),
    "pottedplant": (0, 64, 0),
    "sheep": (128, 64, 0),
    "sofa": (0, 192, 0),
    "train": (128, 192, 0),
    "tvmonitor": (0, 64, 128),
}
CODING = mask_coding.Coding(
    tuple(CLASSES),
    colours={colour: k for k, colour in enumerate(CLASSES.values())},
    source="PASCAL VOC",
)
_FOLDERS = ("JPEGImages", "SegmentationClass")
_LISTS = {"train": "train", "test": "val"}  # split -> name of its list


def load(path: str, config: DataConfig) -> Dataset:
    """The images that have masks, see the module docstring.

    Raises:
        UserError: There is no such folder, or a file that a list names is missing.
    """
    root = _root(path)
    whole = {}
    for split, name in _LISTS.items():
        file = os.path.join(root, "ImageSets", "Segmentation", f"{name}.txt")
        names = _names(file)
        pairs = [
            [os.path.join(root, folder, f"{image}.{suffix}") for image in names]
            for folder, suffix in zip(_FOLDERS, ("jpg", "png"), strict=True)
        ]
        masks.check_files(pairs[0], pairs[1], file)
        of_masks = masks.MaskFiles(pairs[1], CODING, config.max_pixels)
        whole[split] = masks.listed(pairs[0], names, of_masks, config)
    return masks.dataset(
        whole,
        CODING.names,
        config,
        missing=("validation",),
        about=masks.about(CODING, whole),
    )


def _root(path: str) -> str:
    """The folder that has the images, at or below a path."""
    places = [path]
    for pattern in ("VOC*", os.path.join("VOCdevkit", "VOC*")):
        places += sorted(glob.glob(os.path.join(glob.escape(path), pattern)))
    found = [
        place
        for place in places
        if all(os.path.isdir(os.path.join(place, folder)) for folder in _FOLDERS)
    ]
    if len(found) != 1:
        has = ", ".join(map(repr, found)) or "none"
        raise UserError(
            f"voc:{path} must have one folder with {' and '.join(_FOLDERS)}; it has "
            f"{has}."
        )
    return found[0]


def _names(path: str) -> Sequence[str]:
    if not os.path.isfile(path):
        raise UserError(f"There is no list of images {path!r}.")
    with open(path, encoding="utf-8") as file:
        names = [line.strip() for line in file if line.strip()]
    if not names:
        raise UserError(f"{path} lists no image.")
    return names
