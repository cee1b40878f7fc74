r"""The character network on printed letters, tested on unseen font families.

DejaVu Sans Mono and Serif are for training, DejaVu Sans for validation, STIX and
Computer Modern for testing, see data/glyphs.py. Recipe: strong affine augmentation,
whose shear imitates italics, and label smoothing.
Result: 0.9609 ± 0.0036 on the test fonts, seeds 0 to 4, 2026-11-28, two CPU cores.

    python -m jaxcnn train --config=experiments/character_net_glyphs.py \
        --workdir=runs/glyphs
"""

from jaxcnn.config import AugmentConfig, Config, DataConfig, OptimConfig, TaskConfig


def get_config() -> Config:
    return Config(
        model="character_net",
        data=DataConfig(name="glyphs", batch_size=64),
        augment=AugmentConfig(
            shift_pixels=3.0, rotation_degrees=10.0, scale=0.25, shear_degrees=25.0
        ),
        task=TaskConfig(label_smoothing=0.1),
        optim=OptimConfig(
            name="adamw", peak_lr=2e-3, warmup_epochs=1.0, weight_decay=0.05
        ),
        num_epochs=24.0,
        eval_every_epochs=4.0,
    )
