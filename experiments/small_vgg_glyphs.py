r"""The first three stages of VGG-11 on printed letters, as a start for fine-tuning.

It has half of the filters, and one hidden layer of 128 units instead of two of 4,096.
Recipe: images of 16x16 pixels, in which letters have the size of scanned digits, with
affine augmentation.
Result: 0.882 on the test fonts, seed 0, 2026-11-22, two CPU cores; for its use in
fine-tuning see transfer_digits.

    python -m jaxcnn train --config=experiments/small_vgg_glyphs.py \
        --workdir=runs/small_vgg_glyphs
"""

from jaxcnn.config import AugmentConfig, Config, DataConfig, OptimConfig, TaskConfig
from jaxcnn.recipes import SMALL_VGG


def get_config() -> Config:
    return Config(
        model="vgg11_bn",
        model_fields=SMALL_VGG,
        data=DataConfig(name="glyphs", image_size=16, batch_size=128),
        augment=AugmentConfig(
            shift_pixels=1.5, rotation_degrees=10.0, scale=0.2, shear_degrees=15.0
        ),
        task=TaskConfig(label_smoothing=0.1),
        optim=OptimConfig(
            name="adamw", peak_lr=2e-3, warmup_epochs=1.0, weight_decay=0.05
        ),
        num_epochs=20.0,
        eval_every_epochs=4.0,
    )
