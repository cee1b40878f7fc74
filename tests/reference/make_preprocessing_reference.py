"""Makes preprocessing.npz and preprocessing.json, with torchvision 0.28.0.

    python tests/reference/make_preprocessing_reference.py

The first has pixels of a generated image after Resize and CenterCrop, the second what
the metadata of torchvision's weights say of the preprocessing.
"""

import contextlib
import json
from pathlib import Path
import re

with contextlib.suppress(ImportError):
    import outside  # noqa: F401  a helper that lets torchvision import without CUDA
from generated_image import CASES, generated
import numpy as np
from PIL import Image
from torchvision import models, transforms

HERE = Path(__file__).parent


def pixels(shape, resized, size, interpolation):
    """What torchvision makes of the generated image of a shape."""
    transform = transforms.Compose(
        [
            transforms.Resize(
                resized,
                transforms.InterpolationMode(interpolation),
                antialias=True,
            ),
            transforms.CenterCrop(size),
        ]
    )
    return np.asarray(transform(Image.fromarray(generated(shape))))


def weights():
    """One row for each of torchvision's convolutional weights that names its hash."""
    for name in models.list_models(module=models):
        if name.startswith(("vit", "swin", "maxvit", "mnasnet")):
            continue
        for row in models.get_model_weights(name):
            found = re.search(r"-([0-9a-f]{8})\.pth", row.url)
            expected = row.transforms()
            if found and row.name.startswith("IMAGENET1K") and "FEAT" not in row.name:
                yield {
                    "model": name,
                    "weights": row.name,
                    "hash": found[1],
                    "image_size": expected.crop_size[0],
                    "resized": expected.resize_size[0],
                    "interpolation": expected.interpolation.value,
                    "mean": expected.mean,
                    "std": expected.std,
                    # The network itself goes on to [-1, 1].
                    "transform_input": name in ("googlenet", "inception_v3"),
                }


if __name__ == "__main__":
    np.savez_compressed(
        HERE / "preprocessing.npz",
        **{name: pixels(*case)[::5, ::5] for name, case in CASES.items()},
    )
    (HERE / "preprocessing.json").write_text(
        "[\n" + ",\n".join(map(json.dumps, weights())) + "\n]\n"
    )
