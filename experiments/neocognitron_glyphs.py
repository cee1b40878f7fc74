r"""The Neocognitron on printed letters of unseen fonts, trained by gradient descent.

Result: 0.7419 on the test fonts, seed 0, 2026-11-28, two CPU cores.

    python -m jaxcnn train --config=experiments/neocognitron_glyphs.py \
        --workdir=runs/neocognitron_glyphs
"""

from jaxcnn.config import AugmentConfig, Config, DataConfig, OptimConfig


def get_config() -> Config:
    return Config(
        model="neocognitron",
        data=DataConfig(name="glyphs", image_size=16, batch_size=64),
        augment=AugmentConfig(
            shift_pixels=1.5, rotation_degrees=5.0, scale=0.1, shear_degrees=10.0
        ),
        optim=OptimConfig(name="adamw", peak_lr=2e-2, warmup_epochs=2.0),
        num_epochs=30,
        eval_every_epochs=5.0,
        best_metric="loss",
    )
