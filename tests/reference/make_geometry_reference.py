"""Makes geometry.npz, with torchvision 0.28.0.

    python tests/reference/make_geometry_reference.py

What torchvision's v2 transforms make of the mask, the boxes and the points of
geometry_cases.py. Boxes and points are stored with y before x.
"""

import contextlib
from pathlib import Path

with contextlib.suppress(ImportError):
    import outside  # noqa: F401  a helper that lets torchvision import without CUDA
from geometry_cases import AFFINE, CROPS, FIXED, PADDING, SHAPE, WINDOWS, example
import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

EXACT = InterpolationMode.NEAREST_EXACT
SMALLEST = {"min_size": 0.01, "min_area": 1e-9}


def swapped(x):
    """x before y, or back."""
    return x.reshape(-1, 2)[:, ::-1].reshape(x.shape).copy()


def inputs():
    arrays = example()
    return (
        tv_tensors.Mask(arrays["mask"]),
        tv_tensors.BoundingBoxes(
            swapped(arrays["boxes"]), format="XYXY", canvas_size=SHAPE
        ),
        tv_tensors.KeyPoints(swapped(arrays["points"]), canvas_size=SHAPE),
    )


def resize(x, size):
    if isinstance(x, tv_tensors.Mask):
        return F.resize(x, size, interpolation=EXACT)
    return F.resize(x, size)


def padded(x, size):
    """At the centre of a larger canvas; what does not divide by 2 is to the right."""
    height, width = F.get_size(x)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return F.pad(x, [left, top, size[1] - width - left, size[0] - height - top])


def affine(x, shift, rotation, scale, shear):
    # Clockwise, and a shear to the left, are positive there.
    return F.affine(
        x,
        angle=-rotation,
        translate=list(shift[::-1]),
        scale=scale,
        shear=[-shear, 0.0],
    )


def operations():
    """name -> function of a mask, boxes or points."""
    yield "resize", lambda x: resize(x, list(FIXED["resize"]))
    # Of 14 x 10, [8] makes 8 x 11: round(7 / 0.875) and int(8 * 14 / 10).
    yield "center_crop", lambda x: F.center_crop(resize(x, [8]), [7, 7])
    # round(6 / 0.875) is 7 and round(9 / 0.875) is 10, which 7 x 9 does not cover.
    yield "center_crop_wide", lambda x: F.center_crop(resize(x, [7, 10]), [6, 9])
    yield "pad", lambda x: padded(x, FIXED["pad"])
    yield "pad_shrunk", lambda x: padded(resize(x, [6, 9]), FIXED["pad_shrunk"])
    for name, (window, size) in WINDOWS.items():
        yield name, lambda x, w=window, s=size: resize(F.crop(x, *w), list(s))
    yield "flip", F.horizontal_flip
    for i, start in enumerate(CROPS):
        yield f"crop{i}", lambda x, s=start: F.crop(F.pad(x, [PADDING]), *s, *SHAPE)
    for i, numbers in enumerate(AFFINE):
        yield f"affine{i}", lambda x, n=numbers: affine(x, *n)


def main() -> None:
    arrays = {}
    for name, operation in operations():
        mask, boxes, points = map(operation, inputs())
        boxes = F.clamp_bounding_boxes(boxes)
        _, seen = F.sanitize_bounding_boxes(boxes, **SMALLEST)
        arrays[f"{name}/mask"] = mask.numpy()
        arrays[f"{name}/boxes"] = swapped(boxes.numpy())
        arrays[f"{name}/seen"] = seen.numpy()
        arrays[f"{name}/points"] = swapped(points.numpy())
    image = torch.from_numpy(example()["image"]).permute(2, 0, 1)
    for i, (shift, rotation, scale, shear) in enumerate(AFFINE):
        warped = F.affine(
            image,
            angle=-rotation,
            translate=list(shift[::-1]),
            scale=scale,
            shear=[-shear, 0.0],
            interpolation=InterpolationMode.BILINEAR,
        )
        arrays[f"affine{i}/image"] = warped.permute(1, 2, 0).numpy()
    np.savez_compressed(Path(__file__).with_name("geometry.npz"), **arrays)


if __name__ == "__main__":
    main()
