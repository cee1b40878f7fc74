"""An image that both sides of a comparison of preprocessing make for themselves."""

import numpy as np

# name -> shape of the image, its shorter side after Resize, the crop, interpolation
CASES = {
    "bilinear": ((375, 500, 3), 256, 224, "bilinear"),
    "bilinear_232": ((333, 500, 3), 232, 224, "bilinear"),
    "bilinear_upright": ((500, 281, 3), 342, 299, "bilinear"),
    "bilinear_up": ((120, 99, 3), 256, 224, "bilinear"),
    "bilinear_small": ((224, 224, 3), 256, 224, "bilinear"),
    "bicubic": ((375, 500, 3), 256, 224, "bicubic"),
    "bicubic_whole": ((401, 288, 3), 288, 288, "bicubic"),
    "bicubic_up": ((120, 99, 3), 320, 300, "bicubic"),
    "grey": ((375, 500), 256, 224, "bicubic"),
}


def generated(shape: tuple[int, ...]) -> np.ndarray:
    """uint8: waves of several lengths, an edge, and noise on one half."""
    rows, columns = np.indices(shape[:2])
    planes = []
    for channel in range(3):
        waves = np.sin(rows / (3 + channel)) * np.cos(columns / 7)
        waves += np.sin(columns / 40)
        noise = np.random.default_rng(channel).integers(-120, 120, shape[:2])
        noise = noise * (columns > shape[1] // 2)
        planes.append(127 + 60 * waves + 60 * (rows > columns) + noise)
    image = np.stack(planes, axis=-1) if len(shape) == 3 else planes[0]
    return np.clip(image, 0, 255).round().astype(np.uint8)
