r"""LeNet-5 on digits.

Result: to be measured.

    python -m jaxcnn train --config=experiments/lenet5_digits.py \
        --workdir=runs/digits
"""

from jaxcnn.config import AugmentConfig, Config, DataConfig, OptimConfig


def get_config() -> Config:
    return Config(
        model="lenet5",
        data=DataConfig(name="digits", batch_size=64),
        augment=AugmentConfig(
            shift_pixels=3.0, rotation_degrees=10.0, scale=0.1, shear_degrees=10.0
        ),
        optim=OptimConfig(
            name="adamw", peak_lr=2e-3, weight_decay=1e-2, warmup_epochs=2.0
        ),
        num_epochs=60,
        eval_every_epochs=5.0,
        best_metric="loss",
    )
