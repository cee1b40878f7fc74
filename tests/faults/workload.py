"""A run with everything that a resumed run could get wrong, in few numbers.

BatchNorm, dropout, momentum, an average, a cosine rate, random crops and flips, PNG
files, and a validation whose number of examples no batch divides.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
from PIL import Image

from jaxcnn.config import (
    AugmentConfig,
    AverageConfig,
    Config,
    DataConfig,
    OptimConfig,
)

NUM_IMAGES = 512


def make_images(folder: Path) -> None:
    """Writes small PNGs of two classes, noise on a light and on a dark ground."""
    rng = np.random.default_rng(0)
    for number in range(NUM_IMAGES):
        ground = 60 + 120 * (number % 2)
        pixels = rng.integers(ground - 60, ground + 60, (14, 14, 3), dtype=np.uint8)
        file = folder / ("dark", "light")[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)


def make_config(images: Path, *, num_workers: int = 0, **choices: object) -> Config:
    return Config(
        model="resnet20_cifar",
        model_fields=(("depths", (1, 1, 1)), ("filters", 4), ("dropout", 0.2)),
        data=DataConfig(
            name=f"folder:{images}",
            image_size=12,
            batch_size=16,
            eval_batch_size=25,
            train_transform="random_resized_crop",
            num_workers=num_workers,
        ),
        augment=AugmentConfig(flip=0.5, shift_pixels=1.0),
        optim=OptimConfig(peak_lr=0.05, warmup_epochs=0.5, weight_decay=1e-4),
        average=AverageConfig(name="ema", decay=0.95),
        num_devices=1,
        log_every_steps=1,
        save_every_steps=10,
        eval_every_epochs=1.0,
        **choices,
    )


def write_experiment(file: Path, config: Config) -> Path:
    """Writes an experiment file that gives a config; returns its path."""
    values = json.loads(json.dumps(dataclasses.asdict(config)))
    file.write_text(
        "from jaxcnn import config_fields\n\n\n"
        f"def get_config():\n    return config_fields.from_values({values!r})\n"
    )
    return file
