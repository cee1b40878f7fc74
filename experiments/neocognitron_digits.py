r"""The Neocognitron on digits, trained by gradient descent.

Result: 0.9388 on the second half, seed 0, 2026-11-22, two CPU cores.

    python -m jaxcnn train --config=experiments/neocognitron_digits.py \
        --workdir=runs/neocognitron_digits
"""

from jaxcnn.config import AugmentConfig, Config, DataConfig, OptimConfig


def get_config() -> Config:
    return Config(
        model="neocognitron",
        data=DataConfig(name="digits", image_size=16, batch_size=64),
        augment=AugmentConfig(
            shift_pixels=1.5, rotation_degrees=10.0, scale=0.1, shear_degrees=10.0
        ),
        optim=OptimConfig(name="adamw", peak_lr=2e-2, warmup_epochs=2.0),
        num_epochs=60,
        eval_every_epochs=5.0,
        best_metric="loss",
    )
