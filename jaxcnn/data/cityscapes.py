"""Cityscapes: `cityscapes:PATH`.

    PATH/leftImg8bit/{train,val}/CITY/NAME_leftImg8bit.png
    PATH/gtFine/{train,val}/CITY/NAME_gtFine_labelIds.png

Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR
2016, https://arxiv.org/abs/1604.01685. The masks hold 34 labels, of which 19 are
evaluated; the others are void.

The labels of its test images are not published. Results are reported on val, so that
tests and selects nothing; validation is cut off train. data.groups="([a-z-]+)/" keeps
the images of a city together.
"""

import glob
import os

from jaxcnn.config import DataConfig
from jaxcnn.data import mask_coding, masks
from jaxcnn.data.examples import Dataset
from jaxcnn.errors import UserError

# Class, in the order of its trainId -> its id in the masks: the table of labels in
# cityscapesscripts/helpers/labels.py, https://github.com/mcordts/cityscapesScripts.
CLASSES = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
_NUM_LABELS = 34
CODING = mask_coding.Coding(
    tuple(CLASSES),
    dict.fromkeys(range(_NUM_LABELS)) | {i: k for k, i in enumerate(CLASSES.values())},
    source="Cityscapes",
)
_SPLITS = {"train": "train", "test": "val"}  # split -> its folder
_IMAGE, _MASK = "_leftImg8bit.png", "_gtFine_labelIds.png"


def load(path: str, config: DataConfig) -> Dataset:
    """The images of the two labelled splits, see the module docstring.

    Raises:
        UserError: There are no such images, or one has no mask.
    """
    whole = {}
    for split, folder in _SPLITS.items():
        root = os.path.join(path, "leftImg8bit", folder)
        files = sorted(glob.glob(os.path.join(glob.escape(root), "*", f"*{_IMAGE}")))
        if not files:
            raise UserError(f"There are no images {root}/CITY/*{_IMAGE}.")
        names = [os.path.relpath(file, root).replace(os.sep, "/") for file in files]
        masks_root = os.path.join(path, "gtFine", folder)
        of_files = [
            os.path.join(masks_root, name.removesuffix(_IMAGE) + _MASK)
            for name in names
        ]
        masks.check_files(files, of_files, root)
        of_masks = masks.MaskFiles(of_files, CODING, config.max_pixels)
        whole[split] = masks.listed(files, names, of_masks, config)
    return masks.dataset(
        whole,
        CODING.names,
        config,
        missing=("validation",),
        about=masks.about(CODING, whole),
    )
