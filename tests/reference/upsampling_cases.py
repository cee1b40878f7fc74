"""Cases of upsampling that are compared with PyTorch, and the numbers in them."""

import numpy as np

# name: (H, W, C), filters, kernel, and what else nn.ConvTranspose2d takes
TRANSPOSED = {
    "doubles": ((5, 4, 3), 4, (2, 2), {"stride": 2}),
    "no stride": ((5, 4, 3), 2, (3, 2), {"padding": (1, 0)}),
    "bilinear": ((5, 4, 3), 3, (4, 4), {"stride": 2, "padding": 1, "groups": 3}),
    "output padding": (
        *((5, 4, 3), 2, (3, 3)),
        {"stride": 2, "padding": 1, "output_padding": 1},
    ),
    "more than is cut": (
        *((3, 4, 3), 2, (2, 3)),
        {"stride": (3, 2), "padding": (0, 1), "output_padding": (2, 1)},
    ),
    "gaps": ((3, 4, 2), 3, (1, 2), {"stride": (3, 4), "output_padding": (1, 3)}),
    "groups": (
        (4, 3, 4),
        6,
        (3, 4),
        {"stride": (2, 3), "padding": (1, 2), "groups": 2},
    ),
    "many filters": ((4, 3, 3), 6, (3, 3), {"stride": 2, "groups": 3}),
    "dilated": ((4, 3, 2), 3, (3, 2), {"dilation": 2, "padding": 1}),
    "dilated with a stride": (
        *((4, 3, 2), 3, (3, 3)),
        {"stride": 2, "dilation": 3, "padding": 2, "output_padding": 2},
    ),
    "large": ((3, 2, 2), 2, (8, 16), {"stride": (4, 8), "padding": (2, 4)}),
}
# (H, W), (H', W'), method, align_corners
RESIZED = [
    (size, new_size, method, corners)
    for size, new_size in [
        ((4, 3), (8, 9)),
        ((5, 7), (13, 10)),
        ((9, 8), (4, 3)),
        ((1, 4), (5, 1)),
        ((6, 6), (6, 11)),
        ((2, 3), (140, 7)),
    ]
    for method, corners in [("bilinear", False), ("bilinear", True), ("nearest", False)]
]
# (H, W), (H', W') for which floor(i * H / H') in float32, PyTorch's, is another pixel
ROUNDED = [((2, 3), (82, 123)), ((2, 3), (94, 246))]
# (H, W), window, stride, padding, ceil_mode
POOLED = [
    ((6, 8), (2, 2), (2, 2), (0, 0), False),
    ((7, 5), (2, 2), (2, 2), (0, 0), False),
    ((7, 5), (2, 2), (2, 2), (0, 0), True),
    ((7, 9), (3, 2), (3, 4), (1, 1), False),
]


def numbers(shape, seed):
    """Numbers that differ in float32, as float64."""
    drawn = np.random.default_rng(seed).normal(size=shape)
    return drawn.astype(np.float32).astype(np.float64)
