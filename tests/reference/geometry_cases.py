"""What both sides of a comparison with torchvision's geometry move, and how."""

import numpy as np

SHAPE = 10, 14


def example():
    """An image float32 [H, W, 1], a mask uint8 [H, W], boxes [N, 4] as (y1, x1, y2, x2)
    and points [M, 2] as (y, x), float32."""
    rng = np.random.default_rng(0)
    boxes = [(0, 0, *SHAPE), (1.5, 2, 4, 9.25), (6, 0.5, 9, 3), (0, 11, 2, 14)]
    corners = np.sort(rng.uniform(0, 1, (4, 2, 2)), axis=1) * SHAPE
    return {
        "image": rng.uniform(0, 255, (*SHAPE, 1)).astype(np.float32),
        "mask": rng.integers(1, 200, SHAPE, np.uint8),
        "boxes": np.array([*boxes, *corners.reshape(-1, 4)], np.float32),
        "points": (rng.uniform(0, 1, (6, 2)) * SHAPE).astype(np.float32),
    }


# name -> size, of transforms that draw nothing
FIXED = {
    "resize": (7, 21),
    "center_crop": (7, 7),
    "center_crop_wide": (6, 9),
    "pad": (16, 19),
    "pad_shrunk": (9, 9),
}
WINDOWS = {  # name -> window (top, left, height, width), size
    "enlarged": ((2, 3, 5, 9), (12, 22)),
    "shrunk": ((0, 5, 10, 8), (4, 5)),
}
CROPS = ((0, 3), (4, 1), (2, 2))  # top and left of a window in the padded image
PADDING = 2
AFFINE = (  # shift down and right, rotation, scale, shear
    ((0.0, 0.0), 25.0, 1.0, 0.0),
    ((1.3, -2.6), 0.0, 0.83, 0.0),
    ((0.0, 0.0), 0.0, 1.0, 20.0),
    ((-2.0, 3.0), -40.0, 1.3, 15.0),
)
