"""A folder of images with masks: `folder:PATH` that has images/ and masks/.

    PATH/images/1.jpg, PATH/masks/1.png, ...                    split by data.split_seed
    PATH/train/images/1.jpg, PATH/train/masks/1.png, PATH/val/...       split already
    PATH/images/train/1.jpg, PATH/masks/train/1.png, PATH/images/val/...     the same

Split folders are called as in folder.py. A mask has the path and name of its image, up
to the suffix. PATH/classes.txt names the classes and may say what their levels or
colours are, see mask_coding.py; without it, all masks are read to find the classes.
"""

from jaxcnn.config import DataConfig
from jaxcnn.data import mask_coding, masks, paired_folder
from jaxcnn.data.examples import Dataset, Examples

KINDS = ("images", "masks")


def load(path: str, config: DataConfig) -> Dataset:
    """Loads the images and masks below a folder and splits them.

    Raises:
        UserError: The folder does not have a layout of the module docstring, an image
            has no mask or a mask no image, two files have one name, or the classes are
            not known.
    """
    pairs = {
        split: _paired(*folders)
        for split, folders in paired_folder.splits(path, KINDS).items()
    }
    mask_files = [mask for _, found in pairs.values() for mask in found]
    coding, remarks = mask_coding.coding_in(path, mask_files, config)
    whole = {
        split: masks.listed(
            files,
            paired_folder.names(path, files),
            masks.MaskFiles(found, coding, config.max_pixels),
            config,
        )
        for split, (files, found) in pairs.items()
    }
    about = masks.about(coding, whole)
    is_whole = "all" in whole
    parts: dict[str, Examples] = {"train": whole["all"]} if is_whole else {**whole}
    return masks.dataset(
        parts,
        coding.names,
        config,
        missing=("test", "validation") if is_whole else ("validation",),
        about=about,
        remarks=remarks,
    )


def _paired(image_folder: str, mask_folder: str) -> tuple[list[str], list[str]]:
    """(path of each image of a folder, path of its mask in another)."""
    files = paired_folder.images_by_stem(image_folder, "images")
    found = paired_folder.images_by_stem(mask_folder, "masks")
    folders = image_folder, mask_folder
    paired_folder.check(files, found, folders, "mask", ".png (or another suffix)")
    stems = sorted(files)
    return [files[s] for s in stems], [found[s] for s in stems]
