"""Makes policies.npz, with torchvision 0.28.0.

    python tests/reference/make_policy_reference.py

What the operations of RandAugment and of TrivialAugmentWide make of a generated image
and of a plane of it, at two of their 31 levels and in both directions; those that look
at the grey levels of the image, also of a larger one and of one with a single dot.
"""

import contextlib
from pathlib import Path

with contextlib.suppress(ImportError):
    import outside  # noqa: F401  a helper that lets torchvision import without CUDA
from generated_image import generated
import numpy as np
from PIL import Image
from torchvision.transforms import autoaugment, functional

LEVELS = (7, 30)
OF_GREY_LEVELS = ("AutoContrast", "Equalize")
POLICIES = {
    "randaugment": autoaugment.RandAugment(),
    "trivialaugment": autoaugment.TrivialAugmentWide(),
}


def images():
    """The images that operations are applied to, by name."""
    colour = generated((12, 17, 3))
    dot = np.full((12, 17, 3), 90, np.uint8)
    dot[5, 7, 0] = 200
    large = 60 + generated((24, 34, 3)) // 2
    return {"colour": colour, "grey": colour[..., 0], "dot": dot, "large": large}


def space(policy, size):
    """Operation -> (its magnitudes, whether they have a direction)."""
    if isinstance(policy, autoaugment.RandAugment):
        return policy._augmentation_space(31, size)
    return policy._augmentation_space(31)


def main() -> None:
    arrays = {}
    for name, image in images().items():
        arrays[name] = image
        for policy_name, policy in POLICIES.items():
            operations = space(policy, image.shape[:2])
            for operation, (magnitudes, has_direction) in operations.items():
                if name in ("dot", "large") and operation not in OF_GREY_LEVELS:
                    continue
                for level in LEVELS if magnitudes.ndim else LEVELS[:1]:
                    magnitude = float(magnitudes[level] if magnitudes.ndim else 0.0)
                    for sign in (1, -1) if has_direction else (1,):
                        result = autoaugment._apply_op(
                            Image.fromarray(image),
                            operation,
                            sign * magnitude,
                            functional.InterpolationMode.NEAREST,
                            None,
                        )
                        key = f"{name}/{policy_name}/{operation}/{level}/{sign}"
                        arrays[key] = np.asarray(result)
    np.savez_compressed(Path(__file__).with_name("policies.npz"), **arrays)


if __name__ == "__main__":
    main()
