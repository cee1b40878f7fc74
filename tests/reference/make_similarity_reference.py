"""Makes similarity.npz, with scikit-image 0.26.0.

    python tests/reference/make_similarity_reference.py

PSNR and SSIM of pairs of grey and colour images of 8 bits: an image of smooth and rough
parts, and the same with noise of several strengths.
"""

from pathlib import Path

import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

HEIGHT, WIDTH = 23, 31
SIGMAS = (2.0, 25.0, 80.0)


def image(channels: int, rng: np.random.Generator) -> np.ndarray:
    """uint8 [H, W, channels]: waves on the left, noise on the right."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    waves = np.stack([np.sin(0.3 * y + 0.2 * x + c) for c in range(channels)], axis=-1)
    rough = rng.uniform(-1, 1, (HEIGHT, WIDTH, channels))
    mixed = np.where(x[..., None] < WIDTH // 2, waves, rough)
    return np.round(127.5 + 100 * mixed).astype(np.uint8)


def main() -> None:
    rng = np.random.default_rng(0)
    arrays = {"sigmas": np.array(SIGMAS)}
    for channels in (1, 3):
        clean = image(channels, rng)
        noisy = [
            np.clip(np.round(clean + rng.normal(0, sigma, clean.shape)), 0, 255)
            for sigma in SIGMAS
        ]
        noisy = np.stack(noisy).astype(np.uint8)
        arrays[f"clean{channels}"], arrays[f"noisy{channels}"] = clean, noisy
        arrays[f"psnr{channels}"] = np.array(
            [peak_signal_noise_ratio(clean, x) for x in noisy]
        )
        arrays[f"ssim{channels}"] = np.array(
            [
                structural_similarity(
                    clean / 255,
                    x / 255,
                    gaussian_weights=True,
                    sigma=1.5,
                    use_sample_covariance=False,
                    data_range=1,
                    channel_axis=-1,
                )
                for x in noisy
            ]
        )
    path = Path(__file__).with_name("similarity.npz")
    np.savez_compressed(path, **arrays)


if __name__ == "__main__":
    main()
