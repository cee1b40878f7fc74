r"""LeNet-5 on the 1,797 digits of scikit-learn, 8x8 scans enlarged to 32x32.

Recipe: tuned on the first half only, training on its first 598 images and validating on
its last 300, which are by other writers. Strong affine augmentation, label smoothing,
small batches and a high learning rate each helped; dropout did not. In three such folds
200 epochs were better than 120 (0.967 against 0.962); 160 epochs take less than a
minute.
Result: 0.9862 ± 0.0027 on the second half, seeds 0 to 4, 2026-11-22, two CPU cores;
scikit-learn's SVC(gamma=0.001) has 0.969 on the same split.

    python -m jaxcnn train --config=experiments/lenet5_digits.py \
        --workdir=runs/digits
"""

from jaxcnn.config import AugmentConfig, Config, DataConfig, OptimConfig, TaskConfig


def get_config() -> Config:
    return Config(
        model="lenet5",
        data=DataConfig(name="digits", batch_size=32, validation_fraction=0.05),
        augment=AugmentConfig(
            shift_pixels=4.0, rotation_degrees=15.0, scale=0.2, shear_degrees=15.0
        ),
        task=TaskConfig(label_smoothing=0.1),
        optim=OptimConfig(
            name="adamw", peak_lr=4e-3, warmup_epochs=2.0, weight_decay=0.05
        ),
        num_epochs=160.0,
        eval_every_epochs=40.0,
        log_every_steps=100,
    )
